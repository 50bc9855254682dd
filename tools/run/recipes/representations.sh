# shellcheck shell=bash disable=SC2046,SC2086,SC2153,SC2154 # a list of words is meant as words; settings and names are run_all.sh's
# Section 2, from a map to a vector: every pooling of the pre-trained network's maps, MOP-CNN, and the layers again with
# query expansion. What R-MAC's whitening and MOP-CNN's codebooks learn comes from LEARN_FROM.
LEARNT=$W/learnt                      # what is learnt from LEARN_FROM
map=${MAP_LAYERS%% *}                 # the map that whitening, sizes and claims are about

# extract MODEL NAME FROM... by OPTION...: features of a network, $FEATURES/MODEL_NAME.h5
extract() {
    local model=$1 features=$FEATURES/$1_$2.h5 weights more=()
    weights=$(weights_of "$model")
    shift 2
    while [[ $1 != by ]]; do more+=("$1") && shift; done
    step makes "$features" from "$DEPLOY" "$weights" "$MEAN" "$DATABASE" "${more[@]}" by \
        python -m eval.extract --deploy "$DEPLOY" --weights "$weights" --model "$model" --mean "$MEAN" \
        --images "$DATABASE" "${@:2}" --out "$features" --gpu "$GPUS" $(in_precision)
}

# learn_from NAME OPTION...: features of what is learnt from, $LEARNT/NAME.h5
learn_from() {
    step makes "$LEARNT/$1.h5" from "$DEPLOY" "$WEIGHTS" "$MEAN" "$LEARN_FROM" by \
        python -m eval.extract --deploy "$DEPLOY" --weights "$WEIGHTS" --model pretrained --mean "$MEAN" \
        --images "$LEARN_FROM" --sample "${MOP_SAMPLE:-$LEARN_SAMPLE}" "${@:2}" --out "$LEARNT/$1.h5" --gpu "$GPUS" $(in_precision)
}

# score RANKS FEATURES OPTION...: ranks, plain and with query expansion, $RANKS/RANKS
score() {
    step makes "$RANKS/$1" from "$FEATURES/$2.h5" "$GROUND_TRUTH" by \
        python -m eval.score "$FEATURES/$2.h5" --gt "$GROUND_TRUTH" --dims $MAP_DIMS \
        --query-expansion none linear "${@:3}" --out "$RANKS/$1"
}

step makes "$LEARNT/maps" "$LEARNT/maps.h5" from "$DEPLOY" "$WEIGHTS" "$MEAN" "$LEARN_FROM" by \
    python -m eval.extract --deploy "$DEPLOY" --weights "$WEIGHTS" --model pretrained --mean "$MEAN" \
    --images "$LEARN_FROM" --sample "$LEARN_SAMPLE" --layers "$map" --pool rmac \
    --max-side "$MAX_SIDE" --min-side "$MIN_SIDE" --keep-maps "$LEARNT/maps" --out "$LEARNT/maps.h5" --gpu "$GPUS" $(in_precision)
step makes "$LEARNT/rmac.npz" from "$LEARNT/maps" by \
    python -m eval.train_rmac "$LEARNT/maps/database/$map" --training-set "$LEARN_FROM_NAME" \
    --out "$LEARNT/rmac.npz"
learn_from windows --layers fc7_relu7 --windows "$MOP_STEP"
step makes "$LEARNT/mop.npz" from "$LEARNT/windows.h5" by \
    python -m eval.train_mop "$LEARNT/windows.h5" --training-set "$LEARN_FROM_NAME" --centres "$MOP_CENTRES" \
    --window-dims "$MOP_WINDOW_DIMS" --output-dims "$MOP_OUTPUT_DIMS" --out "$LEARNT/mop.npz"

# every pooling of every map in one pass; at the network's own input size; at twice that; MOP-CNN
extract pretrained maps "$GROUND_TRUTH" "$LEARNT/rmac.npz" by --gt "$GROUND_TRUTH" --layers $MAP_LAYERS --pool "$POOLINGS" \
    --max-side "$MAX_SIDE" --min-side "$MIN_SIDE" --rmac-whitening "$LEARNT/rmac.npz"
extract pretrained square "$GROUND_TRUTH" by --gt "$GROUND_TRUTH" --layers "$map" --pool sum,average,max,crow,rmac
extract pretrained double by --layers "$map" --side "$DOUBLE_SIDE" --pool sum,average
extract pretrained mop "$GROUND_TRUTH" "$LEARNT/mop.npz" by --gt "$GROUND_TRUTH" --layers fc7_relu7 --mop "$LEARNT/mop.npz"

if fine_tunes; then # the poolings again, of what fine-tuning has made of the maps
    extract finetuned maps "$GROUND_TRUTH" by --gt "$GROUND_TRUTH" --layers "$map" --pool "$POOLINGS" \
        --max-side "$MAX_SIDE" --min-side "$MIN_SIDE"
fi

score pretrained_fc pretrained
score pretrained_mop pretrained_mop --layers mop
score pretrained_maps pretrained_maps
score pretrained_square pretrained_square
if fine_tunes; then score finetuned_maps finetuned_maps; fi

if whitens_elsewhere $MAP_DIMS; then # as papers do: fitted on other photographs
    step makes "$LEARNT/poolings.h5" from "$DEPLOY" "$WEIGHTS" "$MEAN" "$LEARN_FROM" "$LEARNT/rmac.npz" by \
        python -m eval.extract --deploy "$DEPLOY" --weights "$WEIGHTS" --model pretrained --mean "$MEAN" \
        --images "$LEARN_FROM" --sample "$WHITEN_SAMPLE" --layers $MAP_LAYERS --pool "$POOLINGS" \
        --max-side "$MAX_SIDE" --min-side "$MIN_SIDE" --rmac-whitening "$LEARNT/rmac.npz" \
        --out "$LEARNT/poolings.h5" --gpu "$GPUS" $(in_precision)
    step makes "$RANKS/pretrained_maps_elsewhere" \
        from "$FEATURES/pretrained_maps.h5" "$LEARNT/poolings.h5" "$GROUND_TRUTH" by \
        python -m eval.score "$FEATURES/pretrained_maps.h5" --gt "$GROUND_TRUTH" --dims $(with_pca $MAP_DIMS) \
        --pca-features "$LEARNT/poolings.h5" --pca-set "$LEARN_FROM_NAME" --out "$RANKS/pretrained_maps_elsewhere"
fi
