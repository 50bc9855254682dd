#!/usr/bin/env bash
# Pictures to LMDB by Caffe's convert_imageset, for train and val, and a check of what was written.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: tools/make_lmdb.sh [--jobs N] LISTS OUT [SIZE]

Writes OUT/train_lmdb and OUT/val_lmdb from LISTS/train.txt and LISTS/val.txt, pictures resized to SIZE x SIZE
(default 256). The lists are checked first. The check of what is written: as many entries as lines, and a sample of them
decodes to the right picture and label. A database that was there is replaced when the new one is whole; stopped at any
moment, the same command goes on with the parts that are.
  --jobs N  so many convert_imageset at a time, each on a part of the list (default: one a core); what they write is
            joined to the database that one alone writes
Example: tools/make_lmdb.sh work/demo/lists work/demo/lmdb 72
HELP
}

misused() {
    echo "Usage: tools/make_lmdb.sh [--jobs N] LISTS OUT [SIZE]   (--help says more)" >&2
    exit 2
}

jobs=$(nproc)
case ${1:-} in
    -h | --help) usage; exit ;;
    --jobs)
        [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || misused
        jobs=$2
        shift 2
        ;;
esac
(($# >= 2 && $# <= 3)) && [[ $1 != -* && ${3:-256} =~ ^[1-9][0-9]*$ ]] || misused
lists=$1 out=$2 size=${3:-256}

python -m tools.check_lists "$lists"
for set in train val; do
    # the article's command; / because the lists hold absolute paths
    python -m tools.convert_in_parts --keep-plan --jobs "$jobs" --size "$size" "$lists/$set.txt" "$out/${set}_lmdb" -- \
        convert_imageset --resize_height "$size" --resize_width "$size" /
done
# kept for a stop between the two alone: else pictures that changed and kept their sizes would not be seen
rm -f "$out"/{train,val}_lmdb/.plan.json
