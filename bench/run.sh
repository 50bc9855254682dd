#!/usr/bin/env bash
# Every bench against its peers, in alternation, as one Markdown table of ratios.
set -euo pipefail
invoked_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'HELP'
Usage: bench/run.sh [--quick] [--out FILE] [BENCH ...]

Runs every bench/*.py, or those named, and writes their rows with the machine's description as a Markdown table.
  --quick     a quick look: fewer runs, smaller sizes
  --out FILE  where the table goes (default bench-results.md)
Needs the set-up (tools/setup.sh). The peers of some, PyTorch, ONNX Runtime and OpenVINO, go into .bench-venv on the first run.
Package indexes give a build for CUDA of some GB by default. For the CPU's build (200 MB) name the index that
PyTorch's installation page shows for CPU:
  PIP_EXTRA_INDEX_URL=... bench/run.sh
The figures hold for an idle machine only: stop what else runs. Exit status 1 if a bench could not run.
Example: bench/run.sh --quick pooling scoring
HELP
}

out=bench-results.md quick=() benches=()
while (($#)); do
    case $1 in
        -h | --help) usage; exit ;;
        --quick) quick=(--quick) ;;
        --out)
            (($# > 1)) || { echo "bench/run.sh: --out needs a value" >&2; exit 2; }
            out=$(cd "$invoked_from" && realpath -m "$2")
            shift
            ;;
        -*) echo "bench/run.sh: unknown option $1 (see --help)" >&2; exit 2 ;;
        *)
            [[ -f bench/$1.py && $1 != measure && $1 != table ]] || { echo "bench/run.sh: there is no bench $1" >&2; exit 2; }
            benches+=("$1")
            ;;
    esac
    shift
done
if ((${#benches[@]} == 0)); then
    for file in bench/*.py; do
        [[ $file == bench/measure.py || $file == bench/table.py ]] || benches+=("$(basename "$file" .py)")
    done
fi

caffe=${CAFFE_PREFIX:-.caffe}/env.sh
[[ -f $caffe ]] || { echo "bench/run.sh: Caffe is not built yet: tools/setup.sh" >&2; exit 1; }
# shellcheck source=/dev/null # made by the set-up
source "$caffe"

# a Python with the peers, which sees the project's packages too
peers=.bench-venv
if ! cmp -s bench/requirements.txt "$peers/requirements.txt"; then
    rm -rf "$peers"
    project=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    python -m venv "$peers"
    echo "$project" >"$("$peers/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth"
    if "$peers/bin/python" -m pip install --quiet -r bench/requirements.txt; then
        cp bench/requirements.txt "$peers/requirements.txt"
    else
        echo "bench/run.sh: the peers could not be installed: benches that need them will say so" >&2
    fi
fi
export PATH="$PWD/$peers/bin:$PATH"

rows=$(mktemp -d)
trap 'rm -rf "$rows"' EXIT
written=() failed=()
for bench in "${benches[@]}"; do
    echo "== $bench"
    if python -m "bench.$bench" "${quick[@]}" --json "$rows/$bench.json" 2>&1 | tee "$rows/$bench.log"; then
        written+=("$rows/$bench.json")
    else
        failed+=(--failed "$(tail -n 1 "$rows/$bench.log")")
    fi
done
python -m bench.table "${written[@]}" "${failed[@]}" >"$rows/table.md"
cp "$rows/table.md" "$out"
echo && cat "$out"
((${#failed[@]} == 0))
