#!/usr/bin/env bash
# The packages of Debian or Ubuntu that this system needs, by tools/apt-packages.txt: their names, or what is missing.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: tools/packages.sh [--missing | --install | --download FOLDER] KIND...

Prints the names of the packages of these kinds (run, build, test, image) for this release and architecture. Ends with 3
on a system whose packages are not listed, and a sentence that says what to do there.
  --missing          only those that are not installed
  --install          installs those, with root or sudo
  --download FOLDER  puts their files, and those of what they need, into FOLDER; needs root

Environment: APT_MIRROR           a mirror of Debian (of Ubuntu) to use this time, such as http://HOST/debian
             APT_SECURITY_MIRROR  beside it, one of Debian's security updates, such as http://HOST/debian-security;
                                  without it they come from where the machine takes them
Example: tools/packages.sh --install run build
HELP
}

list=$(dirname "${BASH_SOURCE[0]}")/apt-packages.txt
os_release=/etc/os-release

die() {
    echo "packages: $*" >&2
    exit 1
}

of_release() { # FIELD...: put together
    local field
    [[ ! -r $os_release ]] || for field in "$@"; do
        # shellcheck source=/dev/null
        (. "$os_release" && printf %s "${!field:-}")
    done
}

# names KIND...: in brackets stand releases and architectures; a line that names none of a sort is for all of that sort
names() {
    local release name kind
    for kind in "$@"; do
        grep -q "^$kind " "$list" || { echo "packages: there is no kind $kind (see --help)" >&2 && return 2; }
    done
    release=$(of_release ID VERSION_ID)
    if ! grep -qE "\[([^]]* )?${release:-none}[] ]" "$list"; then
        name=$(of_release PRETTY_NAME)
        echo "packages: ${name:-this system} is neither Debian 12 or 13 nor Ubuntu 24.04; in a container it works all the" \
            "same: mkdir -p out && docker build -t caffe-article . && docker run --rm --user \"\$(id -u):\$(id -g)\"" \
            "-v \"\$PWD/out:/workspace\" caffe-article" >&2
        return 3
    fi
    awk -v kinds=" $* " -v release="$release" -v architecture="$(dpkg --print-architecture)" '
        /^#/ || !index(kinds, " " $1 " ") { next }
        {
            sub(/ *#.*/, "")
            gsub(/[][]/, "")
            releases = here = architectures = fits = 0
            for (i = 3; i <= NF; i++)
                if ($i ~ /^(debian|ubuntu)/) { releases++; here += $i == release }
                else { architectures++; fits += $i == architecture }
            if ((here || !releases) && (fits || !architectures)) print $2
        }' "$list" | sort -u
}

missing() { # KIND...
    local package all architecture
    all=$(names "$@") || return
    architecture=$(dpkg --print-architecture)
    while read -r package; do # held ones are there too, and a second architecture's copy is not the one that is needed
        grep -qxE "installed (all|$architecture)" <<<"$(dpkg-query -W -f '${db:Status-Status} ${Architecture}\n' "$package" 2>/dev/null)" ||
            echo "$package"
    done <<<"$all"
}

# sudo asks for its password here, so that a wrong one is not taken for a mirror's fault
can_be_root() {
    ((EUID == 0)) || { command -v sudo >/dev/null && if [[ -t 0 ]]; then sudo -v; else sudo -n true 2>/dev/null; fi; }
}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# mirror_options: apt's options for the mirrors that were asked for, in place of the machine's own for this time
mirror_options=() sources=""
use_mirror() {
    local id codename components=main security=${APT_SECURITY_MIRROR:-}
    [[ -n ${APT_MIRROR:-} ]] || return 0
    id=$(of_release ID) codename=$(of_release VERSION_CODENAME)
    [[ $id == debian ]] || components="main universe" security=$APT_MIRROR
    # shellcheck disable=SC2016 # apt's own placeholders; also where no lists have been downloaded yet
    [[ -n $security ]] || security=$(apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
        awk -v release="$codename-security" '$2 == release && !seen++ { print $1 }')
    sources=$(mktemp --suffix .list)
    trap 'rm -f "$sources"' EXIT
    printf "deb [signed-by=/usr/share/keyrings/$id-archive-keyring.gpg] %s %s $components\n" "$APT_MIRROR" "$codename" \
        "$APT_MIRROR" "$codename-updates" ${security:+"$security" "$codename-security"} >"$sources"
    chmod a+r "$sources"
    mirror_options=(-o Dir::Etc::SourceList="$sources" -o Dir::Etc::SourceParts=/dev/null -o APT::Get::List-Cleanup=false)
}

# another apt at work is waited for; what it starts for good does not hold the caller's locks (8). Debian 13's apt would wait
# longer and longer between its tries for each ten packages: 7 minutes until it said that a connection was gone
apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -qq --no-install-recommends -o DPkg::Lock::Timeout=600 \
        -o Acquire::Retries=3 -o Acquire::Retries::Delay::Maximum=1 -o APT::Status-Fd=1 \
        "${mirror_options[@]}" "$@" > >(show_apt) </dev/null 8>&-
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
    echo "packages: an installation of packages was interrupted: dpkg --configure -a, apt-get install --fix-broken"
    as_root env DEBIAN_FRONTEND=noninteractive dpkg --configure -a >/dev/null 2>&1 </dev/null 8>&- || true # may want what is not unpacked yet
    apt_get install --fix-broken --no-remove ||
        die "interrupted packages can't be finished; try: dpkg --configure -a && apt-get install --fix-broken, as root"
}

# where a mirror doesn't answer, apt goes on with the lists that it has: unreachable says why it then has not enough
unreachable=""
update() {
    use_mirror
    apt_get -o APT::Update::Error-Mode=any update ||
        unreachable="apt-get update failed: is there a network, and are the mirrors right (${APT_MIRROR:-those in /etc/apt})?"
}

# a package that no list names is the mirror's fault then, and dozens of apt's lines would only say that again
apt_get_wanted() {
    if [[ -z $unreachable ]]; then apt_get "$@"; else apt_get "$@" 2>/dev/null; fi
}

install() { # KIND...
    local wanted
    wanted=$(missing "$@") || exit
    [[ -n $wanted ]] || return 0
    mapfile -t wanted <<<"$wanted"
    if ! can_be_root; then
        die "these packages are missing and need root to install: ${wanted[*]}. Ask for them, or use the container: README.md, 'In a container'."
    fi
    echo "packages: installing ${#wanted[@]} of them, which takes some minutes: ${wanted[*]}"
    update
    finish_interrupted_packages
    apt_get_wanted install "${wanted[@]}" ||
        die "${unreachable:-apt-get could not install these packages, and says why above; the same command goes on from there: ${wanted[*]}}"
}

download() { # FOLDER KIND...
    local folder wanted
    folder=$(mkdir -p "$1" && cd "$1" && pwd)
    wanted=$(missing "${@:2}") || exit
    [[ -n $wanted ]] || return 0
    mapfile -t wanted <<<"$wanted"
    update
    mkdir -p "$folder/partial"
    apt_get_wanted install --download-only -o Dir::Cache::Archives="$folder" "${wanted[@]}" ||
        die "${unreachable:-apt-get could not download these packages, and says why above; the same command goes on from there: ${wanted[*]}}"
}

case ${1:-} in
    -h | --help) usage; exit ;;
    --missing | --install | --download) do=${1#--} && shift ;;
    *) do=names ;;
esac
if (($# < 1 + (${#do} == 8))) || [[ $1 == -* ]]; then
    echo "Usage: tools/packages.sh [--missing | --install | --download FOLDER] KIND...   (--help says more)" >&2
    exit 2
fi
"$do" "$@"
