# shellcheck shell=bash disable=SC2034,SC2154 # W, first, last, dry_run and others are options.sh's
# The stages under run_all.sh: which run, what a person sees of them, how one ends.
#
#   if stage NAME "SECTION"; then    true where the stage is to run
#       step makes ...               steps.sh
#   fi

source tools/run/room.sh

stage_name="" stage_started=0 stage_steps=0 stage_log="" job="" aside=""

on_terminal() { [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; }

ruled() { # TEXT: a header under a rule; comments where the commands are to be pasted
    local rule comment=""
    [[ $dry_run == no ]] || comment="# "
    printf -v rule '%*s' 100 ''
    printf '\n%s\n%s\n' "$comment${rule// /─}" "$comment$1"
}

walk() { # PLACE: the list of stages, those behind grey, the running one bold
    local i
    for i in "${!STAGES[@]}"; do
        if ! has_stage "${STAGES[i]}"; then continue
        elif ((i < $1)); then printf '\033[2m%s\033[0m ' "${STAGES[i]}"
        elif ((i == $1)); then printf '\033[1m▸%s\033[0m ' "${STAGES[i]}"
        else printf '%s ' "${STAGES[i]}"; fi
    done
    echo
}

elapsed() { # SECONDS: as 0:41 or 1:02:03
    local s=$1
    if ((s < 3600)); then printf '%d:%02d' $((s / 60)) $((s % 60)); else printf '%d:%02d:%02d' $((s / 3600)) $((s / 60 % 60)) $((s % 60)); fi
}

# has_stage NAME: whether this run has it, for its tables and its profile
has_stage() {
    case $1 in
        pretrain) [[ $SOURCE == made ]] ;;
        check | augment | rename | split | lmdb | mean | finetune) fine_tunes ;;
        representations) compares_representations ;;
    esac
}

fine_tunes() { ((table == 0 || table == 2)); }

compares_representations() { ((table == 0 || table == 3)); }

# set_at FOLDER: which set of photographs belongs there, of those that can be downloaded
set_at() {
    case $1 in
        "$W/data/paris6k") echo paris6k ;;
        "$DATA_DIR/oxford5k/jpg") echo oxford5k ;;
    esac
}

searched_set() { # by a profile that downloads
    local found
    found=$(set_at "$DATABASE")
    echo "${found:-oxford5k}"
}

is_revisited() { [[ $GROUND_TRUTH == *.pkl ]]; } # judged by the protocols of Revisited Oxford and Paris

stages_shown() { # the profile's, in order
    local one
    for one in "${STAGES[@]}"; do ! has_stage "$one" || echo "$one"; done | paste -sd' '
}

stage() { # NAME SECTION
    end_stage
    local place
    place=$(index_of "$1")
    has_stage "$1" && ((place >= first && place <= last)) || return 1
    stage_name=$1 stage_started=$SECONDS stage_steps=0 stage_log=$W/logs/$1.log
    ruled "$(printf '%-10s %s' "$1" "$2")"
    ! on_terminal || walk "$place"
    [[ $dry_run == yes ]] || { mkdir -p "$W/logs" "$W/.steps"; }
}

end_stage() {
    [[ -n $stage_name && $dry_run == no ]] || { stage_name="" && return 0; }
    local time
    time=$(elapsed $((SECONDS - stage_started)))
    if ((stage_steps)); then echo "$stage_name: done in $time"; else echo "$stage_name: nothing changed since it was done"; fi
    stage_name=""
}

# each_time COMMAND...: a command that sees for itself what there is to do
each_time() {
    if [[ $dry_run == yes ]]; then
        quoted "$@"
        return
    fi
    stage_steps=1
    : >"$stage_log"
    supervise "$@" || failed $?
}

# No input and a process group of its own: one behind the terminal that asked it for anything would be stopped; so that
# Ctrl-C and kill reach all of a command; its leader waits for the command's end. The command begins when those that read
# its words can no longer be stopped.
supervise() {
    set -m
    {
        set +e
        trap : INT TERM
        exec 7<> <(:)
        { read -r -u 7 && read -r -u 7 && "$@" 7>&-; } 2>&1 | log | show
        exit "${PIPESTATUS[0]}"
    } </dev/null &
    job=$!
    set +m
    local status=0
    wait "$job" || status=$?
    job=""
    return "$status"
}

say() { # TEXT: to the person and into the stage's log, where there is room for it
    echo "$*"
    echo "$*" 2>/dev/null >>"$stage_log" || true
}

log() { # standard input into the stage's log and on, whoever is told to stop: last words count
    trap '' INT TERM
    echo >&7
    tee -a "$stage_log" 7>&-
}

show() { # the log on standard input, as people watch it
    trap '' INT TERM
    echo >&7
    exec 7>&-
    local live=""
    ! on_terminal || live=1 # asked here: in $(...) no output is a terminal
    awk_at_once -v live="$live" -f tools/run/show.awk
}

awk_at_once() { # awk that reads a line when it comes: Debian's mawk waits for 4 KB unless told
    if awk -W version 2>&1 | grep -q '^mawk'; then awk -W interactive "$@"; else awk "$@"; fi
}

interrupted() { # SIGNAL
    trap '' INT TERM HUP
    if [[ -n $job ]]; then
        kill -s "$1" -- "-$job" 2>/dev/null || true
        kill -s CONT -- "-$job" 2>/dev/null || true # a stopped one takes no other signal
        wait "$job" 2>/dev/null || true
    fi
    echo "run_all: stopped in stage ${stage_name:-none}; the same command goes on from there" >&2
    [[ $1 == INT ]] && exit 130
    exit 143
}

failed() { # STATUS
    {
        echo
        echo "run_all: stage $stage_name failed (exit $1)$(little_room "$W"). The end of $stage_log:"
        grep -v '^ *@ *0x' "$stage_log" | tail -n 12 | sed 's/^/    /'
        echo "run_all: to go on from there: $(same_command)"
    } >&2
    exit 1
}
