# shellcheck shell=bash disable=SC2086,SC2154 # a list of words is meant as words; settings and names are run_all.sh's
# Section 2, from a map to a vector: every pooling of the pre-trained network's maps, MOP-CNN, and the layers again with
# query expansion. What R-MAC's whitening and MOP-CNN's codebooks learn comes from LEARN_FROM.
LEARNT=$W/learnt                      # R-MAC's whitening and MOP-CNN's codebooks
map=${MAP_LAYERS%% *}                 # the map that whitening, sizes and claims are about

# extract NAME FROM... by OPTION...: features of the pre-trained network, $FEATURES/pretrained_NAME.h5
extract() {
    local name=$1 more=()
    shift
    while [[ $1 != by ]]; do more+=("$1") && shift; done
    step makes "$FEATURES/pretrained_$name.h5" from "$DEPLOY" "$WEIGHTS" "$MEAN" "$DATABASE" "${more[@]}" by \
        python -m eval.extract --deploy "$DEPLOY" --weights "$WEIGHTS" --model pretrained --mean "$MEAN" \
        --images "$DATABASE" "${@:2}" --out "$FEATURES/pretrained_$name.h5" --gpu "$GPUS"
}

# learn_from NAME OPTION...: features of what is learnt from, $LEARNT/NAME.h5
learn_from() {
    step makes "$LEARNT/$1.h5" from "$DEPLOY" "$WEIGHTS" "$MEAN" "$LEARN_FROM" by \
        python -m eval.extract --deploy "$DEPLOY" --weights "$WEIGHTS" --model pretrained --mean "$MEAN" \
        --images "$LEARN_FROM" --sample "$LEARN_SAMPLE" "${@:2}" --out "$LEARNT/$1.h5" --gpu "$GPUS"
}

# score NAME FEATURES OPTION...: ranks, plain and with query expansion, $RANKS/pretrained_NAME
score() {
    step makes "$RANKS/pretrained_$1" from "$FEATURES/$2.h5" "$GROUND_TRUTH" by \
        python -m eval.score "$FEATURES/$2.h5" --gt "$GROUND_TRUTH" --dims $MAP_DIMS \
        --query-expansion none linear "${@:3}" --out "$RANKS/pretrained_$1"
}

step makes "$LEARNT/maps" "$LEARNT/maps.h5" from "$DEPLOY" "$WEIGHTS" "$MEAN" "$LEARN_FROM" by \
    python -m eval.extract --deploy "$DEPLOY" --weights "$WEIGHTS" --model pretrained --mean "$MEAN" \
    --images "$LEARN_FROM" --sample "$LEARN_SAMPLE" --layers "$map" --pool rmac \
    --max-side "$MAX_SIDE" --min-side "$MIN_SIDE" --keep-maps "$LEARNT/maps" --out "$LEARNT/maps.h5" --gpu "$GPUS"
step makes "$LEARNT/rmac.npz" from "$LEARNT/maps" by \
    python -m eval.train_rmac "$LEARNT/maps/database/$map" --training-set "$LEARN_FROM_NAME" \
    --out "$LEARNT/rmac.npz"
learn_from windows --layers fc7_relu7 --windows "$MOP_STEP"
step makes "$LEARNT/mop.npz" from "$LEARNT/windows.h5" by \
    python -m eval.train_mop "$LEARNT/windows.h5" --training-set "$LEARN_FROM_NAME" --centres "$MOP_CENTRES" \
    --window-dims "$MOP_WINDOW_DIMS" --output-dims "$MOP_OUTPUT_DIMS" --out "$LEARNT/mop.npz"

# every pooling of every map in one pass; at the network's own input size; at twice that; MOP-CNN
extract maps "$GROUND_TRUTH" "$LEARNT/rmac.npz" by --gt "$GROUND_TRUTH" --layers $MAP_LAYERS --pool "$POOLINGS" \
    --max-side "$MAX_SIDE" --min-side "$MIN_SIDE" --rmac-whitening "$LEARNT/rmac.npz"
extract square "$GROUND_TRUTH" by --gt "$GROUND_TRUTH" --layers "$map" --pool sum,average,max,crow,rmac
extract double by --layers "$map" --side "$DOUBLE_SIDE" --pool sum,average
extract mop "$GROUND_TRUTH" "$LEARNT/mop.npz" by --gt "$GROUND_TRUTH" --layers fc7_relu7 --mop "$LEARNT/mop.npz"

score fc pretrained
score mop pretrained_mop --layers mop
score maps pretrained_maps
score square pretrained_square
