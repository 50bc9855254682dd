# shellcheck shell=bash disable=SC2154 # W, first, last, dry_run, force, run_options come from run_options.sh
# The machinery under run_all.sh, to be sourced: stages by name, and steps that are skipped while nothing changed.
#
#   stage NAME "SECTION" && {          true where the stage is to run
#       step OUT... : IN... -- COMMAND one command with what it makes and what it reads
#   }
#
# A step's identity is the hash of its command and of the identities of its inputs (a file's or folder's listing with
# sizes and times, where no step made it). It is done when the identity stored at its end is today's and its outputs
# are there. An interrupted step of the same identity goes on with what it left; one of another identity starts anew.

stage_name="" stage_started=0 stage_steps=0 stage_log="" job=""

index_of() { # NAME: its place in STAGES
    local i
    for i in "${!STAGES[@]}"; do
        [[ ${STAGES[i]} == "$1" ]] && echo "$i" && return
    done
    return 1
}

on_terminal() { [[ -t 1 && -z ${NO_COLOR:-} ]]; }

ruled() { # TEXT: a header under a rule
    local rule
    printf -v rule '%*s' 100 ''
    printf '\n%s\n%s\n' "${rule// /─}" "$1"
}

walk() { # PLACE: the list of stages, those behind grey, the running one bold
    local i
    for i in "${!STAGES[@]}"; do
        if ((i < $1)); then printf '\033[2m%s\033[0m ' "${STAGES[i]}"
        elif ((i == $1)); then printf '\033[1m▸%s\033[0m ' "${STAGES[i]}"
        else printf '%s ' "${STAGES[i]}"; fi
    done
    echo
}

elapsed() { # SECONDS: as 0:41 or 1:02:03
    local s=$1
    if ((s < 3600)); then printf '%d:%02d' $((s / 60)) $((s % 60)); else printf '%d:%02d:%02d' $((s / 3600)) $((s / 60 % 60)) $((s % 60)); fi
}

stage() { # NAME SECTION
    end_stage
    local place
    place=$(index_of "$1")
    ((place >= first && place <= last)) || return 1
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

slug() { local path=${1#"$W"/}; echo "${path//\//%}"; }

identity_of() { # PATH: of the step that made it or a folder above it; else of what lies there
    local path=$1
    while [[ $path == "$W"/* ]]; do
        if [[ -f $W/.steps/$(slug "$path").done ]]; then
            cat "$W/.steps/$(slug "$path").done"
            return
        fi
        path=${path%/*}
    done
    [[ -e $1 ]] || die "$1 does not exist"
    find -L "$1" -type f -printf '%P %s %T@\n' | LC_ALL=C sort | sha256sum | cut -d' ' -f1
}

identity() { # of the step in outs, ins and command
    local path
    {
        printf '%s\n' "${command[@]}"
        for path in "${ins[@]}"; do identity_of "$path"; done
    } | sha256sum | cut -d' ' -f1
}

all_exist() {
    local path
    for path in "$@"; do [[ -e $path ]] || return 1; done
}

quoted() { # WORDS: as one could paste them
    local word line=""
    for word in "$@"; do
        if [[ $word =~ ^[A-Za-z0-9_./,:=@%+-]+$ ]]; then line+=" $word"; else line+=" '${word//\'/\'\\\'\'}'"; fi
    done
    echo "${line:1}"
}

log() { # standard input into the stage's log and on, whoever is told to stop: last words count
    trap '' INT TERM
    tee -a "$stage_log"
}

show() { # the log on standard input, as people watch it
    trap '' INT TERM
    awk -v live="$(on_terminal && echo 1)" -f tools/run/show.awk
}

step() { # OUT... : IN... -- COMMAND...
    local -a outs=() ins=() command=()
    while [[ $1 != : ]]; do outs+=("$1") && shift; done
    shift
    while [[ $1 != -- ]]; do ins+=("$1") && shift; done
    shift
    command=("$@")
    if [[ $dry_run == yes ]]; then
        quoted "${command[@]}"
        return
    fi
    local id file out
    id=$(identity) || exit 1
    file=$W/.steps/$(slug "${outs[0]}")
    if [[ $force == no && -f $file.done && $(<"$file.done") == "$id" ]] && all_exist "${outs[@]}"; then
        return
    fi
    if [[ -f $file.done || -f $file.begun ]] && { [[ $force == yes || ! -f $file.begun ]] || [[ $(<"$file.begun") != "$id" ]]; }; then
        for out in "${outs[@]}"; do
            [[ $out != "$W"/* ]] || rm -rf "$out" # outside lies what the user brought
        done
    fi
    for out in "${outs[@]}"; do rm -f "$W/.steps/$(slug "$out").done"; done
    echo "$id" >"$file.begun"
    mkdir -p "${outs[@]%/*}"
    ((stage_steps)) || : >"$stage_log"
    stage_steps=$((stage_steps + 1))
    echo "\$ $(quoted "${command[@]}")" | tee -a "$stage_log"
    local began=$SECONDS
    supervise "${command[@]}" || failed $?
    printf '%s\t%s\t%s\n' "$stage_name" $((SECONDS - began)) "$(quoted "${command[@]}")" >"$file.ran" # for the report
    for out in "${outs[@]:1}"; do echo "$id" >"$W/.steps/$(slug "$out").done"; done
    mv "$file.begun" "$file.done"
}

# a process group of its own, so that Ctrl-C and kill reach all of a command; its leader waits for the command's end
supervise() {
    set -m
    { set +e; trap : INT TERM; "$@" 2>&1 | log | show; exit "${PIPESTATUS[0]}"; } &
    job=$!
    set +m
    local status=0
    wait "$job" || status=$?
    job=""
    return "$status"
}

interrupted() { # SIGNAL
    trap '' INT TERM
    if [[ -n $job ]]; then
        kill -s "$1" -- "-$job" 2>/dev/null || true
        wait "$job" 2>/dev/null || true
    fi
    echo "run_all: stopped in stage ${stage_name:-none}; the same command goes on from there" >&2
    [[ $1 == INT ]] && exit 130
    exit 143
}

failed() { # STATUS
    {
        echo
        echo "run_all: stage $stage_name failed (exit $1). The end of $stage_log:"
        grep -v '^ *@ *0x' "$stage_log" | tail -n 12 | sed 's/^/    /'
        echo "run_all: to go on from there: $(quoted "$0" "${run_options[@]}" --from "$stage_name")"
    } >&2
    exit 1
}
