#!/usr/bin/env bash
# The mean file of a training LMDB, by Caffe's compute_image_mean.
set -euo pipefail

if [[ ${1:-} == -h || ${1:-} == --help || $# -ne 2 ]]; then
    echo "Usage: tools/make_mean.sh TRAIN_LMDB MEAN.binaryproto"
    echo "Example: tools/make_mean.sh work/demo/lmdb/train_lmdb work/demo/lmdb/mean.binaryproto"
    exit $(($# == 2 || ${#1} > 0 ? 0 : 2))
fi
[[ -f $1/data.mdb ]] || { echo "make_mean: $1 is no LMDB (data.mdb is missing)" >&2; exit 1; }
compute_image_mean "$1" "$2.part"
mv "$2.part" "$2"
