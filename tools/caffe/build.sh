#!/usr/bin/env bash
# Build BVLC Caffe into the project's own prefix: source, our edits, CMake, Ninja, env.sh; for the CPU or for CUDA too.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: tools/caffe/build.sh [--cuda [--arch LIST] [--toolkit DIR] | --cpu] [--mirror URL] [--check] [--test]

Builds Caffe's library, tools and pycaffe, and compute_ap, into CAFFE_PREFIX (default .caffe), unless they are there.
Stopped at any moment, the same command goes on from there.
  --cuda        for NVIDIA's GPUs too; runs on the CPU where there is none
  --arch LIST   compute capabilities to compile for (default 75;80;90;100;120: 86 and 89 run the code for 80, as a
                generation's later GPUs run that for its first; the newest is there as PTX too, which the driver
                compiles for GPUs to come). One, such as 90 for an H100, takes a fraction of the time.
  --toolkit DIR build with a CUDA toolkit of the machine (nvcc; cuDNN and NCCL in it or in /usr) instead of the wheels
                pinned in requirements-cuda.txt (1.2 GB to download)
  --cpu         for the CPU alone. Without --cuda and --cpu: as last time, at first for the CPU
  --mirror URL  a Debian mirror to take the source from first (default: APT_MIRROR, or the one apt uses here)
  --check       build nothing; exit 0 if what is there is up to date
  --test        also build Caffe's own tests, into the prefix's tests/, and run those for the CPU
Environment: CAFFE_PREFIX, CAFFE_VENV (default .venv), CAFFE_SOURCE (a BVLC checkout or tarball of your own),
             CAFFE_CUDA=1 (as --cuda)
Example, do the CUDA sources still compile and link: CAFFE_PREFIX=/tmp/cuda tools/caffe/build.sh --cuda --arch 90
HELP
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$root/tools/caffe
# shellcheck source=tools/caffe/sources.sh
source "$here/sources.sh"
prefix=$(realpath -ms -- "${CAFFE_PREFIX:-$root/.caffe}")
build=$prefix/build
venv=$(realpath -ms -- "${CAFFE_VENV:-$root/.venv}")
cuda=${CAFFE_CUDA:-} arch="" toolkit="" mirror=${APT_MIRROR:-} check=no test=no

die() {
    echo "build: $*" >&2
    exit 1
}

misused() {
    echo "build: $*" >&2
    exit 2
}

# recorded NAME: of the recipe that a build was begun with last, finished or not
recorded() {
    local from=$build/recipe
    [[ -f $from ]] || from=$prefix/recipe
    sed -n "s/^$1 //p" "$from" 2>/dev/null || true
}

# what the prefix is built from: the options, the source, the system whose libraries it needs, our files here, compute_ap
recipe() {
    printf 'cuda %s\n' "$cuda"
    [[ $cuda == no ]] || printf 'arch %s\ntoolkit %s\n' "$arch" "$toolkit"
    if [[ -n ${CAFFE_SOURCE:-} ]]; then echo "source $(realpath -- "$CAFFE_SOURCE") $(own_content)"; else echo "source pinned"; fi
    # shellcheck source=/dev/null
    echo "system $(. /etc/os-release && echo "$ID${VERSION_ID:-}") $(uname -m)"
    (cd "$root" && find tools/caffe eval/compute_ap.cpp -type f ! -name README.md -print0 | sort -z | xargs -0 sha256sum)
}

# a list of compute capabilities, as 75;80;90
checked_arch() {
    local one list=()
    read -ra list <<<"${1//[;,]/ }"
    ((${#list[@]})) || misused "--arch takes compute capabilities such as 75;80;90"
    for one in "${list[@]}"; do
        [[ $one =~ ^[1-9][0-9]{1,2}$ ]] || misused "--arch takes compute capabilities such as 75;80;90, not $one"
        ((one >= 75)) || misused "compute capability $one is too old for CUDA 13, which begins with 75 (Turing)"
    done
    printf '%s\n' "${list[@]}" | sort -nu | paste -sd';'
}

cuda_wheels() {
    local wanted=$here/requirements-cuda.txt wheels=$prefix/wheels log=$build/wheels.log free
    cmp -s "$wanted" "$wheels/requirements-cuda.txt" && return
    free=$(df --output=avail -k "$prefix" | tail -n 1)
    ((free > 6000000)) || die "$prefix has $((free / 1000)) MB of space left; CUDA's wheels need 6 GB to unpack"
    echo "build: CUDA's wheels, 1.2 GB"
    rm -rf "$wheels" "$wheels.part"
    if ! "$venv/bin/python" -I -m pip install --disable-pip-version-check --no-deps --require-hashes --target "$wheels.part" \
        -r "$wanted" >"$log" 2>&1; then
        rm -rf "$wheels.part"
        if grep -q 'DO NOT MATCH THE HASHES' "$log"; then
            die "$(awk '/==.* from / { print $1; exit }' "$log") does not have the hash pinned in $wanted"
        fi
        die "CUDA's wheels could not be installed: $(grep -m 1 '^ERROR' "$log" || echo "see $log")"
    fi
    ln -s lib "$wheels.part/nvidia/cu13/lib64" # where nvcc looks for its libraries
    cp "$wanted" "$wheels.part/"
    sync -f "$wheels.part"
    mv "$wheels.part" "$wheels"
}

# cuda_options: CMake's options for nvcc and the libraries, in the array options
cuda_options() {
    local roots=$toolkit known one
    if [[ $toolkit == wheels ]]; then
        cuda_wheels
        roots=$(printf '%s\n' "$prefix"/wheels/nvidia/* | paste -sd';')
        options+=(-DCMAKE_CUDA_COMPILER="$prefix/wheels/nvidia/cu13/bin/nvcc")
    else
        options+=(-DCMAKE_CUDA_COMPILER="$toolkit/bin/nvcc" -DCMAKE_INSTALL_RPATH_USE_LINK_PATH=ON)
        roots+=";/usr"
    fi
    known=$("${options[0]#*=}" --list-gpu-arch)
    for one in ${arch//;/ }; do
        grep -qx "compute_$one" <<<"$known" ||
            die "nvcc knows no compute capability $one; it knows $(tr -dc '0-9\n' <<<"$known" | sort -n | paste -sd' ')"
    done
    local newest=${arch##*;} real="${arch};"
    real=${real//;/-real;}
    options+=(-DCAFFE_CUDA=ON -DCAFFE_CUDA_ROOTS="$roots" -DCMAKE_CUDA_ARCHITECTURES="$real$newest-virtual")
}

# the libraries to run with go beside libcaffe, where cuDNN finds its engines; cuDNN loads NVRTC by itself
ship_cuda_libraries() {
    local nvidia=$prefix/wheels/nvidia
    cp --link --force "$nvidia"/cu13/lib/lib{cudart,cublas,cublasLt,curand,nvrtc,nvrtc-builtins}.so.* \
        "$nvidia"/cudnn/lib/libcudnn*.so.* "$nvidia"/nccl/lib/libnccl.so.* "$prefix/lib"
}

# whole FILE: standard input becomes it, there with all it says or not at all, and after everything before it
whole() {
    cat >"$1.new"
    sync "$1.new"
    mv "$1.new" "$1"
    sync "${1%/*}"
}

# ninja's "[12/140] ..." as our programs' lines of progress: seldom, or often where they become one bar
show_ninja() { # WHAT
    local line begun=$SECONDS said=$SECONDS pause=2
    [[ -z ${PROGRESS_LIVE:-} ]] || pause=1
    while IFS= read -r line; do
        ((SECONDS - said >= pause)) || continue
        [[ $line =~ ^\[([0-9]+/[0-9]+)\] ]] || continue
        echo "$1: ${BASH_REMATCH[1]}, $((SECONDS - begun)) s"
        said=$SECONDS
        [[ -n ${PROGRESS_LIVE:-} ]] || ((pause >= 15)) || pause=$((2 * pause))
    done
}

# one build of a prefix at a time; compilers that outlive a killed build still hold it
take_prefix() {
    mkdir -p "$prefix" 2>/dev/null && [[ -w $prefix ]] || die "cannot write to $prefix"
    exec 8>>"$prefix/.lock"
    flock -n 8 && return
    echo "build: another build is at work in $prefix; waiting for it"
    flock 8
}

# What lies in the build folder is gone on with where it was begun with the same recipe. Objects from before a restart of
# the machine may be cut off, whatever their times say.
keep_what_is_whole() {
    local boot
    boot=$(cat /proc/sys/kernel/random/boot_id)
    if [[ ! -f $build/recipe ]] || ! cmp -s <(recipe) "$build/recipe"; then
        rm -f "$build/recipe"
        rm -rf "$build"
        mkdir "$build"
        recipe | whole "$build/recipe"
    fi
    if [[ $(cat "$build/boot" 2>/dev/null) != "$boot" ]]; then
        rm -rf "$build/configured" "$build/objects"
        whole "$build/boot" <<<"$boot"
    fi
}

get_source() {
    [[ ! -d $build/source ]] || return 0
    echo "build: Caffe's source"
    rm -rf "$build/source.part"*
    "$here/fetch_source.sh" "$build/source.part" "$mirror"
    "$here/apply_edits.sh" "$build/source.part"
    sync -f "$build/source.part"
    mv "$build/source.part" "$build/source"
}

# the system's own oneDNN, where it is 2 as Debian 12's, does; elsewhere that one is brought along. Its fast code is x86's
get_onednn() {
    local onednn=$build/onednn
    [[ $(uname -m) == x86_64 ]] || return 0
    ! grep -qs 'DNNL_VERSION_MAJOR *2$' /usr/include/oneapi/dnnl/dnnl_version.h || return 0
    if [[ ! -d $onednn ]]; then
        echo "build: oneDNN 2"
        rm -rf "$onednn.part"*
        "$here/fetch_onednn.sh" "$onednn.part" "$mirror"
        sync -f "$onednn.part"
        mv "$onednn.part" "$onednn"
    fi
    options+=(-DCAFFE_ONEDNN="$onednn/usr")
}

configure() { # CMAKE'S OPTIONS
    ! cmp -s <(printf '%s\n' "$@") "$build/configured" || return 0
    echo "build: configuring"
    rm -rf "$build/configured" "$build/objects"
    cmake "$@" >"$build/configure.log" 2>&1 ||
        { tail -n 20 "$build/configure.log" >&2; die "CMake failed: $build/configure.log"; }
    printf '%s\n' "$@" | whole "$build/configured"
}

env_sh() { # names the virtual environment, whatever letters are in its name
    local text quoted
    printf -v quoted %q "$venv"
    text=$(<"$here/env.sh.in")
    printf '%s\n' "${text//@VENV@/"$quoted"}"
}

build() {
    local options=()
    keep_what_is_whole
    [[ $cuda == no ]] || cuda_options
    get_source
    get_onednn
    configure -G Ninja -S "$here" -B "$build/objects" -DCMAKE_BUILD_TYPE=Release -DCAFFE_SOURCE="$build/source" \
        -DCAFFE_NUMPY_PYTHON="$venv/bin/python" -DCMAKE_INSTALL_PREFIX="$prefix" "${options[@]}"
    echo "build: compiling on $(nproc) cores$([[ $cuda == no ]] || echo ", for compute capabilities $arch")"
    ninja -C "$build/objects" 2>&1 | tee "$build/compile.log" | show_ninja compiling ||
        { grep -m 5 -A 10 -E 'error|FAILED' "$build/compile.log" >&2; die "compiling failed: $build/compile.log"; }
    rm -rf "$prefix/recipe" "$prefix/env.sh" "$prefix/python" # a prefix without the first two is not taken for whole
    CMAKE_INSTALL_ALWAYS=1 ninja -C "$build/objects" install >>"$build/compile.log" 2>&1 ||
        { tail -n 5 "$build/compile.log" >&2; die "installing into $prefix failed: $build/compile.log"; }
    [[ $cuda == no || $toolkit != wheels ]] || ship_cuda_libraries
    env_sh >"$prefix/env.sh"
    sync -f "$prefix"
    recipe | whole "$prefix/recipe"
}

# beside the sample data that the tests read by relative paths
run_tests() {
    local tests=$prefix/tests filter='-*GPU*:*CuDNN*'
    # of the typed tests 2 and 3 are the GPU's; the mode one test leaves behind would send the rest to the GPU
    [[ $cuda == no ]] || filter+=':*/2.*:*/3.*:CommonTest.TestBrewMode:Im2colKernelTest*'
    take_prefix
    if ! cmp -s "$prefix/recipe" "$tests/recipe"; then
        echo "build: Caffe's own tests"
        ninja -C "$build/objects" caffe_test 2>&1 | tee "$build/test.log" | show_ninja "compiling the tests" ||
            { tail -n 20 "$build/test.log" >&2; die "compiling the tests failed: $build/test.log"; }
        rm -rf "$tests"
        mkdir -p "$tests"
        (cd "$build/source" && cp -r --parents src/caffe/test/test_data examples/images "$tests")
        cmake --install "$build/objects" --component tests >>"$build/test.log"
        sync -f "$tests"
        whole "$tests/recipe" <"$prefix/recipe"
    fi
    exec 8>&-
    cd "$tests"
    ./caffe_test --gtest_filter="$filter"
}

while (($#)); do
    case $1 in
        --arch | --toolkit | --mirror)
            (($# > 1)) || misused "$1 needs a value (see --help)"
            printf -v "${1#--}" '%s' "$2"
            shift
            ;;
        --cuda) cuda=yes ;;
        --cpu) cuda=no ;;
        --check) check=yes ;;
        --test) test=yes ;;
        -h | --help) usage; exit ;;
        *) misused "unknown option $1 (see --help)" ;;
    esac
    shift
done
case ${cuda:-$(recorded cuda)} in
    yes | 1) cuda=yes ;;
    no | 0 | "") cuda=no ;;
    *) misused "CAFFE_CUDA is 1 or 0, not $cuda" ;;
esac
if [[ $cuda == no ]]; then
    [[ -z $arch$toolkit ]] || misused "--arch and --toolkit go with --cuda"
else
    [[ -n $arch ]] || arch=$(recorded arch)
    arch=$(checked_arch "${arch:-75;80;90;100;120}")
    [[ -n $toolkit ]] || toolkit=$(recorded toolkit)
    toolkit=${toolkit:-wheels}
    [[ $toolkit == wheels || -x $toolkit/bin/nvcc ]] || misused "--toolkit $toolkit holds no bin/nvcc"
fi

# what can't be built, said before packages are installed for it
if [[ -n ${CAFFE_SOURCE:-} ]]; then
    problem=$(own_problem)
    [[ -z $problem ]] || misused "$problem"
fi
if [[ -e $prefix ]] && # .lock is looked for last: another build may be making the prefix just now, and that comes first
    [[ ! -d $prefix || -n $(find "$prefix" -mindepth 1 -maxdepth 1 ! -name downloads ! -path "$venv" -print -quit) ]] &&
    ! [[ -e $prefix/.lock || -e $prefix/recipe ]]; then
    misused "$prefix is there, and this script did not make it: name another place in CAFFE_PREFIX"
fi

is_built() { [[ -f $prefix/recipe ]] && cmp -s <(recipe 2>/dev/null) "$prefix/recipe"; }

is_writable() { # or can be made
    local there=$prefix
    while [[ ! -e $there ]]; do there=$(dirname "$there"); done
    [[ -d $there && -w $there ]]
}

if ! is_built; then
    is_writable || misused "cannot write to $prefix"
    [[ $check == no ]] || exit 1
    [[ $(recorded source) != /* || -n ${CAFFE_SOURCE:-} ]] ||
        echo "build: Caffe of $(recorded source | sed "s/ [0-9a-f]*$//") is replaced by the pinned one, as CAFFE_SOURCE is not set"
    take_prefix
    is_built || build
    exec 8>&-
elif [[ $check == no && -w $prefix ]] && ! cmp -s <(env_sh) "$prefix/env.sh"; then # the folder, or .venv, was moved
    take_prefix
    env_sh | whole "$prefix/env.sh"
    exec 8>&-
fi
[[ $test == no ]] || run_tests
