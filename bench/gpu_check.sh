#!/usr/bin/env bash
# One command for a GPU host, in the image or bare: does Caffe work on this GPU, and how fast. Writes results/gpu.md.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: bench/gpu_check.sh [--gpu N] [--out DIR] [--torch PYTHON] [--rehearse]

Runs on one GPU: Caffe's own GPU tests; features and fine-tuning of the demo beside the CPU's, in FP32 and TF32; VGG16's
times at batch 1, 32 and 64; cuDNN workspace limits; memory; the data layer's share. Writes DIR/results/gpu.md.
  --gpu N         the GPU (default 0)
  --out DIR       default work/gpu_check; in the image /workspace/gpu_check
  --torch PYTHON  a Python that has PyTorch, whose times are put beside Caffe's
  --rehearse      everything on the CPU, in small: checks the check, says nothing about a GPU
Example: docker run --rm --gpus all --shm-size=1g -v "$PWD/gpu:/workspace" IMAGE bench/gpu_check.sh
HELP
}

misused() {
    echo "gpu_check: $*" >&2
    exit 2
}

die() {
    echo "gpu_check: $*" >&2
    exit 1
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
gpu=0 out=${WORK_DIR:-work}/gpu_check torch="" rehearse=no
while (($#)); do
    case $1 in
        --gpu | --out | --torch)
            (($# > 1)) || misused "$1 needs a value (see --help)"
            printf -v "${1#--}" '%s' "$2"
            shift
            ;;
        --rehearse) rehearse=yes ;;
        -h | --help) usage; exit ;;
        *) misused "unknown option $1 (see --help)" ;;
    esac
    shift
done
[[ $gpu =~ ^[0-9]+$ ]] || die "--gpu takes one number, not $gpu"

prefix=${CAFFE_PREFIX:-$PWD/.caffe}
[[ -f $prefix/env.sh ]] || die "Caffe is not built yet: tools/setup.sh --cuda"
# shellcheck source=/dev/null
source "$prefix/env.sh"
options=()
if [[ $rehearse == no ]]; then
    caffe_gpus "$gpu" || exit 1
    options+=(--gpu "$gpu")
fi
if [[ -n $torch ]]; then
    "$torch" -c 'import torch' 2>/dev/null || die "--torch $torch: this Python has no PyTorch"
    options+=(--torch "$torch")
fi

mkdir -p "$out/results" 2>/dev/null || die "cannot write to $out"
./run_all.sh --profile demo --work "$out/demo" --gpu none --from data --to prototxt
python -m bench.gpu_check --work "$out/demo" --out "$out/results/gpu.md" "${options[@]}"
cat "$out/results/gpu.md"
