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

folder="" weights="" index="" network=vgg16 browser=(--browser) making=() page=()
while (($#)); do
    case $1 in
        -h | --help) usage; exit ;;
        --no-browser) browser=() ;;
        --weights | --index | --network | --port | --host | --gpu | --jobs)
            (($# > 1)) || misused "$1 needs a value"
            case $1 in
                --weights) weights=$2 ;;
                --index) index=$2 ;;
                --network) network=$2 ;;
                --port | --host) page+=("$1" "$2") ;;
                *) making+=("$1" "$2") ;;
            esac
            shift
            ;;
        --*) misused "unknown option $1" ;;
        *)
            [[ -z $folder ]] || misused "one folder, not $folder and $1 too"
            folder=$1
            ;;
    esac
    shift
done
[[ -n $folder ]] || misused "name the folder with your photographs"
[[ -d $folder ]] || die "there is no folder $folder"
[[ -z $weights || -f $weights ]] || die "there are no weights $weights"
[[ $network == vgg16 || $network == demo ]] || misused "--network takes vgg16 or demo, not $network"

# what was named is named from where the caller is; the programs run in the project's folder
folder=$(realpath -s "$folder") weights=${weights:+$(realpath -s "$weights")}
name=$folder
[[ $network == vgg16 ]] || name+=.$network
index=$(realpath -ms "${index:-$name.h5}")
cd "$(dirname "${BASH_SOURCE[0]}")"
echo "search: $folder, with $network; the index is $index"

tools/setup.sh
# shellcheck source=/dev/null
source "${CAFFE_PREFIX:-$PWD/.caffe}/env.sh"
export GLOG_minloglevel=${GLOG_minloglevel:-2}

if [[ -z $weights && ! -e $index ]]; then
    if [[ $network == demo ]]; then
        weights=${WORK_DIR:-work}/demo/data/pretrained.caffemodel
        [[ -f $weights ]] || die "the demo's network is trained by ./run_all.sh, and $weights is not there"
    else
        weights=${DATA_DIR:-work/data}/VGG_ILSVRC_16_layers.caffemodel
        [[ -f $weights ]] || python -m data_prep.fetch vgg16 --tries 2 --timeout 20 --out "$weights" ||
            die "put VGG_ILSVRC_16_layers.caffemodel to $(realpath -m "$weights"), or name your copy with --weights FILE; --network demo tries the page without"
    fi
fi
python -m eval.index "$folder" --network "$network" ${weights:+--weights "$weights"} --out "$index" "${making[@]}"
exec python -m eval.serve --features "$index" ${weights:+--weights "$weights"} "${browser[@]}" "${page[@]}"
