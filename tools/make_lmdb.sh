#!/usr/bin/env bash
# Pictures to LMDB by Caffe's convert_imageset, for train and val, and a check of what was written.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: tools/make_lmdb.sh [--jobs N] LISTS OUT [SIZE]

Writes OUT/train_lmdb and OUT/val_lmdb from LISTS/train.txt and LISTS/val.txt, pictures resized to SIZE x SIZE
(default 256). The check: as many entries as lines, and a sample of them decodes to the right picture and label.
  --jobs N  so many convert_imageset at a time, each on a part of the list (default: one a core); what they write is
            joined to the database that one alone writes
Example: tools/make_lmdb.sh work/demo/lists work/demo/lmdb 72
HELP
}

misused() {
    usage >&2
    exit 2
}

jobs=$(nproc)
case ${1:-} in
    -h | --help) usage && exit ;;
    --jobs)
        [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || misused
        jobs=$2
        shift 2
        ;;
esac
(($# >= 2)) || misused
lists=$1 out=$2 size=${3:-256}

# the article's command; / because the lists hold absolute paths
convert=(convert_imageset --resize_height "$size" --resize_width "$size" /)

python -m tools.check_lists "$lists"
mkdir -p "$out"
for set in train val; do
    part=$out/${set}_lmdb.part
    rm -rf "$part"
    if ((jobs == 1)); then
        "${convert[@]}" "$lists/$set.txt" "$part"
    else
        python -m tools.convert_in_parts --jobs "$jobs" "$lists/$set.txt" "$part" -- "${convert[@]}"
    fi
    python -m tools.check_lmdb "$part" "$lists/$set.txt" --size "$size"
    rm -rf "$out/${set}_lmdb"
    mv "$part" "$out/${set}_lmdb"
done
