# shellcheck shell=bash disable=SC2046,SC2154 # settings and names are run_all.sh's
# Section 5's two other ways to fine-tune: only the last layer, all earlier ones frozen; the last first, then all. The
# second goes on from the first.
step writes "${TRAINING}_variants" from $(train_prototxt) "$CLASS_NAMES" "$LMDB/val_lmdb" by \
    python -m tools.fill_prototxt --net "prototxt/$NETWORK" --out "${TRAINING}_variants" --classes "$CLASS_NAMES" \
    --train-lmdb "$LMDB/train_lmdb" --val-lmdb "$LMDB/val_lmdb" --mean "$LMDB/mean.binaryproto" \
    --snapshot-prefix "${SNAPSHOTS}_variants/vgg" --seed "$SEED" $(solver_options)
step makes "$W/models/finetuned_last.caffemodel" "${SNAPSHOTS}_variants" \
    from "${TRAINING}_variants/solver.prototxt" "$WEIGHTS" "$LMDB/train_lmdb" by \
    tools/finetune.sh --prototxt "${TRAINING}_variants" --weights "$WEIGHTS" --mode last \
    --out "$W/models/finetuned_last.caffemodel" --gpu "$GPUS"
step makes "$W/models/finetuned_two-phase.caffemodel" from "$W/models/finetuned_last.caffemodel" "$WEIGHTS" by \
    tools/finetune.sh --prototxt "${TRAINING}_variants" --weights "$WEIGHTS" --mode two-phase \
    --out "$W/models/finetuned_two-phase.caffemodel" --gpu "$GPUS"
