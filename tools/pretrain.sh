#!/usr/bin/env bash
# Train the demo's small network on generic pictures from nothing: its stand-in for VGG16's ImageNet weights.
# The same walk as fine-tuning, with the same programs.
set -euo pipefail

if [[ ${1:-} == -h || ${1:-} == --help || $# -ne 4 ]]; then
    cat <<'HELP'
Usage: tools/pretrain.sh PICTURES WORK MODEL SEED

Trains prototxt/demo/pretraining on PICTURES, a folder of class folders. Lists, LMDB, mean file and log go to WORK, the
caffemodel to MODEL. After an interruption the same command goes on from Caffe's last snapshot.
Example: tools/pretrain.sh work/demo/data/generic work/demo/data/pretraining work/demo/data/pretrained.caffemodel 1
HELP
    [[ ${1:-} == -h || ${1:-} == --help ]]
    exit
fi
pictures=$1 work=$2 model=$3 seed=$4
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ! -f $work/ready ]]; then
    rm -rf "$work"
    python -m data_prep.rename_classes "$work/classes" --from "$pictures"
    python -m data_prep.split "$work/classes" --out "$work/lists" --train-share 0.9 --seed "$seed"
    tools/make_lmdb.sh "$work/lists" "$work/lmdb" 72
    tools/make_mean.sh "$work/lmdb/train_lmdb" "$work/lmdb/mean.binaryproto"
    python -m tools.fill_prototxt --net prototxt/demo/pretraining --out "$work/prototxt" \
        --train-lmdb "$work/lmdb/train_lmdb" --val-lmdb "$work/lmdb/val_lmdb" --mean "$work/lmdb/mean.binaryproto" \
        --classes "$work/classes.csv" --snapshot-prefix "$work/snapshots/pretraining" --seed "$seed" --solver-mode CPU
    touch "$work/ready"
fi
tools/finetune.sh --prototxt "$work/prototxt" --out "$model"
