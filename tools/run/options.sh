# shellcheck shell=bash disable=SC2034,SC2154 # the variables set here are run_all.sh's and stages.sh's
# The options and the profile of run_all.sh, to be sourced: from the command line to the settings its stages read.

usage() {
    cat <<HELP
Usage: ./run_all.sh [options]

Reproduces the article's tables on BVLC Caffe. Without options: a miniature of it, made from a seed, in a few minutes.

  --profile NAME|FILE  settings of the run: demo (default), article (Oxford5k and VGG16), or a file of your own
  --table 1|3          only what Table 1 needs, or Table 3 and the claims: no training
  --variants           also fine-tune the last layer alone, and in two phases, and compare
  --from STAGE         begin with this stage        --to STAGE    end with this stage
  --only STAGE         this stage alone             --list        print the stages
  --work DIR           where everything goes (default work/PROFILE; WORK_DIR in the environment stands for work)
  --gpu 0,1            GPUs to use (default: all that there are), or none
  --keep-batch         divide the prototxt's training batch among the GPUs; Caffe gives each the whole of it, which
                       makes the article's 64 a batch of 128 on two
  --dry-run            print the commands, run nothing
  --force              run the stages again although nothing changed
  --help

Stages: ${STAGES[*]}
DATA_DIR=DIR in the environment: where downloads go and your own data lies (default work/data).
DASK_SCHEDULER_ADDRESS=tcp://head:8786 there: check, augment and extract compute on that Dask cluster.
A stage is skipped while its inputs and settings are those of the last time. After a stop the same command goes on.
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

# every setting a profile may hold, with its default
declare -A SETTINGS=(
    [SOURCE]=own           # made | download | own: where the data stage has its pictures from
    [NETWORK]=vgg16        # a folder of prototxt/
    [TRAIN_PICTURES]=""    # a folder of class folders
    [LANDMARK_URLS]=""     # a list of "url class" lines to download TRAIN_PICTURES from
    [DATABASE]=""          # a folder of pictures to search in
    [GROUND_TRUTH]=""      # in Oxford's format
    [WEIGHTS]=""           # the pre-trained caffemodel
    [MEAN]="104.00698793,116.66876762,122.67891434" # B,G,R to subtract before extraction, or a binaryproto
    [LAYERS]="fc7_relu7 fc7 fc6_relu6 fc6"
    [DIMS]="128 full none" # PCA to these
    [MAP_LAYERS]="pool5 conv5_3_relu5_3" # maps to pool, Table 3
    [POOLINGS]="sum,average,max,gem,crow,rmac,rmac_l1,rmac_l2,rmac_l4,rmac_sum,rmac_concat"
    [MAX_SIDE]=1024        # longer side of a picture whose map is pooled, aspect kept
    [MIN_SIDE]=96          # shorter side, of a query cut out mostly: 3 cells in pool5, as R-MAC's L = 4 needs
    [DOUBLE_SIDE]=448      # twice the network's input
    [MAP_DIMS]="128 256 512 none"
    [COMPARE_AT]=128       # dimension that the claims are tried at
    [LEARN_FROM]=""        # pictures to learn R-MAC's whitening and MOP-CNN's codebooks from; empty: DATABASE
    [LEARN_FROM_NAME]="the searched pictures themselves"
    [LEARN_SAMPLE]=500     # so many of them
    [MOP_STEP]=32          # of MOP-CNN's windows in a picture of 256 x 256
    [MOP_OPTIONS]=""       # eval.train_mop's, where not the paper's
    [NUM_WANTED]=800       # pictures a class after augmentation
    [AUGMENT_ENGINE]=keras # keras | opencv
    [TRAIN_SHARE]=0.6
    [COPIES_ANYWHERE]=no   # yes: augmented copies of one photograph on both sides of the split, as in the article
    [RESIZE]=256           # side of the pictures in the LMDB
    [FINETUNE_MODE]=all    # all | last | two-phase
    [TRAIN_BATCH]=""       # empty: as in the prototxt
    [MAX_ITER]=""
    [BASE_LR]=""
    [SEED]=1
    [DATA_NOTE]=""         # a sentence under the tables
)

# VALUE with every $NAME in it replaced by that setting, $W, $DATA_DIR or $HOME
expanded() {
    local value=$1 name
    while [[ $value =~ \$([A-Z_]+) ]]; do
        name=${BASH_REMATCH[1]}
        [[ -v SETTINGS[$name] || $name =~ ^(W|DATA_DIR|HOME)$ ]] || return 1
        value=${value/"\$$name"/"${!name}"}
    done
    echo "$value"
}

# a profile holds NAME=value and NAME="value" lines and comments, nothing that would be run
read_profile() {
    local line number=0 name value
    for name in "${!SETTINGS[@]}"; do printf -v "$name" '%s' "${SETTINGS[$name]}"; done
    while IFS= read -r line || [[ -n $line ]]; do
        number=$((number + 1))
        [[ $line =~ ^[[:space:]]*(#.*)?$ ]] && continue
        [[ $line =~ ^([A-Z_]+)=(\"([^\"]*)\"|[^\"[:space:]]*)[[:space:]]*(#.*)?$ ]] || die "$1:$number: expected NAME=value, found: $line"
        name=${BASH_REMATCH[1]} value=${BASH_REMATCH[3]:-${BASH_REMATCH[2]//\"/}}
        [[ -v SETTINGS[$name] ]] ||
            die "$1:$number: no setting is called $name; there are: $(printf '%s\n' "${!SETTINGS[@]}" | sort | paste -sd' ')"
        printf -v "$name" '%s' "$(expanded "$value")"
        [[ -n ${!name} || -z $value ]] || die "$1:$number: $value names a setting that there is not"
    done <"$1"
}

wants_table() { ((table == 0 || table == $1)); }

# which GPUs, as "0,1", or none for the CPU: Caffe itself is asked, it knows what it was built for
use_gpus() {
    local problem
    if [[ $gpus == none ]]; then
        gpus=""
    elif [[ $dry_run == no && -z $gpus ]]; then
        gpus=$(caffe_gpus)
    elif [[ $dry_run == no ]]; then
        problem=$(caffe_gpus "$gpus" 2>&1) || die "-${problem#caffe: }" # --gpu, as it is called here
    fi
    SOLVER_OPTIONS+=(--solver-mode "$([[ -n $gpus ]] && echo GPU || echo CPU)")
    [[ -n $gpus ]] || return 0
    GPU_OPTIONS=(--gpu "$gpus")
    [[ $keep_batch == no ]] || SOLVER_OPTIONS+=(--share-batch "$(wc -w <<<"${gpus//,/ }")")
}

run_setup() {
    [[ $dry_run == no ]] || { echo tools/setup.sh && return; }
    stage_steps=1
    supervise tools/setup.sh || failed $?
}

use_caffe() {
    [[ $dry_run == no ]] || { use_gpus && return; }
    [[ -f $CAFFE_PREFIX/env.sh ]] || die "Caffe is not built yet: ./run_all.sh --only setup"
    # shellcheck source=/dev/null
    source "$CAFFE_PREFIX/env.sh"
    use_gpus
    echo "OpenBLAS kernel: ${CAFFE_BLAS_CORE:-${OPENBLAS_CORETYPE:-} (yours)}; GPUs: ${gpus:-none}"
}

summary() {
    [[ $dry_run == no && $last -eq $((${#STAGES[@]} - 1)) ]] || return 0
    ruled "Results, after $(elapsed $SECONDS)"
    local file
    for file in "$W"/results/table*.md; do
        if wants_table "$(tr -dc 0-9 <<<"${file##*/}")"; then cat "$file" && echo; fi
    done
    echo "Tables in $W/results, ranked lists in $W/ranks, features in $W/features, logs in $W/logs"
}

profile=demo work="" first=0 last=$((${#STAGES[@]} - 1)) table=0 variants=no gpus="" keep_batch=no dry_run=no force=no
run_options=()
while (($#)); do
    option=$1
    case $option in
        --profile | --from | --to | --only | --table | --work | --gpu)
            (($# > 1)) || misused "$option needs a value"
            value=$2
            shift
            ;;&
        --profile) profile=$value ;;
        --work) work=$value ;;
        --gpu)
            [[ $value =~ ^([0-9]+(,[0-9]+)*|none)$ ]] || misused "--gpu takes numbers such as 0,1, or none, not $value"
            gpus=$value
            ;;
        --table)
            [[ $value == [13] ]] || misused "--table takes 1 or 3"
            table=$value
            ;;
        --from | --to | --only) place=$(index_of "$value") || misused "there is no stage $value; stages: ${STAGES[*]}" ;;&
        --from) first=$place ;;
        --to) last=$place ;;
        --only) first=$place last=$place ;;
        --variants) variants=yes ;;
        --list) printf '%s\n' "${STAGES[@]}" && exit ;;
        --keep-batch) keep_batch=yes && run_options+=("$option") ;;
        --dry-run) dry_run=yes ;;
        --force) force=yes ;;
        -h | --help) usage && exit ;;
        *) misused "unknown option $option" ;;
    esac
    case $option in
        --profile | --table | --work | --gpu) run_options+=("$option" "$value") ;;
        --variants) run_options+=("$option") ;;
    esac
    shift
done
[[ $variants == no || $table == 0 ]] || misused "--variants fine-tunes, which --table $table leaves out"
((first <= last)) || misused "--from ${STAGES[first]} comes after --to ${STAGES[last]}"

# paths on the command line are the caller's; below the checkout they are kept short, so that commands can be pasted
path_of() { (cd "$invoked_from" && realpath -m --relative-base="$OLDPWD" "$1"); }

profile_file=profiles/$profile
[[ -f $profile_file ]] || profile_file=$(path_of "$profile")
[[ -f $profile_file ]] || die "there is no profile $profile; shipped: $(cd profiles && echo *)"
[[ -n $work ]] && W=$(path_of "$work") || W=${WORK_DIR:-work}/$(basename "$profile_file")
DATA_DIR=${DATA_DIR:-work/data}
CAFFE_PREFIX=${CAFFE_PREFIX:-$PWD/.caffe}
export PYTHONUNBUFFERED=1
read_profile "$profile_file"

for name in OMP_NUM_THREADS OPENBLAS_NUM_THREADS; do # every program would say so, and go on with all cores
    [[ ${!name:-1} =~ ^[1-9][0-9]{0,3}(,[1-9][0-9]{0,3})*$ ]] || die "$name must be a number of threads, not ${!name}"
done
[[ $variants == no || $FINETUNE_MODE == all ]] ||
    die "--variants compares FINETUNE_MODE=all with the other two; $profile_file has FINETUNE_MODE=$FINETUNE_MODE"

SPLIT_OPTIONS=()
[[ $COPIES_ANYWHERE == no ]] || SPLIT_OPTIONS+=(--copies-anywhere)
GPU_OPTIONS=() SOLVER_OPTIONS=()
[[ -z $TRAIN_BATCH ]] || SOLVER_OPTIONS+=(--train-batch "$TRAIN_BATCH")
[[ -z $MAX_ITER ]] || SOLVER_OPTIONS+=(--max-iter "$MAX_ITER")
[[ -z $BASE_LR ]] || SOLVER_OPTIONS+=(--base-lr "$BASE_LR")
declare -A WEIGHTS_OF=([pretrained]=$WEIGHTS [finetuned]=$W/models/finetuned.caffemodel)
MODELS=(pretrained)
((table != 0)) || MODELS+=(finetuned)
for mode in last two-phase; do
    [[ $variants == no ]] || MODELS+=("finetuned_$mode")
    WEIGHTS_OF[finetuned_$mode]=$W/models/finetuned_$mode.caffemodel
done
# what the report shows: the article's two models, and the training of the second
SHOWN_RANKS=() SHOWN_WEIGHTS=()
for model in "${MODELS[@]:0:2}"; do SHOWN_RANKS+=("$W/ranks/$model") SHOWN_WEIGHTS+=("$model=${WEIGHTS_OF[$model]}"); done
declare -A LOGS_OF=([all]=log.txt [last]=log_last.txt [two-phase]="log_last.txt log.txt")
read -ra TRAINING_LOGS <<<"${LOGS_OF[$FINETUNE_MODE]:-log.txt}"
TRAINING_LOGS=("${TRAINING_LOGS[@]/#/$W/prototxt/train/}")
read -ra LAYERS <<<"$LAYERS"
read -ra DIMS <<<"$DIMS"
read -ra MAP_LAYERS <<<"$MAP_LAYERS"
read -ra MAP_DIMS <<<"$MAP_DIMS"
read -ra MOP_OPTIONS <<<"$MOP_OPTIONS"
[[ -n $LEARN_FROM ]] || LEARN_FROM=$DATABASE

if [[ $dry_run == no ]]; then
    [[ ! -e $W || -d $W/.steps || -z $(ls -A "$W") ]] || die "$W holds files that are not a run's; choose another folder with --work"
    mkdir -p "$W/.steps" 2>/dev/null || die "cannot write to $W"
    exec 9>"$W/.steps/lock"
    flock -n 9 || die "another run is at work in $W"
    trap 'interrupted INT' INT
    trap 'interrupted TERM' TERM HUP
fi
