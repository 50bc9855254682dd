#!/usr/bin/env bash
# Search a folder of photographs by what is to be seen on them: ./search.sh DIR makes the index and opens a page.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: ./search.sh DIR [options]

Makes an index of the photographs in DIR and the folders in it, and a page on this machine where you click one of
them, drop another or draw a box, and get the most similar ones. Nothing in DIR is changed. The next start takes
seconds: what is new or changed is taken in, what is gone is dropped. Ctrl-C ends it.

  --weights FILE   VGG16's weights, or those of your own training of prototxt/vgg16
                   (default: those the index was made with, else work/data/VGG_ILSVRC_16_layers.caffemodel,
                   which is downloaded once)
  --index FILE     where the index goes (default: DIR.h5, beside DIR)
  --port N         of the page (default: 8000, or the next one that is free)
  --host ADDRESS   to listen on (default: 127.0.0.1, this machine alone; in a container 0.0.0.0, with -p 8000:8000)
  --no-browser     only print the page's address
  --gpu 0,1        GPUs to make the index with (default: the CPU)
  --jobs N         processes to make it with (default: one a core, as memory goes)
  --network demo   the demo's toy network instead of VGG16, to try the page out after ./run_all.sh: it finds little
  --help

What is missing is installed first, as by ./run_all.sh. DATA_DIR in the environment: where downloads go instead
of work/data.
Example: ./search.sh ~/photographs
HELP
}

die() {
    echo "search: $*" >&2
    exit "${status:-1}"
}

misused() { status=2 die "$* (see --help)"; }

# an option that there is not, with the one that was meant
unknown() {
    local there
    mapfile -t there < <(usage | grep -oE -- '--[a-z-]+' | sort -u)
    misused "unknown option $1$(python3 "$root/tools/run/nearest.py" "$1" "${there[@]}" 2>/dev/null)"
}

root=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
folder="" weights="" index="" network=vgg16 host=127.0.0.1 port="" gpus="" jobs="" browser=(--browser)
while (($#)); do
    case $1 in
        -h | --help) usage; exit ;;
        --no-browser) browser=() ;;
        --weights | --index | --network | --port | --host | --gpu | --jobs)
            (($# > 1)) && [[ -n $2 ]] || misused "$1 needs a value"
            case $1 in
                --weights) weights=$2 ;;
                --index) index=$2 ;;
                --network) network=$2 ;;
                --port) port=$2 ;;
                --host) host=$2 ;;
                --gpu) gpus=$2 ;;
                --jobs) jobs=$2 ;;
            esac
            shift
            ;;
        -*) unknown "$1" ;;
        *)
            [[ -z $folder ]] || misused "one folder, not $folder and $1 too"
            folder=$1
            ;;
    esac
    shift
done
[[ -n $folder ]] || misused "name the folder with your photographs"
[[ $network == vgg16 || $network == demo ]] || misused "--network takes vgg16 or demo, not $network"
[[ -z $gpus || $gpus =~ ^[0-9]+(,[0-9]+)*$ ]] || misused "--gpu takes numbers such as 0,1, not $gpus"
[[ -z $jobs || $jobs =~ ^[1-9][0-9]{0,4}$ ]] || misused "--jobs takes a number from 1 up, not $jobs"
[[ -z $port ]] || { [[ $port =~ ^[0-9]{1,5}$ ]] && ((10#$port < 65536)); } ||
    misused "--port takes a number from 0 to 65535, not $port"

# what was named is named from where the caller is; the programs run in the project's folder
typed=$folder folder=$(realpath -sm -- "$folder") typed_weights=$weights weights=${weights:+$(realpath -sm -- "$weights")}
name=$folder
[[ $network == vgg16 ]] || name+=.$network
index=$(realpath -ms -- "${index:-$name.h5}")
cd "$root"
trained=${WORK_DIR:-work}/demo/data/pretrained.caffemodel         # by ./run_all.sh
downloaded=${DATA_DIR:-work/data}/VGG_ILSVRC_16_layers.caffemodel # below, once
fetching=no
if [[ -z $weights && ! -e $index ]]; then
    case $network in
        demo) weights=$trained ;;
        vgg16) weights=$downloaded ;;
    esac
    [[ $network == demo || -e $weights ]] || fetching=yes
fi

# Everything that can be checked is checked before set-up, the download and the index, which take minutes each.
problems=()
problem() { problems+=("$*"); }

can_make() { # FILE: whether it can be written, its folders made
    local place
    place=$(dirname -- "$1")
    until [[ -e $place ]]; do place=$(dirname -- "$place"); done
    place=$(mktemp -p "$place" .search.XXXXXX 2>/dev/null) && rm -f -- "$place"
}

check_folder() {
    local suffixes='jpe?g|jpe|png|bmp|tiff?|webp|ppm|pgm|hei[cf]|hif|avif|mpo|gif' # eval.search.album has the list
    if [[ ! -d $folder ]]; then
        problem "there is no folder $typed"
    elif [[ ! -r $folder || ! -x $folder ]]; then
        problem "$folder can't be listed: you have no permission"
    elif [[ -z $(find -L "$folder" -mindepth 1 -regextype posix-extended -name '.*' -prune \
        -o -type f -iregex ".*\.($suffixes)" -print -quit 2>/dev/null) ]]; then
        problem "$folder holds no photographs (JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP, PPM, GIF)"
    fi
}

check_index() {
    if [[ -d $index ]]; then
        problem "--index takes a file, and $index is a folder"
    elif ! can_make "$index"; then
        problem "the index can't be written to $index: name another place, such as --index ~/$(basename -- "$index")"
    fi
}

check_weights() {
    if [[ $fetching == yes ]]; then
        can_make "$weights" || problem "VGG16's weights can't be downloaded to $weights: no permission; DATA_DIR names another place"
    elif [[ $network == demo && $weights == "$trained" && ! -f $weights ]]; then
        problem "the demo's network is trained by ./run_all.sh, and $weights is not there"
    elif [[ -n $weights && ! -f $weights ]]; then
        problem "there are no weights $typed_weights"
    elif [[ -n $weights && ! (-r $weights && -s $weights) ]]; then
        problem "$weights is empty or can't be read"
    fi
}

check_port() {
    if [[ -n $port && $port != 0 ]] && (: <>"/dev/tcp/$host/$port") 2>/dev/null; then
        problem "port $port is in use: name another one with --port, or none"
    fi
}

check_folder
check_index
check_weights
check_port
if ((${#problems[@]})); then
    printf 'search: %s\n' "${problems[@]}" >&2
    exit 1
fi
echo "search: $folder, with $network; the index is $index"

{ # read to its end before it runs: an edit or a pull meanwhile does no harm

tools/setup.sh
# shellcheck source=/dev/null
source "${CAFFE_PREFIX:-$PWD/.caffe}/env.sh"
export GLOG_minloglevel=${GLOG_minloglevel:-2}
[[ -z $gpus ]] || why=$(caffe_gpus "$gpus" 2>&1) || die "-${why#caffe: }" # --gpu, as it is called here
page=(--host "$host" ${port:+--port "$port"} "${browser[@]}")
[[ -z $port && $host == 127.0.0.1 ]] || python -m eval.serve --features "$index" "${page[@]}" --check

if [[ $fetching == yes ]]; then
    python -m data_prep.fetch vgg16 --tries 2 --timeout 20 --out "$weights" ||
        die "put VGG_ILSVRC_16_layers.caffemodel to $(realpath -m "$weights"), or name your copy with --weights FILE; --network demo tries the page without"
fi
given=(${weights:+--weights "$weights"})
python -m eval.index "$folder" --network "$network" "${given[@]}" --out "$index" \
    ${gpus:+--gpu "$gpus"} ${jobs:+--jobs "$jobs"}
exec python -m eval.serve --features "$index" "${given[@]}" "${page[@]}"
}
