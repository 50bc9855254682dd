"""Learn R-MAC's per-region whitening from maps that eval.extract kept.

Papers take Paris6k's pictures for Oxford5k, so that the test set teaches nothing.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eval.files.npz import read_npy
from eval.represent.pooling import RMAC_LEVELS, rmac_vectors
from eval.represent.region_whitening import RegionWhitening
from tools.program import positive_int, run_program, whole_number

PROGRAM = "eval.train_rmac"
PICTURES = 500


def region_vectors(files: Sequence[Path], levels: int = RMAC_LEVELS) -> np.ndarray:
    """R-MAC's region vectors of maps stored as .npy: (N, C) float32, rows of length 1.

    Raises OSError where a file can't be read, ValueError where it is no map or has not room for `levels`.
    """
    vectors = []
    for file in files:
        try:
            feature_map = read_npy(file)
        except ValueError as error:
            raise ValueError(f"{file} is no map as eval.extract --keep-maps writes it") from error
        try:
            vectors.append(rmac_vectors(feature_map, levels))
            if vectors[-1].shape[1] != vectors[0].shape[1]:
                raise ValueError(f"it has {vectors[-1].shape[1]} channels, others {vectors[0].shape[1]}")
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
    return np.concatenate(vectors)


def train_rmac(maps: Path, training_set: str, out: Path, *, pictures: int, seed: int) -> str:
    """Learn from the maps of a folder and save; returns a sentence. Raises ValueError or OSError."""
    files = sorted(maps.rglob("*.npy"))
    if not files:
        raise ValueError(f"{maps} holds no maps (.npy): eval.extract --keep-maps writes them")
    chosen = np.random.default_rng(seed).choice(len(files), min(pictures, len(files)), replace=False)
    vectors = region_vectors([files[i] for i in sorted(chosen)])
    provenance = {
        "layer": maps.resolve().name,
        "training_set": training_set,
        "pictures": len(chosen),
        "seed": seed,
        "levels": RMAC_LEVELS,
    }
    whitening = RegionWhitening(provenance).fit(vectors)
    whitening.save(out)
    channels, kept = len(whitening.mean), len(whitening.projection)
    dropped = f" (of {channels}: the others hold no variance)" if kept < channels else ""
    return (
        f"{out}: whitening to {kept} dimensions{dropped}, from {len(vectors)} regions of "
        f"{len(chosen)} pictures, {training_set}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    options = parse_options(argv)

    def run() -> None:
        print(
            train_rmac(
                options.maps,
                options.training_set,
                options.out,
                pictures=options.pictures,
                seed=options.seed,
            )
        )

    return run_program(PROGRAM, run)


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {PROGRAM}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Learn R-MAC's per-region whitening from the maps of a set of pictures, which\n"
        "`eval.extract --keep-maps DIR` writes. `eval.extract --rmac-whitening OUT` then uses it.",
        epilog="example:\n  python -m eval.train_rmac work/paris/maps/database/pool5 --training-set Paris6k"
        " --out rmac.npz",
    )
    add = parser.add_argument
    add("maps", type=Path, metavar="MAPS", help="folder with maps, .npy each, of one layer and called as it")
    add("--training-set", required=True, metavar="NAME", help="what the pictures are; stored with the result")
    add("--out", type=Path, required=True, metavar="FILE", help="the .npz file to write")
    add(
        "--pictures",
        type=positive_int,
        default=PICTURES,
        metavar="N",
        help=f"learn from so many, drawn by the seed (default: {PICTURES})",
    )
    add("--seed", type=whole_number, default=1, metavar="S", help="default: 1")
    options = parser.parse_args(argv)
    if options.pictures < 2:
        parser.error("--pictures must be 2 or more")
    return options


if __name__ == "__main__":
    sys.exit(main())
