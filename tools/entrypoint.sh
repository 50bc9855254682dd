#!/usr/bin/env bash
# The image's entry point: options (or nothing) are run_all.sh's, anything else is a command with Caffe in reach.
#   docker run IMAGE --profile article      docker run -it IMAGE caffe device_query -gpu 0      docker run -it IMAGE bash
set -euo pipefail

# a user without a home, as --user gives one, has no place to write but the volume
[[ -w ${HOME:-/} ]] || export HOME=/tmp
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if (($# == 0)) || [[ $1 == -* ]]; then
    exec "$here/run_all.sh" "$@"
fi
# shellcheck source=/dev/null
source "$CAFFE_PREFIX/env.sh"
exec "$@"
