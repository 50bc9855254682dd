"""Ranking among a million distractors against the bare matrix product: python -m bench.distractors --help."""

import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np

from bench.measure import (
    Row,
    alternate,
    compare,
    finish,
    in_fresh_process,
    options,
    peak_mib,
    run_bench,
    seconds,
)
from bench.scoring import LANDMARKS, POSITIVES, QUERIES_EACH, make_ground_truth
from eval import score
from eval.distractors.ranking import Block, Searched, open_distractors, rank_among
from eval.files.features import open_features, read_vectors
from eval.files.ground_truth import read_ground_truth
from eval.rank.recipe import l2_normalise, rank, similarities

LAYER = "pool5_rmac"
PICTURES, DISTRACTORS, DIMENSIONS = 5063, 1_000_000, 256
ROWS_AT_ONCE = 50_000
GOAL = "<= 1.3"
MEMORY_GOAL = "<= 953"  # 1 GB in MiB
MOST_LIKE = 2.0


def write_features(path: Path, count: int, dimensions: int) -> None:
    """A features file of noise; a landmark's pictures are like its queries, from not at all to much."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((LANDMARKS, dimensions))
    database = random.standard_normal((count, dimensions))
    for landmark, centre in enumerate(centres):
        mine = slice(landmark * POSITIVES, (landmark + 1) * POSITIVES)
        database[mine] += centre * np.linspace(0, MOST_LIKE, POSITIVES)[:, np.newaxis]
    queries = np.repeat(centres, QUERIES_EACH, axis=0)
    queries += random.standard_normal(queries.shape) / 2
    asked = [f"landmark{i}_{j}" for i in range(LANDMARKS) for j in range(QUERIES_EACH)]
    with h5py.File(path, "w") as file:
        for group, names, rows in (
            ("database", [f"picture_{i:05}" for i in range(count)], database),
            ("queries", asked, queries),
        ):
            file[f"{group}/names"] = np.array(names, dtype=h5py.string_dtype())
            file[f"{group}/{LAYER}"] = rows.astype(np.float32)


def write_distractors(path: Path, count: int, dimensions: int) -> None:
    """A features file of noise alone, as eval.extract lays one out: one piece, not compressed."""
    random = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        names = [f"far/{i:07}" for i in range(count)]
        file["database/names"] = np.array(names, dtype=h5py.string_dtype())
        data = file.create_dataset(f"database/{LAYER}", (count, dimensions), "<f4")
        for at in range(0, count, ROWS_AT_ONCE):
            rows = min(ROWS_AT_ONCE, count - at)
            data[at : at + rows] = random.standard_normal((rows, dimensions), dtype=np.float32)


def searched_pictures(folder: Path) -> Searched:
    """The small database and its queries, as eval.score hands them to the ranking among distractors."""
    with open_features(folder / "features.h5") as features:
        database, queries = (read_vectors(features, group, LAYER) for group in ("database", "queries"))
    truths = {truth.query.name: truth for truth in read_ground_truth(folder / "gt")}
    unit = l2_normalise(queries.values)
    scores = similarities(unit, l2_normalise(database.values))
    positives, junk = (
        [getattr(truths[name], kind) for name in queries.names] for kind in ("positives", "junk")
    )
    return Searched(database.names, unit, scores, rank(scores), positives, junk)


def product_from_file(blocks: Iterable[Block], queries: np.ndarray, *, lengths: bool = False) -> None:
    """Read each block while the one before is multiplied, by BLAS on all cores; nothing is done with it.

    With `lengths` those of the vectors too, without which a product is no cosine.
    """
    for block in read_ahead(blocks):
        np.matmul(block, queries.T)
        if lengths:
            np.vecdot(block, block)


def read_ahead(blocks: Iterable[Block]) -> Iterator[np.ndarray]:
    """The blocks' vectors, the next one being read meanwhile."""
    with ThreadPoolExecutor(1) as reader:
        coming: deque[Future[np.ndarray]] = deque()
        for block in blocks:
            coming.append(reader.submit(block.read))
            if len(coming) > 1:
                yield coming.popleft().result()
        if coming:
            yield coming.popleft().result()


def times(folder: Path, runs: int) -> list[list[float]]:
    """Seconds of the streamed ranking; of the bare product from the file, of that with the vectors' lengths,
    and of the product from memory."""
    searched = searched_pictures(folder)
    near = searched.queries.astype(np.float32)
    with open_distractors([folder / "far.h5"], searched.names) as distractors:
        blocks = distractors.blocks(LAYER)
        held = [block.read() for block in blocks]
        return alternate(
            lambda: rank_among(distractors, LAYER, lambda rows: rows, searched, first=100, jobs=cores()),
            lambda: product_from_file(blocks, near),
            lambda: product_from_file(blocks, near, lengths=True),
            lambda: [np.matmul(block, near.T) for block in held],
            runs=runs,
        )


def whole_program(folder: Path) -> tuple[float, float]:
    """Seconds of eval.score with the distractors, and the most memory it takes in MiB."""
    command = [folder / "features.h5", "--gt", folder / "gt", "--out", folder / "ranks", "--dims", "none"]

    def run() -> None:
        if score.main([*map(str, command), "--distractors", str(folder / "far.h5")]) != 0:
            raise ValueError("eval.score failed")

    return seconds(run), peak_mib()


def cores() -> int:
    return len(os.sched_getaffinity(0))


def measured(folder: Path, count: int, dimensions: int, runs: int) -> list[Row]:
    """Make the files and measure."""
    (folder / "gt").mkdir()
    make_ground_truth(folder / "gt")
    write_features(folder / "features.h5", PICTURES, dimensions)
    write_distractors(folder / "far.h5", count, dimensions)
    ours, from_file, with_lengths, from_memory = in_fresh_process(times, folder, runs)
    programs = [in_fresh_process(whole_program, folder) for _ in range(max(runs // 3, 1))]
    of_goal_size = (count, dimensions) == (DISTRACTORS, DIMENSIONS)
    goal, memory_goal = (GOAL, MEMORY_GOAL) if of_goal_size else ("", "")
    what = f"{LANDMARKS * QUERIES_EACH} queries among {count} x {dimensions} float32, {cores()} cores"
    return [
        compare(what, "ranked, from the file", "product, from the file", "s", ours, from_file, goal=goal),
        compare(what, "ranked, from the file", "product and lengths, from the file", "s", ours, with_lengths),
        compare(what, "ranked, from the file", "product, from memory", "s", ours, from_memory),
        compare(what, "eval.score, whole program", "", "s", [seconds for seconds, _ in programs]),
        compare(
            what, "eval.score, whole program", "", "MiB", [most for _, most in programs], goal=memory_goal
        ),
    ]


def main() -> int:
    """Measure in a temporary folder."""
    parser = options(
        "distractors",
        "Times eval.score's ranking among distractors against reading the same blocks of the same file, in "
        "the page cache, and multiplying them by the queries with NumPy on all cores, one block being "
        "read while the last is multiplied; and against the product alone.",
        "--distractors 100000",
    )
    parser.add_argument("--distractors", type=int, help=f"default {DISTRACTORS}, 100000 for a quick look")
    parser.add_argument("--dimensions", type=int, default=DIMENSIONS, help=f"default {DIMENSIONS}")
    arguments = parser.parse_args()
    count = arguments.distractors or (100_000 if arguments.quick else DISTRACTORS)
    if min(count, arguments.dimensions) < 1:
        parser.error("--distractors and --dimensions take numbers from 1 up")
    with tempfile.TemporaryDirectory() as place:
        needed = 4 * count * arguments.dimensions + 200 * count
        if shutil.disk_usage(place).free < 1.1 * needed:
            raise ValueError(f"{place} has no room for {needed / 1e9:.1f} GB: set TMPDIR to a larger place")
        rows = measured(Path(place), count, arguments.dimensions, 3 if arguments.quick else 9)
    return finish(rows, arguments)


if __name__ == "__main__":
    run_bench("distractors", main)
