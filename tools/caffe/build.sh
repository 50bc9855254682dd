#!/usr/bin/env bash
# Build BVLC Caffe into the project's own prefix: source, our edits, CMake, Ninja, env.sh.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: tools/caffe/build.sh [--cuda] [--arch LIST] [--mirror URL] [--check] [--test]

Builds Caffe's library, tools and pycaffe, and compute_ap, into CAFFE_PREFIX (default .caffe), unless they are there.
  --mirror URL  a Debian mirror to take the source package from (default: the one apt uses here)
  --check       build nothing; exit 0 if what is there is up to date
  --test        also build Caffe's own tests and run those for the CPU
Environment: CAFFE_PREFIX, CAFFE_VENV (default .venv), CAFFE_SOURCE (a BVLC checkout or tarball of your own)
HELP
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$root/tools/caffe
prefix=${CAFFE_PREFIX:-$root/.caffe}
venv=${CAFFE_VENV:-$root/.venv}
mirror="" check=no test=no

die() {
    echo "build: $*" >&2
    exit 1
}

# every edit applies exactly once: it must go in without fuzz, and must not go in again
apply_edits() {
    local edit
    for edit in "$here"/edits/*.patch; do
        patch -p1 -d "$1" --fuzz=0 --forward --silent <"$edit" >/dev/null ||
            die "$(basename "$edit") does not apply to this source"
        ! patch -p1 -d "$1" --fuzz=0 --forward --silent --dry-run <"$edit" >/dev/null ||
            die "$(basename "$edit") would apply twice"
    done
}

# what the prefix was built from: our files here, compute_ap, the source
recipe() {
    (cd "$root" && find tools/caffe eval/compute_ap.cpp -type f -print0 | sort -z | xargs -0 sha256sum)
    echo "source ${CAFFE_SOURCE:-debian}"
}

build() {
    local build=$prefix/build
    rm -rf "$build" "$prefix/recipe"
    mkdir -p "$build"
    echo "build: Caffe's source"
    "$here/fetch_source.sh" "$build/source" "$mirror"
    apply_edits "$build/source"
    echo "build: configuring"
    cmake -G Ninja -S "$here" -B "$build/objects" -DCMAKE_BUILD_TYPE=Release -DCAFFE_SOURCE="$build/source" \
        -DCAFFE_NUMPY_PYTHON="$venv/bin/python" -DCMAKE_INSTALL_PREFIX="$prefix" >"$build/configure.log" 2>&1 ||
        { tail -n 20 "$build/configure.log" >&2; die "CMake failed: $build/configure.log"; }
    echo "build: compiling on $(nproc) cores"
    ninja -C "$build/objects" install >"$build/compile.log" 2>&1 ||
        { grep -m 5 -A 10 -E 'error|FAILED' "$build/compile.log" >&2; die "compiling failed: $build/compile.log"; }
    sed "s#@VENV@#$venv#" "$here/env.sh.in" >"$prefix/env.sh"
    recipe >"$prefix/recipe"
}

# from the source's own folder: the tests read sample data by relative paths
run_tests() {
    echo "build: Caffe's own tests, for the CPU"
    ninja -C "$prefix/build/objects" caffe_test >"$prefix/build/test.log" 2>&1 ||
        { tail -n 20 "$prefix/build/test.log" >&2; die "compiling the tests failed"; }
    cd "$prefix/build/source"
    "$prefix/build/objects/caffe_test" --gtest_filter='-*GPU*:*CuDNN*'
}

while (($#)); do
    case $1 in
        --mirror) mirror=$2; shift ;;
        --check) check=yes ;;
        --test) test=yes ;;
        -h | --help) usage; exit ;;
        *) die "unknown option $1 (see --help)" ;;
    esac
    shift
done

if ! cmp -s <(recipe) "$prefix/recipe"; then
    [[ $check == no ]] || exit 1
    build
fi
[[ $test == no ]] || run_tests
