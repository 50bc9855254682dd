# shellcheck shell=bash disable=SC2034,SC2046,SC2086,SC2154 # settings and names are run_all.sh's
# One's own pictures stay where they are; they have been checked before the first stage. Class folders alone are parted:
# photographs held out are what is searched and asked for, the rest is to train on (start.sh names the parts).
if [[ -n $CLASS_FOLDERS ]]; then
    step makes "$W/data/own" from "$CLASS_FOLDERS" by \
        python -m data_prep.make_gt "$CLASS_FOLDERS" --out "$W/data/own" --seed "$SEED"
fi
step makes "$W/inputs.json" from "prototxt/$NETWORK/deploy.prototxt" "$DATABASE" "$GROUND_TRUTH" "$WEIGHTS" "$MEAN" by \
    python -m eval.check_inputs --deploy "prototxt/$NETWORK/deploy.prototxt" --layers $LAYERS \
    --maps $(! compares_representations || echo $MAP_LAYERS) --images "$DATABASE" --gt "$GROUND_TRUTH" \
    --weights "$WEIGHTS" --mean "$MEAN" --out "$W/inputs.json"
