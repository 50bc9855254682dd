"""MOP-CNN: the activations of windows at two scales, VLAD-pooled, beside those of the whole image.

Gong, Wang, Guo and Lazebnik, arXiv 1403.1840, "The proposed method". Level 1 is the 4096-d fc7 of the whole
image at 256 x 256. Levels 2 and 3 are windows of 128 and of 64 pixels cut from it at steps of 32 (25 and 49
of them), each enlarged to the network's input and put through it. PCA takes their activations to 500
dimensions, VLAD pools them over 100 centres, and another PCA takes the 50,000 dimensions to 4096. The three
levels, each scaled to length 1, stand one after the other. Activations are meant after ReLU (fc7_relu7).

This module cuts the windows, learns a level's two PCAs and its centres from activations, and encodes:
arrays in, arrays out, whatever the network. What was learnt is kept in one file that says from which
images.

Bad arguments raise ValueError in one sentence.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from eval.files.npz import read_npz, write_npz

IMAGE_SIDE = 256
WINDOW_SIDES = (128, 64)
STEP = 32
NEAREST_CENTRES = 5
FILE_FORMAT = "mop-cnn 1"


class Activations(Protocol):
    """Activations of N images' windows, read image by image: (P, D) each. An array (N, P, D) is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Settings:
    """How a level is learnt; the numbers are the paper's, or else the authors' code's.

    window_dims and output_dims are bounds: a PCA has no more dimensions than its data, or than its training
    vectors less one, and a smaller one is stated in the model's provenance. codebook_images is how many
    images, drawn by seed, the first PCA and the centres are learnt from, output_images how many the second
    PCA is. bandwidth is the b in VLAD's weights exp(-distance ** 2 / b). The paper gives none and the
    code's fits its own network's scale, so it is by default the mean squared distance of a training window
    to its centre.
    """

    window_dims: int = 500
    centres: int = 100
    output_dims: int = 4096
    codebook_images: int = 1000
    output_images: int = 5000
    bandwidth: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("window_dims", "centres", "output_dims"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        for name in ("codebook_images", "output_images"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} must be 2 or more, not {getattr(self, name)}")
        if self.bandwidth is not None and not 0 < self.bandwidth < np.inf:
            raise ValueError(f"bandwidth must be a finite number above 0, not {self.bandwidth}")


PAPER = Settings()


@dataclass(frozen=True)
class Level:
    """What one window size has learnt, in float32: D activations, d window dims, K centres, M output dims."""

    window_mean: np.ndarray
    """(D,)"""
    window_axes: np.ndarray
    """(d, D), orthonormal rows"""
    centres: np.ndarray
    """(K, d)"""
    bandwidth: np.ndarray
    """(), the b of vlad"""
    output_mean: np.ndarray
    """(K * d,)"""
    output_axes: np.ndarray
    """(M, K * d), orthonormal rows"""


@dataclass(frozen=True)
class Model:
    """The levels by window side, largest first, and their provenance.

    provenance is what JSON holds: training_set (its name), images and windows used, settings, and
    reductions, a sentence for each number of dimensions that the training set was too small for.
    """

    levels: dict[int, Level]
    provenance: dict[str, Any]


def window_starts(side: int, step: int = STEP, image_side: int = IMAGE_SIDE) -> list[int]:
    """First rows (and first columns) of the windows: 0, step, ... as far as a window fits.

    5 for windows of 128 and 7 for 64. Raises ValueError for a window larger than the image and for numbers
    below 1.
    """
    if min(side, step) < 1 or side > image_side:
        raise ValueError(f"windows of {side} at steps of {step} do not fit an image of {image_side}")
    return list(range(0, image_side - side + 1, step))


def windows(image: np.ndarray, side: int, step: int = STEP, image_side: int = IMAGE_SIDE) -> np.ndarray:
    """Cut an image's windows, row by row: (H, W, 3) uint8 -> (P, side, side, 3) uint8.

    The image is first brought to image_side x image_side (bilinear, aspect not kept). The windows are not
    enlarged here: what feeds the network brings every picture to its input's size.
    Raises ValueError for an image of another kind, and where window_starts does.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0 or image.dtype != np.uint8:
        raise ValueError(f"an image is (rows, columns, 3) uint8, not {image.shape} {image.dtype}")
    starts = window_starts(side, step, image_side)
    if image.shape[:2] != (image_side, image_side):
        image = cv2.resize(image, (image_side, image_side), interpolation=cv2.INTER_LINEAR)
    return np.stack([image[top : top + side, left : left + side] for top in starts for left in starts])


def vlad(vectors: np.ndarray, centres: np.ndarray, bandwidth: float) -> np.ndarray:
    """VLAD with soft assignment: vectors (P, d) and centres (K, d) -> (K * d,) float32 of length 1.

    v_k = sum over the p that have c_k among their 5 nearest centres of w_pk * (p - c_k), the weights
    exp(-|p - c_k| ** 2 / bandwidth) of each p scaled to sum 1 (section "The proposed method"); then the
    signed square root of each entry, and L2 over all of them. Vectors that lie on their centres give zeros.
    Raises ValueError for shapes that do not go together and for values that are not finite.
    """
    points = _matrix(vectors, "VLAD's vectors").astype(np.float64)
    centres = _matrix(centres, "VLAD's centres").astype(np.float64)
    if points.shape[1] != centres.shape[1]:
        raise ValueError(f"vectors of {points.shape[1]} dimensions do not fit centres of {centres.shape[1]}")
    nearest, weights = _assignment(points, centres, bandwidth)
    # Differences first, sums after: a vector on its centre adds nothing, not even rounding.
    residuals = np.zeros_like(centres)
    np.add.at(residuals, nearest, weights[:, :, None] * (points[:, None] - centres[nearest]))
    return _unit(np.sign(residuals) * np.sqrt(np.abs(residuals))).ravel().astype(np.float32)


def train(
    activations: Mapping[int, Activations],
    training_set: str,
    settings: Settings = PAPER,
    about: Mapping[str, Any] | None = None,
) -> Model:
    """Learn every level: {window side: (N, P, D) activations of N images' P windows} -> Model.

    The activations are read image by image, so they can be an HDF5 dataset. In memory at once are the
    codebook's windows (1000 images x 49 x 4096: 0.8 GB) and the pooled vectors (5000 x 50,000: 1 GB; the
    second PCA takes three times that). training_set is the name that the model keeps, about is what else its
    provenance holds. The same activations and settings give the same model. Raises ValueError for an empty
    name, for activations that are not such arrays or not finite, and for fewer different windows than
    centres.
    """
    if not training_set.strip():
        raise ValueError("a MOP-CNN model needs the name of its training set")
    if not activations:
        raise ValueError("a MOP-CNN model needs the activations of one window size at least")
    levels, counts, reductions = {}, {}, []
    for side in sorted(activations, reverse=True):
        try:
            levels[side], stated = _learn_level(activations[side], settings)
        except ValueError as error:
            raise ValueError(f"windows of {side}: {error}") from error
        counts[str(side)] = len(activations[side])
        reductions += [f"windows of {side}: {sentence}" for sentence in stated]
    provenance = {
        "training_set": training_set,
        "images": counts,
        "settings": asdict(settings),
        "reductions": reductions,
        **(about or {}),
    }
    return Model(levels, provenance)


def encode_level(activations: np.ndarray, level: Level) -> np.ndarray:
    """One image's windows at one size: activations (P, D) -> (M,) float32, as the second PCA leaves it.

    Raises ValueError for activations that do not fit the level or are not finite.
    """
    pooled = _pool(activations, level)
    return np.asarray(level.output_axes @ (pooled - level.output_mean))


def encode(whole: np.ndarray, activations: Mapping[int, np.ndarray], model: Model) -> np.ndarray:
    """MOP-CNN of one image: whole (D,) and {window side: (P, D)} -> (D + M of every level,) float32.

    The whole image's activations, then each level's vector, largest windows first, every part scaled to
    length 1 (zeros stay zeros). Raises ValueError for a level that is missing, and where encode_level does.
    """
    whole = np.asarray(whole, dtype=np.float32)
    if whole.ndim != 1 or whole.size == 0 or not np.isfinite(whole).all():
        raise ValueError(f"the whole image's activations are a vector of finite values, not {whole.shape}")
    missing = [side for side in model.levels if side not in activations]
    if missing:
        raise ValueError(f"the activations of windows of {missing[0]} are missing")
    parts = [encode_level(activations[side], level) for side, level in model.levels.items()]
    return np.concatenate([_unit(part) for part in (whole, *parts)])


def save(model: Model, path: Path) -> None:
    """Write a model to one .npz file; the same model gives the same bytes. Raises OSError."""
    arrays = {
        f"{side}/{field.name}": getattr(level, field.name)
        for side, level in model.levels.items()
        for field in fields(Level)
    }
    write_npz(path, FILE_FORMAT, model.provenance, arrays)


def load(path: Path) -> Model:
    """Read a model that save wrote. Raises OSError, and ValueError for any other or a damaged file."""
    arrays, provenance = read_npz(path, FILE_FORMAT, "MOP-CNN model")
    step, layer = provenance.get("step", STEP), provenance.get("layer", "")
    if not (isinstance(step, int) and step > 0 and isinstance(layer, str)):
        raise ValueError(f"{path} doesn't say which windows of which layer it was learnt from")
    sides = [side for side in WINDOW_SIDES if f"{side}/centres" in arrays]
    if not sides:
        raise ValueError(f"{path} holds no level")
    try:
        return Model({side: _stored_level(arrays, side) for side in sides}, provenance)
    except KeyError as lacking:
        raise ValueError(f"{path} holds no {lacking.args[0]}") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def _matrix(values: np.ndarray, name: str) -> np.ndarray:
    matrix = np.asarray(values, dtype=np.float32)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"{name} are a matrix with rows and columns, not {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} have a value that is not finite (NaN or infinity)")
    return matrix


def _unit(vector: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(vector)
    return vector / norm if norm > 0 else vector


def _assignment(points: np.ndarray, centres: np.ndarray, bandwidth: float) -> tuple[np.ndarray, np.ndarray]:
    """Each point's nearest centres (P, 5), nearest first, and their weights (P, 5), which sum to 1."""
    squares = (points**2).sum(axis=1)[:, None] - 2 * points @ centres.T + (centres**2).sum(axis=1)
    nearest = np.argsort(squares, axis=1, kind="stable")[:, :NEAREST_CENTRES]
    near = np.take_along_axis(squares, nearest, axis=1)
    # Less the smallest, which the sum to 1 cancels: exp of a far point's distances would vanish.
    similarity = np.exp(-(near - near[:, :1]) / bandwidth)
    return nearest, similarity / similarity.sum(axis=1, keepdims=True)


def _pool(activations: np.ndarray, level: Level) -> np.ndarray:
    rows = _matrix(activations, "the windows' activations")
    if rows.shape[1] != len(level.window_mean):
        raise ValueError(
            f"the windows have {rows.shape[1]} activations where the model learnt {len(level.window_mean)}"
        )
    reduced = (rows - level.window_mean) @ level.window_axes.T
    return vlad(reduced, level.centres, float(level.bandwidth))


def _learn_level(activations: Activations, settings: Settings) -> tuple[Level, list[str]]:
    if len(activations) < 2:
        raise ValueError(f"{len(activations)} training images are too few to learn from")
    rng = np.random.default_rng(settings.seed)
    rows = np.concatenate(
        [
            _matrix(activations[i], "the windows' activations")
            for i in _draw(rng, activations, settings.codebook_images)
        ]
    )
    window_pca = _fit_pca(rows, settings.window_dims)
    centres, bandwidth = _fit_centres(window_pca.transform(rows), settings)
    level = Level(
        window_mean=window_pca.mean_,
        window_axes=window_pca.components_,
        centres=centres,
        bandwidth=np.asarray(bandwidth, np.float32),
        output_mean=np.empty(0, np.float32),
        output_axes=np.empty((0, 0), np.float32),
    )
    drawn = _draw(rng, activations, settings.output_images)
    pooled = np.stack([_pool(activations[i], level) for i in drawn])
    output_pca = _fit_pca(pooled, settings.output_dims)
    level = replace(level, output_mean=output_pca.mean_, output_axes=output_pca.components_)
    stated = [
        *_stated("activations", window_pca, settings.window_dims, "windows"),
        *_stated("pooled vectors", output_pca, settings.output_dims, "images"),
    ]
    return level, stated


def _draw(rng: np.random.Generator, activations: Activations, most: int) -> list[int]:
    count = len(activations)
    return sorted(rng.choice(count, min(count, most), replace=False).tolist())


def _fit_pca(rows: np.ndarray, dims: int) -> Any:
    from sklearn.decomposition import PCA  # a second that encoding need not wait for

    count, size = rows.shape
    # The covariance is the quicker way where it is the smaller matrix. Neither solver is a random one.
    solver = "covariance_eigh" if count >= size else "full"
    with np.errstate(invalid="ignore"):  # rows that are all alike: their share of no variance
        return PCA(min(dims, size, count - 1), svd_solver=solver).fit(rows)


def _fit_centres(rows: np.ndarray, settings: Settings) -> tuple[np.ndarray, float]:
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    different = len(np.unique(rows, axis=0))
    if different < settings.centres:
        raise ValueError(f"{different} different training windows are too few for {settings.centres} centres")
    # On one thread: several would add up their shares in the order in which they end.
    with threadpool_limits(limits=1):
        fitted = KMeans(settings.centres, n_init=1, random_state=settings.seed).fit(rows)
    spread = max(fitted.inertia_ / len(rows), float(np.finfo(np.float32).tiny))
    return fitted.cluster_centers_, spread if settings.bandwidth is None else settings.bandwidth


def _stated(what: str, pca: Any, wanted: int, units: str) -> list[str]:
    if pca.n_components_ == wanted:
        return []
    return [
        f"PCA of the {what} to {pca.n_components_} dimensions, not {wanted}, as it was learnt from "
        f"{pca.n_samples_} {units} of {pca.n_features_in_} values"
    ]


def _stored_level(stored: Mapping[str, np.ndarray], side: int) -> Level:
    level = Level(**{field.name: stored[f"{side}/{field.name}"] for field in fields(Level)})
    dims, size = level.window_axes.shape
    centres = len(level.centres)
    expected = {
        "window_mean": (size,),
        "centres": (centres, dims),
        "bandwidth": (),
        "output_mean": (centres * dims,),
        "output_axes": (len(level.output_axes), centres * dims),
    }
    for name, shape in expected.items():
        if getattr(level, name).shape != shape:
            raise ValueError(f"{name} of windows of {side} is {getattr(level, name).shape}, not {shape}")
    return level
