"""Rank the database for every query, and score the rankings by mean average precision.

Per layer: L2-normalise, whitening PCA, L2-normalise, rank by dot product; average precision by the program
`compute_ap`. Defaults are the article's.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from eval.distractors.ranking import (
    Distractors,
    Project,
    Searched,
    average_precision,
    open_distractors,
    rank_among,
)
from eval.files.features import check_layer, check_vectors, layers_of, names_of, open_features, read_vectors
from eval.files.ground_truth import GroundTruth, fingerprint, read_ground_truth
from eval.rank.recipe import (
    Floats,
    Ranking,
    Whitening,
    expand_queries,
    expansion_weights,
    l2_normalise,
    rank,
    rerank_by_mean_subtraction,
    similarities,
)

PROGRAM = "eval.score"
STAGE = "scores.part"
EXPANSIONS = ("none", "average", "linear")
RERANKINGS = ("none", "mean-subtraction")


@dataclass(frozen=True)
class Descriptors:
    """One layer at one dimension: database (N, d) and queries (Q, d), rows of length 1."""

    label: str
    database: Floats
    queries: Floats
    project: Project
    """From features as they are in a file to what these are before they are given length 1."""
    noise_directions: int = 0


@dataclass(frozen=True)
class Run:
    """What every layer is scored with."""

    options: argparse.Namespace
    truths: Sequence[GroundTruth]
    distractors: Distractors
    compute_ap: str
    stage: Path
    """Where the results go first."""


@dataclass(frozen=True)
class Result:
    """The rankings (Q, N) of one setting, and how they were made."""

    folder: str
    """Where the ranked lists go, below the output folder."""
    setting: dict[str, Any]
    """The row of scores.json so far."""
    ranking: Ranking


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_options(arguments)
    try:
        run(options)
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
    parser = argparse.ArgumentParser(
        prog=f"python -m {PROGRAM}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Rank the database for every query of a features file, write the ranked lists, and\n"
        "score them by mean average precision (the program compute_ap, which must be on PATH).\n\n"
        "Writes OUT/<layer>/<dimension>/<query>.txt, best first, and OUT/scores.json. With --distractors\n"
        "also <query>.first.txt, the beginning of the ranking among them, and <query>.places.txt, the\n"
        "positives' places in it.",
        epilog="example:\n  python -m eval.score work/demo/features/pretrained.h5 \\\n"
        "      --gt work/demo/data/retrieval/gt --out work/demo/ranks/pretrained",
    )
    add = parser.add_argument
    add("features", type=Path, help="features of database and queries (HDF5, from eval.extract)")
    add("--gt", type=Path, required=True, metavar="DIR", help="ground truth in Oxford's layout")
    add("--out", type=Path, required=True, metavar="DIR", help="where ranked lists and scores.json go")
    add("--layers", nargs="+", metavar="LAYER", help="layers to score (default: all in the file)")
    add(
        "--dims",
        nargs="+",
        type=dimension,
        metavar="DIM",
        default=["128", "full", "none"],
        help="whitening PCA to so many dimensions, to the layer's own, or no PCA (default: 128 full none)",
    )
    add(
        "--pca-features",
        type=Path,
        metavar="FILE",
        help="fit the PCA on this file's database, as papers do (default: on the searched one)",
    )
    add(
        "--drop-noise",
        action="store_true",
        help="leave out PCA directions that hold only rounding of float32",
    )
    add(
        "--query-expansion",
        nargs="+",
        choices=EXPANSIONS,
        metavar="HOW",
        default=["none"],
        help="none, average, linear: ask again with the best answers added to the query, all equally or with "
        "linearly falling weights; several are scored side by side (default: none)",
    )
    add("--qe-top", type=positive, default=10, metavar="K", help="answers added (default: %(default)s)")
    add(
        "--rerank",
        nargs="+",
        choices=RERANKINGS,
        metavar="HOW",
        default=["none"],
        help="none, mean-subtraction: rank the best answers again less their mean (default: none)",
    )
    add(
        "--rerank-top",
        type=positive,
        default=10,
        metavar="K",
        help="answers ranked again (default: %(default)s)",
    )
    add(
        "--missing-ok",
        action="store_true",
        help="score though the ground truth names pictures that the database lacks: positives never found",
    )
    add(
        "--distractors",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="rank also among the database of these files (HDF5, database/names and database/LAYER), which "
        "holds nothing that a query asks for; the PCA is not fitted on it",
    )
    add(
        "--first",
        type=positive,
        default=100,
        metavar="K",
        help="names in a list of a ranking's beginning among distractors (default: %(default)s)",
    )
    add(
        "--jobs",
        type=positive,
        default=len(os.sched_getaffinity(0)),
        metavar="N",
        help="compute_ap runs, or blocks of distractors, at a time (default: one a core)",
    )
    options = parser.parse_args(arguments)
    if options.distractors and {*options.query_expansion, *options.rerank} != {"none"}:
        parser.error("--distractors goes without --query-expansion and --rerank")
    return options


def dimension(text: str) -> str:
    return text if text in ("full", "none") else str(positive(text))


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def run(options: argparse.Namespace) -> None:
    """Score every layer and write all results; the output folder changes only once everything is there."""
    compute_ap = find_compute_ap()
    truths = read_ground_truth(options.gt)
    with open_features(options.features) as features, staged(options.out) as stage:
        searched = names_of(features, "database")
        listed = set().union(*(truth.positives | truth.junk for truth in truths))
        check_queries(names_of(features, "queries"), truths, options)
        check_pictures(searched, listed, options)
        rows = []
        with open_distractors(options.distractors, listed.union(searched)) as distractors:
            layers = wanted_layers(features, options.layers)
            for layer in layers:
                data = check_vectors(features, "database", layer, len(searched))
                distractors.check(layer, data.shape[1])
            given = Run(options, truths, distractors, compute_ap, stage)
            for layer in layers:
                rows += score_layer(features, layer, given)
        scores = {
            "model": str(features.attrs.get("model", options.features.stem)),
            "features": str(options.features),
            "preprocessing": json.loads(features.attrs.get("preprocessing", "null")),
            "learnt": json.loads(features.attrs.get("learnt", "{}")),
            "pca_features": str(options.pca_features) if options.pca_features else None,
            "qe_top": options.qe_top,
            "rerank_top": options.rerank_top,
            "made_of": {
                "weights_sha256": features.attrs.get("weights_sha256"),
                "pictures": len(searched),
                "ground_truth_sha256": fingerprint(truths),
            },
            "rows": rows,
        }
        if options.distractors:
            scores["distractors"] = [str(path) for path in options.distractors]
        (stage / "scores.json").write_text(
            json.dumps(scores, indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )


def find_compute_ap() -> str:
    program = shutil.which("compute_ap")
    if program is None:
        raise ValueError(
            "compute_ap is not on PATH: source .caffe/env.sh, or build it with "
            "g++ -O2 -std=c++17 eval/compute_ap.cpp -o compute_ap"
        )
    return program


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder to write into, whose files move to their places in `out` if all goes well and vanish if not.

    The old scores.json goes first and the new one comes last: it never speaks of lists that are not there.
    """
    stage = out / STAGE
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    try:
        yield stage
        (out / "scores.json").unlink(missing_ok=True)
        files = [file for file in stage.rglob("*") if file.is_file()]
        for file in sorted(files, key=lambda file: file == stage / "scores.json"):
            place = out / file.relative_to(stage)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def wanted_layers(features: h5py.File, wanted: Sequence[str] | None) -> list[str]:
    """The layers asked for, or all there are. Raises ValueError for one that isn't there."""
    there = layers_of(features, "database")
    if not there:
        raise ValueError(f"{features.filename} holds no layer")
    for layer in wanted or ():
        check_layer(features, "database", layer)
    return list(dict.fromkeys(wanted)) if wanted else there


def check_queries(names: Sequence[str], truths: Sequence[GroundTruth], options: argparse.Namespace) -> None:
    judged = {truth.query.name for truth in truths}
    if lacking := sorted(set(names) - judged):
        raise ValueError(
            f"{options.gt} has no ground truth for {some(lacking)}, which {options.features} asks"
        )
    if lacking := sorted(judged - set(names)):
        raise ValueError(f"{options.features} lacks queries that {options.gt} judges: {some(lacking)}")


def check_pictures(names: Sequence[str], listed: Set[str], options: argparse.Namespace) -> None:
    if not (lacking := sorted(listed - set(names))):
        return
    complaint = f"{options.gt} names {len(lacking)} pictures that the database of {options.features} lacks"
    if not options.missing_ok:
        raise ValueError(f"{complaint} (--missing-ok scores all the same): {some(lacking)}")
    note(f"{complaint}: positives among them are never found")


def some(names: Sequence[str]) -> str:
    """The names, or the first three and how many more."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def note(text: str) -> None:
    print(f"{PROGRAM}: {text}", file=sys.stderr)


def score_layer(features: h5py.File, layer: str, run: Run) -> list[dict[str, Any]]:
    """Rank and score one layer at every setting: the rows of scores.json."""
    options = run.options
    database, queries = (read_vectors(features, group, layer) for group in ("database", "queries"))
    if database.values.shape[1] != queries.values.shape[1]:
        raise ValueError(
            f"{features.filename}: {layer} has {database.values.shape[1]} dimensions in the database "
            f"and {queries.values.shape[1]} in the queries"
        )
    for option, top in (("--qe-top", options.qe_top), ("--rerank-top", options.rerank_top)):
        used = set(options.query_expansion if option == "--qe-top" else options.rerank) != {"none"}
        if used and top > len(database.names):
            raise ValueError(f"{option} {top} is more than the database's {len(database.names)} pictures")
    rows = []
    for descriptors in reduced(layer, l2_normalise(database.values), l2_normalise(queries.values), options):
        for result in rankings(layer, descriptors, options):
            lists = write_lists(run.stage / result.folder, queries.names, database.names, result.ranking)
            row = (
                result.setting
                | {"ranks": result.folder}
                | average_precisions(run.compute_ap, options, queries.names, lists)
            )
            print(
                f"{result.folder:<45} {row['dim']:>5} dimensions   mAP {100 * row['map']:6.2f} %", flush=True
            )
            if run.distractors:
                row["distractors"] = score_among(database.names, queries.names, descriptors, result, run)
                among = f"among {len(run.distractors)} distractors"
                print(f"{'':<45} {among}   mAP {100 * row['distractors']['map']:6.2f} %", flush=True)
            rows.append(row)
    return rows


def score_among(
    names: Sequence[str], queries: Sequence[str], descriptors: Descriptors, result: Result, run: Run
) -> dict[str, Any]:
    """Rank among the distractors, and write how: {"count": how many, "map": mean, "ap": {query: figure}}."""
    truths = {truth.query.name: truth for truth in run.truths}
    judged = [truths[query] for query in queries]
    searched = Searched(
        names,
        descriptors.queries,
        similarities(descriptors.queries, descriptors.database),
        result.ranking,
        [truth.positives for truth in judged],
        [truth.junk for truth in judged],
    )
    standings = rank_among(
        run.distractors,
        result.setting["layer"],
        descriptors.project,
        searched,
        first=run.options.first,
        jobs=run.options.jobs,
    )
    figures = {}
    for truth, standing in zip(judged, standings, strict=True):
        path = run.stage / result.folder / truth.query.name
        places = sorted((place, name) for name, place in standing.places.items())
        lines = "".join(f"{place} {name}\n" for place, name in places)
        Path(f"{path}.places.txt").write_text(lines, encoding="utf-8")
        Path(f"{path}.first.txt").write_text("".join(f"{name}\n" for name in standing.first), "utf-8")
        figures[truth.query.name] = average_precision(standing.judged, len(truth.positives))
    return {"count": len(run.distractors), "map": mean(figures), "ap": figures}


def reduced(
    layer: str, database: Floats, queries: Floats, options: argparse.Namespace
) -> Iterator[Descriptors]:
    """The layer at every dimension asked for. database (N, D) and queries (Q, D) have rows of length 1."""
    full = database.shape[1]
    wanted = {label: full if label == "full" else int(label) for label in options.dims if label != "none"}
    if wanted:
        try:
            whitening = Whitening().fit(fitting_set(layer, database, options), max(wanted.values()))
        except ValueError as error:
            raise ValueError(f"{layer}: {error}") from error
        held = len(whitening.standard_deviations)
        usable = held - whitening.noise_directions if options.drop_noise else held
        whitened = whitening.transform(database), whitening.transform(queries)
    for label in dict.fromkeys(options.dims):
        if label == "none":
            yield Descriptors(label, database, queries, project=lambda vectors: vectors)
            continue
        dim = min(wanted[label], usable)
        noise = max(0, dim - (held - whitening.noise_directions))
        explain_dimension(layer, wanted[label], dim, noise)
        cut = (l2_normalise(vectors[:, :dim]) for vectors in whitened)
        project = partial(whiten, whitening=whitening, dimensions=dim)
        yield Descriptors(label, *cut, project, noise)


def whiten(vectors: NDArray[np.float32], whitening: Whitening, dimensions: int) -> Floats:
    """What `reduced` does with the vectors of the database (N, D), but for their last normalisation."""
    return whitening.transform(l2_normalise(vectors), dimensions)


def fitting_set(layer: str, database: Floats, options: argparse.Namespace) -> Floats:
    """The vectors that the PCA is fitted on, normalised: the database itself, or another file's."""
    if options.pca_features is None:
        return database
    with open_features(options.pca_features) as other:
        values = read_vectors(other, "database", layer).values
    if values.shape[1] != database.shape[1]:
        raise ValueError(
            f"{options.pca_features} has {layer} in {values.shape[1]} dimensions, "
            f"{options.features} in {database.shape[1]}"
        )
    return l2_normalise(values)


def explain_dimension(layer: str, wanted: int, dim: int, noise: int) -> None:
    if dim < wanted:
        note(f"{layer}: PCA to {wanted} asked, to {dim} done: the vectors fitted on span no more directions")
    if noise:
        note(
            f"{layer}: {noise} of {dim} PCA directions hold only float32's rounding, which whitening makes "
            "as large as all the rest (--drop-noise leaves them out)"
        )


def rankings(layer: str, descriptors: Descriptors, options: argparse.Namespace) -> Iterator[Result]:
    """Rank at every combination of query expansion and re-ranking."""
    database = descriptors.database
    plain = rank(similarities(descriptors.queries, database))
    for expansion in dict.fromkeys(options.query_expansion):
        queries, ranking = descriptors.queries, plain
        if expansion != "none":
            queries = expand_queries(queries, database, plain, expansion_weights(expansion, options.qe_top))
            ranking = rank(similarities(queries, database))
        for reranking in dict.fromkeys(options.rerank):
            final = ranking
            if reranking == "mean-subtraction":
                final = rerank_by_mean_subtraction(queries, database, ranking, options.rerank_top)
            yield Result(
                folder_name(layer, descriptors.label, expansion, reranking, options),
                {
                    "layer": layer,
                    "label": descriptors.label,
                    "dim": database.shape[1],
                    "pca": descriptors.label != "none",
                    "query_expansion": expansion,
                    "rerank": reranking,
                    "noise_directions": descriptors.noise_directions,
                },
                final,
            )


def folder_name(layer: str, label: str, expansion: str, reranking: str, options: argparse.Namespace) -> str:
    parts = [label]
    if expansion != "none":
        parts.append(f"qe-{expansion}-{options.qe_top}")
    if reranking != "none":
        parts.append(f"{reranking}-{options.rerank_top}")
    return f"{layer}/{'+'.join(parts)}"


def write_lists(folder: Path, queries: Sequence[str], names: Sequence[str], ranking: Ranking) -> list[Path]:
    """Write one ranked list a query, and return their paths in the order of the queries."""
    folder.mkdir(parents=True)
    lists = [folder / f"{query}.txt" for query in queries]
    for path, order in zip(lists, ranking, strict=True):
        path.write_text("".join(f"{names[i]}\n" for i in order), encoding="utf-8")
    return lists


def average_precisions(
    compute_ap: str, options: argparse.Namespace, queries: Sequence[str], lists: Sequence[Path]
) -> dict[str, Any]:
    """Let compute_ap judge every list: {"map": their mean, "ap": {query: figure}}."""

    def judge(query: str, ranked: Path) -> float:
        command = [compute_ap, str(options.gt / query), str(ranked)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ValueError(
                done.stderr.strip() or f"compute_ap ended with status {done.returncode} for {query}"
            )
        return float(done.stdout)

    with ThreadPoolExecutor(options.jobs) as pool:
        figures = dict(zip(queries, pool.map(judge, queries, lists), strict=True))
    return {"map": mean(figures), "ap": figures}


def mean(figures: Mapping[str, float]) -> float:
    return math.fsum(figures.values()) / len(figures)


if __name__ == "__main__":
    sys.exit(main())
