"""Learn MOP-CNN's codebooks and PCAs from the windows' activations that eval.extract --windows wrote.

Gong et al., arXiv 1403.1840; eval/represent/mop.py has the method. What is learnt is kept in a file of its
own, with the name of the set that it was learnt from, and used by `eval.extract --mop`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from eval.files.features import (
    check_vectors,
    json_attribute,
    names_of,
    open_features,
    text_attribute,
)
from eval.represent import mop
from tools.program import run_program, whole_number

PROGRAM = "eval.train_mop"
LEARNT_BY = (
    ("centres", "centres of the codebook"),
    ("window_dims", "dimensions of a window after PCA"),
    ("output_dims", "dimensions of a level after PCA"),
    ("codebook_images", "pictures that the first PCA and the codebook are learnt from"),
    ("output_images", "pictures that the second PCA is learnt from"),
    ("seed", "what draws them"),
)
"""Settings of MOP-CNN that are options of this program, and what they are."""


class Windows:
    """A dataset (N, P * D) read image by image as (P, D)."""

    def __init__(self, dataset: h5py.Dataset, size: int) -> None:
        """`size` is D. Raises ValueError where it does not divide the row."""
        if dataset.shape[1] % size:
            raise ValueError(f"{dataset.name} has rows of {dataset.shape[1]} values, no multiple of {size}")
        self._dataset, self._size = dataset, size

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> np.ndarray:
        """One image's windows, (P, D)."""
        return np.asarray(self._dataset[index]).reshape(-1, self._size)


def train_mop(windows: Path, layer: str, training_set: str, settings: mop.Settings, out: Path) -> str:
    """Learn from a features file with windows and save; returns a sentence. Raises ValueError or OSError."""
    with open_features(windows) as features:
        names = {side: f"{layer}_windows{side}" for side in mop.WINDOW_SIDES}
        rows = len(names_of(features, "database"))
        whole = check_vectors(features, "database", layer, rows)
        size = whole.shape[1]
        activations = {
            side: Windows(check_vectors(features, "database", name, rows), size)
            for side, name in names.items()
        }
        about = {
            "layer": layer,
            "step": json_attribute(features, "run")["window_step"],
            "model": text_attribute(features, "model"),
            "weights_sha256": text_attribute(features, "weights_sha256"),
        }
        model = mop.train(activations, training_set, settings, about)
    mop.save(model, out)
    for sentence in model.provenance["reductions"]:
        print(f"{PROGRAM}: {sentence}", file=sys.stderr)
    dims = size + sum(len(level.output_axes) for level in model.levels.values())
    return f"{out}: MOP-CNN of {dims} dimensions, learnt from {training_set}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    options = parse_options(argv)

    def run() -> None:
        settings = mop.Settings(**{name: getattr(options, name) for name, _ in LEARNT_BY})
        print(train_mop(options.windows, options.layer, options.training_set, settings, options.out))

    return run_program(PROGRAM, run)


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
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
    for name, says in LEARNT_BY:
        default = getattr(mop.PAPER, name)
        option = f"--{name.replace('_', '-')}"
        add(option, type=whole_number, default=default, metavar="N", help=f"{says} (default: {default})")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
