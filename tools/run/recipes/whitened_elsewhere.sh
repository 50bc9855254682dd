# shellcheck shell=bash disable=SC2046,SC2086,SC2153,SC2154 # words are meant as words; settings and names are run_all.sh's
# What papers do and the article doesn't: the whitening is fitted on other photographs than those that are searched.
LEARNT=$W/learnt                      # what is learnt from LEARN_FROM
for model in $MODELS; do
    weights=$(weights_of $model)
    step makes "$LEARNT/$model.h5" from "$DEPLOY" "$weights" "$MEAN" "$LEARN_FROM" by \
        python -m eval.extract --deploy "$DEPLOY" --weights "$weights" --model "$model" --mean "$MEAN" \
        --images "$LEARN_FROM" --sample "$WHITEN_SAMPLE" --layers $LAYERS --gpu "$GPUS" $(in_precision) --out "$LEARNT/$model.h5"
    step makes "$RANKS/${model}_elsewhere" from "$FEATURES/$model.h5" "$LEARNT/$model.h5" "$GROUND_TRUTH" by \
        python -m eval.score "$FEATURES/$model.h5" --gt "$GROUND_TRUTH" --dims $(with_pca $DIMS) \
        --pca-features "$LEARNT/$model.h5" --pca-set "$LEARN_FROM_NAME" --out "$RANKS/${model}_elsewhere"
done
