# shellcheck shell=bash disable=SC2046,SC2086,SC2154 # a list of words is meant as words; settings and names are run_all.sh's
# What the author's published code does and the article doesn't tell, each habit alone and all together, for a second
# block of Tables 1 and 2: ReLU 6 bypassed before fc7 (own wiring), the query's box cut as x, y, width, height, and the
# first ten answers ranked again in place. fc6 lies before ReLU 6, so Table 2 has the last two alone.
WIRINGS=$W/prototxt/wirings
step writes "$WIRINGS" from "$DEPLOY" by python -m tools.wirings "$DEPLOY" "$WIRINGS"

# published NAME MODEL DEPLOY OPTION...: features, $FEATURES/as_published_NAME.h5
published() {
    local weights
    weights=$(weights_of "$2")
    step makes "$FEATURES/as_published_$1.h5" from "$3" "$weights" "$MEAN" "$DATABASE" "$GROUND_TRUTH" by \
        python -m eval.extract --deploy "$3" --weights "$weights" --model "$2" --mean "$MEAN" \
        --images "$DATABASE" --gt "$GROUND_TRUTH" --layers $LAYERS "${@:4}" --gpu "$GPUS" $(in_precision) \
        --out "$FEATURES/as_published_$1.h5"
}

# published_ranks NAME FEATURES OPTION...: $RANKS/as_published_NAME
published_ranks() {
    step makes "$RANKS/as_published_$1" from "$FEATURES/$2.h5" "$GROUND_TRUTH" by \
        python -m eval.score "$FEATURES/$2.h5" --gt "$GROUND_TRUTH" --dims $DIMS "${@:3}" \
        --out "$RANKS/as_published_$1"
}

published pretrained_relu6 pretrained "$WIRINGS/as_printed.prototxt"
published_ranks pretrained_relu6 as_published_pretrained_relu6
for model in $MODELS; do
    published "${model}_boxes" "$model" "$DEPLOY" --boxes xywh
    published "${model}_all" "$model" "$WIRINGS/as_printed.prototxt" --boxes xywh
    published_ranks "${model}_boxes" "as_published_${model}_boxes"
    published_ranks "${model}_reranked" "$model" --rerank mean-subtraction-in-place
    published_ranks "${model}_all" "as_published_${model}_all" --rerank mean-subtraction-in-place
done
