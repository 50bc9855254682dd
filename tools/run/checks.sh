# shellcheck shell=bash disable=SC2154 # settings and options are the caller's
# What can be checked before work starts: every problem at once, in the profile's own words.

check_run() {
    check_environment
    [[ -z $FROM_SCRATCH || -d prototxt/$NETWORK/pretraining ]] ||
        problem "FROM_SCRATCH=$FROM_SCRATCH trains from nothing, for which prototxt/$NETWORK has no folder pretraining"
    [[ $variants == no || $FINETUNE_MODE == all ]] ||
        problem "--variants compares FINETUNE_MODE=all with the other two; $profile_file has FINETUNE_MODE=$FINETUNE_MODE"
    check_layers
    check_sizes
    [[ $W != *$'\n'* ]] || problem "--work: a line break in the work folder's name, which no list of pictures can hold"
    [[ $SOURCE != own ]] || check_own_data
    [[ $SOURCE != download || $dry_run == yes ]] || check_downloads
    report_problems
}

# what was found so far, one sentence a line; ends the run where there is anything
report_problems() {
    ((${#PROBLEMS[@]})) || return 0
    ((${#PROBLEMS[@]} == 1)) || echo "run_all: ${#PROBLEMS[@]} things to mend before this can run:" >&2
    local one
    for one in "${PROBLEMS[@]}"; do echo "run_all: $one" >&2; done
    exit 1
}

check_environment() { # every program would say so, and go on with all cores
    local name
    for name in OMP_NUM_THREADS OPENBLAS_NUM_THREADS; do
        [[ ${!name:-1} =~ ^[1-9][0-9]{0,3}(,[1-9][0-9]{0,3})*$ ]] || problem "$name must be a number of threads, not ${!name}"
    done
    [[ ${CAFFE_CPU_PRECISION:-fp32} == fp32 ]] ||
        problem "CAFFE_CPU_PRECISION=$CAFFE_CPU_PRECISION would hold for the training too: a profile's CPU_PRECISION" \
            "(fp32 or bf16) is for the features alone"
}

check_layers() {
    local layer lacking="" there
    mapfile -t there < <(blobs_of "prototxt/$NETWORK/deploy.prototxt")
    for layer in $LAYERS $MAP_LAYERS; do
        [[ " ${there[*]} " == *" $layer "* ]] || lacking+=", no layer $layer$(meant "$layer" "${there[@]}")"
    done
    [[ -z $lacking ]] || problem "LAYERS or MAP_LAYERS: the network $NETWORK has${lacking#,}; it has: ${there[*]}"
}

check_sizes() { # of classes; and training cuts its pictures out of those in the LMDB
    local crop
    fine_tunes || return 0
    crop=$(grep -oE 'crop_size: *[0-9]+' "prototxt/$NETWORK/train_val.prototxt" | grep -oE '[0-9]+$' | sort -n | tail -n 1)
    [[ $MIN_PICTURES != 1 || $COPIES_ANYWHERE == yes ]] ||
        problem "MIN_PICTURES is 1, but both lists need a photograph of each class: 2, or COPIES_ANYWHERE=yes"
    ((RESIZE >= ${crop:-0})) || problem "RESIZE is $RESIZE, but $NETWORK is trained on crops of $crop x $crop"
}

blobs_of() { grep -oE "top: *['\"][^'\"]+" "$1" | sed "s/.*['\"]//" | awk '!seen[$0]++'; }

check_own_data() {
    local name
    [[ -n $TRAIN_PICTURES || -n $DATABASE ]] ||
        problem "$profile_file names no pictures: TRAIN_PICTURES (class folders) or DATABASE (pictures to search in)"
    for name in TRAIN_PICTURES DATABASE GROUND_TRUTH LEARN_FROM; do
        if [[ $name == GROUND_TRUTH && ${!name} == *.pkl ]]; then
            [[ -f ${!name} ]] || problem "$name: there is no file ${!name}"
        elif [[ -n ${!name} && ! -d ${!name} ]]; then problem "$name: there is no folder ${!name}"; fi
    done
    [[ ! -d $TRAIN_PICTURES ]] || check_class_folders
    if fine_tunes && [[ -z $TRAIN_PICTURES ]]; then
        problem "TRAIN_PICTURES is not set, and fine-tuning needs class folders (--table 1 goes without)"
    fi
    if [[ -n $DATABASE && -z $GROUND_TRUTH ]]; then
        problem "GROUND_TRUTH is not set: DATABASE is searched by its queries (with TRAIN_PICTURES alone both are made of" \
            "photographs held out)"
    elif [[ -n $GROUND_TRUTH && -z $DATABASE ]]; then
        problem "DATABASE is not set: GROUND_TRUTH needs the pictures that it judges"
    fi
    if [[ -d $GROUND_TRUTH ]]; then check_ground_truth; fi
    if [[ -z $WEIGHTS ]]; then
        problem "WEIGHTS is not set: the pre-trained caffemodel of $NETWORK$(how_to_fetch "$DATA_DIR/VGG_ILSVRC_16_layers.caffemodel")"
    elif [[ -d $WEIGHTS ]]; then
        problem "WEIGHTS: $WEIGHTS is a folder, and a caffemodel is a file"
    elif [[ ! -f $WEIGHTS ]]; then
        problem "WEIGHTS: there is no file $WEIGHTS$(how_to_fetch "$WEIGHTS")"
    elif [[ ! -r $WEIGHTS ]]; then
        problem "WEIGHTS: $WEIGHTS can't be read"
    fi
    if [[ $MEAN == "$W"/pretraining/* && ! -f $MEAN ]]; then
        problem "MEAN is not set: the mean file of what the weights of $NETWORK were trained on" \
            "(the demo's is work/demo/pretraining/lmdb/mean.binaryproto, once ./run_all.sh has made it)"
    elif [[ $MEAN == */* || $MEAN == *.binaryproto ]] && [[ ! -f $MEAN && $MEAN != "$W"/* ]]; then
        problem "MEAN: there is no file $MEAN"
    fi
}

check_class_folders() {
    local least=$MIN_PICTURES any enough suffixes='jpe?g|jpe|png|bmp|tiff?|webp|ppm|pgm' # as tools/files/picture_names.py
    [[ -n $DATABASE ]] || least=4 # two on each side, of data_prep.make_gt
    read -r any enough < <(find -L "$TRAIN_PICTURES" -mindepth 1 -maxdepth 2 -regextype posix-extended -name '.*' -prune \
        -o -type f -iregex ".*\.($suffixes)" -printf '%d %h\0' 2>/dev/null | tr '\n' ' ' | tr '\0' '\n' |
        awk -v least="$least" '/^2 / { n[$0]++ } END { for (one in n) { any++; enough += n[one] >= least }; print any + 0, enough + 0 }')
    if ((any == 0)); then
        problem "TRAIN_PICTURES: $TRAIN_PICTURES has no class folders with pictures in them (JPEG, PNG, WebP, TIFF, BMP, PPM;" \
            "a phone's HEIC is to be exported as JPEG)"
    elif [[ -z $DATABASE ]] && ((enough < 2)); then
        problem "TRAIN_PICTURES: of the $any class folders in $TRAIN_PICTURES $enough hold 4 pictures or more: two are" \
            "needed, one to search for and one to tell it apart from"
    elif fine_tunes && ((enough < 2)); then
        problem "TRAIN_PICTURES: of the $any class folders in $TRAIN_PICTURES $enough hold $MIN_PICTURES pictures or more" \
            "(MIN_PICTURES): fine-tuning needs two"
    fi
}

# how_to_fetch FILE: the commands that download a network's weights to it, where they are published
how_to_fetch() {
    [[ $NETWORK == vgg16 ]] || return 0
    echo "; to download VGG16's (553 MB):" \
        "tools/setup.sh && $(quoted "${CAFFE_VENV:-.venv}/bin/python" -m data_prep.fetch vgg16 --out "$1")"
}

check_ground_truth() {
    local query lacking=()
    for query in "$GROUND_TRUTH"/*_query.txt; do
        [[ -e $query ]] || { problem "GROUND_TRUTH: $GROUND_TRUTH has no query (NAME_query.txt)" && return; }
        for kind in good ok junk; do
            [[ -f ${query%_query.txt}_$kind.txt ]] || lacking+=("$(basename "${query%_query.txt}_$kind.txt")")
        done
    done
    ((${#lacking[@]} == 0)) || problem "GROUND_TRUTH: $GROUND_TRUTH lacks ${lacking[*]:0:5}"
}

check_downloads() {
    if fine_tunes && [[ $TRAINING_SET == own && ! -d $TRAIN_PICTURES && ! -f $LANDMARK_URLS ]]; then
        problem "TRAIN_PICTURES: there are no class folders at $TRAIN_PICTURES, and no list of addresses at" \
            "$LANDMARK_URLS; Table 1 works without (--table 1)"
    fi
    if [[ -n $LEARN_FROM && $LEARN_FROM != "$DATABASE" && ! -d $LEARN_FROM && -z $(set_at "$LEARN_FROM") ]]; then
        problem "LEARN_FROM: there is no folder $LEARN_FROM, and what is downloaded goes to $W/data/paris6k or" \
            "$DATA_DIR/oxford5k/jpg"
    fi
    local of_set
    of_set=r$(searched_set)
    if is_revisited && [[ ! -f $GROUND_TRUTH && $GROUND_TRUTH != *"$of_set"* ]]; then
        problem "GROUND_TRUTH: there is no file $GROUND_TRUTH, and gnd_$of_set.pkl is what is downloaded for $DATABASE"
    fi
}
