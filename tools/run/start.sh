# shellcheck shell=bash disable=SC2046,SC2034,SC2086,SC2154,SC2155 # what is set here is run_all.sh's
# Everything before run_all.sh's first stage: options, profile, checks, the work folder, Caffe and its GPUs.
invoked_from=$PWD
run_all=$(realpath -- "$0")
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
for part in options settings profile checks stages steps lock plan seeds summary; do
    # shellcheck source=/dev/null
    source "tools/run/$part.sh"
done

declare -A given_environment=()
for name in "${PASSED_ON[@]}"; do given_environment[$name]=${!name-}; done
for name in CAFFE_PREFIX CAFFE_VENV CAFFE_SOURCE; do # as the caller sees them
    [[ -z ${!name-} ]] || export "$name=$(cd "$invoked_from" && realpath -ms -- "${!name}")"
done

STAGES=(setup data pretrain check augment rename split lmdb mean prototxt finetune extract score representations tables
    report)
SOURCE=made table=0 # for --help, whatever the profile
read_options "$@"

profile_file=profiles/$profile
[[ -f $profile_file ]] || profile_file=$(path_of "$profile")
[[ -f $profile_file ]] || die "there is no profile $profile$(meant "$profile" $(cd profiles && echo *)); shipped: $(cd profiles && echo *)"
[[ -n $work ]] && W=$(path_of "$work") || W=${WORK_DIR:-work}/$(basename -- "$profile_file")
DATA_DIR=${DATA_DIR:-work/data}
CAFFE_PREFIX=${CAFFE_PREFIX:-$PWD/.caffe}
export PYTHONUNBUFFERED=1
! on_terminal || export PROGRESS_LIVE=1
[[ -n ${MPLCONFIGDIR:-} || -w ${HOME:-/} ]] || export MPLCONFIGDIR=$W/.matplotlib # its list of fonts, where there is no home

say_unread_environment
read_profile "$profile_file"
SEED=${seed:-$SEED}
if [[ $listed == yes ]]; then
    stages_shown | tr ' ' '\n'
    exit
fi
check_run
if [[ -n $seeds ]]; then
    run_seeds
    exit
fi

# class folders alone: recipes/data_own.sh holds photographs out of them to search in, the rest is to train on
CLASS_FOLDERS=""
if [[ $SOURCE == own && -z $DATABASE ]]; then
    CLASS_FOLDERS=$TRAIN_PICTURES
    TRAIN_PICTURES=$W/data/own/train DATABASE=$W/data/own/jpg GROUND_TRUTH=$W/data/own/gt
fi

MODELS=pretrained
! fine_tunes || MODELS+=" finetuned"
[[ $variants == no ]] || MODELS+=" finetuned_last finetuned_two-phase"
[[ -n $LEARN_FROM ]] || LEARN_FROM=$DATABASE

# weights_of MODEL: its caffemodel
weights_of() { if [[ $1 == pretrained ]]; then echo "$WEIGHTS"; else echo "$W/models/$1.caffemodel"; fi; }

if_set() { [[ -z $2 ]] || echo "$1 $2"; } # OPTION VALUE: both, where there is a value

if_yes() { [[ $2 != yes ]] || echo "$1"; } # OPTION yes|no

in_precision() { [[ $CPU_PRECISION == fp32 ]] || echo "--precision $CPU_PRECISION"; } # eval.extract's option

# other_trainings: recipes of networks that the tables don't show
other_trainings() {
    [[ -z $FROM_SCRATCH ]] || echo from_scratch
    [[ $variants == no ]] || echo variants
}

# other_scores: recipes of what Tables 1 and 2 show beside the article's way
other_scores() {
    [[ $AS_PUBLISHED == no ]] || echo as_published
    ! whitens_elsewhere $DIMS || echo whitened_elsewhere
}

# whitens_elsewhere DIM...: whether there are other photographs than the searched ones, and something to fit on them
whitens_elsewhere() { [[ $LEARN_FROM != "$DATABASE" && -n $(with_pca "$@") ]]; }

with_pca() { local one; for one in "$@"; do [[ $one == none ]] || echo "$one"; done; } # DIM...

# stock_deploy: the network's deploy file as its authors wrote it, ReLU and dropout in place
stock_deploy() {
    local file
    for file in "prototxt/$NETWORK"/{as_printed/,}deploy.prototxt; do [[ ! -f $file ]] || break; done
    echo "$file"
}

train_prototxt() { echo "prototxt/$NETWORK/train_val.prototxt prototxt/$NETWORK/solver.prototxt"; }

solver_mode() { if [[ $GPUS == none ]]; then echo CPU; else echo GPU; fi; }

gpu_count() { if [[ $GPUS == none ]]; then echo 0; else wc -w <<<"${GPUS//,/ }"; fi; }

solver_options() { # of the profile and this machine
    echo "--solver-mode $(solver_mode) --gpus $(gpu_count) $(if_set --effective-batch "$EFFECTIVE_BATCH")" \
        "$(if_set --train-batch "$TRAIN_BATCH") $(if_set --test-batch "$TEST_BATCH")" \
        "$(if_set --max-iter "$MAX_ITER") $(if_set --base-lr "$BASE_LR")"
}

check_batch() { # all GPUs take as many pictures: said here, not after hours by tools.fill_prototxt
    local count
    count=$(gpu_count)
    if fine_tunes && [[ -n $EFFECTIVE_BATCH ]] && ((count > 1 && EFFECTIVE_BATCH % count)); then
        die "$count GPUs ($GPUS) can't share EFFECTIVE_BATCH=$EFFECTIVE_BATCH pictures a step evenly: take fewer by --gpu"
    fi
}

# set-up runs behind the terminal, where sudo could not ask for a password
let_sudo_ask() { [[ $dry_run == yes || $EUID -eq 0 || ! -t 0 ]] || tools/setup.sh --ask; }

# ready_caffe: its programs in reach, and GPUS: 0,1 or none. Caffe itself is asked, it knows what it was built for
ready_caffe() {
    local problem
    if [[ ! -f $CAFFE_PREFIX/env.sh ]]; then
        [[ $dry_run == yes ]] || die "Caffe is not built yet: ./run_all.sh --only setup"
        GPUS=${gpus:-none}
        check_batch
        echo "# Caffe is not built yet, so it can't say which GPUs there are: printed for $GPUS"
        return
    fi
    # shellcheck source=/dev/null
    source "$CAFFE_PREFIX/env.sh"
    GPUS=${gpus:-$(caffe_gpus)}
    GPUS=${GPUS:-none}
    if [[ -n $gpus && $gpus != none ]]; then
        problem=$(caffe_gpus "$gpus" 2>&1) || die "-${problem#caffe: }" # --gpu, as it is called here
    fi
    check_batch
    if [[ $dry_run == yes ]]; then say_room; else check_room; fi
    echo "# OpenBLAS kernel: ${CAFFE_BLAS_CORE:-${OPENBLAS_CORETYPE:-} (yours)}; GPUs: $GPUS"
}

if [[ $plan == yes ]]; then
    show_plan
    exit
fi
if [[ $dry_run == no ]]; then
    if command -v python3 >/dev/null; then check_room; fi # where set-up brings it: after set-up
    take_work_folder
    trap 'interrupted INT' INT
    trap 'interrupted TERM' TERM HUP
fi
