#!/usr/bin/env bash
# Install what is missing, and nothing else: Debian packages, .venv, Caffe. Takes a second when all is there.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: tools/setup.sh [--tests] [--cuda [--arch LIST] [--toolkit DIR] | --cpu] [--mirror URL]

Installs what the project needs on Debian 12 and is not there yet:
  1. Debian packages (tools/apt-packages.txt), with root or sudo
  2. .venv, from tools/requirements.txt
  3. Caffe, compiled from BVLC's source into .caffe (tools/caffe/build.sh, which takes the other options)
Stopped at any moment, the same command goes on; two at once wait for each other.

  --tests  also what only the tests need, a browser among it
  --ask    install nothing; only let sudo ask for the password, if packages are missing

Environment: CAFFE_PREFIX  where Caffe goes (default .caffe)
             CAFFE_VENV    the virtual environment (default .venv)
             CAFFE_CUDA=1  as --cuda: Caffe for NVIDIA's GPUs too
             CAFFE_SOURCE  a BVLC Caffe checkout or tarball of your own, instead of the pinned source
Example: tools/setup.sh --tests
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
    done | sort -u | while read -r package; do
        [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == "install ok installed" ]] || echo "$package"
    done
}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# one set-up at a time; what a killed one has started and not ended still counts
take_turn() {
    mkdir -p "$venv" 2>/dev/null && [[ -w $venv ]] || die "cannot write to $venv"
    exec 8>>"$venv/.lock"
    flock -n 8 && return
    echo "setup: another set-up is at work on $venv; waiting for it"
    flock 8
}

end_turn() { exec 8>&-; }

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
    take_turn
    echo "setup: installing ${#missing[@]} Debian packages, which takes some minutes: ${missing[*]}"
    apt_get update || die "apt-get update failed: is there a network, and are the mirrors in /etc/apt right?"
    finish_interrupted_packages
    apt_get install "${missing[@]}" || die "apt-get could not install these Debian packages: ${missing[*]}"
    end_turn
}

# another apt at work is waited for; what it starts for good does not hold this script's locks
apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -qq --no-install-recommends -o DPkg::Lock::Timeout=600 \
        -o APT::Status-Fd=1 "$@" > >(show_apt) </dev/null 8>&-
}

# apt's own lines of how far it is, as our programs' lines of progress: seldom, or often where they become one bar
show_apt() {
    local kind percent what begun=$SECONDS said=$SECONDS pause=2
    [[ -z ${PROGRESS_LIVE:-} ]] || pause=1
    while IFS=: read -r kind _ percent _; do
        case $kind in
            dlstatus) what="downloading packages, %" ;;
            pmstatus) what="installing packages, %" ;;
            *) continue ;;
        esac
        ((SECONDS - said >= pause)) || continue
        echo "$what: ${percent%%.*}/100, $((SECONDS - begun)) s, by apt-get"
        said=$SECONDS
        [[ -n ${PROGRESS_LIVE:-} ]] || ((pause >= 15)) || pause=$((2 * pause))
    done
}

# what a stop left unpacked and not configured, whoever began it: apt-get does nothing before that is finished
finish_interrupted_packages() {
    dpkg-query -W -f '${db:Status-Status}\n' | grep -E 'half|unpacked|triggers' >/dev/null ||
        [[ -n $(find /var/lib/dpkg/updates -name '[0-9]*' 2>/dev/null) ]] || return 0
    echo "setup: an installation of packages was interrupted: dpkg --configure -a, apt-get install --fix-broken"
    as_root env DEBIAN_FRONTEND=noninteractive dpkg --configure -a >/dev/null 2>&1 </dev/null 8>&- || true # may want what is not unpacked yet
    apt_get install --fix-broken --no-remove ||
        die "interrupted packages can't be finished; try: dpkg --configure -a && apt-get install --fix-broken, as root"
}

# The virtual environment is known by its mark, a copy of what it was made from, written when all else is on the disk.
# One without it that holds half_made was begun by this script and stopped: made anew, as pip takes a package that is
# there in part for whole. What the tests need stands last in requirements.txt; an environment that has it serves
# without --tests too.
mark=$venv/requirements.txt half_made=$venv/half-made
python=$(basename "$(readlink -f /usr/bin/python3)")

without_tests() { sed '/^# tests/,$d' "$root/tools/requirements.txt"; }

wanted() { if [[ $tests == yes ]]; then cat "$root/tools/requirements.txt"; else without_tests; fi; }

venv_serves() {
    [[ -x $venv/bin/python && -d $venv/lib/$python ]] || return 1
    cmp -s "$root/tools/requirements.txt" "$mark" || cmp -s <(wanted) "$mark"
}

others_in_venv() { find "$venv" -mindepth 1 -maxdepth 1 ! -name .lock ! -name half-made "$@"; }

# true where it can be changed in place: it was whole until now
begin_venv() {
    [[ -e $half_made || -e $mark || -z $(others_in_venv -print -quit) ]] ||
        die "$venv is there, and this script did not make it: move it away, or name another place in CAFFE_VENV"
    [[ ! -e $half_made && -e $mark && -x $venv/bin/pip && -d $venv/lib/$python ]] && local whole=yes
    touch "$half_made"
    sync "$half_made" "$venv"
    rm -f "$mark"
    sync "$venv"
    [[ ${whole:-no} == yes ]]
}

make_venv() {
    if venv_serves; then return 0; fi
    take_turn
    if venv_serves; then return 0; fi
    if begin_venv; then
        echo "setup: adding to the virtual environment"
    else
        echo "setup: making the virtual environment: pip downloads some 200 MB, which takes a minute or two"
        others_in_venv -exec rm -rf {} +
        /usr/bin/python3 -m venv "$venv"
    fi
    "$venv/bin/python" -m pip install -q --disable-pip-version-check -r <(wanted) ||
        die "pip could not install the Python packages (tools/requirements.txt) into $venv"
    sync -f "$venv"
    wanted >"$mark.new"
    sync "$mark.new"
    mv "$mark.new" "$mark"
    sync "$venv"
    rm -f "$half_made"
    end_turn
}

kinds=(run) tests=no build=no ask=no build_options=()
for option in "$@"; do
    case $option in
        --tests) tests=yes && kinds+=(test) ;;
        --ask) ask=yes ;;
        *) build_options+=("$option") ;;
    esac
done
status=0
"$root/tools/caffe/build.sh" --check "${build_options[@]}" || status=$?
((status < 2)) || exit "$status" # options that can't be right
[[ $status == 0 ]] || { build=yes && kinds+=(build); }
if [[ $ask == yes ]]; then # for a caller that runs this behind the terminal's back, where sudo can't ask
    [[ $EUID -eq 0 || -z $(packages_missing "${kinds[@]}") ]] || sudo -v
    exit
fi
install_packages "${kinds[@]}"
make_venv
if [[ $build == yes ]]; then
    echo "setup: Caffe is made from its source: compiling takes 3 minutes on two idle cores, for GPUs much longer"
    "$root/tools/caffe/build.sh" "${build_options[@]}"
fi
echo "setup: ready"
