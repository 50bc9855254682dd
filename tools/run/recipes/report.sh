# shellcheck shell=bash disable=SC2154 # settings and names are run_all.sh's
# The training curve, what the networks see in a few photographs, and the page that shows the run.
shown_ranks=("$RANKS/pretrained") shown_weights=("pretrained=$WEIGHTS")
if fine_tunes; then
    logs=("$TRAINING/log.txt") # of the phases, in order
    if [[ $FINETUNE_MODE == last ]]; then logs=("$TRAINING/log_last.txt"); fi
    if [[ $FINETUNE_MODE == two-phase ]]; then logs=("$TRAINING/log_last.txt" "$TRAINING/log.txt"); fi
    beside=() scratch=()
    if [[ -n $FROM_SCRATCH ]]; then
        beside=(--beside "${TRAINING}_scratch/log.txt") scratch=("$W/models/from_scratch.caffemodel")
    fi
    step makes "$RESULTS/training.svg" "$RESULTS/training.csv" from "$FINETUNED" "${scratch[@]}" by \
        python -m tools.plot_log "${logs[@]}" "${beside[@]}" --out "$RESULTS/training.svg" --csv "$RESULTS/training.csv"
    shown_ranks+=("$RANKS/finetuned") shown_weights+=("finetuned=$FINETUNED")
fi
step makes "$MAPS" from "$DEPLOY" "${shown_ranks[@]}" "$MEAN" "$DATABASE" by \
    python -m eval.keep_maps --deploy "$DEPLOY" --weights "${shown_weights[@]}" --mean "$MEAN" \
    --images "$DATABASE" --gt "$GROUND_TRUTH" --ranks "${shown_ranks[@]}" --out "$MAPS"
shown=("$RESULTS" "$MAPS" "$profile_file")
if fine_tunes && [[ -f $W/check.csv ]]; then shown+=("$W/check.csv"); fi # a picture more that is bad changes no figure
step makes "$REPORT" from "${shown[@]}" by \
    python -m eval.report "$W" --images "$DATABASE" --gt "$GROUND_TRUTH" --network "prototxt/$NETWORK" \
    --profile "$profile_file" --out "$REPORT"
