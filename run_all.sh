#!/usr/bin/env bash
# The article as a script: which VGG16 layer to use for image retrieval, and what fine-tuning gains (Yong Yuan, 2017),
# on BVLC Caffe. Each stage below is a section of the article; each `step` is one command, with what it makes, what it
# reads, and the command itself; --dry-run prints them ready to paste (after `source .caffe/env.sh`).
set -euo pipefail
invoked_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
source tools/run/stages.sh
STAGES=(setup data check augment rename split lmdb mean prototxt finetune extract score representations tables report)
source tools/run/options.sh

# ── What the run needs: Debian packages, .venv, BVLC Caffe built from Debian's source ────────────────────────────────
stage setup "Install what is missing" && run_setup
use_caffe

# ── Pictures to train on, pictures to search in with their ground truth, pre-trained weights ─────────────────────────
stage data "The data: landmarks to train on, the retrieval set, pre-trained weights" && {
    if [[ $SOURCE == made ]]; then
        step "$W/data/retrieval" : -- python -m data_prep.make_demo retrieval --out "$W/data/retrieval" --seed "$SEED"
        wants_table 2 && step "$TRAIN_PICTURES" : -- python -m data_prep.make_demo landmarks --out "$TRAIN_PICTURES" --seed "$SEED"
        step "$W/data/generic" : -- python -m data_prep.make_demo generic --out "$W/data/generic" --seed "$SEED"
        step "$WEIGHTS" "$W/data/pretraining" : "$W/data/generic" "prototxt/$NETWORK/pretraining" -- \
            tools/pretrain.sh "$W/data/generic" "$W/data/pretraining" "$WEIGHTS" "$SEED"
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
    stage finetune "Section 5, fine-tuning" && {
        step "$W/models/finetuned.caffemodel" "$W/snapshots" : "$W/prototxt/train" "$WEIGHTS" "$W/lmdb/train_lmdb" "$W/lmdb/mean.binaryproto" -- \
            tools/finetune.sh --prototxt "$W/prototxt/train" --weights "$WEIGHTS" --mode "$FINETUNE_MODE" \
            --out "$W/models/finetuned.caffemodel" "${GPU_OPTIONS[@]}"
        if [[ $variants == yes ]]; then # the article's two other ways: only the last layer; it first, then all
            step "$W/prototxt/train_variants" : "prototxt/$NETWORK" "$W/classes.csv" "$W/lmdb/val_lmdb" "$W/lmdb/mean.binaryproto" -- \
                python -m tools.fill_prototxt --net "prototxt/$NETWORK" --out "$W/prototxt/train_variants" \
                --train-lmdb "$W/lmdb/train_lmdb" --val-lmdb "$W/lmdb/val_lmdb" --mean "$W/lmdb/mean.binaryproto" \
                --classes "$W/classes.csv" --snapshot-prefix "$W/snapshots_variants/vgg" --seed "$SEED" "${SOLVER_OPTIONS[@]}"
            step "$W/models/finetuned_last.caffemodel" "$W/snapshots_variants" : "$W/prototxt/train_variants" "$WEIGHTS" "$W/lmdb/train_lmdb" -- \
                tools/finetune.sh --prototxt "$W/prototxt/train_variants" --weights "$WEIGHTS" --mode last \
                --out "$W/models/finetuned_last.caffemodel" "${GPU_OPTIONS[@]}"
            step "$W/models/finetuned_two-phase.caffemodel" : "$W/models/finetuned_last.caffemodel" "$WEIGHTS" -- \
                tools/finetune.sh --prototxt "$W/prototxt/train_variants" --weights "$WEIGHTS" --mode two-phase \
                --out "$W/models/finetuned_two-phase.caffemodel" "${GPU_OPTIONS[@]}"
        fi
    }
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

# ── Section 2, from a map to a vector, and what the article claims of it; after score, as the claims read its figures ─
if wants_table 3; then
    stage representations "Section 2, SUM, AVE, MAX, MOP-CNN, CroW, R-MAC; what the claims need" && {
        EXTRACT=(python -m eval.extract --weights "$WEIGHTS" --model pretrained --mean "$MEAN" "${GPU_OPTIONS[@]}")
        SCORE=(python -m eval.score --gt "$GROUND_TRUTH" --dims "${MAP_DIMS[@]}" --query-expansion none linear)
        net=$W/prototxt/deploy.prototxt

        # what R-MAC's whitening and MOP-CNN's codebooks are learnt from
        step "$W/learnt/maps" "$W/learnt/maps.h5" : "$net" "$WEIGHTS" "$LEARN_FROM" -- \
            "${EXTRACT[@]}" --deploy "$net" --images "$LEARN_FROM" --sample "$LEARN_SAMPLE" --layers "${MAP_LAYERS[0]}" \
            --pool rmac --max-side "$MAX_SIDE" --min-side "$MIN_SIDE" --keep-maps "$W/learnt/maps" --out "$W/learnt/maps.h5"
        step "$W/learnt/rmac.npz" : "$W/learnt/maps" -- \
            python -m eval.train_rmac "$W/learnt/maps/database/${MAP_LAYERS[0]}" --training-set "$LEARN_FROM_NAME" --out "$W/learnt/rmac.npz"
        step "$W/learnt/windows.h5" : "$net" "$WEIGHTS" "$LEARN_FROM" -- \
            "${EXTRACT[@]}" --deploy "$net" --images "$LEARN_FROM" --sample "$LEARN_SAMPLE" --layers fc7_relu7 \
            --windows "$MOP_STEP" --out "$W/learnt/windows.h5"
        step "$W/learnt/mop.npz" : "$W/learnt/windows.h5" -- \
            python -m eval.train_mop "$W/learnt/windows.h5" --training-set "$LEARN_FROM_NAME" "${MOP_OPTIONS[@]}" --out "$W/learnt/mop.npz"

        # every pooling of every map in one pass; at the network's own input size; at twice that; MOP-CNN
        step "$W/features/pretrained_maps.h5" : "$net" "$WEIGHTS" "$DATABASE" "$GROUND_TRUTH" "$W/learnt/rmac.npz" -- \
            "${EXTRACT[@]}" --deploy "$net" --images "$DATABASE" --gt "$GROUND_TRUTH" --layers "${MAP_LAYERS[@]}" --pool "$POOLINGS" \
            --max-side "$MAX_SIDE" --min-side "$MIN_SIDE" --rmac-whitening "$W/learnt/rmac.npz" --out "$W/features/pretrained_maps.h5"
        step "$W/features/pretrained_square.h5" : "$net" "$WEIGHTS" "$DATABASE" "$GROUND_TRUTH" -- \
            "${EXTRACT[@]}" --deploy "$net" --images "$DATABASE" --gt "$GROUND_TRUTH" --layers "${MAP_LAYERS[0]}" \
            --pool sum,average,max,crow,rmac --out "$W/features/pretrained_square.h5"
        step "$W/features/pretrained_double.h5" : "$net" "$WEIGHTS" "$DATABASE" -- \
            "${EXTRACT[@]}" --deploy "$net" --images "$DATABASE" --layers "${MAP_LAYERS[0]}" --side "$DOUBLE_SIDE" \
            --pool sum,average --out "$W/features/pretrained_double.h5"
        step "$W/features/pretrained_mop.h5" : "$net" "$WEIGHTS" "$DATABASE" "$GROUND_TRUTH" "$W/learnt/mop.npz" -- \
            "${EXTRACT[@]}" --deploy "$net" --images "$DATABASE" --gt "$GROUND_TRUTH" --layers fc7_relu7 \
            --mop "$W/learnt/mop.npz" --out "$W/features/pretrained_mop.h5"
        step "$W/ranks/pretrained_fc" : "$W/features/pretrained.h5" "$GROUND_TRUTH" -- \
            "${SCORE[@]}" --out "$W/ranks/pretrained_fc" "$W/features/pretrained.h5"
        step "$W/ranks/pretrained_mop" : "$W/features/pretrained_mop.h5" "$GROUND_TRUTH" -- \
            "${SCORE[@]}" --layers mop --out "$W/ranks/pretrained_mop" "$W/features/pretrained_mop.h5"
        for name in maps square; do
            step "$W/ranks/pretrained_$name" : "$W/features/pretrained_$name.h5" "$GROUND_TRUTH" -- \
                "${SCORE[@]}" --out "$W/ranks/pretrained_$name" "$W/features/pretrained_$name.h5"
        done

        # the three wirings of ReLU and dropout, on some pictures
        step "$W/prototxt/wirings" : "$net" -- python -m tools.wirings "$net" "$W/prototxt/wirings"
        for wiring in own as_printed; do
            step "$W/features/wiring_$wiring.h5" : "$W/prototxt/wirings" "$WEIGHTS" "$DATABASE" -- \
                "${EXTRACT[@]}" --deploy "$W/prototxt/wirings/$wiring.prototxt" --images "$DATABASE" --sample 50 \
                --layers fc6_relu6 fc6_drop6 fc7 fc7_relu7 fc7_drop7 prob --out "$W/features/wiring_$wiring.h5"
        done
        step "$W/features/wiring_in_place.h5" : "$W/prototxt/wirings" "$WEIGHTS" "$DATABASE" -- \
            "${EXTRACT[@]}" --deploy "$W/prototxt/wirings/in_place.prototxt" --images "$DATABASE" --sample 50 \
            --layers fc7 --overwritten --out "$W/features/wiring_in_place.h5"
    }
fi

stage tables "Table 1, which layer; Table 2, what fine-tuning gains" && {
    step "$W/results/table1.json" "$W/results/table1.md" : "$W/ranks/pretrained" -- \
        python -m eval.tables --table 1 --pretrained "$W/ranks/pretrained/scores.json" --out "$W/results" --data-note "$DATA_NOTE"
    wants_table 2 && step "$W/results/table2.json" "$W/results/table2.md" : "$W/ranks/pretrained" "$W/ranks/finetuned" -- \
        python -m eval.tables --table 2 --pretrained "$W/ranks/pretrained/scores.json" \
        --finetuned "$W/ranks/finetuned/scores.json" --out "$W/results" --data-note "$DATA_NOTE"
    wants_table 3 && step "$W/results/table3.json" "$W/results/table3.md" : "$W"/ranks/pretrained_{fc,maps,square,mop} -- \
        python -m eval.tables --table 3 --scores "$W"/ranks/pretrained_{fc,mop,square,maps}/scores.json \
        --out "$W/results" --data-note "$DATA_NOTE"
    wants_table 3 && step "$W/results/claims.json" "$W/results/claims.md" : "$W/features" "${MODELS[@]/#/$W/ranks/}" "$W"/ranks/pretrained_{fc,maps,square} -- \
        python -m eval.claims --features "$W/features" --ranks "$W/ranks" --layer "${MAP_LAYERS[0]}" --dim "$COMPARE_AT" \
        --out "$W/results" --data-note "$DATA_NOTE" --command "./run_all.sh --profile $profile"
}

stage report "The report: the run as one page to look at" && {
    wants_table 2 && step "$W/results/training.svg" "$W/results/training.csv" : "$W/models/finetuned.caffemodel" -- \
        python -m tools.plot_log "${TRAINING_LOGS[@]}" --out "$W/results/training.svg" --csv "$W/results/training.csv"
    step "$W/looks" : "$W/prototxt/deploy.prototxt" "${SHOWN_RANKS[@]}" "$DATABASE" -- \
        python -m eval.keep_maps --deploy "$W/prototxt/deploy.prototxt" --weights "${SHOWN_WEIGHTS[@]}" --mean "$MEAN" \
        --images "$DATABASE" --gt "$GROUND_TRUTH" --ranks "${SHOWN_RANKS[@]}" --out "$W/looks"
    step "$W/report" : "$W/results" "$W/looks" "$profile_file" -- \
        python -m eval.report "$W" --images "$DATABASE" --gt "$GROUND_TRUTH" --network "prototxt/$NETWORK" \
        --profile "$profile_file" --out "$W/report"
}

end_stage
summary
