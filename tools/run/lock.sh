# shellcheck shell=bash disable=SC2154 # W and take_over are options.sh's
# One run at a time in a work folder: the lock is held by the run and by every process it has started, so that what a
# killed run leaves behind (a Caffe that trains on) is found.
source tools/run/holders.sh

take_work_folder() {
    [[ ! -e $W || -d $W/.steps || -z $(ls -A -I .steps -- "$W") ]] || die "$W holds files that are not a run's; choose another folder with --work"
    local whose=""
    [[ $W != /workspace/* ]] || whose=": make the folder that is mounted there yourself (mkdir), before Docker does, and run with --user \"\$(id -u):\$(id -g)\""
    mkdir -p -- "$W/.steps" 2>/dev/null && [[ -w $W/.steps ]] || die "cannot write to $W$whose"
    ! lock_taken 0 || return 0
    [[ $take_over == yes ]] || die "another run is at work in $W: $(holders_in_words); --take-over ends it and goes on from there"
    end_holders
    lock_taken 10 || die "another run is at work in $W, and does not end: $(holders_in_words)"
}

lock_taken() { # SECONDS to wait
    exec 9>>"$W/.steps/lock"
    lock_fd 9 "$1" || { exec 9>&- && return 1; } # closed again, so that we are none of those who hold it
}

holders() { holders_of "$W/.steps/lock" 9; }

# shellcheck disable=SC2046 # numbers
holders_in_words() { in_words $(holders); }

end_holders() { # as Ctrl-C would, so that Caffe writes its snapshot; who stays after two minutes is killed
    local waited=0 pids
    pids=$(holders)
    # shellcheck disable=SC2086 # numbers
    echo "run_all: asking the run in $W to end: $(in_words $pids)"
    # shellcheck disable=SC2086
    kill -CONT $pids 2>/dev/null || true # stopped ones (Ctrl-Z) take no other signal
    # shellcheck disable=SC2086
    kill -INT $pids 2>/dev/null || true
    while [[ -n $(holders) ]] && ((waited++ < 120)); do
        sleep 1
        # shellcheck disable=SC2046 # numbers; some ignore Ctrl-C, as what a shell starts in the background does
        ((waited != 10)) || kill -TERM $(holders) 2>/dev/null || true
    done
    pids=$(holders)
    # shellcheck disable=SC2086
    [[ -z $pids ]] || kill -KILL $pids 2>/dev/null || true
}
