"""Ranking among distractors: a million more pictures that no query asks for, streamed past in blocks.

Average precision only asks how many pictures stand before each positive, so no list of a million names is
made: the searched pictures are ranked by eval.rank.recipe, and of each distractor we find out which positives
it comes before, and whether it is among the first few. The places, ties included, are those of one ranking of
everything by eval.rank.recipe.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeVar

import h5py
import numpy as np
from numpy.dtypes import StringDType
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from eval.distractors.counting import (
    MOST_ROWS,
    Compared,
    Comparison,
    Integers,
    NotFiniteError,
    Vectors,
)
from eval.files.features import NAMES_AT_ONCE, check_vectors, names_in_parts, open_features
from eval.rank.recipe import Floats, Ranking

# 8 MB in float32: a block stays near the core that works on it.
BLOCK_VALUES = 1 << 21

Item = TypeVar("Item")
Result = TypeVar("Result")
Project = Callable[[NDArray[np.float32]], Vectors]


class Distractors:
    """The distractors of one or more features files. Rows are numbered through all files."""

    def __init__(self, files: Sequence[h5py.File], taken: Iterable[str]) -> None:
        """Read the names; `taken` are names that no distractor can have.

        Raises ValueError where one has, where two have the same, or where names_in_parts does.
        """
        self._files = files
        self._starts = [0]
        parts = []
        for file in files:
            # 16 bytes a short name, where Python's own take 70
            parts += [np.array(some, StringDType()) for some in names_in_parts(file, "database")]
            self._starts.append(sum(map(len, parts)))
        self._names = np.concatenate(parts)
        del parts
        self._by_name = np.argsort(self._names, kind="stable").astype(np.int32)
        self._refuse_twins()
        self.places = np.empty(len(self), np.int32)
        """(N,): each row's place in the order of names."""
        self.places[self._by_name] = np.arange(len(self), dtype=np.int32)
        for name in taken:
            place = self.before(name)
            if place < len(self) and self.name(self._by_name[place]) == name:
                raise ValueError(f"{name} is a distractor and a picture to be searched or found at once")

    def _refuse_twins(self) -> None:
        for at in range(0, len(self) - 1, NAMES_AT_ONCE):
            names = self._names[self._by_name[at : at + NAMES_AT_ONCE + 1]]
            for i in np.flatnonzero(names[1:] == names[:-1])[:1]:
                one, other = self._by_name[at + i : at + i + 2]
                files = [bisect_right(self._starts, row) - 1 for row in (one, other)]
                if files[0] == files[1]:
                    raise ValueError(f"{self._files[files[0]].filename} has {names[i]} twice in database")
                raise ValueError(f"{names[i]} is there twice among the distractors")

    def __len__(self) -> int:
        return len(self._names)

    def name(self, row: int) -> str:
        """The name of a row."""
        return str(self._names[row])

    def before(self, name: str) -> int:
        """How many distractors' names come before this one."""
        return bisect_left(self._by_name, name, key=self.name)

    def check(self, layer: str, dimensions: int) -> None:
        """Raise ValueError where a file lacks the layer, or has it in another shape."""
        for file, start, end in self._parts():
            there = check_vectors(file, "database", layer, end - start).shape[1]
            if there != dimensions:
                raise ValueError(f"{file.filename} has {layer} in {there} dimensions, not {dimensions}")

    def blocks(self, layer: str) -> "list[Block]":
        """The layer in blocks of rows."""
        blocks = []
        for file, start, _ in self._parts():
            data = file["database"][layer]
            rows = block_rows(data)
            blocks += [Block(data, at, min(at + rows, len(data)), start) for at in range(0, len(data), rows)]
        return blocks

    def _parts(self) -> Iterator[tuple[h5py.File, int, int]]:
        return zip(self._files, self._starts, self._starts[1:], strict=False)


class Block(NamedTuple):
    """Rows `begin` to `end` of a file's layer; the file's first row is `start` of all."""

    data: h5py.Dataset
    begin: int
    end: int
    start: int

    def read(self) -> NDArray[np.float32]:
        """The rows' vectors (n, D)."""
        vectors = np.empty((self.end - self.begin, self.data.shape[1]), np.float32)
        self.data.read_direct(vectors, np.s_[self.begin : self.end])
        return vectors


def block_rows(data: h5py.Dataset) -> int:
    """Rows of a block: BLOCK_VALUES numbers or less, in whole chunks where HDF5 stores chunks."""
    rows = min(max(BLOCK_VALUES // int(data.shape[1]), 1), MOST_ROWS)
    if data.chunks is None:
        return rows
    return int(data.chunks[0]) * max(rows // int(data.chunks[0]), 1)


@contextmanager
def open_distractors(paths: Sequence[Path], taken: Iterable[str]) -> Iterator[Distractors]:
    """Open features files, or HDF5 files with database/names and layers below database.

    Raises ValueError as open_features and Distractors do.
    """
    with ExitStack() as stack:
        yield Distractors([stack.enter_context(open_features(path)) for path in paths], taken)


@dataclass(frozen=True)
class Searched:
    """The searched database as eval.rank.recipe ranks it: N names in ascending order, Q queries."""

    names: Sequence[str]
    queries: Floats
    """(Q, d), rows of length 1."""
    scores: Floats
    """(Q, N), as similarities gives them."""
    ranking: Ranking
    """(Q, N), as rank gives it."""
    positives: Sequence[Set[str]]
    """Of each query; some may not be there."""
    junk: Sequence[Set[str]]

    @cached_property
    def _columns(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    def columns(self, names: Set[str]) -> NDArray[np.intp]:
        """The columns of those names that are there, ascending."""
        return np.array(sorted(self._columns[name] for name in names & self._columns.keys()), np.intp)


@dataclass(frozen=True)
class Standing:
    """Of one query: its positives' places in the ranking of everything, from 1, and the first names of it."""

    places: dict[str, int]
    judged: list[int]
    """The places with junk left out."""
    first: list[str]


def rank_among(
    distractors: Distractors, layer: str, project: Project, searched: Searched, *, first: int, jobs: int
) -> list[Standing]:
    """Rank the searched pictures and all distractors together, for each query.

    `project` takes vectors (n, D) as they are in the file to those that are compared, (n, d) of any length.
    `first` names are wanted of a ranking's beginning. `jobs` threads work on a block each.
    Raises ValueError where a value isn't a finite number.
    """
    leaders = Leaders(searched, distractors, first)
    columns = [searched.columns(positives) for positives in searched.positives]
    bounded = zip(searched.scores, columns, leaders.bounds, strict=True)
    thresholds = [np.append(scores[found], bound) for scores, found, bound in bounded]
    compare = Comparison(searched.queries, thresholds)
    scores, query = np.concatenate(thresholds), compare.query
    # Who comes first of two that tie: how many distractors' names come before the positive's.
    before = np.zeros(len(scores), np.int64)
    before[~compare.is_open] = [distractors.before(searched.names[i]) for found in columns for i in found]
    above = np.zeros(len(scores), np.int64)

    def work(block: Block) -> list[tuple[int, Compared]]:
        return list(compare_block(block, project, compare, distractors))

    with threadpool_limits(1):  # a BLAS thread in each of ours, so that none waits for another
        for start, compared in chain.from_iterable(in_order(work, distractors.blocks(layer), jobs)):
            at, score, row = compared.threshold, compared.score, compared.row + start
            precedes = (score > scores[at]) | ((score == scores[at]) & (distractors.places[row] < before[at]))
            above += compared.above + np.bincount(at[precedes], minlength=len(above))
            candidate = compare.is_open[at]
            if leaders.add(query[at[candidate]], score[candidate], row[candidate]):
                compare.raise_open(leaders.bounds)
    first_names = leaders.names()
    return [
        standing(searched, q, found, above[(query == q) & ~compare.is_open], first_names[q])
        for q, found in enumerate(columns)
    ]


def compare_block(
    block: Block, project: Project, compare: Comparison, distractors: Distractors
) -> Iterator[tuple[int, Compared]]:
    """Read and compare a block, in slices: the number of a slice's first row and what came of it."""
    read = block.read()
    for at in range(0, len(read), MOST_ROWS):
        start = block.start + block.begin + at
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # what comes of a value that is not finite
                compared = compare(project(read[at : at + MOST_ROWS]))
        except NotFiniteError as error:
            where = f"{block.data.file.filename}: {block.data.name.lstrip('/')}"
            name = distractors.name(start + error.row)
            raise ValueError(f"{where} holds a value that is not finite, for {name}") from None
        yield start, compared


def in_order(work: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Iterator[Result]:
    """work(item) of every item, in their order, by `jobs` threads; at most one more result is waiting."""
    under_way: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for item in items:
                under_way.append(pool.submit(work, item))
                if len(under_way) > jobs:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


def standing(
    searched: Searched, query: int, columns: Integers, above: Integers, first: list[str]
) -> Standing:
    """Put `above` distractors before each of the positives in these columns."""
    order = searched.ranking[query]
    own = np.empty(len(order), np.intp)
    own[order] = np.arange(1, len(order) + 1)
    places = own[columns] + above
    junk = np.sort(own[searched.columns(searched.junk[query])])
    judged = places - np.searchsorted(junk, own[columns])
    names = (searched.names[i] for i in columns)
    return Standing(dict(zip(names, places.tolist(), strict=True)), judged.tolist(), first)


def average_precision(places: Iterable[int], positives: int) -> float:
    """What compute_ap prints for positives at these places of a ranking, from 1, junk not counted.

    `positives` is how many there are, found or not. Single and double precision, and the six digits printed,
    are those of eval/compute_ap.cpp.
    """
    ap = old_recall = np.float32(0)
    for found, place in enumerate(sorted(places), 1):
        recall = np.float32(found) / np.float32(positives)
        old_precision = np.float32((found - 1) / (place - 1) if place > 1 else 1)
        precision = np.float32(found / place)
        ap = np.float32(float(ap) + float(recall - old_recall) * (float(old_precision + precision) / 2.0))
        old_recall = recall
    return float(f"{ap:.6g}")


class Leaders:
    """The first distractors of each query so far."""

    def __init__(self, searched: Searched, distractors: Distractors, first: int) -> None:
        self._searched, self._distractors, self._first = searched, distractors, first
        self._query, self._score, self._row = np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64)
        queries = len(searched.queries)
        self.bounds = np.full(queries, -np.inf)
        """(Q,): a distractor of a smaller similarity isn't among a query's first."""
        if first <= len(searched.names):
            self.bounds = searched.scores[np.arange(queries), searched.ranking[:, first - 1]]

    def add(self, query: Integers, score: Floats, row: Integers) -> bool:
        """Take note of distractors; True where the bounds may have risen."""
        self._query = np.concatenate([self._query, query])
        self._score = np.concatenate([self._score, score])
        self._row = np.concatenate([self._row, row])
        if len(self._row) < 2 * self._first * len(self.bounds):
            return False
        self._cut()
        return True

    def names(self) -> list[list[str]]:
        """The first names of each query, distractors and searched pictures."""
        self._cut()
        searched, distractors = self._searched, self._distractors
        rivals = [
            [(-scores[i], searched.names[i]) for i in order[: self._first]]
            for scores, order in zip(searched.scores, searched.ranking, strict=True)
        ]
        for query, score, row in zip(self._query, self._score, self._row, strict=True):
            rivals[query].append((-score, distractors.name(int(row))))
        return [[name for _, name in sorted(of_query)[: self._first]] for of_query in rivals]

    def _cut(self) -> None:
        order = np.lexsort((self._distractors.places[self._row], -self._score, self._query))
        query = self._query[order]
        place = np.arange(len(query)) - np.searchsorted(query, query)
        order = order[place < self._first]
        self._query, self._score, self._row = self._query[order], self._score[order], self._row[order]
        last = np.flatnonzero(place[place < self._first] == self._first - 1)
        self.bounds[self._query[last]] = np.maximum(self.bounds[self._query[last]], self._score[last])
