# shellcheck shell=bash disable=SC2154 # W and take_over are options.sh's
# One run at a time in a work folder: the lock is held by the run and by every process it has started, so that what a
# killed run leaves behind (a Caffe that trains on) is found.

take_work_folder() {
    [[ ! -e $W || -d $W/.steps || -z $(ls -A -- "$W") ]] || die "$W holds files that are not a run's; choose another folder with --work"
    mkdir -p -- "$W/.steps" 2>/dev/null && [[ -w $W/.steps ]] || die "cannot write to $W"
    exec 9>>"$W/.steps/lock"
    flock -n 9 && return
    [[ $take_over == yes ]] || die "another run is at work in $W: $(holders_in_words); --take-over ends it and goes on from there"
    end_holders
    flock -w 10 9 || die "another run is at work in $W, and does not end: $(holders_in_words)"
}

holders() { # numbers of the processes that hold the lock, ours left out
    local link
    for link in /proc/[0-9]*/fd/9; do
        if [[ $link -ef $W/.steps/lock && $link != "/proc/$$/fd/9" && $link != "/proc/$BASHPID/fd/9" ]]; then
            link=${link#/proc/}
            echo "${link%%/*}"
        fi
    done
}

holders_in_words() {
    local pid words=""
    for pid in $(holders); do
        words+=", $pid ($(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | cut -c 1-60 | sed 's/ *$//'))"
    done
    echo "process ${words:2}"
}

end_holders() { # as Ctrl-C would, so that Caffe writes its snapshot; who stays after two minutes is killed
    local waited=0 pids
    pids=$(holders)
    # shellcheck disable=SC2086 # numbers
    kill -INT $pids 2>/dev/null || true
    echo "run_all: asked the run in $W to end: $(holders_in_words)"
    while [[ -n $(holders) ]] && ((waited++ < 120)); do sleep 1; done
    pids=$(holders)
    # shellcheck disable=SC2086
    [[ -z $pids ]] || kill -KILL $pids 2>/dev/null || true
}
