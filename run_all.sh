#!/usr/bin/env bash
# The article as a script: which VGG16 layer to use for image retrieval, and what fine-tuning gains (Yong Yuan, 2017),
# on BVLC Caffe. Each stage below is a section of the article; each `step` is one command, with what it makes, what it
# reads, and the command itself; --dry-run prints them ready to paste (after `source .caffe/env.sh`).
set -euo pipefail
invoked_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
source tools/stages.sh
STAGES=(setup data check augment rename split lmdb mean prototxt finetune extract score tables)
source tools/run_options.sh

# ── What the run needs: Debian packages, .venv, BVLC Caffe built from Debian's source ────────────────────────────────
stage setup "Install what is missing" && run_setup
use_caffe

# ── Pictures to train on, pictures to search in with their ground truth, pre-trained weights ─────────────────────────
stage data "The data: landmarks to train on, the retrieval set, pre-trained weights" && {
    if [[ $SOURCE == made ]]; then
        step "$DATABASE" "$GROUND_TRUTH" : -- python -m data_prep.make_demo retrieval --out "$W/data/retrieval" --seed "$SEED"
        wants_table 2 && step "$TRAIN_PICTURES" : -- python -m data_prep.make_demo landmarks --out "$TRAIN_PICTURES" --seed "$SEED"
        step "$W/data/generic" : -- python -m data_prep.make_demo generic --out "$W/data/generic" --seed "$SEED"
        step "$WEIGHTS" : "$W/data/generic" -- tools/pretrain.sh "$W/data/generic" "$W/data/pretraining" "$WEIGHTS" "$SEED"
    elif [[ $SOURCE == download ]]; then
        step "$DATABASE" : -- python -m data_prep.fetch oxford5k-images --out "$DATABASE"
        step "$GROUND_TRUTH" : -- python -m data_prep.fetch oxford5k-gt --out "$GROUND_TRUTH"
        step "$WEIGHTS" : -- python -m data_prep.fetch vgg16 --out "$WEIGHTS"
        wants_table 2 && step "$TRAIN_PICTURES" : -- python -m data_prep.fetch landmarks --urls "$LANDMARK_URLS" --out "$TRAIN_PICTURES"
    fi
}

if wants_table 2; then
    # ── Section 4, data augmentation: broken pictures out, then about 800 pictures a class ───────────────────────────
    stage check "Section 4, data augmentation: find the pictures that Caffe would stumble over" &&
        step "$W/checked" : "$TRAIN_PICTURES" -- \
            python -m data_prep.check_images "$W/checked" --from "$TRAIN_PICTURES" --fix \
            --quarantine "$W/quarantine" --report "$W/check.csv"

    stage augment "Section 4, data augmentation: $NUM_WANTED pictures a class" &&
        step "$W/augmented" : "$W/checked" -- \
            python -m data_prep.augment "$W/augmented" --from "$W/checked" --num-wanted "$NUM_WANTED" \
            --engine "$AUGMENT_ENGINE" --seed "$SEED"

    # ── Section 5, fine-tuning VGG16: class folders to numbers, lists, LMDB, mean file ───────────────────────────────
    stage rename "Section 5, fine-tuning: class folders to 0 .. N-1" &&
        step "$W/classes" "$W/classes.csv" : "$W/augmented" -- \
            python -m data_prep.rename_classes "$W/classes" --from "$W/augmented"

    stage split "Section 5, split into train and val" &&
        step "$W/lists" : "$W/classes" -- \
            python -m data_prep.split "$W/classes" --out "$W/lists" --train-share "$TRAIN_SHARE" --seed "$SEED" "${SPLIT_OPTIONS[@]}"

    stage lmdb "Section 5, pictures to LMDB" &&
        step "$W/lmdb/train_lmdb" "$W/lmdb/val_lmdb" : "$W/lists" -- \
            tools/make_lmdb.sh "$W/lists" "$W/lmdb" "$RESIZE"

    stage mean "Section 5, the mean file" &&
        step "$W/lmdb/mean.binaryproto" : "$W/lmdb/train_lmdb" -- \
            tools/make_mean.sh "$W/lmdb/train_lmdb" "$W/lmdb/mean.binaryproto"
fi

# ── Section 3, any layer's features: a blob for every layer. Section 5: train_val and solver ─────────────────────────
stage prototxt "Section 3, a blob for every layer; section 5, train_val.prototxt and solver.prototxt" && {
    step "$W/prototxt/deploy.prototxt" : "prototxt/$NETWORK/deploy.prototxt" -- \
        python -m tools.rename_blobs "prototxt/$NETWORK/deploy.prototxt" "$W/prototxt/deploy.prototxt"
    wants_table 2 && step "$W/prototxt/train" : "prototxt/$NETWORK" "$W/classes.csv" "$W/lmdb/val_lmdb" "$W/lmdb/mean.binaryproto" -- \
        python -m tools.fill_prototxt --net "prototxt/$NETWORK" --out "$W/prototxt/train" \
        --train-lmdb "$W/lmdb/train_lmdb" --val-lmdb "$W/lmdb/val_lmdb" --mean "$W/lmdb/mean.binaryproto" \
        --classes "$W/classes.csv" --snapshot-prefix "$W/snapshots/vgg" --seed "$SEED" "${SOLVER_OPTIONS[@]}"
}

if wants_table 2; then
    stage finetune "Section 5, fine-tuning" &&
        step "$W/models/finetuned.caffemodel" "$W/snapshots" : "$W/prototxt/train" "$WEIGHTS" "$W/lmdb/train_lmdb" "$W/lmdb/mean.binaryproto" -- \
            tools/finetune.sh --prototxt "$W/prototxt/train" --weights "$WEIGHTS" --mode "$FINETUNE_MODE" \
            --out "$W/models/finetuned.caffemodel" "${GPU_OPTIONS[@]}"
fi

# ── Section 1, which layer: features of the layers, ranks, mAP. Section 6, test: the same after fine-tuning ──────────
stage extract "Sections 1 and 6, features of ${LAYERS[*]}" && {
    for model in "${MODELS[@]}"; do
        step "$W/features/$model.h5" : "$W/prototxt/deploy.prototxt" "${WEIGHTS_OF[$model]}" "$DATABASE" "$GROUND_TRUTH" -- \
            python -m eval.extract --deploy "$W/prototxt/deploy.prototxt" --weights "${WEIGHTS_OF[$model]}" --model "$model" \
            --images "$DATABASE" --gt "$GROUND_TRUTH" --mean "$MEAN" --layers "${LAYERS[@]}" --out "$W/features/$model.h5" "${GPU_OPTIONS[@]}"
    done
}

stage score "Sections 1 and 6, whitening, ranking, mAP by compute_ap" && {
    for model in "${MODELS[@]}"; do
        step "$W/ranks/$model" : "$W/features/$model.h5" "$GROUND_TRUTH" -- \
            python -m eval.score "$W/features/$model.h5" --gt "$GROUND_TRUTH" --dims "${DIMS[@]}" --out "$W/ranks/$model"
    done
}

stage tables "Table 1, which layer; Table 2, what fine-tuning gains" && {
    step "$W/results/table1.json" "$W/results/table1.md" : "$W/ranks/pretrained" -- \
        python -m eval.tables --table 1 --pretrained "$W/ranks/pretrained/scores.json" --out "$W/results" --data-note "$DATA_NOTE"
    wants_table 2 && step "$W/results/table2.json" "$W/results/table2.md" : "$W/ranks/pretrained" "$W/ranks/finetuned" -- \
        python -m eval.tables --table 2 --pretrained "$W/ranks/pretrained/scores.json" \
        --finetuned "$W/ranks/finetuned/scores.json" --out "$W/results" --data-note "$DATA_NOTE"
}

end_stage
summary
