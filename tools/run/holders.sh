# shellcheck shell=bash
# Who holds a lock: the kernel lets go of one when the last process has ended that inherited it.

# lock_fd FD SECONDS: false where another process holds the lock of FD's file, also after so many seconds. A disk without
# locks (some network file systems) says so on stderr, and is gone on with
lock_fd() {
    local status=0
    flock -w "$2" "$1" || status=$?
    ((status != 1))
}

holders_of() { # FILE FD: numbers of the processes that have FILE open as FD
    local link
    for link in /proc/[0-9]*/fd/"$2"; do
        if [[ $link -ef $1 ]]; then
            link=${link#/proc/}
            echo "${link%%/*}"
        fi
    done
}

in_words() { # PROCESS...: as 4242 (caffe train -solver solver.prototxt)
    local pid command words=""
    (($#)) || { echo "a process of another user" && return; }
    for pid in "$@"; do
        command=$({ tr '\0\n' '  ' <"/proc/$pid/cmdline"; } 2>/dev/null | sed 's#[^ ]*/##g; s/ *$//' | cut -c 1-60)
        [[ -z $command ]] || words+=", $pid ($command)" # else it has ended meanwhile
    done
    if [[ -n $words ]]; then echo "process ${words:2}"; else echo "one that has just ended"; fi
}
