"""Searching a features file: its pictures by similarity, and the features of a picture that is not in it.

How a new picture becomes a vector follows from what the features file says of itself: the network by path and
hash, the rest by its preprocessing. So a query is treated as the database was.
"""

import json
import threading
from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from eval.files.features import layers_of, names_of, open_features, precision_of, read_vectors
from eval.forward.kept_process import KeptProcess
from eval.forward.network import Network
from eval.forward.photographs import Picture
from eval.forward.precision import why_no_bf16
from eval.forward.workers import Batch, Rows
from eval.rank.recipe import Floats, Whitening, describe, l2_normalise
from eval.search.index_file import read_contents
from eval.search.nearest import Nearest
from tools.program import sha256_of

PCA_DIM = 128
"""The dimension of the article's tables."""
PICTURES_A_DIM = 5
"""Pictures for each dimension, below which a whitening is fitted to chance: on the 180 of the Oxford sample
R-MAC of pool5 falls from 69 to 59 % mAP by whitening to 128."""
FIT_MOST = 8_000
"""Pictures a whitening is fitted on; of more, every second, third and so on is taken."""
BLOCK = 8192
KEPT_FEATURES = 256
IN_WORDS = {
    "rmac": "things in it, wherever they are (R-MAC of {})",
    "rmac_whitened": "things in it, wherever they are (R-MAC of {}, regions whitened)",
    "gem": "the picture as a whole (GeM of {})",
    "sum": "the picture on average (SUM of {})",
    "average": "the picture on average (AVE of {})",
    "max": "what is strongest in it (MAX of {})",
    "crow": "what stands out in it (CroW of {})",
}
"""What poolings compare, for those who don't know their names."""


@dataclass(frozen=True)
class Hit:
    """A picture that came back, and its cosine similarity with the query."""

    name: str
    score: float


@dataclass(frozen=True)
class Representation:
    """A layer as it is, or whitened by PCA to `dim` dimensions."""

    layer: str
    dim: int | None = None

    @property
    def key(self) -> str:
        """What it is called in an address."""
        return self.layer if self.dim is None else f"{self.layer}:{self.dim}"

    @property
    def words(self) -> str:
        """What it is called on a page."""
        base, _, pooling = self.layer.partition("_")
        if pooling in IN_WORDS:
            words = IN_WORDS[pooling].format(base)
        else:
            words = f"what is to be seen ({self.layer})" if base in ("fc6", "fc7") else self.layer
        return words if self.dim is None else f"{words}, common traits evened out (PCA to {self.dim})"


class Index:
    """One features file, its layers read when they are first asked for. Any thread may use it."""

    def __init__(self, path: Path, deploy: Path | None = None, weights: Path | None = None) -> None:
        """Raises ValueError for what is no features file, and for network files that aren't its own."""
        self.path = path
        with open_features(path) as features:
            self.names = sorted(names_of(features, "database"))
            self.layers = layers_of(features, "database")
            self.queries = sorted(names_of(features, "queries")) if "queries" in features else []
            self._attributes = {name: str(value) for name, value in features.attrs.items()}
            self._dims = {layer: features["database"][layer].shape[1] for layer in self.layers}
            of_photographs = "album" in features
        self.folder: Path | None = None
        self.left_out: list[tuple[str, str]] = []
        if of_photographs:
            self._read_album()
        self.model = self._attributes.get("model", path.stem)
        self.precision = precision_of(self._attributes)
        self._given = {"deploy": deploy, "weights": weights}
        self._lock = threading.RLock()
        self._vectors: dict[tuple[str, str], tuple[list[str], NDArray[np.float32]]] = {}
        self._fitted: dict[Representation, Whitening] = {}
        self._found_by: dict[Representation, Nearest] = {}
        self._computing = threading.Lock()
        self._features: OrderedDict[tuple[str, int], dict[str, np.ndarray]] = OrderedDict()
        self._process = KeptProcess()
        for what, file in self._given.items():
            if file is not None and not self._is_own(what, file):
                raise ValueError(f"{path} was not made with {file}: its hash is another")

    def _read_album(self) -> None:
        contents = read_contents(self.path)
        for name in self.names:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise ValueError(f"{self.path} names a file outside its folder: {name}")
        self.folder = contents.folder
        self.left_out = [(file, reason) for file, _, reason in contents.left_out]

    @cached_property
    def representations(self) -> list[Representation]:
        """What can be searched by, best first: each layer as it is, and whitened where there are enough
        pictures to fit a whitening on."""
        found = []
        for layer in sorted(self.layers, key=lambda one: (not one.endswith("_rmac"), one)):
            plain = [Representation(layer)]
            enough = len(self.names) >= PICTURES_A_DIM * PCA_DIM and self._dims[layer] > PCA_DIM
            found += [Representation(layer, PCA_DIM), *plain] if enough else plain
        return found

    def representation(self, key: str) -> Representation:
        """The representation of this name. Raises ValueError for another."""
        for one in self.representations:
            if one.key == key:
                return one
        raise ValueError(f"{self.path.name} has no representation {key}")

    @cached_property
    def network(self) -> Network | None:
        """The network that the file was made with; None where its files aren't found."""
        return None if self.why_no_network else self._described()

    def _described(self) -> Network:
        """The network as the attributes tell of it."""
        preprocessing = json.loads(self._attributes["preprocessing"])
        run = json.loads(self._attributes["run"])
        resize = preprocessing["resize"]
        free = isinstance(resize, dict)
        return Network(
            str(self._place("deploy")),
            str(self._place("weights")),
            tuple(run["layers"]),
            None if free else tuple(resize),
            tuple(preprocessing["mean"]),
            run["batch"],
            max_side=resize["max_side"] if free else 0,
            min_side=resize["min_side"] if free else 1,
            poolings=tuple(run.get("poolings", ())),
            interpolation=preprocessing["interpolation"].removeprefix("OpenCV "),
            precision=self.precision,
        )

    @cached_property
    def why_no_network(self) -> str | None:
        """A clause that says why uploads and boxes can't be searched; None where they can."""
        for what in self._given:
            place = self._place(what)
            if place is None:
                return f"it doesn't say which {what} it was made with (name it with --{what})"
            if not place.is_file():
                return f"{place}, which it was made with, is gone (--{what} names another place)"
            if not self._is_own(what, place):
                return f"{place} is not what it was made with any more (--{what} names another place)"
        try:
            self._described()
        except (KeyError, TypeError, ValueError, AttributeError):
            return "it doesn't say how pictures went into its network"
        if self.precision == "bf16" and (why_not := why_no_bf16()):
            return f"it was made in bf16, and {why_not}"
        return None

    def _place(self, what: str) -> Path | None:
        recorded = self._attributes.get(what)
        return self._given[what] or (Path(recorded) if recorded else None)

    def _is_own(self, what: str, file: Path) -> bool:
        attribute = {"deploy": "prototxt_sha256", "weights": "weights_sha256"}[what]
        return sha256_of(file) == self._attributes.get(attribute)

    def of_picture(self, name: str, representation: Representation) -> Floats:
        """The vector (D,) of a picture in the index. Raises ValueError for a name that isn't in it."""
        return self._row("database", name, representation)

    def of_query(self, name: str, representation: Representation) -> Floats:
        """The vector (D,) of a query in the features file. Raises ValueError for a name that isn't in it."""
        return self._row("queries", name, representation)

    def of_file(
        self, path: Path, box: tuple[float, float, float, float] | None, representation: Representation
    ) -> Floats:
        """The vector (D,) of a picture file, or of a box of it, computed by Caffe.

        Raises ValueError where the network isn't found, the file is no picture, the box lies outside, or the
        representation needs more than the network; OSError where Caffe ends.
        """
        if self.network is None:
            raise ValueError(
                "Only whole pictures of the index can be searched with now; the server's terminal says why."
            )
        try:
            rows = self._computed(self.network, Picture(str(path), box, "query"))
        except ValueError as error:  # what is wrong, without where the upload lies
            raise ValueError(str(error).removeprefix(f"{path}: ").replace(str(path), "the picture")) from None
        if representation.layer not in rows:
            raise ValueError(f"{representation.layer} can't be computed for a picture outside the index")
        return self._prepared(rows[representation.layer], representation).ravel()

    def _computed(self, network: Network, picture: Picture) -> Rows:
        """A picture's features, computed once however often they are asked for at a time."""
        key = picture.path, picture.stamp()
        with self._computing:
            if key not in self._features:
                self._features[key] = self._process.compute(network, Batch("queries", 0, [picture]))
            self._features.move_to_end(key)
            while len(self._features) > KEPT_FEATURES:
                self._features.popitem(last=False)
            return self._features[key]

    def search(self, vector: Floats, representation: Representation, count: int) -> list[Hit]:
        """The `count` pictures most similar to a vector (D,), best first."""
        rows, scores = self._nearest(representation)(vector, count)
        return [Hit(self.names[row], float(score)) for row, score in zip(rows, scores, strict=True)]

    def close(self) -> None:
        """End the process that computes features."""
        self._process.close()

    def _row(self, group: str, name: str, representation: Representation) -> Floats:
        names, matrix = self._matrix(group, representation.layer)
        place = bisect_left(names, name)
        if place == len(names) or names[place] != name:
            raise ValueError(f"{name} is not in {self.path.name}")
        return self._prepared(matrix[place : place + 1], representation).ravel()

    def _matrix(self, group: str, layer: str) -> tuple[list[str], NDArray[np.float32]]:
        """Names in order and features as they are in the file."""
        with self._lock:
            if (group, layer) not in self._vectors:
                with open_features(self.path) as features:
                    read = read_vectors(features, group, layer)
                self._vectors[group, layer] = read.names, read.values
            return self._vectors[group, layer]

    def _prepared(self, rows: NDArray[np.floating], representation: Representation) -> Floats:
        """Rows (n, D) of a layer as they are compared (n, d): of length 1, whitened if that is asked for."""
        return describe(rows, self._whitening(representation) if representation.dim else None)

    def _nearest(self, representation: Representation) -> Nearest:
        """What finds a representation's most similar pictures."""
        with self._lock:
            if representation not in self._found_by:
                _, matrix = self._matrix("database", representation.layer)
                vectors = matrix
                if representation.dim is not None:
                    blocks = (matrix[start : start + BLOCK] for start in range(0, len(matrix), BLOCK))
                    vectors = np.concatenate(
                        [self._prepared(block, representation).astype(np.float32) for block in blocks]
                    )
                self._found_by[representation] = Nearest(
                    vectors, lambda rows: self._prepared(matrix[rows], representation)
                )
            return self._found_by[representation]

    def _whitening(self, representation: Representation) -> Whitening:
        """The whitening of a representation, fitted on the index's pictures."""
        assert representation.dim is not None
        with self._lock:
            if representation not in self._fitted:
                _, matrix = self._matrix("database", representation.layer)
                drawn = matrix[:: -(-len(matrix) // FIT_MOST)]
                self._fitted[representation] = Whitening(representation.dim).fit(l2_normalise(drawn))
            return self._fitted[representation]
