#!/usr/bin/env bash
# Get BVLC Caffe's source into an empty folder, from the first place that has it; or one's own.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=tools/caffe/places.sh
source "$root/tools/caffe/places.sh"
# shellcheck source=tools/caffe/sources.sh
source "$root/tools/caffe/sources.sh"
commit=99bd99795dcdf0b1d3086a8d67ab1782a8a08383 # BVLC's master of 2018-08-21: what came later is documentation
tarball=caffe_1.0.0+git20180821.99bd997.orig.tar.gz # as Debian keeps it
sha256=e0eb3f06794f7402c77b7dec8e8480273ee1a1bb192e9122b621a69d4147ad0c
# of what is compiled and tested (content_of): another packing of the same source has another sha256
content=1ef527ec68c3ba8b2425ff2baa4b6a38af36ee9c3948b88017005b3aaf7bb18b
debian_date=20210815T000000Z # of the snapshot to take: bullseye as it was released
bvlc=https://codeload.github.com/BVLC/caffe/tar.gz/$commit

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    cat <<HELP
Usage: tools/caffe/fetch_source.sh FOLDER [MIRROR]

Unpacks BVLC Caffe's source (commit ${commit:0:7}) into FOLDER. Tried in turn:
  1. a tarball in $downloads, where the one that is fetched stays:
     on a machine without a network put one there by hand, under any name
  2. MIRROR, a Debian mirror such as http://HOST/debian; without it the one this machine's apt uses
  3. Debian's archive of old releases, and its snapshots
  4. BVLC's own repository
Whichever has it, its contents must be the pinned ones. CAFFE_SOURCE=PATH takes a checkout or tarball of one's own.
Example: tools/caffe/fetch_source.sh /tmp/caffe
HELP
    exit
fi
if (($# < 1 || $# > 2)) || [[ $1 == -* ]]; then
    echo "Usage: tools/caffe/fetch_source.sh FOLDER [MIRROR]   (--help says more)" >&2
    exit 2
fi

# unpacked TARBALL: sets top to the folder with Caffe's source; false where there is none in it
unpacked() {
    rm -rf "$scratch/tree"
    mkdir "$scratch/tree"
    local said
    said=$(LC_ALL=C tar -xf "$1" -C "$scratch/tree" 2>&1) || {
        [[ $said != *"No space left"* ]] || die "no room to unpack $1 beside $folder: its disk is full"
        return 1
    }
    top=$(find "$scratch/tree" -path '*src/caffe/proto/caffe.proto' -printf '%H/%P' -quit)
    top=${top%src/caffe/proto/caffe.proto}
    [[ -n $top ]]
}

is_pinned() { # TARBALL
    unpacked "$1" && [[ $(content_of "$top") == "$content" ]] ||
        { reason="not the source of Caffe ${commit:0:7}" && return 1; }
}

is_debians() { has_sha256 "$sha256" "$1" && is_pinned "$1"; } # TARBALL

own_source() {
    local problem
    problem=$(own_problem)
    [[ -z $problem ]] || die "$problem"
    if [[ -d $CAFFE_SOURCE ]]; then
        top=$scratch/tree
        cp -a "$CAFFE_SOURCE/." "$top" || die "CAFFE_SOURCE=$CAFFE_SOURCE can't be copied to $folder: is its disk full?"
    else
        unpacked "$CAFFE_SOURCE" || die "CAFFE_SOURCE=$CAFFE_SOURCE can't be unpacked"
    fi
}

kept_source() {
    local one
    for one in "$downloads"/*; do
        [[ -f $one && $one != *.deb ]] || continue
        if [[ ! -r $one ]]; then
            echo "fetch_source: $one: cannot be read" >&2
        elif is_pinned "$one"; then
            return 0
        else
            echo "fetch_source: $one: $reason, or cut off" >&2
        fi
    done
    return 1
}

fetched_source() { # [MIRROR]
    local place places
    may_keep_downloads
    mapfile -t places < <(debian_places "$debian_date" "$@")
    for place in "${places[@]}"; do
        if from "$place/pool/main/c/caffe/$tarball" "$tarball" is_debians; then return 0; fi
    done
    from "$bvlc" "caffe-${commit:0:7}.tar.gz" is_pinned ||
        die "none of these has Caffe's source: put $tarball from a machine that can fetch it \
into $downloads, name a Debian mirror (tools/setup.sh --mirror), or set CAFFE_SOURCE to a BVLC Caffe checkout"
}

empty_folder "$1"
top=""
if [[ -n ${CAFFE_SOURCE:-} ]]; then own_source; else kept_source || fetched_source "${@:2}"; fi
becomes "$top"
