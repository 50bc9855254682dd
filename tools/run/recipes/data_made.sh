# shellcheck shell=bash disable=SC2046,SC2086,SC2154 # settings and names are run_all.sh's
# The demo's data, all drawn from SEED: what is searched, what is fine-tuned on, and generic pictures for pre-training.
step makes "$W/data/retrieval" by python -m data_prep.make_demo retrieval --out "$W/data/retrieval" --seed "$SEED"
if fine_tunes; then
    step makes "$TRAIN_PICTURES" by python -m data_prep.make_demo landmarks --out "$TRAIN_PICTURES" --seed "$SEED"
fi
step makes "$W/data/generic" by python -m data_prep.make_demo generic --out "$W/data/generic" --seed "$SEED"
step makes "$W/inputs.json" from "prototxt/$NETWORK/deploy.prototxt" "$DATABASE" "$GROUND_TRUTH" by \
    python -m eval.check_inputs --deploy "prototxt/$NETWORK/deploy.prototxt" --layers $LAYERS \
    --maps $(! compares_representations || echo $MAP_LAYERS) --images "$DATABASE" --gt "$GROUND_TRUTH" \
    --out "$W/inputs.json"
