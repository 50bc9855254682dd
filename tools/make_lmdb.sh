#!/usr/bin/env bash
# Pictures to LMDB by Caffe's convert_imageset, for train and val, and a check of what was written.
set -euo pipefail

if [[ ${1:-} == -h || ${1:-} == --help || $# -lt 2 ]]; then
    cat <<'HELP'
Usage: tools/make_lmdb.sh LISTS OUT [SIZE]

Writes OUT/train_lmdb and OUT/val_lmdb from LISTS/train.txt and LISTS/val.txt, pictures resized to SIZE x SIZE
(default 256). The check: as many entries as lines, and a sample of them decodes to the right picture and label.
Example: tools/make_lmdb.sh work/demo/lists work/demo/lmdb 72
HELP
    exit $(($# < 2 && ${#1} == 0 ? 2 : 0))
fi
lists=$1 out=$2 size=${3:-256}

for set in train val; do
    [[ -s $lists/$set.txt ]] || { echo "make_lmdb: $lists/$set.txt is missing or empty" >&2; exit 1; }
done
mkdir -p "$out"
for set in train val; do
    part=$out/${set}_lmdb.part
    rm -rf "$part"
    # the article's command; / because the lists hold absolute paths
    convert_imageset \
        --resize_height "$size" \
        --resize_width "$size" \
        / \
        "$lists/$set.txt" \
        "$part"
    python -m tools.check_lmdb "$part" "$lists/$set.txt" --size "$size"
    rm -rf "$out/${set}_lmdb"
    mv "$part" "$out/${set}_lmdb"
done
