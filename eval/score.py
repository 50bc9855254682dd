"""Rank the database for every query, and score the rankings by mean average precision.

Per layer: L2-normalise, whitening PCA, L2-normalise, rank by dot product; average precision by the program
`compute_ap`. Defaults are the article's.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from eval.files.features import (
    Vectors,
    check_layer,
    check_vectors,
    json_attribute,
    layers_of,
    names_of,
    open_features,
    read_vectors,
)
from eval.files.ground_truth import GroundTruth, fingerprint, is_revisited, read_ground_truth
from eval.rank.judge import Judge
from eval.rank.recipe import (
    Floats,
    Ranking,
    Whitening,
    describe,
    expand_queries,
    expansion_weights,
    l2_normalise,
    rank,
    rerank_by_mean_subtraction,
    rerank_in_place,
    similarities,
)
from tools.processes import core_count
from tools.program import all_to_disk, dimension, positive_int, run_program, some

if TYPE_CHECKING:
    from eval.distractors.scoring import Annex

PROGRAM = "eval.score"
STAGE = "scores.part"
EXPANSIONS = ("none", "average", "linear")
RERANKINGS = ("none", "mean-subtraction", "mean-subtraction-in-place")


@dataclass(frozen=True)
class Settings:
    """What is asked for: the command line's options, by their names."""

    features: Path
    gt: Path
    out: Path
    layers: Sequence[str] | None
    """None: all there are."""
    dims: Sequence[str]
    """Numbers of dimensions, full, or none for no PCA."""
    pca_features: Path | None
    pca_set: str
    """What the pictures of pca_features are, in words."""
    drop_noise: bool
    query_expansion: Sequence[str]
    qe_top: int
    rerank: Sequence[str]
    rerank_top: int
    missing_ok: bool
    distractors: Sequence[Path]
    first: int
    jobs: int


@dataclass(frozen=True)
class Descriptors:
    """One layer at one dimension: database (N, d) and queries (Q, d), rows of length 1."""

    label: str
    database: Floats
    queries: Floats
    whitening: Whitening | None
    noise_directions: int = 0


@dataclass(frozen=True)
class Result:
    """The rankings (Q, N) of one setting, and how they were made."""

    folder: str
    """Where the ranked lists go, below the output folder."""
    setting: dict[str, Any]
    """The row of scores.json so far."""
    ranking: Ranking


def score(settings: Settings) -> None:
    """Score every layer and write all results; the output folder changes only once everything is there."""
    truths = read_ground_truth(settings.gt)
    judge = Judge(settings.gt, truths, settings.jobs)
    with open_features(settings.features) as features, staged(settings.out) as stage:
        searched = names_of(features, "database")
        listed = set().union(*(truth.positives | truth.junk for truth in truths))
        check_queries(names_of(features, "queries"), truths, settings)
        check_pictures(searched, listed, settings)
        layers = wanted_layers(features, settings.layers)
        judge.prepare(stage)
        with opened_distractors(settings, listed.union(searched), truths) as annex:
            for layer in layers:
                data = check_vectors(features, "database", layer, len(searched))
                if annex is not None:
                    annex.check(layer, data.shape[1])
            rows = [
                row for layer in layers for row in score_layer(features, layer, settings, judge, stage, annex)
            ]
        about = about_scores(features, settings, len(searched), truths)
        text = json.dumps(about | {"rows": rows}, indent=1, allow_nan=False)
        (stage / "scores.json").write_text(f"{text}\n", encoding="utf-8")


def about_scores(
    features: h5py.File, settings: Settings, pictures: int, truths: Sequence[GroundTruth]
) -> dict[str, Any]:
    """What scores.json says of its rows (eval/files/scores.py reads it)."""
    attributes = features.attrs
    about: dict[str, Any] = {
        "model": str(attributes.get("model", settings.features.stem)),
        "features": str(settings.features),
        "preprocessing": json_attribute(features, "preprocessing") if "preprocessing" in attributes else None,
        "learnt": json_attribute(features, "learnt") if "learnt" in attributes else {},
        "pca_features": str(settings.pca_features) if settings.pca_features else None,
        "pca_set": (settings.pca_set or settings.pca_features.stem) if settings.pca_features else None,
        "qe_top": settings.qe_top,
        "rerank_top": settings.rerank_top,
        "made_of": {
            "weights_sha256": attributes.get("weights_sha256"),
            "pictures": pictures,
            "ground_truth_sha256": fingerprint(truths),
        },
    }
    if settings.distractors:
        about["distractors"] = [str(path) for path in settings.distractors]
    return about


def opened_distractors(
    settings: Settings, taken: Set[str], truths: Sequence[GroundTruth]
) -> AbstractContextManager["Annex | None"]:
    """The distractors that are asked for; None where none are. Raises ValueError as they do."""
    if not settings.distractors:
        return nullcontext()
    from eval.distractors.scoring import open_annex

    return open_annex(
        settings.distractors, taken, truths, is_revisited(settings.gt), settings.first, settings.jobs
    )


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
        all_to_disk(stage)
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


def check_queries(names: Sequence[str], truths: Sequence[GroundTruth], settings: Settings) -> None:
    judged = {truth.query.name for truth in truths}
    if lacking := sorted(set(names) - judged):
        raise ValueError(
            f"{settings.gt} has no ground truth for {some(lacking)}, which {settings.features} asks"
        )
    if lacking := sorted(judged - set(names)):
        raise ValueError(f"{settings.features} lacks queries that {settings.gt} judges: {some(lacking)}")


def check_pictures(names: Sequence[str], listed: Set[str], settings: Settings) -> None:
    if not (lacking := sorted(listed - set(names))):
        return
    complaint = f"{settings.gt} names {len(lacking)} pictures that the database of {settings.features} lacks"
    if not settings.missing_ok:
        raise ValueError(f"{complaint} (--missing-ok scores all the same): {some(lacking)}")
    note(f"{complaint}: positives among them are never found")


def note(text: str) -> None:
    print(f"{PROGRAM}: {text}", file=sys.stderr)


def score_layer(
    features: h5py.File,
    layer: str,
    settings: Settings,
    judge: Judge,
    stage: Path,
    annex: "Annex | None",
) -> Iterator[dict[str, Any]]:
    """Rank and score one layer at every setting: the rows of scores.json. The results go below `stage`."""
    database, queries = read_layer(features, layer, settings)
    fitted_on = fitting_set(layer, database, settings)
    for descriptors in reduced(layer, database.values, queries.values, fitted_on, settings):
        for result in rankings(layer, descriptors, settings):
            folder = stage / result.folder
            lists = write_lists(folder, queries.names, database.names, result.ranking)
            row = result.setting | {"ranks": result.folder} | judge.figures(queries.names, lists)
            print(
                f"{result.folder:<45} {row['dim']:>5} dimensions   mAP {100 * row['map']:6.2f} %", flush=True
            )
            if annex is not None:
                row["distractors"] = among = annex.score(
                    layer,
                    descriptors.whitening,
                    database.names,
                    descriptors.database,
                    dict(zip(queries.names, descriptors.queries, strict=True)),
                    result.ranking,
                    folder,
                )
                said = f"among {among['count']} distractors"
                print(f"{'':<45} {said}   mAP {100 * among['map']:6.2f} %", flush=True)
            yield row


def read_layer(features: h5py.File, layer: str, settings: Settings) -> tuple[Vectors, Vectors]:
    """Database and queries of a layer. Raises ValueError where they don't fit each other or the settings."""
    database, queries = (read_vectors(features, group, layer) for group in ("database", "queries"))
    if database.values.shape[1] != queries.values.shape[1]:
        raise ValueError(
            f"{features.filename}: {layer} has {database.values.shape[1]} dimensions in the database "
            f"and {queries.values.shape[1]} in the queries"
        )
    for option, top, used in (
        ("--qe-top", settings.qe_top, settings.query_expansion),
        ("--rerank-top", settings.rerank_top, settings.rerank),
    ):
        if set(used) != {"none"} and top > len(database.names):
            raise ValueError(f"{option} {top} is more than the database's {len(database.names)} pictures")
    return database, queries


def fitting_set(layer: str, database: Vectors, settings: Settings) -> np.ndarray:
    """The vectors (N, D) that the PCA is fitted on: the database itself, or another file's."""
    if settings.pca_features is None:
        return database.values
    with open_features(settings.pca_features) as other:
        values = read_vectors(other, "database", layer).values
    if values.shape[1] != database.values.shape[1]:
        raise ValueError(
            f"{settings.pca_features} has {layer} in {values.shape[1]} dimensions, "
            f"{settings.features} in {database.values.shape[1]}"
        )
    return values


def reduced(
    layer: str, database: np.ndarray, queries: np.ndarray, fitted_on: np.ndarray, settings: Settings
) -> Iterator[Descriptors]:
    """The layer at every dimension asked for: database (N, D) and queries (Q, D) by the article's recipe."""
    full = database.shape[1]
    wanted = {label: full if label == "full" else int(label) for label in settings.dims if label != "none"}
    if wanted:
        try:
            whitening = Whitening(max(wanted.values())).fit(l2_normalise(fitted_on))
        except ValueError as error:
            raise ValueError(f"{layer}: {error}") from error
        held = len(whitening.standard_deviations)
        usable = held - whitening.noise_directions if settings.drop_noise else held
    for label in dict.fromkeys(settings.dims):
        if label == "none":
            yield Descriptors(label, describe(database), describe(queries), None)
            continue
        dim = min(wanted[label], usable)
        noise = max(0, dim - (held - whitening.noise_directions))
        explain_dimension(layer, wanted[label], dim, noise)
        cut = [describe(vectors, whitening, dim) for vectors in (database, queries)]
        yield Descriptors(label, cut[0], cut[1], whitening, noise)


def explain_dimension(layer: str, wanted: int, dim: int, noise: int) -> None:
    if dim < wanted:
        note(f"{layer}: PCA to {wanted} asked, to {dim} done: the vectors fitted on span no more directions")
    if noise:
        note(
            f"{layer}: {noise} of {dim} PCA directions hold only float32's rounding, which whitening makes "
            "as large as all the rest (--drop-noise leaves them out)"
        )


def rankings(layer: str, descriptors: Descriptors, settings: Settings) -> Iterator[Result]:
    """Rank at every combination of query expansion and re-ranking."""
    database = descriptors.database
    plain = rank(similarities(descriptors.queries, database))
    for expansion in dict.fromkeys(settings.query_expansion):
        queries, ranking = descriptors.queries, plain
        if expansion != "none":
            queries = expand_queries(queries, database, plain, expansion_weights(expansion, settings.qe_top))
            ranking = rank(similarities(queries, database))
        for reranking in dict.fromkeys(settings.rerank):
            final = ranking
            if reranking == "mean-subtraction":
                final = rerank_by_mean_subtraction(queries, database, ranking, settings.rerank_top)
            elif reranking == "mean-subtraction-in-place":
                final = rerank_in_place(queries, database, settings.rerank_top)
            yield Result(
                folder_name(layer, descriptors.label, expansion, reranking, settings),
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


def folder_name(layer: str, label: str, expansion: str, reranking: str, settings: Settings) -> str:
    parts = [label]
    if expansion != "none":
        parts.append(f"qe-{expansion}-{settings.qe_top}")
    if reranking != "none":
        parts.append(f"{reranking}-{settings.rerank_top}")
    return f"{layer}/{'+'.join(parts)}"


def write_lists(folder: Path, queries: Sequence[str], names: Sequence[str], ranking: Ranking) -> list[Path]:
    """Write one ranked list a query, and return their paths in the order of the queries."""
    folder.mkdir(parents=True)
    lists = [folder / f"{query}.txt" for query in queries]
    for path, order in zip(lists, ranking, strict=True):
        path.write_text("".join(f"{names[i]}\n" for i in order), encoding="utf-8")
    return lists


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    settings = parse_options(argv)
    return run_program(PROGRAM, lambda: score(settings))


def parse_options(argv: Sequence[str] | None) -> Settings:
    """Read the command line."""
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
    _add_inputs(parser)
    _add_rankings(parser)
    _add_distractors(parser)
    parser.add_argument(
        "--jobs",
        type=positive_int,
        default=core_count(),
        metavar="N",
        help="compute_ap runs, or blocks of distractors, at a time (default: one a core)",
    )
    settings = Settings(**vars(parser.parse_args(argv)))
    if settings.distractors and {*settings.query_expansion, *settings.rerank} != {"none"}:
        parser.error("--distractors goes without --query-expansion and --rerank")
    return settings


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("features", type=Path, help="features of database and queries (HDF5, from eval.extract)")
    add(
        "--gt",
        type=Path,
        required=True,
        metavar="DIR",
        help="ground truth in Oxford's layout, or a file of a revisited one (gnd_roxford5k.pkl)",
    )
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
    add("--pca-set", default="", metavar="NAME", help="what that file's pictures are, for the tables")
    add(
        "--drop-noise",
        action="store_true",
        help="leave out PCA directions that hold only rounding of float32",
    )
    add(
        "--missing-ok",
        action="store_true",
        help="score though the ground truth names pictures that the database lacks: positives never found",
    )


def _add_rankings(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--query-expansion",
        nargs="+",
        choices=EXPANSIONS,
        metavar="HOW",
        default=["none"],
        help="none, average, linear: ask again with the best answers added to the query, all equally or with "
        "linearly falling weights; several are scored side by side (default: none)",
    )
    add("--qe-top", type=positive_int, default=10, metavar="K", help="answers added (default: %(default)s)")
    add(
        "--rerank",
        nargs="+",
        choices=RERANKINGS,
        metavar="HOW",
        default=["none"],
        help="none; mean-subtraction: rank the best answers again less their mean; "
        "mean-subtraction-in-place: as the code of the article's author does it, which changes the database "
        "with every query (default: none)",
    )
    add(
        "--rerank-top",
        type=positive_int,
        default=10,
        metavar="K",
        help="answers ranked again (default: %(default)s)",
    )


def _add_distractors(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
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
        type=positive_int,
        default=100,
        metavar="K",
        help="names in a list of a ranking's beginning among distractors (default: %(default)s)",
    )


if __name__ == "__main__":
    sys.exit(main())
