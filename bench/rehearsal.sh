#!/usr/bin/env bash
# The article at its full size on stand-ins, hours of it: bench/rehearsal.sh --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
caffe=${CAFFE_PREFIX:-$PWD/.caffe}/env.sh
[[ -f $caffe ]] || { echo "rehearsal: Caffe is not built yet: tools/setup.sh" >&2; exit 1; }
# shellcheck source=/dev/null # made by the set-up
source "$caffe"
exec python -m bench.rehearsal "$@"
