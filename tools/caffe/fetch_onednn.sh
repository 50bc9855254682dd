#!/usr/bin/env bash
# Get oneDNN 2.6.3, Debian 12's packages, into an empty folder: 3 has another interface, and no Winograd for f32.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=tools/caffe/places.sh
source "$root/tools/caffe/places.sh"
debian_date=20230615T000000Z # of the snapshot to take: bookworm as it was released
declare -A sha256=(
    [libdnnl2_2.6.3-1_amd64.deb]=9a8c4d2a880ac44175e531f55b9618b6539584c9fc5fd9eaf2070b6099a819bd
    [libdnnl-dev_2.6.3-1_amd64.deb]=1ac357ed0464a1c559dd66600ee3e713a2eb3531e743ccebb9f4e9193497bef3
)

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    cat <<HELP
Usage: tools/caffe/fetch_onednn.sh FOLDER [MIRROR]

Unpacks Debian 12's oneDNN, library and headers for x86-64, into FOLDER. Tried in turn:
  1. the packages in $downloads, where those that are fetched stay:
     on a machine without a network put them there by hand
  2. MIRROR, a Debian mirror such as http://HOST/debian; without it the one this machine's apt uses
  3. Debian's archive of old releases, and its snapshots
Whichever has them, they must be the pinned ones.
Example: tools/caffe/fetch_onednn.sh /tmp/onednn
HELP
    exit
fi
if (($# < 1 || $# > 2)) || [[ $1 == -* ]]; then
    echo "Usage: tools/caffe/fetch_onednn.sh FOLDER [MIRROR]   (--help says more)" >&2
    exit 2
fi

get() { # PACKAGE [MIRROR]
    local kept=$downloads/$1 place places
    if [[ -f $kept ]]; then
        if has_sha256 "${sha256[$1]}" "$kept"; then return 0; fi
        echo "fetch_onednn: $kept: $reason, or cut off" >&2
    fi
    mapfile -t places < <(debian_places "$debian_date" "${@:2}")
    for place in "${places[@]}"; do
        if from "$place/pool/main/o/onednn/$1" "$1" has_sha256 "${sha256[$1]}"; then return 0; fi
    done
    die "none of these has Debian 12's oneDNN: put ${!sha256[*]} from a machine that can fetch them \
into $downloads, or name a Debian mirror (tools/setup.sh --mirror)"
}

empty_folder "$1"
may_keep_downloads
for package in "${!sha256[@]}"; do get "$package" "${@:2}"; done
for package in "${!sha256[@]}"; do
    dpkg-deb -x "$downloads/$package" "$scratch/tree" || die "$package can't be unpacked beside $folder: is its disk full?"
done
becomes "$scratch/tree"
