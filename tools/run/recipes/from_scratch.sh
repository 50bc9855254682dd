# shellcheck shell=bash disable=SC2046,SC2154 # settings and names are run_all.sh's
# Section 5 says why one fine-tunes: many pictures and much time are saved. The same network on the same pictures from
# nothing, as it was pre-trained, for the first FROM_SCRATCH iterations: the report draws it beside fine-tuning.
step writes "${TRAINING}_scratch" from "prototxt/$NETWORK/pretraining" "$CLASS_NAMES" "$LMDB/val_lmdb" by \
    python -m tools.fill_prototxt --net "prototxt/$NETWORK/pretraining" --out "${TRAINING}_scratch" \
    --classes "$CLASS_NAMES" --train-lmdb "$LMDB/train_lmdb" --val-lmdb "$LMDB/val_lmdb" \
    --mean "$LMDB/mean.binaryproto" --snapshot-prefix "${SNAPSHOTS}_scratch/vgg" --seed "$SEED" \
    --solver-mode "$(solver_mode)" --stop-at "$FROM_SCRATCH" $(if_set --test-batch "$TEST_BATCH")
step makes "$W/models/from_scratch.caffemodel" "${SNAPSHOTS}_scratch" \
    from "${TRAINING}_scratch/solver.prototxt" "$LMDB/train_lmdb" "$LMDB/val_lmdb" by \
    tools/finetune.sh --prototxt "${TRAINING}_scratch" --out "$W/models/from_scratch.caffemodel" --gpu "$GPUS"
