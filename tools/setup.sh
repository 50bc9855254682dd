#!/usr/bin/env bash
# Install what is missing, and nothing else: the system's packages, .venv, Caffe. Takes a second when all is there.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: tools/setup.sh [--tests] [--venv | --cuda [--arch LIST] [--toolkit DIR] | --cpu] [--mirror URL]

Installs what the project needs on Debian 12 or 13 or Ubuntu 24.04 and is not there yet:
  1. packages of the system (tools/apt-packages.txt), with root or sudo
  2. .venv, from tools/requirements.txt
  3. Caffe, compiled from BVLC's source into .caffe (tools/caffe/build.sh, which takes the other options)
Stopped at any moment, the same command goes on; two at once wait for each other.

  --tests  also what only the tests need, a browser among it
  --venv   only .venv
  --ask    install nothing; only let sudo ask for the password, if packages are missing

Environment: CAFFE_PREFIX  where Caffe goes (default .caffe)
             CAFFE_VENV    the virtual environment (default .venv)
             CAFFE_CUDA=1  as --cuda: Caffe for NVIDIA's GPUs too
             CAFFE_SOURCE  a BVLC Caffe checkout or tarball of your own, instead of the pinned source
             APT_MIRROR    Debian's mirror for this time (tools/packages.sh); pip's is PIP_INDEX_URL
Example: tools/setup.sh --tests
HELP
}
[[ ${1:-} == -h || ${1:-} == --help ]] && { usage; exit; }

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$(realpath -ms -- "${CAFFE_VENV:-$root/.venv}")

die() {
    echo "setup: $*" >&2
    exit 1
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

install_packages() { # KIND...
    local missing
    missing=$("$root/tools/packages.sh" --missing "$@") || exit 1
    [[ -n $missing ]] || return 0
    take_turn
    "$root/tools/packages.sh" --install "$@" || exit 1
    end_turn
}

# The virtual environment is known by its mark, a copy of what it was made from, written when all else is on the disk.
# One without it that holds half_made was begun by this script and stopped: made anew, as pip takes a package that is
# there in part for whole. What the tests need stands last in requirements.txt; an environment that has it serves
# without --tests too.
mark=$venv/requirements.txt half_made=$venv/half-made
python=$(basename "$(readlink -f /usr/bin/python3)")

without_tests() { sed '/^# tests/,$d' "$root/tools/requirements.txt"; }

wanted() { if [[ $tests == yes ]]; then cat "$root/tools/requirements.txt"; else without_tests; fi; }

# made at another place it names that one in its programs, here and in a copy
made_here() { [[ $(sed -n 's/^command = .* -m venv //p' "$venv/pyvenv.cfg" 2>/dev/null) -ef $venv ]]; }

venv_serves() {
    [[ -x $venv/bin/python && -d $venv/lib/$python ]] && made_here || return 1
    cmp -s "$root/tools/requirements.txt" "$mark" || cmp -s <(wanted) "$mark"
}

others_in_venv() { find "$venv" -mindepth 1 -maxdepth 1 ! -name .lock ! -name half-made "$@"; }

# true where it can be changed in place: it was whole until now
begin_venv() {
    [[ -e $half_made || -e $mark || -z $(others_in_venv -print -quit) ]] ||
        die "$venv is there, and this script did not make it: move it away, or name another place in CAFFE_VENV"
    [[ ! -e $half_made && -e $mark && -x $venv/bin/pip && -d $venv/lib/$python ]] && made_here && local whole=yes
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
        env -u PYTHONHOME -u PYTHONPATH /usr/bin/python3 -m venv "$venv" ||
            die "could not make $venv: is python3-venv installed (tools/packages.sh --install run), and is there room?"
    fi
    # settings that would send packages elsewhere, or find them there, do not count
    env -u PIP_TARGET -u PIP_PREFIX -u PIP_ROOT -u PIP_USER \
        "$venv/bin/python" -I -m pip install -q --disable-pip-version-check -r <(wanted) ||
        die "pip could not install the Python packages (tools/requirements.txt) into $venv"
    sync -f "$venv"
    wanted >"$mark.new"
    sync "$mark.new"
    mv "$mark.new" "$mark"
    sync "$venv"
    rm -f "$half_made"
    end_turn
}

kinds=(run) tests=no only_venv=no build=no ask=no build_options=()
for option in "$@"; do
    case $option in
        --tests) tests=yes && kinds+=(test) ;;
        --venv) only_venv=yes ;;
        --ask) ask=yes ;;
        -h | --help) usage; exit ;;
        --check | --test) echo "setup: unknown option $option (see --help)" >&2; exit 2 ;;
        *) build_options+=("$option") ;;
    esac
done
if [[ $only_venv == yes ]]; then
    ((${#build_options[@]} == 0)) || { echo "setup: --venv goes with --tests alone (see --help)" >&2; exit 2; }
    make_venv
    exit
fi
status=0
exec 9>&2
[[ $ask == no ]] || exec 9>/dev/null # the set-up that comes says it
"$root/tools/caffe/build.sh" --check "${build_options[@]}" 2>&9 9>&- || status=$?
exec 9>&-
((status < 2)) || exit "$status" # what can't be right
[[ $status == 0 ]] || { build=yes && kinds+=(build); }
if [[ $ask == yes ]]; then # for a caller that runs this behind the terminal's back, where sudo can't ask
    [[ $EUID -eq 0 || -z $("$root/tools/packages.sh" --missing "${kinds[@]}") ]] || ! command -v sudo >/dev/null || sudo -v
    exit
fi
install_packages "${kinds[@]}"
make_venv
if [[ $build == yes ]]; then
    echo "setup: Caffe is made from its source: compiling takes 3 minutes on two idle cores, for GPUs much longer"
fi
"$root/tools/caffe/build.sh" "${build_options[@]}"
echo "setup: ready"
