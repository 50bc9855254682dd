#!/usr/bin/env bash
# Set-up, then all tests. --caffe also runs Caffe's own for the CPU, --cuda those of a build for GPUs that need none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
    cat <<'HELP'
Usage: ./run_tests.sh [--caffe | --cuda] [pytest arguments]

Installs what is missing, lints, checks types, runs every test in tests/. With arguments, pytest gets them.
One process a core, at most 4; -n 0 runs them in one, as --pdb needs it.
  --caffe  also build Caffe's own tests and run those for the CPU (1162)
  --cuda   instead: build Caffe for CUDA, into CAFFE_CUDA_PREFIX (default .caffe-cuda; 1.2 GB to download), run Caffe's
           own tests for the CPU on it, and let a stand-in answer what it calls of CUDA (tests/cuda_shim): which calls, in
           which order, not what comes of them. No GPU is needed
OXFORD_SAMPLE=DIR names a folder with jpg/ and gt/ of Oxford5k photographs; tests on them skip without it.
Example: ./run_tests.sh -k split
HELP
}

caffe=no cuda=no
case ${1:-} in
    -h | --help) usage; exit ;;
    --caffe) caffe=yes && shift ;;
    --cuda) cuda=yes && shift ;;
esac

tools/setup.sh --tests
# shellcheck source=/dev/null # made by the set-up
source "${CAFFE_PREFIX:-.caffe}/env.sh"
if [[ $cuda == yes ]]; then
    export CAFFE_PREFIX=${CAFFE_CUDA_PREFIX:-$PWD/.caffe-cuda}
    tools/caffe/build.sh --cuda --arch 90 --test
    # shellcheck source=/dev/null
    source "$CAFFE_PREFIX/env.sh"
    exec python -m pytest -c tests/pytest.ini --rootdir . tests/cuda_shim tests/test_gpus.py tests/test_gpu_check.py tests/test_bundle.py "$@"
fi
shellcheck -x run_all.sh run_tests.sh search.sh tools/*.sh tools/run/*.sh tools/run/recipes/*.sh tools/caffe/*.sh bench/*.sh .ci/run
ruff check --quiet .
ruff format --quiet --check .
mypy --no-error-summary
find tools eval tests \( -name '*.cpp' -o -name '*.hpp' -o -name '*.cu' \) -print0 | xargs -0 clang-format --dry-run -Werror
[[ $caffe == no ]] || tools/caffe/build.sh --test
python -m pytest -c tests/pytest.ini --rootdir . --numprocesses auto --maxprocesses 4 --max-worker-restart 0 --dist loadfile "$@"
