#!/usr/bin/env bash
# Fine-tune by `caffe train`: the article's line, kept going over interruptions.
set -euo pipefail
# shellcheck source=tools/run/holders.sh
source "$(dirname "${BASH_SOURCE[0]}")/run/holders.sh"
# shellcheck source=tools/run/room.sh
source "$(dirname "${BASH_SOURCE[0]}")/run/room.sh"

usage() {
    cat <<'HELP'
Usage: tools/finetune.sh --prototxt DIR --out MODEL [--weights CAFFEMODEL] [--mode all|last|two-phase] [--gpu 0,1] [--keep N]
                         [--silence SECONDS]

Runs `caffe train` on DIR/solver.prototxt (written by tools.fill_prototxt) and puts the final caffemodel at MODEL. What
Caffe would stop at is checked first.
  --weights   the pre-trained caffemodel; without it training starts from the prototxt's fillers
  --mode      all: every layer (the article's default); last: only the renamed last layer, all others frozen;
              two-phase: first last, then all
  --gpu       as `caffe train -gpu`
  --keep      so many of the newest whole snapshots stay (default 3: to go on from, and to compare), or all
  --silence   a training that displays nothing for so long hangs, and is ended; 0 waits for ever (default 3600 on GPUs,
              where one that waits for another can hang; else 0)
Caffe's log goes to DIR/log.txt (log_last.txt in the phase that trains the last layer). After an interruption the same
command goes on from the newest whole snapshot, with the pictures that come next. Ctrl-C, kill and a shutdown let Caffe
write a snapshot first.
Example: tools/finetune.sh --prototxt work/demo/prototxt/train --weights work/demo/data/pretrained.caffemodel --out m.caffemodel
HELP
}

die() {
    echo "finetune: $*" >&2
    exit 1
}

misused() {
    echo "finetune: $* (see tools/finetune.sh --help)" >&2
    exit 2
}

mode=all weights="" gpu="" prototxt="" out="" keep=3 silence=""
while (($#)); do
    case $1 in
        -h | --help) usage; exit ;;
        --prototxt | --weights | --mode | --gpu | --out | --keep | --silence)
            (($# > 1)) || misused "$1 needs a value"
            printf -v "${1#--}" '%s' "$2"
            shift
            ;;
        *) misused "unknown option $1" ;;
    esac
    shift
done
[[ $gpu != none ]] || gpu="" # as run_all.sh says it where there is none
[[ -n $prototxt && -n $out ]] || misused "--prototxt and --out are needed"
[[ $mode =~ ^(all|last|two-phase)$ ]] || misused "--mode takes all, last or two-phase, not $mode"
[[ $keep =~ ^([1-9][0-9]*|all)$ ]] || misused "--keep takes a number from 1 up, or all, not $keep"
[[ -z $weights || -f $weights ]] || die "--weights $weights is not a file (Caffe takes a file, not an address)"
gpus=$(wc -w <<<"${gpu//,/ }")
silence=${silence:-$((gpus ? 3600 : 0))}
[[ $silence =~ ^[0-9]{1,9}$ ]] || misused "--silence takes a number of seconds, or 0 to wait for ever, not $silence"
[[ ${CAFFE_CPU_PRECISION:-fp32} == fp32 ]] || ((gpus)) ||
    die "CAFFE_CPU_PRECISION is $CAFFE_CPU_PRECISION, and training on the CPU is in fp32 alone: unset it"
# GPUs of one process wait for each other's launches in turn: one group of launches keeps them from doing so for ever
((gpus < 2)) || export NCCL_LAUNCH_MODE=${NCCL_LAUNCH_MODE:-GROUP}

# what glog writes of a failed check, and of a signal, that is for Caffe's own developers
stack_trace='^ *@ +0x|^PC: @|^\*\*\* (Check failure stack trace|Aborted at|SIG[A-Z]+ )'

# LOG STATUS: the failed check's own line, or the signal, or what was said last; of a GPU's, with what helps
last_words() {
    local line
    line=$(grep -E '^F[0-9]+ ' "$1" | tail -n 1 | sed 's/^[^]]*\] //')
    case $line in
        *"out of memory"* | *_ALLOC_FAILED*)
            line+="; a GPU takes fewer pictures at once with TRAIN_BATCH=32, and EFFECTIVE_BATCH keeps the step's size"
            ;;
        *ncclSuccess*)
            line+="; GPUs in a container need --shm-size=1g, and nvidia-smi tells whether one is lost (NCCL_DEBUG=WARN has more)"
            ;;
        *cudaSuccess*) line+="; nvidia-smi tells whether a GPU is lost or in use" ;;
    esac
    if [[ -z $line ]] && (($2 > 128)); then
        line=$(grep -E '^ *what\(\): ' "$1" | tail -n 1 | sed 's/^ *what(): *//')
        line="it crashed (signal $(kill -l "$2")${line:+, $line}); $1 has all that it said"
    fi
    echo "${line:-$(grep -vE '^ *$|^[IW][0-9]+ ' "$1" | tail -n 1)}"
}

caffe_pid="" hung=""
stop() { # STATUS: let Caffe write its snapshot
    trap '' INT TERM HUP
    [[ -z $caffe_pid ]] || { kill -INT "$caffe_pid" 2>/dev/null && wait "$caffe_pid"; } || true
    wait_for_log
    echo "finetune: interrupted; the same command goes on from its snapshot" >&2
    exit "$1"
}
trap 'stop 130' INT
trap 'stop 143' TERM
trap 'stop 129' HUP
trap 'hung=yes' USR1 # from log(), which has waited in vain

# one that only is slow writes its snapshot; one that hangs can't
end_hanging() {
    local left=$((silence < 30 ? silence : 30))
    kill -INT "$caffe_pid" 2>/dev/null || true
    while ((left-- > 0)) && kill -0 "$caffe_pid" 2>/dev/null; do sleep 1; done
    kill -KILL "$caffe_pid" 2>/dev/null || true
}

# PREFIX: nobody else writes snapshots there, as long as this script or its Caffe lives
lock() {
    local lock=$1.lock
    mkdir -p "$(dirname "$lock")"
    exec 8>>"$lock"
    ! lock_fd 8 0 || return 0
    exec 8>&- # so that we are none of those who hold it
    # shellcheck disable=SC2046 # numbers
    die "$(in_words $(holders_of "$lock" 8)) is training into $1; kill -INT ends it with a snapshot"
}

# Caffe's output on standard input into the log, and on without GLOG's stack trace, whoever is told to stop, whether or
# not somebody reads on or the log's disk is full. A snapshot lets an old one go, and the log is on the disk before it:
# a finished training would add nothing to a log that a power cut emptied
log() { # LOG SOLVER
    local line status patience=()
    ((silence == 0)) || patience=(-t "$silence")
    trap '' INT TERM HUP PIPE
    while true; do
        status=0
        IFS= read -r "${patience[@]}" line || status=$?
        if ((status > 128)); then
            kill -USR1 $$ 2>/dev/null || true
            patience=()
            [[ -n $line ]] || continue
        fi
        ((status == 0)) || [[ -n $line ]] || break
        printf '%s\n' "$line" 2>/dev/null >>"$1" || true
        [[ $line =~ $stack_trace ]] || printf '%s\n' "$line" 2>/dev/null || true
        [[ $line != *"] Snapshotting to "* ]] || sync "$1" || true
        [[ $line != *"] Snapshotting solver state to "* ]] || prune "$2"
    done
}
log_pid=""
wait_for_log() {
    [[ -z $log_pid ]] || { exec 7>&- && wait "$log_pid"; } || true
    log_pid=""
}

prune() { # SOLVER: once there are more than may stay, and one that may not be whole
    local states=("${final%_iter_*}"_iter_*.solverstate*)
    [[ $keep != all ]] && ((${#states[@]} > keep)) || return 0
    python -m tools.snapshots prune "$1" --keep "$keep" >/dev/null || true
}

check_loss() { # LOG
    ! grep -E 'Iteration [0-9]+.*, loss = ' "$1" | tail -n 1 | grep -qiE 'loss = -?(nan|inf)' ||
        die "the training diverged, its loss is no number any more (see $1): lower the learning rate (BASE_LR)"
}

# train SUFFIX WEIGHTS: one phase, from WEIGHTS or from its own newest whole snapshot
train() {
    local solver=$prototxt/solver$1.prototxt log=$prototxt/log$1.txt state skip batch checked full start=() status=0
    [[ -f $solver ]] || die "$solver is missing: python -m tools.fill_prototxt writes it"
    checked=$(python -m tools.snapshots plan "$solver" --gpus "$((gpus > 0 ? gpus : 1))" ${2:+--weights "$2"})
    mapfile -t checked <<<"$checked"
    final=${checked[0]} state=${checked[1]} skip=${checked[2]} batch=${checked[3]}
    if [[ $state == "${final%.caffemodel*}.solverstate${final##*.caffemodel}" ]]; then
        [[ ! -f $log ]] || check_loss "$log"
        return
    fi
    lock "${final%_iter_*}"
    [[ -n $state ]] || : >"$log"
    exec 7> >(log "$log" "$solver")
    log_pid=$!
    if [[ -n $state ]]; then
        echo "finetune: going on from $state, behind picture $skip of the database" >&7
        start=(-snapshot "$state")
    elif [[ -n $2 ]]; then
        start=(-weights "$2")
    fi
    [[ -z $gpu ]] || start+=(-gpu "$gpu")
    printf 'finetune: %s\n' "pictures a step: $batch" "${checked[@]:4}" >&7
    echo "\$ caffe train -solver $solver ${start[*]} 2>&1 | tee $log" >&7
    set -m # a process group of its own: a signal comes to this script, which passes it on and waits
    GLOG_minloglevel=0 CAFFE_SKIP_PICTURES=$skip caffe train -solver "$solver" "${start[@]}" >&7 2>&1 7>&- &
    caffe_pid=$!
    set +m
    { wait "$caffe_pid" || status=$?; } 2>/dev/null # where the shell would tell of a signal
    if [[ -n $hung ]]; then
        end_hanging
        { wait "$caffe_pid" || status=$?; } 2>/dev/null
    fi
    caffe_pid=""
    wait_for_log
    [[ -z $hung ]] || die "the training displayed nothing for $silence seconds and was ended (--silence sets how long);" \
        "the same command goes on from its newest snapshot"
    if ((status)); then
        full=$(little_room "$(dirname "$final")")
        echo "finetune: Caffe has stopped${full:-: $(last_words "$log" "$status")}" >&2
        exit "$status"
    fi
    [[ -f $final ]] || die "caffe stopped before its last iteration; the same command goes on from its snapshot"
    prune "$solver"
    check_loss "$log"
}

case $mode in
    all) train "" "$weights" ;;
    last) train _last "$weights" ;;
    two-phase)
        train _last "$weights"
        train "" "$final"
        ;;
esac
mkdir -p "$(dirname "$out")"
cp "$final" "$out.part" && sync "$out.part" && mv "$out.part" "$out"
