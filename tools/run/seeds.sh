# shellcheck shell=bash disable=SC2154 # settings and options are the caller's
# Several runs that differ in their seed alone, and what they say together: how far a figure depends on the draw.

run_seeds() {
    local seed words=() runs=()
    without_seeds "${typed[@]}"
    for seed in ${seeds//,/ }; do
        ruled "Seed $seed of $seeds"
        handed_on "$run_all" "${words[@]}" --seed "$seed" --work "$(asked_from_here "$W/seed_$seed")" || exit $?
        runs+=("$W/seed_$seed")
    done
    [[ $dry_run == no ]] || return 0
    # shellcheck source=/dev/null
    source "$CAFFE_PREFIX/env.sh"
    pool_seeds
}

# handed_on COMMAND...: waits for its end; what this run is told to stop by goes on to it, which stops its training
handed_on() {
    local child="" status=0
    trap '[[ -z $child ]] || kill -TERM "$child" 2>/dev/null || true' TERM HUP
    trap : INT # Ctrl-C reaches it too
    (trap - INT && exec "$@") <&0 & # what is behind & would take no Ctrl-C
    child=$!
    while kill -0 "$child" 2>/dev/null; do
        status=0
        wait "$child" || status=$?
    done
    trap - TERM HUP INT
    return "$status"
}

without_seeds() { # WORDS: sets words to those that every run is asked for
    words=()
    while (($#)); do
        case $1 in
            --seeds | --work) shift ;;
            *) words+=("$1") ;;
        esac
        shift
    done
}

asked_from_here() { if [[ $1 == /* ]]; then echo "$1"; else echo "$PWD/$1"; fi; }

pool_seeds() {
    local run folders=()
    ruled "All seeds together: $seeds"
    for run in "${runs[@]}"; do [[ ! -f $run/results/table1.json && ! -f $run/results/table2.json ]] || folders+=("$run"); done
    ((${#folders[@]} > 1)) || return 0
    python -m eval.tables --pool "${folders[@]}" --out "$W/results"
    if compares_representations; then
        python -m eval.claims --runs "${folders[@]}" --layer "${MAP_LAYERS%% *}" --dim "$COMPARE_AT" --fc-dim "$FC_DIM" \
            --out "$W/results" --data-note "$DATA_NOTE" --command "./run_all.sh --profile $profile"
    fi
}
