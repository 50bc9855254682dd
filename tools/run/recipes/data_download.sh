# shellcheck shell=bash disable=SC2046,SC2086,SC2154 # settings and names are run_all.sh's
# The article's data from the internet: Oxford5k (or Paris6k) with its ground truth, VGG16, and pictures to fine-tune on.

# photographs SET FOLDER: some 20 of Paris6k's files are broken
photographs() {
    if [[ $1 == oxford5k ]]; then
        step makes "$2" by python -m data_prep.fetch oxford5k-images --out "$2"
    elif [[ $1 == paris6k ]]; then
        step makes "$DATA_DIR/paris6k" by python -m data_prep.fetch paris6k-images --out "$DATA_DIR/paris6k"
        step makes "$2" from "$DATA_DIR/paris6k" by \
            python -m data_prep.check_images "$2" --from "$DATA_DIR/paris6k" --fix \
            --report "$W/paris6k.csv" --quarantine "$W/quarantine/paris6k"
    fi
}
photographs "$(searched_set)" "$DATABASE"
step makes "$GROUND_TRUTH" by \
    python -m data_prep.fetch "$(! is_revisited || echo r)$(searched_set)-gt" --out "$GROUND_TRUTH"
step makes "$WEIGHTS" by python -m data_prep.fetch vgg16 --out "$WEIGHTS"
[[ $LEARN_FROM == "$DATABASE" ]] || photographs "$(set_at "$LEARN_FROM")" "$LEARN_FROM"
if fine_tunes && [[ $TRAINING_SET == sfm120k ]]; then
    step makes "$TRAIN_PICTURES" by python -m data_prep.fetch sfm120k --out "$TRAIN_PICTURES"
elif fine_tunes; then
    links=() # none where the pictures were brought along
    if [[ -f $LANDMARK_URLS ]]; then links=("$LANDMARK_URLS"); fi
    step makes "$TRAIN_PICTURES" from "${links[@]}" by \
        python -m data_prep.fetch landmarks --urls "$LANDMARK_URLS" --out "$TRAIN_PICTURES"
fi
step makes "$W/inputs.json" from "prototxt/$NETWORK/deploy.prototxt" "$DATABASE" "$GROUND_TRUTH" "$WEIGHTS" "$MEAN" by \
    python -m eval.check_inputs --deploy "prototxt/$NETWORK/deploy.prototxt" --layers $LAYERS \
    --maps $(! compares_representations || echo $MAP_LAYERS) --images "$DATABASE" --gt "$GROUND_TRUTH" \
    --weights "$WEIGHTS" --mean "$MEAN" --out "$W/inputs.json"
