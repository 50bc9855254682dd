#!/usr/bin/env bash
# The article as a script: which VGG16 layer to use for image retrieval, and what fine-tuning gains (Yong
# Yuan, 2017), on BVLC Caffe. A stage is a section; a step says what it makes, from what, by which command.
# Capitals are the profile's settings (profiles/, tools/run/settings.sh) or the names below; the comments'
# numbers are the article's. --dry-run prints the commands, to paste after `source .caffe/env.sh`.
# shellcheck disable=SC1090,SC2046,SC2086,SC2153,SC2154 # lists are meant as words; profiles have settings
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/tools/run/start.sh"

CHECKED=$W/checked                          # training pictures that Caffe can read, in class folders
AUGMENTED=$W/augmented                      # those and their changed copies, as many in every class
CLASSES=$W/classes                          # the same, class folders called 0 .. N-1
CLASS_NAMES=$W/classes.csv                  # which number is which class
LISTS=$W/lists                              # train.txt and val.txt
LMDB=$W/lmdb                                # train_lmdb, val_lmdb, and the mean file
DEPLOY=$W/prototxt/deploy.prototxt          # the network for features, a blob for every layer
TRAINING=$W/prototxt/train                  # train_val.prototxt, solver.prototxt, Caffe's log
SNAPSHOTS=$W/snapshots                      # what training goes on from after a stop
FINETUNED=$W/models/finetuned.caffemodel    # the fine-tuned network
FEATURES=$W/features                        # MODEL.h5: vectors of the database and of the queries
RANKS=$W/ranks                              # MODEL/: a ranked list a query, and scores.json
RESULTS=$W/results                          # tables, claims, training curve
MAPS=$W/looks                               # what the networks see in a few photographs
REPORT=$W/report                            # the run as one page
{ # read to its end before it runs: an edit or a pull meanwhile does no harm

if stage setup "What the run needs: Debian's packages, .venv, BVLC Caffe built from its source"; then
    let_sudo_ask || true # what sudo refuses, the set-up says
    each_time tools/setup.sh
fi
ready_caffe

if stage data "Pictures to train on, pictures to search in with ground truth, pre-trained weights"; then
    source "tools/run/recipes/data_$SOURCE.sh"
fi
if stage pretrain "The demo's stand-in for ImageNet's weights: its small network, trained from nothing"; then
    source tools/run/recipes/pretraining.sh
fi

# Section 4: broken pictures go; then every class gets 800 pictures, so that none outweighs the others
if stage check "Section 4, data augmentation: find the pictures that Caffe would stumble over"; then
    step makes "$CHECKED" from "$TRAIN_PICTURES" by \
        python -m data_prep.check_images "$CHECKED" --from "$TRAIN_PICTURES" --fix \
        --quarantine "$W/quarantine" --report "$W/check.csv"
fi
if stage augment "Section 4, data augmentation: $NUM_WANTED pictures a class"; then
    step makes "$AUGMENTED" from "$CHECKED" by \
        python -m data_prep.augment "$AUGMENTED" --from "$CHECKED" --min-pictures "$MIN_PICTURES" \
        --num-wanted "$NUM_WANTED" --engine "$AUGMENT_ENGINE" --interpolation "$INTERPOLATION" \
        --stretch "$STRETCH" --seed "$SEED"
fi

# Section 5: 60 % to train, 40 % to watch it; 256 x 256 in the LMDB, of which a crop of 224 moves by up to 32
if stage rename "Section 5, fine-tuning: class folders to 0 .. N-1, as Caffe's labels are numbers"; then
    step makes "$CLASSES" "$CLASS_NAMES" from "$AUGMENTED" by \
        python -m data_prep.rename_classes "$CLASSES" --from "$AUGMENTED"
fi
if stage split "Section 5, split into train and val"; then
    step writes "$LISTS" from "$CLASSES" by \
        python -m data_prep.split "$CLASSES" --out "$LISTS" --train-share "$TRAIN_SHARE" --seed "$SEED" \
        $(if_set --test-batch "$TEST_BATCH") $(if_yes --copies-anywhere "$COPIES_ANYWHERE")
fi
if stage lmdb "Section 5, pictures to LMDB, $RESIZE x $RESIZE"; then
    step makes "$LMDB/train_lmdb" "$LMDB/val_lmdb" from "$LISTS" by \
        tools/make_lmdb.sh "$LISTS" "$LMDB" "$RESIZE"
fi
if stage mean "Section 5, the mean file"; then
    step makes "$LMDB/mean.binaryproto" from "$LMDB/train_lmdb" by \
        tools/make_mean.sh "$LMDB/train_lmdb" "$LMDB/mean.binaryproto"
fi

# Section 3: stock ReLU and dropout overwrite blob fc7; renamed, each has one. Section 5: a new last layer at
# 10 times the rate; batches of 64 on each GPU, in tests of 52, which divides the 208,260 validation pictures
if stage prototxt "Section 3, a blob for every layer; section 5, train_val.prototxt, solver.prototxt"; then
    step writes "$DEPLOY" from "$(stock_deploy)" by \
        python -m tools.rename_blobs "$(stock_deploy)" "$DEPLOY"
    if fine_tunes; then
        step writes "$TRAINING" from $(train_prototxt) "$CLASS_NAMES" "$LMDB/val_lmdb" by \
            python -m tools.fill_prototxt --net "prototxt/$NETWORK" --out "$TRAINING" \
            --classes "$CLASS_NAMES" --train-lmdb "$LMDB/train_lmdb" --val-lmdb "$LMDB/val_lmdb" \
            --mean "$LMDB/mean.binaryproto" --snapshot-prefix "$SNAPSHOTS/vgg" --seed "$SEED" \
            $(solver_options)
    fi
fi
if stage finetune "Section 5, fine-tuning by caffe train"; then
    step makes "$FINETUNED" "$SNAPSHOTS" from "$TRAINING/solver.prototxt" "$WEIGHTS" "$LMDB/train_lmdb" by \
        tools/finetune.sh --prototxt "$TRAINING" --weights "$WEIGHTS" --mode "$FINETUNE_MODE" \
        --keep "$KEEP_SNAPSHOTS" $(if_set --silence "$SILENCE") --out "$FINETUNED" --gpu "$GPUS"
    for recipe in $(other_trainings); do source "tools/run/recipes/$recipe.sh"; done
fi

# Sections 1 and 6: which layer, at 128 dimensions (his choice for speed) and others; before and after
if stage extract "Sections 1 and 6, features of $LAYERS"; then
    for model in $MODELS; do
        weights=$(weights_of $model)
        step makes "$FEATURES/$model.h5" from "$DEPLOY" "$weights" "$MEAN" "$DATABASE" "$GROUND_TRUTH" by \
            python -m eval.extract --deploy "$DEPLOY" --weights "$weights" --model "$model" --mean "$MEAN" \
            --images "$DATABASE" --gt "$GROUND_TRUTH" --layers $LAYERS --gpu "$GPUS" $(in_precision) \
            --out "$FEATURES/$model.h5"
    done
fi
if stage score "Sections 1 and 6, whitening, ranking, mAP by compute_ap"; then
    for model in $MODELS; do
        step makes "$RANKS/$model" from "$FEATURES/$model.h5" "$GROUND_TRUTH" by \
            python -m eval.score "$FEATURES/$model.h5" --gt "$GROUND_TRUTH" --dims $DIMS --out "$RANKS/$model"
    done
    for recipe in $(other_scores); do source "tools/run/recipes/$recipe.sh"; done
fi
if stage representations "Section 2, SUM, AVE, MAX, MOP-CNN, CroW, R-MAC; what the claims need"; then
    source tools/run/recipes/representations.sh
    source tools/run/recipes/wirings.sh
fi
if stage tables "Table 1, which layer; Table 2, what fine-tuning gains; Table 3 and the claims"; then
    source tools/run/recipes/tables.sh
fi
if stage report "The report: the run as one page to look at"; then
    source tools/run/recipes/report.sh
fi
end_stage
summary
exit; }
