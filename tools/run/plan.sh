# shellcheck shell=bash disable=SC2154 # settings and options are the caller's
# What a run needs of disk and time, before it begins (tools/run/plan.py).

plan_of() { # OPTION...
    local name words=(W="$W" DATA_DIR="$DATA_DIR" GPUS="${GPUS:-none}" TABLE="$table" STAGES="$(stages_to_run)" PROFILE="$(basename -- "$profile_file")")
    for name in "${!KIND_OF[@]}"; do words+=("$name=${!name}"); done
    if [[ -n $CLASS_FOLDERS && ! -d $DATABASE ]]; then # to be parted yet: each side is counted as all of it
        words+=("TRAIN_PICTURES=$CLASS_FOLDERS" "DATABASE=$CLASS_FOLDERS")
    fi
    python3 tools/run/plan.py "$@" -- "${words[@]}"
}

stages_to_run() { # of this call, as --only may name one
    local one
    for one in "${STAGES[@]:first:last - first + 1}"; do ! has_stage "$one" || echo "$one"; done | paste -sd' '
}

show_plan() {
    command -v python3 >/dev/null || die "--plan needs Python, which set-up brings: ./run_all.sh --only setup"
    dry_run=yes ready_caffe >/dev/null
    plan_of
}

check_room() { plan_of --check || exit 1; } # before the first stage that fills a disk

say_room() { plan_of --check 2>&1 | sed 's/^run_all: /# /' || true; } # in a dry run: the plan may be for another machine
