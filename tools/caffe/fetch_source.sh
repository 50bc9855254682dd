#!/usr/bin/env bash
# Get BVLC Caffe's source into an empty folder: Debian's source package (its last, of bullseye), or one's own.
set -euo pipefail

if [[ ${1:-} == -h || ${1:-} == --help || $# -lt 1 ]]; then
    cat <<'HELP'
Usage: tools/caffe/fetch_source.sh FOLDER [MIRROR]

Unpacks Caffe's source into FOLDER. MIRROR is a Debian mirror such as http://HOST/debian; without it the one this
machine's apt uses. CAFFE_SOURCE=PATH takes a checkout or tarball of BVLC Caffe instead.
HELP
    exit
fi

version=1.0.0+git20180821.99bd997-8 # BVLC master of 2018-08-21, its last commits but for documentation
sha256=e0eb3f06794f7402c77b7dec8e8480273ee1a1bb192e9122b621a69d4147ad0c # of the orig tarball
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

die() {
    echo "fetch_source: $*" >&2
    exit 1
}

own_source() {
    local top
    if [[ -d $CAFFE_SOURCE ]]; then
        top=$CAFFE_SOURCE
    elif [[ -f $CAFFE_SOURCE ]]; then
        tar -xf "$CAFFE_SOURCE" -C "$scratch" 2>/dev/null || die "CAFFE_SOURCE=$CAFFE_SOURCE is no tarball"
        top=$(find "$scratch" -path '*src/caffe/proto/caffe.proto' -printf '%H/%P' -quit)
        top=${top%src/caffe/proto/caffe.proto}
    else
        die "CAFFE_SOURCE=$CAFFE_SOURCE does not exist"
    fi
    [[ -f $top/src/caffe/proto/caffe.proto ]] || die "CAFFE_SOURCE=$CAFFE_SOURCE holds no Caffe (src/caffe/proto/caffe.proto is missing)"
    cp -a "$top/." "$folder"
}

# apt with folders of its own: the machine's configuration is read, never changed
own_apt() {
    apt-get -qq -o Dir::Etc::SourceList="$scratch/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$scratch/lists" -o Dir::Cache="$scratch/cache" -o APT::Sandbox::User="$(id -un)" "$@"
}

debian_source() {
    local mirror=$1
    # shellcheck disable=SC2016 # apt's own placeholders
    [[ -n $mirror ]] || mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
        awk '$2 == "bookworm" && $3 == "main" || $1 ~ /\/debian\/?$/ { print $1; exit }')
    [[ -n $mirror ]] || die "this machine's apt names no Debian mirror: give one as the second argument, or CAFFE_SOURCE="
    mkdir -p "$scratch"/{lists,cache/archives}/partial
    echo "deb-src [signed-by=$keyring] $mirror bullseye main" >"$scratch/sources.list"
    if ! own_apt update || ! (cd "$scratch" && own_apt source --download-only "caffe=$version"); then
        die "no source package caffe $version at $mirror. Debian 11 may have left this mirror: name another one \
(MIRROR: Debian keeps old releases in its archive and snapshot mirrors), or set CAFFE_SOURCE to a BVLC Caffe checkout."
    fi
    echo "$sha256  $scratch/caffe_${version%-*}.orig.tar.gz" | sha256sum --check --status ||
        die "caffe_${version%-*}.orig.tar.gz does not have the pinned sha256"
    rmdir "$folder"
    dpkg-source --no-check --extract "$scratch/caffe_$version.dsc" "$folder" >/dev/null
}

mkdir -p "$1"
folder=$(cd "$1" && pwd)
[[ -z $(ls -A "$folder") ]] || die "$folder is not empty"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if [[ -n ${CAFFE_SOURCE:-} ]]; then
    own_source
else
    debian_source "${2:-}"
fi
