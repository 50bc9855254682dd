# shellcheck shell=bash disable=SC2086,SC2153,SC2154 # settings and names are run_all.sh's
# Our figures beside the article's, and its claims.
shown=() beside=()
if [[ $AS_PUBLISHED == yes ]]; then shown=(--as-published "$RANKS") beside=("$RANKS"); fi
if whitens_elsewhere $DIMS; then
    shown+=(--elsewhere "$RANKS")
    for model in $MODELS; do beside+=("$RANKS/${model}_elsewhere"); done
fi
if ((table == 0 || table == 1)); then
    step makes "$RESULTS/table1.json" "$RESULTS/table1.md" from "$RANKS/pretrained" "${beside[@]}" by \
        python -m eval.tables --table 1 --pretrained "$RANKS/pretrained/scores.json" --out "$RESULTS" \
        --dim "$FC_DIM" --data-note "$DATA_NOTE" "${shown[@]}"
fi
if fine_tunes; then
    step makes "$RESULTS/table2.json" "$RESULTS/table2.md" from "$RANKS/pretrained" "$RANKS/finetuned" \
        "${beside[@]}" by \
        python -m eval.tables --table 2 --pretrained "$RANKS/pretrained/scores.json" \
        --finetuned "$RANKS/finetuned/scores.json" --out "$RESULTS" \
        --dim "$FC_DIM" --data-note "$DATA_NOTE" "${shown[@]}"
fi
if compares_representations; then
    compared=()
    for ranks in pretrained_fc pretrained_mop pretrained_square pretrained_maps; do compared+=("$RANKS/$ranks/scores.json"); done
    if fine_tunes; then compared+=("$RANKS/finetuned_maps/scores.json"); fi
    if whitens_elsewhere $MAP_DIMS; then compared+=("$RANKS/pretrained_maps_elsewhere/scores.json"); fi
    step makes "$RESULTS/table3.json" "$RESULTS/table3.md" from "${compared[@]}" by \
        python -m eval.tables --table 3 --scores "${compared[@]}" --out "$RESULTS" --data-note "$DATA_NOTE"
    step makes "$RESULTS/claims.json" "$RESULTS/claims.csv" "$RESULTS/claims.md" from "$FEATURES" "$RANKS" by \
        python -m eval.claims --features "$FEATURES" --ranks "$RANKS" --layer "${MAP_LAYERS%% *}" \
        --dim "$COMPARE_AT" --fc-dim "$FC_DIM" --out "$RESULTS" --data-note "$DATA_NOTE" --command "./run_all.sh --profile $profile"
fi
if is_revisited; then
    judged=("$RANKS/pretrained/scores.json")
    if fine_tunes; then judged+=("$RANKS/finetuned/scores.json"); fi
    if compares_representations; then judged+=("$RANKS/pretrained_maps/scores.json"); fi
    if compares_representations && fine_tunes; then judged+=("$RANKS/finetuned_maps/scores.json"); fi
    step makes "$RESULTS/table4.json" "$RESULTS/table4.md" from "${judged[@]}" by \
        python -m eval.tables --table 4 --scores "${judged[@]}" --out "$RESULTS" --data-note "$DATA_NOTE"
fi
