# shellcheck shell=bash disable=SC2154 # settings and options are the caller's
# The end of a run: its tables, where everything is, and what was moved aside.

summary() {
    [[ $dry_run == no && $last -eq $((${#STAGES[@]} - 1)) ]] || return 0
    local number
    ruled "Results, after $(elapsed $SECONDS)"
    for number in 1 2 3; do
        if ((table == 0 || table == number)) && [[ -f $W/results/table$number.md ]]; then
            cat "$W/results/table$number.md" && echo
        fi
    done
    echo "Tables in $W/results, ranked lists in $W/ranks, features in $W/features, logs in $W/logs"
    aside_in_words
}

aside_in_words() {
    [[ -d $W/aside ]] || return 0
    echo "Moved aside, as made with other settings: $(du -sh "$W/aside" | cut -f1) in $W/aside ($(aside_names))." \
        "To remove it: $(quoted rm -r "$W/aside")"
}

aside_names() {
    local names
    mapfile -t names < <(cd "$W/aside" && find . -mindepth 2 -maxdepth 2 ! -name '*.ran' -printf '%f\n' | sort -u)
    echo "${names[*]:0:6}$( ((${#names[@]} < 7)) || echo " ...")"
}
