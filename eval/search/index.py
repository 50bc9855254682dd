"""Searching a features file: its pictures by similarity, and the features of a picture that is not in it.

How a new picture becomes a vector follows from what the features file says of itself: the network by the
hashes of its prototxt and weights, the rest by its preprocessing. So a query is treated as the database was.
"""

import json
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from eval.files.features import layers_of, names_of, open_features, read_vectors
from eval.forward.kept_process import KeptProcess
from eval.forward.network import Network
from eval.forward.photographs import Picture
from eval.forward.workers import Batch
from eval.rank.recipe import Floats, Whitening, describe, l2_normalise, rank, similarities
from tools.program import sha256_of

PCA_DIM = 128
"""The dimension of the article's tables, offered beside the layers as they are."""
PLACES = ("", "..", "../prototxt", "../models", "../data", "../../data")
"""Where, seen from a features file's folder, a run has its network."""


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
        return self.layer if self.dim is None else f"{self.layer}, PCA to {self.dim}"


class Index:
    """One features file, its layers read when they are first asked for."""

    def __init__(self, path: Path, deploy: Path | None = None, weights: Path | None = None) -> None:
        """Raises ValueError for what is no features file, and for network files that aren't its own."""
        self.path = path
        with open_features(path) as features:
            self.names = sorted(names_of(features, "database"))
            self.layers = layers_of(features, "database")
            self.queries = sorted(names_of(features, "queries")) if "queries" in features else []
            self._attributes = {name: str(value) for name, value in features.attrs.items()}
            self._dims = {layer: features["database"][layer].shape[1] for layer in self.layers}
        self.model = self._attributes.get("model", path.stem)
        self._given = {"prototxt_sha256": deploy, "weights_sha256": weights}
        self._lock = threading.Lock()
        self._vectors: dict[tuple[str, str], tuple[list[str], Floats]] = {}
        self._whitenings: dict[Representation, Whitening] = {}
        self._process = KeptProcess()
        for attribute, file in self._given.items():
            if file is not None and sha256_of(file) != self._attributes.get(attribute):
                raise ValueError(f"{path} was not made with {file}: its hash is another")

    @cached_property
    def representations(self) -> list[Representation]:
        """What can be searched by: each layer whitened, where it has enough dimensions, and as it is."""
        found = []
        for layer in self.layers:
            if min(self._dims[layer], len(self.names) - 1) > PCA_DIM:
                found.append(Representation(layer, PCA_DIM))
            found.append(Representation(layer))
        return found

    def representation(self, key: str) -> Representation:
        """The representation of this name. Raises ValueError for another."""
        for one in self.representations:
            if one.key == key:
                return one
        raise ValueError(f"{self.path} has no representation {key}")

    @cached_property
    def network(self) -> Network | None:
        """The network that the file was made with; None where its files aren't found."""
        deploy, weights = (self._find(attribute) for attribute in self._given)
        if deploy is None or weights is None:
            return None
        preprocessing = json.loads(self._attributes["preprocessing"])
        run = json.loads(self._attributes["run"])
        resize = preprocessing["resize"]
        free = isinstance(resize, dict)
        return Network(
            str(deploy),
            str(weights),
            tuple(run["layers"]),
            None if free else tuple(resize),
            tuple(preprocessing["mean"]),
            run["batch"],
            max_side=resize["max_side"] if free else 0,
            min_side=resize["min_side"] if free else 1,
            poolings=tuple(run.get("poolings", ())),
        )

    def _find(self, attribute: str) -> Path | None:
        wanted = self._attributes.get(attribute)
        if self._given[attribute] is not None:
            return self._given[attribute]
        ending = "*.prototxt" if attribute.startswith("prototxt") else "*.caffemodel"
        folders = dict.fromkeys((self.path.parent / place).resolve() for place in PLACES)
        for folder in folders:
            for file in sorted(folder.glob(ending)):
                if sha256_of(file) == wanted:
                    return file
        return None

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
                f"{self.path} can be searched by its own pictures only, as the network it was made with is "
                "not where a run has it: start with --deploy and --weights"
            )
        rows = self._compute(Picture(str(path), box, "query"))
        if representation.layer not in rows:
            raise ValueError(f"{representation.layer} can't be computed for a picture outside the index")
        return self._prepared(rows[representation.layer], representation)[0]

    def search(self, vector: Floats, representation: Representation, count: int) -> list[Hit]:
        """The `count` pictures most similar to a vector (D,), best first."""
        names, database = self._matrix("database", representation.layer)
        scores = similarities(vector[np.newaxis], self._prepared(database, representation))
        return [Hit(names[i], float(scores[0, i])) for i in rank(scores)[0, :count]]

    def close(self) -> None:
        """End the process that computes features."""
        self._process.close()

    def _row(self, group: str, name: str, representation: Representation) -> Floats:
        names, matrix = self._matrix(group, representation.layer)
        place = np.searchsorted(names, name)
        if place == len(names) or names[place] != name:
            raise ValueError(f"{name} is not in {self.path}")
        return self._prepared(matrix[place : place + 1], representation)[0]

    def _matrix(self, group: str, layer: str) -> tuple[list[str], Floats]:
        """Names in order and vectors of length 1."""
        with self._lock:
            if (group, layer) not in self._vectors:
                with open_features(self.path) as features:
                    read = read_vectors(features, group, layer)
                self._vectors[group, layer] = read.names, l2_normalise(read.values)
            return self._vectors[group, layer]

    def _prepared(self, vectors: Floats, representation: Representation) -> Floats:
        """Vectors (N, D) of a layer as they are compared: of length 1, whitened if that is asked for."""
        if representation.dim is None:
            return describe(vectors)
        _, database = self._matrix("database", representation.layer)
        with self._lock:
            if representation not in self._whitenings:
                self._whitenings[representation] = Whitening(representation.dim).fit(database)
        return describe(vectors, self._whitenings[representation])

    def _compute(self, picture: Picture) -> dict[str, np.ndarray]:
        assert self.network is not None
        return self._process.compute(self.network, Batch("queries", 0, [picture]))
