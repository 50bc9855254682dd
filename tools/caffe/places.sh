# shellcheck shell=bash
# Sourced by fetch_source.sh and fetch_onednn.sh, which set root, and scratch for what is there in part: a file of
# Debian's from the first place that has it. Mirrors, Debian's archive of old releases and its snapshots keep packages
# under the same paths.
downloads=${CAFFE_PREFIX:-$root/.caffe}/downloads
debian_archive=http://archive.debian.org/debian
debian_snapshots=https://snapshot.debian.org/archive/debian

die() {
    echo "$(basename "$0" .sh): $*" >&2
    exit 1
}

# the mirrors of its own release that this machine's apt reads, whether or not it has read them yet; a list of mirrors
# counts by its first
machines_mirrors() {
    # shellcheck disable=SC2016 # apt's own placeholders
    apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
        awk -v codename="$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)" \
            '($2 == codename || $2 ~ /^(old)*stable$/) && $3 == "main" && !seen[$1]++ { print $1 }' |
        while read -r mirror; do
            if [[ $mirror == mirror+file:* ]]; then mirror=$(awk 'NF && !/^#/ { print $1; exit }' "${mirror#mirror+file:}"); fi
            echo "$mirror"
        done
}

# debian_places DATE [MIRROR]: where to ask, in turn; the snapshot of that date is the last
debian_places() {
    local mirrors=("${2:-}")
    [[ -n ${mirrors[0]} ]] || mapfile -t mirrors < <(machines_mirrors)
    ((${#mirrors[@]} == 0)) || printf '%s\n' "${mirrors[@]%/}"
    printf '%s\n' "$debian_archive" "$debian_snapshots/$1"
}

# apt's own downloader, so that the machine's proxies and certificates count; it would follow addresses that lead on to
# others for ever
download() { # URL FILE
    timeout --foreground 600 /usr/lib/apt/apt-helper -o APT::Sandbox::User="$(id -un)" -o Acquire::Retries=1 \
        -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 download-file "$1" "$2"
}

# has_sha256 SUM FILE: true, or false with the reason in `reason`
has_sha256() {
    [[ $(sha256sum <"$2") == "$1  -" ]] || { reason="a file of another sha256 than the pinned one" && return 1; }
}

# empty_folder FOLDER: sets folder to it, and scratch to a place beside it for what is there in part
empty_folder() {
    mkdir -p "$1" 2>/dev/null || die "cannot make the folder $1"
    folder=$(cd "$1" && pwd)
    [[ -z $(ls -A "$folder") ]] || die "$folder is not empty"
    scratch=$folder.scratch
    rm -rf "$scratch"
    mkdir "$scratch" 2>/dev/null || die "cannot write to ${scratch%/*}"
    trap 'rm -rf "$scratch"' EXIT
}

# becomes TREE: the folder is now what lies in scratch, at once and whole; one that something is mounted on keeps its place
becomes() {
    if rmdir "$folder" 2>/dev/null; then
        mv -T "$1" "$folder"
    else
        find "$1" -mindepth 1 -maxdepth 1 -exec mv -t "$folder" {} +
    fi
}

may_keep_downloads() {
    mkdir -p "$downloads" 2>/dev/null && [[ -w $downloads ]] || die "cannot write to $downloads"
}

# from URL NAME CHECK...: true where what is there passes the check, and is kept as NAME; else why not, in a line.
# CHECK gets the file as its last argument and sets `reason`.
from() {
    # shellcheck disable=SC2154 # the caller's
    local part=$scratch/part said status=0
    reason=""
    rm -f "$part"
    said=$(LC_ALL=C download "$1" "$part" 2>&1) || status=$?
    if ((status == 124)); then # timeout's own
        reason="not there after 10 minutes"
    elif ((status)); then
        reason=$(sed -n "s/^E: Failed to fetch [^ ]*  *//p" <<<"$said" | head -n 1)
        reason=${reason:-$(tail -n 1 <<<"$said")}
    elif "${@:3}" "$part"; then
        sync "$part"
        mv "$part" "$downloads/$2"
        sync "$downloads"
        return
    fi
    echo "$(basename "$0" .sh): $1: ${reason% }" >&2
    return 1
}
