#!/usr/bin/env bash
# A CUDA build of Caffe with its tests and gpu_check in one file, for a GPU machine on which nothing can be installed.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: tools/caffe/bundle.sh OUT.tar.xz

Packs the CUDA build in CAFFE_PREFIX (default .caffe; tools/caffe/build.sh --cuda --arch 90 --test makes one) with the
libraries that it needs, and gpu_check. Left out are the C and C++ libraries of the system, NVIDIA's libraries, and
OpenCV's readers of pictures, which bring more than all the rest: it reads no pictures, and needs none.
Unpacked it runs on any Linux on x86-64 with glibc 2.36 or later, Python 3.11 or later with its standard library, and
CUDA 13's and cuDNN 9's libraries, which come with PyTorch for CUDA 13:
  tar -xf OUT.tar.xz && caffe-gpu-check/gpu_check --torch PYTHON
Environment: CAFFE_PREFIX, CAFFE_VENV (default .venv)
Example: tools/caffe/bundle.sh caffe-gpu-check-90.tar.xz
HELP
}

die() {
    echo "bundle: $*" >&2
    exit 1
}

case ${1:-} in -h | --help) usage; exit ;; esac
if (($# != 1)) || [[ $1 == -* || $1 != *.tar.xz ]]; then
    echo "bundle: one name is needed that ends in .tar.xz (see --help)" >&2
    exit 2
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
prefix=${CAFFE_PREFIX:-$root/.caffe}
venv=${CAFFE_VENV:-$root/.venv}
out=$1
# what a system with a glibc has, and NVIDIA's: libstdc++ and libgcc of GCC 12 or later come with such a system
elsewhere='^(ld-linux.*|lib(c|m|dl|rt|pthread|resolv|util|anl|stdc\+\+|gcc_s|cuda.*|cu(blas|blasLt|rand|dart|dnn).*|nccl|nvrtc.*|nvJitLink.*)\.so.*)$'
grep -qx 'cuda yes' "$prefix/recipe" 2>/dev/null || die "$prefix holds no CUDA build (tools/caffe/build.sh --cuda --arch 90 --test)"
[[ -x $prefix/tests/caffe_test ]] || die "$prefix holds no tests of Caffe's (tools/caffe/build.sh --test)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
top=$work/caffe-gpu-check
mkdir -p "$top/caffe/bin" "$top/caffe/lib" "$top/bench" "$top/tools"

cp "$prefix"/bin/{caffe,caffe_gpus,caffe_measure} "$top/caffe/bin"
cp -r "$prefix/tests" "$top/caffe/"
rm -f "$top/caffe/tests/recipe"
cp "$prefix/lib/libcaffe.so" "$top/caffe/lib"

# In the place of OpenCV's readers of pictures: the same names; a call of one ends the program.
stub_picture_readers() {
    local name library
    library=$(ldd "$prefix/lib/libcaffe.so" | awk '/libopencv_imgcodecs/ { print $1 }')
    {
        printf '.text\n'
        for name in $(nm -D --undefined-only "$prefix/lib/libcaffe.so" "$prefix"/tests/caffe_test |
            grep -oE '_ZN2cv(6imread|8imencode|8imdecode|7imwrite)\w*' | sort -u); do
            printf '.globl %s\n.type %s, @function\n%s:\n' "$name" "$name" "$name"
        done
        # gpu_check makes no such call
        printf '    ud2\n.section .note.GNU-stack,"",@progbits\n'
    } | gcc -shared -nostdlib -Wl,-soname,"$library" -x assembler - -o "$top/caffe/lib/$library"
}
stub_picture_readers

# The rest of the closure, by the names that the loader looks for. What only the readers need is not among it.
closure() { LD_LIBRARY_PATH=$top/caffe/lib ldd "$top"/caffe/bin/* "$top/caffe/tests/caffe_test" "$top/caffe/lib/libcaffe.so"; }
while read -r name path; do
    [[ $name =~ $elsewhere || -e $top/caffe/lib/$name ]] || cp -L "$path" "$top/caffe/lib/$name"
done < <(closure | awk '$2 == "=>" && $3 ~ /^\// { print $1, $3 }' | sort -u)
missing=$(closure | awk '/not found/ { print $1 }' | sort -u | grep -vE "$elsewhere" || true)
[[ -z $missing ]] || die "these libraries are not found: ${missing//$'\n'/ }"
strip --strip-unneeded "$top"/caffe/lib/* "$top"/caffe/bin/* "$top/caffe/tests/caffe_test"

cp -r "$root/bench/gpu_check" "$top/bench/"
mkdir -p "$top/bench/peers"
cp "$root/bench/peers/gpu_times.py" "$top/bench/peers/"
cp "$root/tools/program.py" "$top/tools/"
cp -r "$("$venv/bin/python" -c 'import pathlib, tqdm; print(pathlib.Path(tqdm.__file__).parent)')" "$top/"
find "$top" -name __pycache__ -prune -exec rm -rf {} +
cat >"$top/gpu_check" <<'SCRIPT'
#!/bin/sh
# gpu_check [--gpu N] [--out DIR] [--torch PYTHON] [--rehearse]: does Caffe compute right on this GPU, and how fast
here=$(cd "$(dirname "$0")" && pwd)
python=$(command -v python3) || { echo "gpu_check: python3 is needed, 3.11 or later" >&2; exit 1; }
for one in "$@"; do # a Python with PyTorch serves for all
    [ "$before" != --torch ] || [ ! -x "$one" ] || python=$one
    before=$one
done
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "gpu_check: $python is older than Python 3.11" >&2
    exit 1
fi
PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH} exec "$python" -m bench.gpu_check --prefix "$here/caffe" "$@"
SCRIPT
chmod +x "$top/gpu_check"

tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner -c caffe-gpu-check | xz -9 -T0 >"$out.part"
mv "$out.part" "$out"
echo "bundle: $out, $(du -m --apparent-size "$out" | cut -f1) MB; unpacked $(du -sm --apparent-size "$top" | cut -f1) MB"
