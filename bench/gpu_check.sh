#!/usr/bin/env bash
# One command for a GPU host, in the image or bare: does Caffe compute right on this GPU, and how fast.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: bench/gpu_check.sh [--gpu N] [--out DIR] [--torch PYTHON] [--rehearse]

In under seven minutes: programs end well; losses and features beside the CPU's; VGG16's forward passes and training
steps at batch 1, 32 and 64, in FP32 and TF32; beside PyTorch's on the same card; Caffe's own GPU tests; two GPUs where
there are two. Writes gpu_check.md and gpu_check.json into DIR after every part. Exit status 1, with the reasons, where
anything is wrong.
  --gpu N         the GPU (default 0)
  --out DIR       default work/gpu_check; in the image /workspace/gpu_check
  --torch PYTHON  a Python that has PyTorch, whose times are put beside Caffe's
  --rehearse      everything on the CPU, in small: checks the check, says nothing about a GPU
Example: docker run --rm --gpus all --shm-size=1g -v "$PWD/gpu:/workspace" IMAGE bench/gpu_check.sh
HELP
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
words=("$@")
while (($#)); do
    case $1 in
        -h | --help) usage; exit ;;
        --gpu | --out | --torch)
            (($# > 1)) || { echo "gpu_check: $1 needs a value (see --help)" >&2; exit 2; }
            shift
            ;;
        --rehearse) ;;
        *) echo "gpu_check: unknown option $1 (see --help)" >&2; exit 2 ;;
    esac
    shift
done
prefix=${CAFFE_PREFIX:-$here/.caffe}
[[ -f $prefix/env.sh ]] || { echo "gpu_check: Caffe is not built yet: tools/setup.sh --cuda" >&2; exit 1; }
# shellcheck source=/dev/null
source "$prefix/env.sh"
export PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH}
exec python -m bench.gpu_check --prefix "$prefix" --out "${WORK_DIR:-$here/work}/gpu_check" "${words[@]}"
