"""Learn R-MAC's per-region whitening from maps that eval.extract kept.

Tolias, Sicre and Jégou, arXiv 1511.05879, section 3.2: every region's vector is L2-normalised, PCA-whitened
and L2-normalised again before the regions are summed. The whitening is learnt from the regions of a set of
pictures; papers take Paris6k for Oxford5k, so that the test set teaches nothing.
"""

import argparse
import json
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from eval.represent.pooling import RMAC_LEVELS, rmac_vectors

PROGRAM = "eval.train_rmac"
FILE_FORMAT = "rmac region whitening 1"
PICTURES = 500


@dataclass(frozen=True)
class RegionWhitening:
    """Whitening of region vectors: a function (R, C) -> (R, K), as eval.represent.pooling.rmac takes it."""

    mean: np.ndarray
    """(C,) float32"""
    projection: np.ndarray
    """(K, C) float32, the principal axes, each divided by its standard deviation"""
    provenance: dict[str, Any]

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Whiten region vectors. Raises ValueError where they have another number of channels."""
        if vectors.shape[1] != len(self.mean):
            raise ValueError(
                f"R-MAC's whitening was learnt for {len(self.mean)} channels, not for {vectors.shape[1]}"
            )
        return (vectors - self.mean) @ self.projection.T

    @classmethod
    def learn(cls, vectors: np.ndarray, provenance: dict[str, Any]) -> Self:
        """Learn from region vectors (N, C), rows of length 1.

        Directions that hold nothing beyond float32's rounding are left out: whitening would make rounding as
        large as all the rest. Raises ValueError where no direction is left.
        """
        from sklearn.decomposition import PCA  # a second that loading need not wait for

        from eval.rank.recipe import FLOAT32_NOISE

        # 'full': resolves the smallest directions, which count most in a whitening (see eval.rank.recipe)
        most = min(len(vectors) - 1, vectors.shape[1])
        with np.errstate(invalid="ignore"):  # vectors that are all alike: their share of no variance
            pca = PCA(most, svd_solver="full").fit(vectors.astype(np.float64))
        deviations = np.sqrt(pca.explained_variance_)
        kept = deviations >= FLOAT32_NOISE
        if not kept.any():
            raise ValueError(f"{len(vectors)} region vectors that don't differ teach no whitening")
        projection = pca.components_[kept] / deviations[kept, np.newaxis]
        provenance = provenance | {"regions": len(vectors), "dimensions": int(kept.sum())}
        return cls(pca.mean_.astype(np.float32), projection.astype(np.float32), provenance)

    def save(self, path: Path) -> None:
        """Write one .npz file, whole or not at all. Raises OSError."""
        part = path.with_name(path.name + ".part")
        text = json.dumps(self.provenance, ensure_ascii=False, sort_keys=True)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                np.savez(
                    file, format=FILE_FORMAT, mean=self.mean, projection=self.projection, provenance=text
                )
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what save wrote. Raises OSError, and ValueError for any other or a damaged file."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                if stored["format"] != FILE_FORMAT:
                    raise ValueError(f"its format is {stored['format']}")
                return cls(stored["mean"], stored["projection"], json.loads(str(stored["provenance"])))
        except (AttributeError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} is no whitening of R-MAC's regions, or a damaged one ({error})"
            ) from error


def region_vectors(files: Sequence[Path], levels: int = RMAC_LEVELS) -> np.ndarray:
    """R-MAC's region vectors of maps stored as .npy: (N, C) float32, rows of length 1.

    Raises OSError where a file can't be read, ValueError where it is no map or has not room for `levels`.
    """
    vectors = []
    for file in files:
        try:
            feature_map = np.load(file, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{file} is no map as eval.extract --keep-maps writes it") from error
        try:
            vectors.append(rmac_vectors(feature_map, levels))
            if vectors[-1].shape[1] != vectors[0].shape[1]:
                raise ValueError(f"it has {vectors[-1].shape[1]} channels, others {vectors[0].shape[1]}")
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
    return np.concatenate(vectors)


def run(options: argparse.Namespace) -> str:
    """Learn, save; returns a sentence. Raises ValueError or OSError."""
    files = sorted(options.maps.rglob("*.npy"))
    if not files:
        raise ValueError(f"{options.maps} holds no maps (.npy): eval.extract --keep-maps writes them")
    chosen = np.random.default_rng(options.seed).choice(
        len(files), min(options.pictures, len(files)), replace=False
    )
    vectors = region_vectors([files[i] for i in sorted(chosen)])
    provenance = {
        "layer": options.maps.resolve().name,
        "training_set": options.training_set,
        "pictures": len(chosen),
        "seed": options.seed,
        "levels": RMAC_LEVELS,
    }
    whitening = RegionWhitening.learn(vectors, provenance)
    whitening.save(options.out)
    channels, kept = len(whitening.mean), len(whitening.projection)
    dropped = f" (of {channels}: the others hold no variance)" if kept < channels else ""
    return (
        f"{options.out}: whitening to {kept} dimensions{dropped}, from {len(vectors)} regions of "
        f"{len(chosen)} pictures, {options.training_set}"
    )


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
        type=int,
        default=PICTURES,
        metavar="N",
        help=f"learn from so many, drawn by the seed (default: {PICTURES})",
    )
    add("--seed", type=int, default=1, metavar="S", help="default: 1")
    options = parser.parse_args(arguments)
    if options.pictures < 2:
        parser.error("--pictures must be 2 or more")
    return options


if __name__ == "__main__":
    sys.exit(main())
