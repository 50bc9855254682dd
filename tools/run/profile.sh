# shellcheck shell=bash disable=SC2153,SC2154 # W, DATA_DIR and the settings are the caller's
# Reads a profile: NAME=value lines and comments, nothing that would be run. What is wrong is gathered in PROBLEMS, all
# of it, so that a person mends a profile once.

PROBLEMS=()

problem() { PROBLEMS+=("$*"); }

# read_settings FILE: its values over those that are there
read_settings() {
    local LC_ALL=C # values and comments are bytes, of whatever encoding
    local line number=0 name value quote
    local form='^[[:space:]]*([A-Za-z_]+)=(.*)$'
    if [[ $(tr -d '\0' <"$1" | wc -c) != $(wc -c <"$1") ]]; then # which the shell passes over
        problem "$1 holds bytes of 0: it is damaged, or in UTF-16, as some editors save; save it as UTF-8"
        return
    fi
    while IFS= read -r line || [[ -n $line ]]; do
        number=$((number + 1)) line=${line%$'\r'}
        ((number > 1)) || line=${line#$'\xEF\xBB\xBF'} # a byte-order mark, as some editors write it
        [[ $line =~ ^[[:space:]]*(#.*)?$ ]] && continue
        if ! [[ $line =~ $form ]]; then
            problem "$1:$number: expected NAME=value, found: $line"
            continue
        fi
        name=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
        if ! unquoted "$value"; then
            problem "$1:$number: expected NAME=value, NAME=\"value\" or NAME='value', found: $line"
        elif [[ ! -v KIND_OF[$name] ]]; then
            problem "$1:$number: no setting is called $name$(near_setting "$name")"
        elif [[ $quote == "'" ]]; then
            take "$name" "$value" "$1:$number"
        elif expanded "$value"; then
            take "$name" "$value" "$1:$number"
        else
            problem "$1:$number: ${line#*=} names a setting that there is not, or another user's home" \
                "('single quotes' keep \$ and ~ as they are)"
        fi
    done <"$1"
}

# near_setting NAME: the one that was meant, or all that there are
near_setting() {
    local near
    near=$(meant "$1" "${!KIND_OF[@]}")
    echo "${near:-; there are: $(printf '%s\n' "${!KIND_OF[@]}" | sort | paste -sd' ')}"
}

# unquoted TEXT: sets value, and quote to what it stood in; false where a comment is all that may follow and doesn't
unquoted() {
    local rest='[[:space:]]*(#.*)?$'
    local double='^"([^"\`]*)"'"$rest" single="^'([^']*)'$rest" bare='^([^]["`'"'"'\()<>|;&*?[:space:]]*)'"$rest"
    quote=""
    if [[ $1 =~ $double ]]; then quote='"' value=${BASH_REMATCH[1]}
    elif [[ $1 =~ $single ]]; then quote="'" value=${BASH_REMATCH[1]}
    elif [[ $1 =~ $bare ]]; then value=${BASH_REMATCH[1]}
    else return 1; fi
}

# expanded TEXT: sets value to it with ~ at its beginning and every $NAME of a setting, $W, $DATA_DIR or $HOME replaced
expanded() {
    local left=$1 name length
    value=""
    if [[ $left =~ ^~(/|$) ]]; then value=$HOME left=${left:1}; fi
    [[ $left != ~* ]] || return 1 # another user's home
    while [[ $left == *\$* ]]; do
        value+=${left%%\$*} left=${left#*\$}
        [[ $left =~ ^([A-Za-z_]+)|^\{([A-Za-z_]+)\} ]] || return 1
        name=${BASH_REMATCH[1]}${BASH_REMATCH[2]} length=${#BASH_REMATCH[0]}
        [[ -v KIND_OF[$name] || $name =~ ^(W|DATA_DIR|HOME)$ ]] || return 1
        value+=${!name-} left=${left:length}
    done
    value+=$left
}

# take NAME VALUE WHERE: the setting, if it is what it may be
take() {
    local may
    if may=$(why_not "$2" "${KIND_OF[$1]}"); then
        printf -v "$1" '%s' "$2"
    else
        problem "$3: $1 is $may, not '$2'"
    fi
}

# why_not VALUE KIND: false, and what it may be in words, where the value is none of this kind
why_not() {
    local value=$1 kind=$2 word
    local number='^[1-9][0-9]{0,8}$' mean='((1?[0-9]?[0-9]|2[0-4][0-9])(\.[0-9]*)?|255(\.0*)?)'
    [[ $kind != *\? || -n $value ]] || return 0
    case ${kind%\?} in
        path | text) ;;
        words) [[ $value =~ ^[A-Za-z0-9_/.-]+( +[A-Za-z0-9_/.-]+)*$ || -z $value ]] || { echo "names parted by blanks" && return 1; } ;;
        mean)
            [[ -z $value || $value == */* || ($value == *.* && $value != *,*,*) || -e $value || $value =~ ^$mean,$mean,$mean$ ]] ||
                { echo "B,G,R (such as 104,117,123) or a mean file" && return 1; }
            ;;
        number) [[ $value =~ $number ]] || { echo "a whole number from 1 up" && return 1; } ;;
        count) [[ $value =~ ^(0|[1-9][0-9]{0,8})$ ]] || { echo "a whole number from 0 up" && return 1; } ;;
        share) [[ $value =~ ^0?\.[0-9]*[1-9][0-9]*$ ]] || { echo "a share between 0 and 1, such as 0.6" && return 1; } ;;
        rate) [[ $value =~ ^[0-9]*\.?[0-9]+(e-?[0-9]+)?$ && $value =~ ^[0.]*[1-9] ]] || { echo "a learning rate such as 0.001" && return 1; } ;;
        dims)
            for word in $value; do
                [[ $word =~ ^(full|none)$ || $word =~ $number ]] ||
                    { echo "dimensions such as '128 full none'" && return 1; }
            done
            ;;
        network) [[ $value != */* && -f prototxt/$value/deploy.prototxt ]] || { echo "one of: $(networks)" && return 1; } ;;
        *) [[ "|$kind|" == *"|$value|"* && -n $value ]] || { echo "one of: ${kind//|/ }" && return 1; } ;;
    esac
}

networks() { (cd prototxt && for one in */deploy.prototxt; do echo "${one%/*}"; done | paste -sd' '); }

# variables of the shell that have a setting's name: whoever put them there believes that they count
say_unread_environment() {
    local name unread=()
    for name in "${!DEFAULT_OF[@]}"; do [[ ! $(declare -p "$name" 2>/dev/null) =~ ^declare\ -[A-Za-z]*x ]] || unread+=("$name"); done
    ((${#unread[@]} == 0)) ||
        echo "run_all: not read from the environment: $(printf '%s\n' "${unread[@]}" | sort | paste -sd' ');" \
            "settings are lines of the profile, $profile_file" >&2
}

# read_profile FILE: every setting from its default, its network's file, and the profile; a network named there counts
read_profile() {
    local name network
    for name in "${!DEFAULT_OF[@]}"; do printf -v "$name" '%s' "${DEFAULT_OF[$name]}"; done
    [[ -f $1 && -r $1 ]] || die "$1 can't be read"
    read_settings "$1"
    network=$NETWORK
    if [[ -f prototxt/$network/settings ]]; then
        PROBLEMS=()
        read_settings "prototxt/$network/settings"
        read_settings "$1"
    fi
}
