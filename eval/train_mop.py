"""Learn MOP-CNN's codebooks and PCAs from the windows' activations that eval.extract --windows wrote.

Gong et al., arXiv 1403.1840; eval/represent/mop.py has the method. What is learnt is kept in a file of its
own, with the name of the set that it was learnt from, and used by `eval.extract --mop`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from eval.files.features import check_layer, open_features
from eval.represent import mop

PROGRAM = "eval.train_mop"


class Windows(Sequence):
    """A dataset (N, P * D) read image by image as (P, D)."""

    def __init__(self, dataset: h5py.Dataset, size: int) -> None:
        """`size` is D. Raises ValueError where it does not divide the row."""
        if dataset.shape[1] % size:
            raise ValueError(f"{dataset.name} has rows of {dataset.shape[1]} values, no multiple of {size}")
        self._dataset, self._size = dataset, size

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._dataset[index].reshape(-1, self._size)


def run(options: argparse.Namespace) -> str:
    """Learn, save; returns a sentence. Raises ValueError or OSError."""
    settings = mop.Settings(
        window_dims=options.window_dims,
        centres=options.centres,
        output_dims=options.output_dims,
        codebook_images=options.codebook_images,
        output_images=options.output_images,
        seed=options.seed,
    )
    with open_features(options.windows) as features:
        names = {side: f"{options.layer}_windows{side}" for side in mop.WINDOW_SIDES}
        for name in (options.layer, *names.values()):
            check_layer(features, "database", name)
        database = features["database"]
        size = database[options.layer].shape[1]
        activations = {side: Windows(database[name], size) for side, name in names.items()}
        about = {
            "layer": options.layer,
            "step": json.loads(features.attrs["run"])["window_step"],
            "model": features.attrs["model"],
            "weights_sha256": features.attrs["weights_sha256"],
        }
        model = mop.train(activations, options.training_set, settings, about)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    mop.save(model, options.out)
    for sentence in model.provenance["reductions"]:
        print(f"{PROGRAM}: {sentence}", file=sys.stderr)
    dims = size + sum(len(level.output_axes) for level in model.levels.values())
    return f"{options.out}: MOP-CNN of {dims} dimensions, learnt from {options.training_set}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    options = parse_options(arguments)
    try:
        print(run(options))
    except ValueError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
    except OSError as error:
        print(f"{PROGRAM}: {error.strerror or error}: {error.filename or options.out}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    else:
        return 0
    return 1


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {PROGRAM}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Learn MOP-CNN's codebooks and PCAs from the windows of a set of pictures, which\n"
        "`eval.extract --windows` writes. `eval.extract --mop OUT` then uses them.",
        epilog="example:\n  python -m eval.train_mop paris_windows.h5 --training-set Paris6k --out mop.npz",
    )
    add = parser.add_argument
    add("windows", type=Path, metavar="FEATURES", help="features file (HDF5) with windows")
    add("--training-set", required=True, metavar="NAME", help="what the pictures are; stored with the result")
    add("--out", type=Path, required=True, metavar="FILE", help="the .npz file to write")
    add("--layer", default="fc7_relu7", metavar="BLOB", help="the activations (default: fc7_relu7)")
    for name, says in (
        ("centres", "centres of the codebook"),
        ("window_dims", "dimensions of a window after PCA"),
        ("output_dims", "dimensions of a level after PCA"),
        ("codebook_images", "pictures that the first PCA and the codebook are learnt from"),
        ("output_images", "pictures that the second PCA is learnt from"),
        ("seed", "what draws them"),
    ):
        default = getattr(mop.PAPER, name)
        option = f"--{name.replace('_', '-')}"
        add(option, type=int, default=default, metavar="N", help=f"{says} (default: {default})")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
