# shellcheck shell=bash
# A full disk in words: programs that write through a memory map or a library end by a signal there, or by other words.

LITTLE_ROOM_MB=16

little_room() { # PATH: ": only 3 MB are free there", or nothing where there is room
    local free
    free=$(df --output=avail -B 1M -- "$1" 2>/dev/null | tail -n 1 | tr -d ' ')
    [[ ! $free =~ ^[0-9]+$ ]] || ((free >= LITTLE_ROOM_MB)) || echo ": its disk is full, $free MB are free at $1"
}
