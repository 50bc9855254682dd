# shellcheck shell=bash disable=SC2046,SC2154 # settings and names are run_all.sh's
# The demo has no ImageNet: its network is trained on generic pictures from nothing, by the programs of section 5, with
# the profile's size and seed. 90 % are for training, as the validation only watches.
P=$W/pretraining
step makes "$P/classes" "$P/classes.csv" from "$W/data/generic" by \
    python -m data_prep.rename_classes "$P/classes" --from "$W/data/generic"
step writes "$P/lists" from "$P/classes" by \
    python -m data_prep.split "$P/classes" --out "$P/lists" --train-share 0.9 --seed "$SEED" \
    $(if_set --test-batch "$TEST_BATCH")
step makes "$P/lmdb/train_lmdb" "$P/lmdb/val_lmdb" from "$P/lists" by \
    tools/make_lmdb.sh "$P/lists" "$P/lmdb" "$RESIZE"
step makes "$P/lmdb/mean.binaryproto" from "$P/lmdb/train_lmdb" by \
    tools/make_mean.sh "$P/lmdb/train_lmdb" "$P/lmdb/mean.binaryproto"
step writes "$P/prototxt" from "prototxt/$NETWORK/pretraining" "$P/classes.csv" "$P/lmdb/val_lmdb" by \
    python -m tools.fill_prototxt --net "prototxt/$NETWORK/pretraining" --out "$P/prototxt" \
    --train-lmdb "$P/lmdb/train_lmdb" --val-lmdb "$P/lmdb/val_lmdb" --mean "$P/lmdb/mean.binaryproto" \
    --classes "$P/classes.csv" --snapshot-prefix "$P/snapshots/pretraining" --seed "$SEED" \
    --solver-mode "$(solver_mode)" $(if_set --test-batch "$TEST_BATCH")
step makes "$WEIGHTS" "$P/snapshots" from "$P/prototxt/solver.prototxt" "$P/lmdb/train_lmdb" by \
    tools/finetune.sh --prototxt "$P/prototxt" --out "$WEIGHTS" --gpu "$GPUS"
