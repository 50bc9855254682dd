#!/usr/bin/env bash
# Apply our edits to an unpacked Caffe source, in their order, each exactly once.
set -euo pipefail

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: tools/caffe/apply_edits.sh SOURCE

Applies tools/caffe/edits/*.patch to the Caffe source in the folder SOURCE. Each must go in without fuzz and must not go
in again; a source that has an edit already is refused.
Example: tools/caffe/apply_edits.sh .caffe/build/source
HELP
    exit
fi
if (($# != 1)) || [[ $1 == -* ]]; then
    echo "Usage: tools/caffe/apply_edits.sh SOURCE   (--help says more)" >&2
    exit 2
fi

edits=$(cd "$(dirname "${BASH_SOURCE[0]}")/edits" && pwd)
for edit in "$edits"/*.patch; do
    try=(patch -p1 -d "$1" --fuzz=0 --forward --silent --no-backup-if-mismatch --reject-file=- -i "$edit")
    if ! "${try[@]}" --dry-run >/dev/null; then
        echo "apply_edits: $(basename "$edit") does not apply to $1" >&2
        exit 1
    fi
    "${try[@]}" >/dev/null
    if "${try[@]}" --dry-run >/dev/null; then
        echo "apply_edits: $(basename "$edit") would apply to $1 twice" >&2
        exit 1
    fi
done
