#!/usr/bin/env bash
# Fine-tune by `caffe train`: the article's line, kept going over interruptions.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: tools/finetune.sh --prototxt DIR --out MODEL [--weights CAFFEMODEL] [--mode all|last|two-phase] [--gpu 0,1]

Runs `caffe train` on DIR/solver.prototxt (written by tools.fill_prototxt) and puts the final caffemodel at MODEL.
  --weights   the pre-trained caffemodel; without it training starts from the prototxt's fillers
  --mode      all: every layer (the article's default); last: only the renamed last layer, all others frozen;
              two-phase: first last, then all
  --gpu       as `caffe train -gpu`, or none
Caffe's log goes to DIR/log.txt (log_last.txt in the phase that trains the last layer). After an interruption the same
command goes on from the newest whole snapshot. Ctrl-C and kill let Caffe write a snapshot first.
Example: tools/finetune.sh --prototxt work/demo/prototxt/train --weights work/demo/data/pretrained.caffemodel --out m.caffemodel
HELP
}

die() {
    echo "finetune: $*" >&2
    exit 1
}

mode=all weights="" gpu="" prototxt="" out=""
while (($#)); do
    case $1 in
        -h | --help) usage && exit ;;
        --prototxt | --weights | --mode | --gpu | --out)
            (($# > 1)) || die "$1 needs a value (see --help)"
            printf -v "${1#--}" '%s' "$2"
            shift
            ;;
        *) die "unknown option $1 (see --help)" ;;
    esac
    shift
done
[[ $gpu != none ]] || gpu=""
[[ -n $prototxt && -n $out ]] || die "--prototxt and --out are needed (see --help)"
[[ $mode =~ ^(all|last|two-phase)$ ]] || die "--mode takes all, last or two-phase, not $mode"
[[ -z $weights || -f $weights ]] || die "--weights $weights is not a file (Caffe takes a file, not an address)"

caffe_pid=""
stop() { # let Caffe write its snapshot
    trap '' INT TERM HUP
    [[ -z $caffe_pid ]] || { kill -INT "$caffe_pid" 2>/dev/null && wait "$caffe_pid"; } || true
    exit 130
}
trap stop INT TERM HUP

# train SUFFIX WEIGHTS: one phase, from WEIGHTS or from its own newest whole snapshot
train() {
    local solver=$prototxt/solver$1.prototxt log=$prototxt/log$1.txt state start=() status=0
    [[ -f $solver ]] || die "$solver is missing: python -m tools.fill_prototxt writes it"
    final=$(python -m tools.snapshots final "$solver")
    state=$(python -m tools.snapshots newest "$solver")
    [[ $state != "${final%.caffemodel}.solverstate" ]] || return 0
    if [[ -n $state ]]; then
        echo "finetune: going on from $state"
        start=(-snapshot "$state")
    else
        : >"$log"
        if [[ -n $2 ]]; then
            python -m tools.check_weights "$prototxt/train_val$1.prototxt" "$2"
            start=(-weights "$2")
        fi
    fi
    echo "finetune: pictures a step: $(python -m tools.snapshots batch "$solver" --gpus "$(wc -w <<<"${gpu//,/ }")")" | tee -a "$log"
    [[ -z $gpu ]] || start+=(-gpu "$gpu")
    mkdir -p "$(dirname "$final")"
    echo "\$ caffe train -solver $solver ${start[*]} 2>&1 | tee $log"
    set -m # a process group of its own: TERM, which ends Caffe without a snapshot, comes to this script alone
    GLOG_minloglevel=0 caffe train -solver "$solver" "${start[@]}" > >(trap '' INT TERM HUP && exec tee -a "$log") 2>&1 &
    caffe_pid=$!
    set +m
    wait "$caffe_pid" || status=$?
    caffe_pid=""
    ((status == 0)) || exit "$status"
    [[ -f $final ]] || die "caffe stopped before its last iteration; the same command goes on from its snapshot"
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
cp "$final" "$out.part" && mv "$out.part" "$out"
