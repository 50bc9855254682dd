# shellcheck shell=bash disable=SC2154 # W, force, dry_run and others are options.sh's, stage_* are stages.sh's
# A step is one command with what it makes and what it reads; it is skipped while nothing that counts has changed.
#
#   step makes OUT... from IN... by COMMAND...
#   step writes OUT... from IN... by COMMAND...    OUT is a text of a moment's work: written again where COMMAND, or the
#                                                  place that it names, changed in anything
#
# What counts is a step's identity: the hash of its command and of its inputs. In the command the run's own folder and
# the machine (GPUs, processes, the engine where it gives the same) don't count. An input that a step has made counts by
# what is in it, any other file or folder likewise; of large ones a part is looked at. Comments in prototxt don't count.
#
# W/.steps holds for each output OUT: OUT.done, its step's identity, the output's own, command and size; OUT.begun while it is made.
# Marks go before outputs do, and come after them: a mark is written when everything before it is on the disk. So
# whatever moment a run is stopped at, no half is taken for whole. A mark that is cut short, or none of ours, counts for
# none. A step that was stopped goes on with what it left where its identity is the same; what a changed setting makes
# stale is moved to W/aside, never removed.

MACHINE_OPTIONS=(--gpu --gpus --solver-mode --jobs --scheduler --keep --silence)
WHOLE_BYTES=$((1 << 30)) # a larger file counts by its size, its first and its last MB, a larger folder by its files' ends

slug() { # PATH: as the name of a file, of 255 bytes at most with what follows
    local LC_ALL=C path=${1#"$W"/}
    path=${path//\//%}
    ((${#path} <= 240)) || path=$(sha256sum <<<"$path" | cut -d' ' -f1)
    echo "$path"
}

quoted() { # WORDS: as one could paste them
    local word line=""
    for word in "$@"; do
        if [[ $word =~ ^[A-Za-z0-9_./,:=@%+-]+$ ]]; then line+=" $word"; else line+=" '${word//\'/\'\\\'\'}'"; fi
    done
    echo "${line:1}"
}

step() {
    local kind=$1
    local -a outs=() ins=() command=()
    local out
    shift
    while [[ $1 != from && $1 != by ]]; do outs+=("$1") && shift; done
    if [[ $1 == from ]]; then
        shift
        while [[ $1 != by ]]; do ins+=("$1") && shift; done
    fi
    command=("${@:2}")
    for out in "${outs[@]}"; do
        [[ ! $out -ef /dev/stdout ]] || die "a step's command makes $out itself: no > behind it, which would be the step's"
    done
    if [[ $dry_run == yes ]]; then
        quoted "${command[@]}"
        return
    fi
    local id mark seen began=$SECONDS
    mark=$W/.steps/$(slug "${outs[0]}")
    id=$(identity) || exit 1
    ! is_done || return 0
    ((stage_steps)) || : >"$stage_log"
    stage_steps=$((stage_steps + 1))
    if [[ ! -f $mark.begun || $(<"$mark.begun") != "$id" ]]; then clear_the_way; fi
    mkdir -p "${outs[@]%/*}"
    say "\$ $(quoted "${command[@]}")"
    seen=$(seen_of_inputs)
    [[ $(identity) == "$id" ]] || inputs_changed # since they were looked at, which may take a while
    supervise "${command[@]}" || failed $?
    [[ $(seen_of_inputs) == "$seen" ]] || inputs_changed
    finish_step
}

is_done() {
    local out noted
    [[ $force == no ]] && read_mark "$mark.done" && [[ ${noted[0]} == "$id" ]] || return 1
    [[ $kind == makes || ${noted[2]} == "$(command_here)" ]] || return 1
    for out in "${outs[@]}"; do is_whole "$out" "$W/.steps/$(slug "$out").done" || return 1; done
}

is_whole() { # OUT MARK: nobody has emptied it since, nor cut it
    local noted size
    [[ -e $1 ]] && read_mark "$2" || return 1
    size=$(size_of "$1")
    case $kind in
        writes) [[ $size != 0 && $size != "no files" ]] ;;
        *) [[ $size == "${noted[3]}" ]] ;;
    esac
}

# read_mark FILE: sets noted to a mark's lines; false where there is none that is whole, but what a power cut, another
# version or a hand has left
read_mark() {
    [[ -f $1 && -r $1 ]] && mapfile -t noted <"$1" && ((${#noted[@]} == 4)) &&
        [[ ${noted[1]} =~ ^[0-9a-f]{64}(,[0-9a-f]{64})?$ ]]
}

command_here() { echo "$PWD\$ $(quoted "${command[@]}")"; } # lists name pictures by their whole path

# size_of PATH: a file's bytes; of a folder, whether there is a file in it, for snapshots go
size_of() {
    if [[ ! -d $1 ]]; then stat -L -c %s "$1"
    elif [[ -n $(find -L "$1" -type f -print -quit) ]]; then echo files
    else echo "no files"; fi
}

# outputs that this step may not go on with leave their places; a step whose command alone changed writes over its text
clear_the_way() {
    local out ours=no marks=("$mark.begun")
    for out in "${outs[@]}"; do marks+=("$W/.steps/$(slug "$out").done"); done
    aside=${aside:-$W/aside/$(date +%Y-%m-%d_%H-%M-%S)}
    [[ ! -e $mark.done && ! -e $mark.begun ]] || ours=yes
    for out in "${marks[@]}"; do [[ ! -d $out ]] || in_place set_aside "$out"; done # no mark, and in its way
    if [[ $ours == yes && ! ($kind == writes && $(first_line "$mark.done") == "$id") ]]; then
        in_place whole_mark "$mark.begun" "stale"
        rm -f "${marks[@]:1}"
        for out in "${outs[@]}"; do in_place set_aside "$out"; done
    fi
    rm -f "${marks[@]:1}"
    in_place whole_mark "$mark.begun" "$id"
}

first_line() { [[ ! -f $1 ]] || head -n 1 "$1" | tr -d '\0'; }

set_aside() { # PATH: below W, for what lies outside is the user's
    local place=$aside/${1#"$W"/}
    [[ $1 == "$W"/* && -e $1 ]] || return 0
    while [[ -e $place ]]; do place+=_; done
    mkdir -p "${place%/*}" && mv -T -- "$1" "$place" || return
    [[ ! -f $W/.steps/$(slug "$1").ran ]] || cp "$W/.steps/$(slug "$1").ran" "$place.ran" || return
    say "moved aside: $place, made with other settings" >&3
}

finish_step() {
    local out disks=("$W")
    for out in "${outs[@]}"; do
        [[ -e $out ]] || { say "run_all: the command ended well, but has not made $out" >&2; failed 0; }
    done
    in_place note_what_ran
    for out in "${outs[@]}"; do [[ $out == "$W"/* && ! -L $out ]] || disks+=("$out"); done
    in_place sync -f "${disks[@]}" # before marks
    for out in "${outs[@]:1}" "${outs[0]}"; do
        in_place whole_mark "$W/.steps/$(slug "$out").done" "$id" "$(own_identity "$out")" "$(command_here)" "$(size_of "$out")"
    done
    rm -f "$mark.begun"
}

note_what_ran() { # for the report
    printf '%s\t%s\t%s\n' "$stage_name" $((SECONDS - began)) "$(quoted "${command[@]}")" >"$mark.ran"
}

# whole_mark FILE LINE...: there with all its lines, or not at all
whole_mark() {
    printf '%s\n' "${@:2}" >"$1.new" && sync "$1.new" && mv -T -- "$1.new" "$1" && sync "${1%/*}"
}

in_place() { # COMMAND...: something of a step's own in the work folder; why it can't be is one sentence
    local said
    { said=$("$@" 2>&1); } 3>&1 ||
        die "stage $stage_name can't write to $W: ${said##*: }$(little_room "$W"). When that is mended, go on by: $(same_command)"
}

identity() { # of the step in kind, outs, ins and command
    local path word skip=no machine=" ${MACHINE_OPTIONS[*]} "
    # how many a GPU takes at once says nothing of a step that is told how many it takes in all
    [[ " ${command[*]} " != *" --effective-batch "* ]] || machine+="--train-batch "
    {
        for word in "${command[@]}"; do
            if [[ $skip == yes ]]; then skip=no && continue; fi
            if [[ $machine == *" $word "* ]]; then skip=yes && continue; fi
            called "$(called "$word" "$W" @W)" "$DATA_DIR" @DATA
        done | sed 'N;s/^--engine\n\(keras\|opencv\)$/--engine\nkeras/;P;D'
        for path in "${ins[@]}"; do identity_of "$path" || exit 1; done
    } | sha256sum | cut -d' ' -f1
    [[ ${PIPESTATUS[0]} == 0 ]]
}

called() { # WORD FOLDER NAME: with the name where the folder is a path, or begins one: --weights has a folder w in it
    local before="" left=$1
    while [[ $left == *"$2"* ]]; do
        before+=${left%%"$2"*} left=${left#*"$2"}
        if [[ $before =~ (^|[^[:alnum:]_./-])$ && $left =~ ^([^[:alnum:]_.-]|$) ]]; then before+=$3; else before+=$2; fi
    done
    printf '%s\n' "$before$left"
}

own_identity() { # OUT: a text's is its step's, so that what only the machine changes in it stales nothing
    if [[ $kind == writes ]]; then
        echo "$id"
    else
        contents_of "$1" # of a large folder, such as an LMDB, not all is looked at: there its step's counts too
        [[ ! -d $1 ]] || ! is_large "$1" || echo "$id"
    fi | paste -sd-
}

identity_of() { # PATH: what a step noted of it or of a folder above it; else what lies there
    local path=$1 marked noted
    [[ ! $path =~ ^[0-9.,]+$ ]] || { echo "$path" && return; } # a value, as MEAN may be
    while :; do
        marked=$W/.steps/$(slug "$path").done
        if read_mark "$marked"; then
            echo "${noted[1]}"
            return
        fi
        [[ $path == */?* ]] || break
        path=${path%/*}
    done
    [[ -e $1 || $1 != "$W"/* ]] ||
        die "stage $stage_name needs $1, which an earlier stage makes: without --from and --only this run makes what is missing and skips what is done"
    [[ -e $1 ]] || die "$1 does not exist: an earlier stage makes it, or a setting names it"
    remembered_contents "$1"
}

# what lies at PATH, remembered with the sizes and times that it was looked at with; the inodes' times, as others can be
# set, and copies of a file may have those of the first
remembered_contents() {
    local note listing contents
    note=$W/.steps/$(slug "$1").seen
    listing=$(listing_of "$1" %C@)
    if [[ $(first_line "$note") == "$listing" ]]; then
        contents=$(sed -n 2p "$note" | tr -d '\0')
    fi
    if ! [[ ${contents-} =~ ^[0-9a-f]{64}$ ]]; then
        contents=$(contents_of "$1")
        printf '%s\n' "$listing" "$contents" 2>/dev/null >"$note" || true # it only spares time
    fi
    echo "$contents"
}

files_of() { # PATH TESTS...: but for hidden ones below it, and LMDB's lock
    find -L "$1" -name '.*' ! -samefile "$1" -prune -o -type f ! -name lock.mdb "${@:2}"
}

listing_of() { files_of "$1" -printf "%P %s $2\\n" | LC_ALL=C sort | sha256sum | cut -d' ' -f1; } # PATH TIME

inputs_changed() {
    die "what $stage_name reads has changed while it was at work (${ins[*]}): the same command makes it anew"
}

# sizes and times, which tell whether a step has read one and the same thing all the while; of the user's folders their
# own times too, as a picture may have gone and come back
seen_of_inputs() {
    local path
    for path in "${ins[@]}"; do
        [[ ! -e $path ]] || listing_of "$path" %T@ # links that a step makes of them change the inodes' times
        [[ ! -d $path || $path == "$W"/* ]] ||
            find -L "$path" -name '.*' ! -samefile "$path" -prune -o -type d -printf '%P %T@\n' | LC_ALL=C sort
    done
}

# contents_of PATH: a file's bytes, or a folder's names, sizes and bytes; of large ones a part
contents_of() {
    local size
    if [[ -d $1 ]]; then
        folder_contents "$1"
    elif [[ $1 == *.prototxt ]]; then
        without_comments "$1"
    else
        size=$(stat -L -c %s "$1")
        if ((size <= WHOLE_BYTES)); then cat "$1"; else echo "$size" && head -c 1M "$1" && tail -c 1M "$1"; fi
    fi | sha256sum | cut -d' ' -f1
}

folder_contents() { # PATH: of a large folder each file's end, where pictures and models differ
    local look=(cat) file
    ! is_large "$1" || look=(tail -q -c 4096)
    files_of "$1" ! -name '*.prototxt' -printf '%P %s\n' | LC_ALL=C sort
    files_of "$1" ! -name '*.prototxt' -print0 | LC_ALL=C sort -z | xargs -0 -r "${look[@]}"
    files_of "$1" -name '*.prototxt' -print0 | LC_ALL=C sort -z | while IFS= read -r -d '' file; do
        echo "${file#"$1"}" && without_comments "$file"
    done
}

is_large() { (($(files_of "$1" -printf '%s\n' | awk '{ sum += $1 } END { printf "%.0f", sum }') > WHOLE_BYTES)); }

# a # in quotes begins none, and one right behind a value does
without_comments() {
    local quoted='"([^"\\]|\\.)*"|'"'([^'\\\\]|\\\\.)*'"
    sed -E "s/^(([^\"'#]|$quoted)*)#.*/\1/; s/[[:space:]]*\$//; /^\$/d" "$1"
}
