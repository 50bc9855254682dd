# shellcheck shell=bash disable=SC2046,SC2034,SC2154 # the variables set here are read by run_all.sh and its other parts
# run_all.sh's command line.

# of the environment, what counts for a run
PASSED_ON=(WORK_DIR DATA_DIR CAFFE_PREFIX CAFFE_VENV CAFFE_SOURCE CAFFE_CUDA)

usage() {
    cat <<HELP
Usage: ./run_all.sh [options]

Reproduces the article's tables on BVLC Caffe. Without options: a miniature of it, made from a seed, in a few minutes.

  --profile NAME|FILE  settings of the run: demo (default), article (Oxford5k and VGG16), or a file of your own
  --table 1|2|3        only what this table needs: 1 no training, 2 fine-tuning, 3 every representation and the claims
  --seed N             the profile's SEED; --seeds 1,2,3 runs several, each in a folder of its own, and pools them
  --variants           also fine-tune the last layer alone, and in two phases, and compare
  --from STAGE         begin with this stage        --to STAGE    end with this stage
  --only STAGE         this stage alone             --list        print the stages
  --work DIR           where everything goes (default work/PROFILE; WORK_DIR in the environment stands for work)
  --gpu 0,1            GPUs to use (default: all that there are), or none
  --plan               what this run needs of disk and time on this machine, and what is free
  --dry-run            print the commands as they run on this machine, run nothing
  --force              run the stages again although nothing changed; what they made before is moved aside
  --take-over          end the run that is at work in the same folder, and go on from there
  --help

Stages: $(stages_shown)
DATA_DIR=DIR in the environment: where downloads go and your own data lies (default work/data).
DASK_SCHEDULER_ADDRESS=tcp://head:8786 there: check, augment and extract compute on that Dask cluster.
A stage is skipped while its inputs and settings are those of the last time. After a stop the same command goes on.
Example: ./run_all.sh --profile article --table 1
HELP
}

die() {
    echo "run_all: $*" >&2
    exit 1
}

misused() {
    echo "run_all: $* (see --help)" >&2
    exit 2
}

# meant WORD NAME...: " (did you mean NAME?)" where one of the names is like the word
meant() { python3 tools/run/nearest.py "$@" 2>/dev/null || true; }

options_there_are() { usage | grep -oE -- '--[a-z-]+' | sort -u; }

# index_of STAGE: its place in STAGES
index_of() {
    local i
    for i in "${!STAGES[@]}"; do
        [[ ${STAGES[i]} == "$1" ]] && echo "$i" && return
    done
    return 1
}

# path_of PATH: as the caller typed it, seen from the checkout, which keeps it short enough to paste
path_of() {
    local path
    path=$(cd "$invoked_from" && realpath -m --relative-base="$OLDPWD" -- "$1")
    [[ $path != -* ]] || path=./$path
    echo "$path"
}

read_options() {
    local option value place
    profile=demo work="" first=0 last=$((${#STAGES[@]} - 1)) table=0 gpus="" seed="" seeds="" listed=no
    variants=no plan=no dry_run=no force=no take_over=no
    typed=("$@")
    while (($#)); do
        option=$1
        case $option in
            --profile | --from | --to | --only | --table | --work | --gpu | --seed | --seeds)
                (($# > 1)) && [[ -n $2 ]] || misused "$option needs a value"
                value=$2
                shift
                ;;&
            --profile) profile=$value ;;
            --work) work=$value ;;
            --gpu)
                [[ $value =~ ^([0-9]+(,[0-9]+)*|none)$ ]] || misused "--gpu takes numbers such as 0,1, or none, not $value"
                gpus=$value
                ;;
            --seed)
                [[ $value =~ ^(0|[1-9][0-9]{0,8})$ ]] || misused "--seed takes a number, not $value"
                seed=$value
                ;;
            --seeds)
                [[ $value =~ ^(0|[1-9][0-9]{0,8})(,(0|[1-9][0-9]{0,8}))+$ ]] ||
                    misused "--seeds takes numbers such as 1,2,3, not $value"
                [[ -z $(tr , '\n' <<<"$value" | sort | uniq -d) ]] || misused "--seeds $value names a seed twice"
                seeds=$value
                ;;
            --table)
                [[ $value == [123] ]] || misused "--table takes 1, 2 or 3, not $value"
                table=$value
                ;;
            --from | --to | --only) place=$(index_of "$value") || misused "there is no stage $value$(meant "$value" "${STAGES[@]}"); stages: ${STAGES[*]}" ;;&
            --from) first=$place ;;
            --to) last=$place ;;
            --only) first=$place last=$place ;;
            --variants) variants=yes ;;
            --list) listed=yes ;;
            --plan) plan=yes ;;
            --dry-run) dry_run=yes ;;
            --force) force=yes ;;
            --take-over) take_over=yes ;;
            -h | --help) usage; exit ;;
            *) misused "unknown option $option$(meant "$option" $(options_there_are))" ;;
        esac
        shift
    done
    [[ $variants == no || $table == [02] ]] || misused "--variants fine-tunes, which --table $table leaves out"
    [[ -z $seed || -z $seeds ]] || misused "--seed and --seeds exclude each other"
    ((first <= last)) || misused "--from ${STAGES[first]} comes after --to ${STAGES[last]}"
}

# the command that goes on with this run, as it was typed, with what it needs of the environment
same_command() {
    local word words=()
    for word in "${PASSED_ON[@]}"; do
        [[ ${given_environment[$word]-} == "" ]] || words+=("$word=${given_environment[$word]}")
    done
    words+=("$0")
    for word in "${typed[@]}"; do
        [[ $word == --force || $word == --take-over ]] || words+=("$word")
    done
    quoted "${words[@]}"
}
