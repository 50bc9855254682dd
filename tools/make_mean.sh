#!/usr/bin/env bash
# The mean file of a training LMDB, by Caffe's compute_image_mean.
set -euo pipefail

case ${1:-} in
    -h | --help)
        echo "Usage: tools/make_mean.sh TRAIN_LMDB MEAN.binaryproto"
        echo "Example: tools/make_mean.sh work/demo/lmdb/train_lmdb work/demo/lmdb/mean.binaryproto"
        exit
        ;;
esac
if (($# != 2)); then
    echo "Usage: tools/make_mean.sh TRAIN_LMDB MEAN.binaryproto   (see --help)" >&2
    exit 2
fi
python -m tools.check_lmdb "$1" # a database that isn't whole would end Caffe by a signal
status=0
# a failed check's own line, without its stack trace and the shell's word on it
{ compute_image_mean "$1" "$2.part" || status=$?; } 2> >(sed -uE '
    /^ *@ +0x|^\*\*\* Check failure|line [0-9]+: +[0-9]+ Aborted/d
    s/^F[0-9]+ [^]]*\] /make_mean: compute_image_mean has stopped: /' >&2)
((status == 0)) || exit "$status"
sync "$2.part"
mv "$2.part" "$2"
