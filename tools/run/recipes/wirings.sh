# shellcheck shell=bash disable=SC2046,SC2154 # settings and names are run_all.sh's
# Section 3's three wirings of ReLU and dropout, on 50 pictures: each with a blob of its own, in place as in the stock
# file, and as the article's snippet prints it.
WIRINGS=$W/prototxt/wirings
step writes "$WIRINGS" from "$DEPLOY" by python -m tools.wirings "$DEPLOY" "$WIRINGS"

# wired NAME OPTION...: features of the network so wired, $FEATURES/wiring_NAME.h5
wired() {
    step makes "$FEATURES/wiring_$1.h5" from "$WIRINGS" "$WEIGHTS" "$MEAN" "$DATABASE" by \
        python -m eval.extract --deploy "$WIRINGS/$1.prototxt" --weights "$WEIGHTS" --model pretrained --mean "$MEAN" \
        --images "$DATABASE" --sample 50 "${@:2}" --out "$FEATURES/wiring_$1.h5" --gpu "$GPUS" $(in_precision)
}

wired own --layers fc6_relu6 fc6_drop6 fc7 fc7_relu7 fc7_drop7 prob
wired as_printed --layers fc6_relu6 fc6_drop6 fc7 fc7_relu7 fc7_drop7 prob
wired in_place --layers fc7 --overwritten
