#!/usr/bin/env bash
# Install what is missing, and nothing else: Debian packages, .venv, Caffe. Takes a second when all is there.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: tools/setup.sh [--tests] [--cuda [--arch LIST] [--toolkit DIR] | --cpu] [--mirror URL]

Installs what the project needs on Debian 12 and is not there yet:
  1. Debian packages (tools/apt-packages.txt), with root or sudo
  2. .venv, from tools/requirements.txt
  3. Caffe, compiled from Debian's source package into .caffe (tools/caffe/build.sh, which takes the other options)

  --tests  also what only the tests need, a browser among it

Environment: CAFFE_PREFIX  where Caffe goes (default .caffe)
             CAFFE_VENV    the virtual environment (default .venv)
             CAFFE_CUDA=1  as --cuda: Caffe for NVIDIA's GPUs too
             CAFFE_SOURCE  a BVLC Caffe checkout or tarball of your own, instead of Debian's
HELP
}
[[ ${1:-} == -h || ${1:-} == --help ]] && { usage; exit; }

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${CAFFE_VENV:-$root/.venv}

die() {
    echo "setup: $*" >&2
    exit 1
}

# packages KIND...: those of these kinds that are not installed
packages_missing() {
    local kind package
    for kind in "$@"; do
        awk -v kind="$kind" '$1 == kind { print $2 }' "$root/tools/apt-packages.txt"
    done | while read -r package; do
        [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == "install ok installed" ]] || echo "$package"
    done
}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

install_packages() {
    local missing
    mapfile -t missing < <(packages_missing "$@")
    ((${#missing[@]})) || return 0
    # shellcheck source=/dev/null
    [[ $(. /etc/os-release && echo "${ID}${VERSION_ID:-}") == debian12 ]] ||
        die "this machine is not Debian 12, and these packages are missing: ${missing[*]}. Use the container: README.md, 'In a container'."
    if ((EUID != 0)) && ! { command -v sudo && { [[ -t 0 ]] || sudo -n true; }; } >/dev/null 2>&1; then
        die "these Debian packages are missing and need root to install: ${missing[*]}. Ask for them, or use the container: README.md, 'In a container'."
    fi
    echo "setup: installing ${#missing[@]} Debian packages: ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# what the tests need stands last in requirements.txt; a virtual environment that has it serves without --tests too
make_venv() {
    local all="$root/tools/requirements.txt" stamp="$venv/requirements.txt"
    cmp -s "$all" "$stamp" && return
    [[ $tests == yes ]] || ! cmp -s <(without_tests "$all") "$stamp" || return 0
    echo "setup: making the virtual environment"
    [[ -x $venv/bin/python ]] || /usr/bin/python3 -m venv "$venv"
    if [[ $tests == yes ]]; then cat "$all"; else without_tests "$all"; fi >"$venv/requirements.part"
    "$venv/bin/pip" install -q --disable-pip-version-check -r "$venv/requirements.part"
    mv "$venv/requirements.part" "$stamp"
}

without_tests() { sed '/^# tests/,$d' "$1"; }

kinds=(run) tests=no build=no build_options=()
for option in "$@"; do
    if [[ $option == --tests ]]; then tests=yes && kinds+=(test); else build_options+=("$option"); fi
done
status=0
"$root/tools/caffe/build.sh" --check "${build_options[@]}" || status=$?
((status < 2)) || exit "$status" # options that can't be right
[[ $status == 0 ]] || { build=yes && kinds+=(build); }
install_packages "${kinds[@]}"
make_venv
[[ $build == no ]] || "$root/tools/caffe/build.sh" "${build_options[@]}"
echo "setup: ready"
