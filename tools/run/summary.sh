# shellcheck shell=bash disable=SC2154 # settings and options are the caller's
# The end of a run: its tables, where everything is, and what was moved aside.

summary() {
    [[ $dry_run == no ]] && ((last >= $(index_of tables))) || return 0
    ruled "Results, after $(elapsed $SECONDS)"
    python -m eval.tables --summary "$W" \
        --next "Next: ./search.sh $(quoted "$DATABASE")$(search_options) searches these pictures" \
        --next "      $(another_profile); other settings: README.md, 'Things to try'"
    aside_in_words
}

search_options() { [[ $NETWORK != demo ]] || echo " --network demo"; } # no download of VGG16 for the demo's sake

another_profile() {
    if [[ $profile == article ]]; then
        echo "./run_all.sh --profile small --table 2 fine-tunes on photographs of your own"
    else
        echo "./run_all.sh --profile article is the article itself"
    fi
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
