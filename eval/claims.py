"""The article's claims as experiments: what each says, how it is measured, the figure, and whether it holds.

Everything is read from features files and scores.json that the run has made; nothing is computed by a network
here. A claim whose files are not there is said to be not measured, with the command that measures it.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from eval.files.features import Vectors, open_features, read_vectors
from eval.files.scores import read_scores
from eval.rank.recipe import Whitening, l2_normalise
from eval.results.markdown import aligned, wrapped
from tools.program import write_text

PROGRAM = "eval.claims"
LIKELY = 2.0
"""A mean difference of fewer standard errors than this is not told apart from none."""
FC_LAYERS = ("fc7_relu7", "fc7", "fc6_relu6", "fc6")
ARTICLE_LABEL = "128"
"""The dimension of the article's tables, which its fully connected layers are compared at."""
POOLED = ("sum", "max", "crow", "rmac")
VERDICTS = {True: "holds", False: "does not hold", None: "too close to tell"}


class MissingError(Exception):
    """A file or a row that a claim needs and that this run has not made."""


@dataclass(frozen=True)
class Finding:
    """What an experiment gave."""

    how: str
    figure: str
    holds: bool | None
    """None: too close to tell on these queries."""
    values: dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """Which run the claims are tried on."""

    features: Path
    ranks: Path
    layer: str
    """The convolution layer whose poolings are compared."""
    label: str
    """The dimension, as eval.score labels it, that representations are compared at."""


class Run:
    """Features and scores of a run, read when a claim asks for them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.vectors = cache(self._vectors)
        self._rows = cache(self._read_rows)

    def _vectors(self, name: str, layer: str) -> Vectors:
        path = self.settings.features / f"{name}.h5"
        if not path.is_file():
            raise MissingError(str(path))
        with open_features(path) as features:
            return read_vectors(features, "database", layer)

    def _read_rows(self, name: str) -> dict[tuple[str, str], dict[str, Any]]:
        path = self.settings.ranks / name / "scores.json"
        if not path.is_file():
            raise MissingError(str(path))
        return {key: asdict(row) for key, row in read_scores(path).plain.items()}

    def row(self, name: str, layer: str, label: str) -> dict[str, Any]:
        """The plain row of a layer at a dimension. Raises MissingError where it was not scored."""
        found = self._rows(name).get((layer, label))
        if found is None:
            raise MissingError(f"{layer} at {label} in {self.settings.ranks / name / 'scores.json'}")
        return found

    def pooled(self, name: str, pooling: str) -> dict[str, Any]:
        """The row of the compared convolution layer's pooling, at the compared dimension."""
        return self.row(name, f"{self.settings.layer}_{pooling}", self.settings.label)


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def maps(rows: dict[str, dict[str, Any]]) -> str:
    """mAP of several rows in one line."""
    return ", ".join(f"{name} {percent(row['map'])}" for name, row in rows.items())


def difference(better: dict[str, Any], worse: dict[str, Any]) -> tuple[float, float]:
    """Mean of the queries' differences in average precision, and its standard error."""
    pairs = [better["ap"][query] - worse["ap"][query] for query in worse["ap"]]
    error = np.std(pairs, ddof=1) / math.sqrt(len(pairs)) if len(pairs) > 1 else math.inf
    return float(np.mean(pairs)), float(error)


def better(one: dict[str, Any], other: dict[str, Any]) -> bool | None:
    """Whether `one` is better than `other`; None where their queries don't tell."""
    mean, error = difference(one, other)
    return None if abs(mean) < LIKELY * error or mean == 0 else mean > 0


def together(verdicts: Sequence[bool | None]) -> bool | None:
    """A claim of several parts: it fails with one of them, and holds with all."""
    if False in verdicts:
        return False
    return None if None in verdicts else True


def margin(one: dict[str, Any], other: dict[str, Any]) -> str:
    mean, error = difference(one, other)
    return f"{100 * mean:+.2f} ± {100 * error:.2f} points"


def dropout_is_relu(run: Run) -> Finding:
    """Claim 1."""
    largest = {}
    for number in ("6", "7"):
        names = [f"fc{number}_{kind}{number}" for kind in ("relu", "drop")]
        relu, drop = (run.vectors("wiring_own", name).values for name in names)
        largest[f"fc{number}"] = float(np.abs(relu - drop).max())
    raw, drop = (run.vectors("wiring_as_printed", name).values for name in ("fc7", "fc7_drop7"))
    relu = run.vectors("wiring_as_printed", "fc7_relu7").values
    moved = {"to_fc7": float(np.abs(raw - drop).max()), "to_fc7_relu7": float(np.abs(relu - drop).max())}
    own, printed = (run.vectors(f"wiring_{name}", "prob").values for name in ("own", "as_printed"))
    other = float((own.argmax(axis=1) != printed.argmax(axis=1)).mean())
    return Finding(
        f"largest difference over {len(raw)} pictures; then with the snippet's wiring taken literally",
        f"fc6_drop6 to fc6_relu6 {largest['fc6']:g}, fc7_drop7 to fc7_relu7 {largest['fc7']:g}. As printed, "
        f"fc7_drop7 differs from fc7 by {moved['to_fc7']:g}, from fc7_relu7 by {moved['to_fc7_relu7']:g}, "
        f"and the network's first class changes for {percent(other)} of the pictures",
        max(largest.values()) == 0,
        {"largest": largest, "as_printed": moved, "class_changed": other},
    )


def in_place_is_relu(run: Run) -> Finding:
    """Claim 2."""
    stock = run.vectors("wiring_in_place", "fc7").values
    raw, relu = (run.vectors("wiring_own", name).values for name in ("fc7", "fc7_relu7"))
    to_relu, to_raw = float(np.abs(stock - relu).max()), float(np.abs(stock - raw).max())
    return Finding(
        f"blob fc7 of the file with in-place layers, largest difference over {len(raw)} pictures",
        f"it differs from fc7_relu7 by {to_relu:g}, from fc7 by {to_raw:g}",
        to_relu == 0 < to_raw,
        {"to_fc7_relu7": to_relu, "to_fc7": to_raw},
    )


def average_is_steadier(run: Run) -> Finding:
    """Claim 3, a guess of the article's about cosines. They see no lengths, so those are compared as well."""
    cosines, ratios, distances = {}, {}, {}
    for pooling in ("sum", "average"):
        name = f"{run.settings.layer}_{pooling}"
        small, large = (run.vectors(f"pretrained_{size}", name).values for size in ("square", "double"))
        cosines[pooling] = float((l2_normalise(small) * l2_normalise(large)).sum(axis=1).mean())
        lengths = [np.linalg.norm(rows.astype(np.float64), axis=1) for rows in (small, large)]
        ratios[pooling] = float(np.median(lengths[1] / np.where(lengths[0] > 0, lengths[0], np.nan)))
        moved = np.linalg.norm(large.astype(np.float64) - small, axis=1)
        distances[pooling] = moved / np.maximum((lengths[0] + lengths[1]) / 2, np.finfo(np.float64).tiny)
    means = {pooling: float(distance.mean()) for pooling, distance in distances.items()}
    steadier = float((distances["average"] < distances["sum"]).mean())
    return Finding(
        "each picture at the network's own size and at twice that, mean cosine between its two vectors; then "
        "the vectors before normalisation: their lengths' ratio (median), and their distance as a share of "
        "their mean length (mean)",
        f"cosine SUM {cosines['sum']:.4f}, AVE {cosines['average']:.4f}. The guess can't hold: AVE is SUM "
        "over the number of cells, a cosine doesn't see lengths, and so both rank alike. Before "
        f"normalisation the larger picture's vector is {ratios['sum']:.2f} times as long with SUM, "
        f"{ratios['average']:.2f} times with AVE, and {means['sum']:.2f} away from the other with SUM, "
        f"{means['average']:.2f} with AVE, which is the steadier for {percent(steadier)} of the pictures",
        cosines["average"] - cosines["sum"] > 1e-3,
        {"cosine": cosines, "length_ratio": ratios, "distance": means, "average_steadier": steadier},
    )


def max_beats_sum(run: Run) -> Finding:
    """Claim 4."""
    rows = {name: run.pooled("pretrained_maps", name) for name in ("max", "sum", "average")}
    return Finding(
        "mAP of the pooled maps, aspect kept",
        f"{maps(rows)}; MAX over SUM {margin(rows['max'], rows['sum'])}",
        together([better(rows["max"], rows[name]) for name in ("sum", "average")]),
        {name: row["map"] for name, row in rows.items()},
    )


def concatenated_beats_summed(run: Run) -> Finding:
    """Claim 5."""
    rows = {name: run.pooled("pretrained_maps", name) for name in ("rmac_concat", "rmac_sum")}
    return Finding(
        "mAP of the 20 regions' sum beside the global vector, and of the sum of all 21",
        f"{maps(rows)}; {margin(*rows.values())}",
        better(*rows.values()),
        {name: row["map"] for name, row in rows.items()},
    )


def three_levels(run: Run) -> Finding:
    """Claim 6."""
    names = {"L = 1": "rmac_l1", "L = 2": "rmac_l2", "L = 3": "rmac", "L = 4": "rmac_l4"}
    rows = {level: run.pooled("pretrained_maps", name) for level, name in names.items()}
    one, _, three, four = rows.values()
    more = better(four, three)
    return Finding(
        "mAP of R-MAC with 1 to 4 levels",
        f"{maps(rows)}; 3 over 1 {margin(three, one)}, 4 over 3 {margin(four, three)}",
        together([better(three, one), not more]),
        {level: row["map"] for level, row in rows.items()},
    )


def best(rows: dict[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return max(rows.items(), key=lambda item: item[1]["map"])


def middle_beats_fc(run: Run) -> Finding:
    """Claim 7."""
    fc = best({layer: run.row("pretrained_fc", layer, run.settings.label) for layer in FC_LAYERS})
    square = best({name: run.pooled("pretrained_square", name) for name in POOLED})
    full = best({name: run.pooled("pretrained_maps", name) for name in POOLED})
    verdicts = [better(row, fc[1]) for _, row in (square, full)]
    return Finding(
        f"mAP of the best of {', '.join(FC_LAYERS)} and of the best pooling of {run.settings.layer}, both at "
        "the network's own input size; then the pooling at full resolution",
        f"{maps(dict([fc, square]))}: {margin(square[1], fc[1])}; full resolution {maps(dict([full]))}: "
        f"{margin(full[1], fc[1])}",
        True if True in verdicts else together(verdicts),
        {
            "fc": [fc[0], fc[1]["map"]],
            "square": [square[0], square[1]["map"]],
            "full": [full[0], full[1]["map"]],
        },
    )


def resolution_helps(run: Run) -> Finding:
    """Claim 8."""
    pairs = {name: [run.pooled(f"pretrained_{size}", name) for size in ("maps", "square")] for name in POOLED}
    verdicts = [better(*pair) for pair in pairs.values()]
    return Finding(
        f"mAP of {run.settings.layer}'s poolings at full resolution with the aspect kept, and at the "
        "network's own input size",
        "; ".join(
            f"{name} {percent(large['map'])}, {percent(small['map'])}: {margin(large, small)}"
            for name, (large, small) in pairs.items()
        ),
        together(verdicts),
        {name: [row["map"] for row in pair] for name, pair in pairs.items()},
    )


def spectrum(vectors: Vectors) -> dict[str, Any]:
    """What whitening PCA finds in L2-normalised vectors: variance by direction, as shares and ratios."""
    whitening = Whitening(vectors.values.shape[1]).fit(l2_normalise(vectors.values))
    deviations = whitening.standard_deviations
    variance = deviations**2 / (deviations**2).sum()
    count = len(deviations)
    usable = count - whitening.noise_directions
    shown = sorted({1, max(1, count // 10), max(1, count // 2), max(1, 9 * count // 10), usable})
    return {
        "directions": count,
        "noise": whitening.noise_directions,
        "share_of_first_tenth": float(variance[: max(1, count // 10)].sum()),
        "first_to_last": float(deviations[0] / deviations[usable - 1]),
        "deviations": {place: float(deviations[place - 1]) for place in shown if place <= usable},
    }


def in_words(found: dict[str, Any]) -> str:
    """A spectrum as a sentence has it."""
    places = ", ".join(map(str, found["deviations"]))
    figures = ", ".join(f"{deviation:.2g}" for deviation in found["deviations"].values())
    return (
        f"the first tenth of {found['directions']} directions holds "
        f"{percent(found['share_of_first_tenth'])} of the variance; standard deviations along directions "
        f"{places}: {figures}; whitening makes the last {found['first_to_last']:.3g} times as large against "
        "the first" + (f", {found['noise']} more hold only rounding" if found["noise"] else "")
    )


def whitening_ruins(run: Run) -> Finding:
    """Claim 9."""
    cut, full, plain = (
        {layer: run.row("pretrained", layer, label) for layer in FC_LAYERS}
        for label in (ARTICLE_LABEL, "full", "none")
    )
    spectra = {layer: spectrum(run.vectors("pretrained", layer)) for layer in ("fc6", "fc7_relu7")}
    said = ". ".join(f"{layer}: {in_words(found)}" for layer, found in spectra.items())
    return Finding(
        f"mAP with whitening PCA to {ARTICLE_LABEL}, to all dimensions, and without PCA; standard "
        "deviations along the principal directions",
        f"to {ARTICLE_LABEL}: {maps(cut)}. To all: {maps(full)}. Without: {maps(plain)}. Why: {said}",
        together([better(cut[layer], full[layer]) for layer in FC_LAYERS]),
        {"cut": maps(cut), "full": maps(full), "plain": maps(plain), "spectrum": spectra},
    )


def finetuning_helps(run: Run) -> Finding:
    """Claim 10."""
    before, after = (
        {layer: run.row(model, layer, ARTICLE_LABEL) for layer in FC_LAYERS}
        for model in ("pretrained", "finetuned")
    )
    return Finding(
        f"mAP per layer at {ARTICLE_LABEL} before and after fine-tuning",
        "; ".join(
            f"{layer} {percent(before[layer]['map'])} to {percent(after[layer]['map'])}: "
            f"{margin(after[layer], before[layer])}"
            for layer in FC_LAYERS
        ),
        together([better(after[layer], before[layer]) for layer in FC_LAYERS]),
        {layer: [before[layer]["map"], after[layer]["map"]] for layer in FC_LAYERS},
    )


def all_layers_beat_the_last(run: Run) -> Finding:
    """Claim 11."""
    names = {
        "pre-trained": "pretrained",
        "last layer only": "finetuned_last",
        "two phases": "finetuned_two-phase",
        "all layers": "finetuned",
    }
    rows = {what: run.row(name, "fc6", ARTICLE_LABEL) for what, name in names.items()}
    _, last, two, every = rows.values()
    return Finding(
        f"mAP of fc6 at {ARTICLE_LABEL} after each; training only the last layer leaves fc6 as it was",
        f"{maps(rows)}; all over last {margin(every, last)}, two phases over last {margin(two, last)}, two "
        f"phases over all {margin(two, every)}",
        better(every, last),
        {what: row["map"] for what, row in rows.items()},
    )


@dataclass(frozen=True)
class Claim:
    """What the article says, and the experiment."""

    text: str
    experiment: Callable[[Run], Finding]
    options: str
    """run_all.sh's options that make what the experiment reads."""


CLAIMS = (
    Claim(
        "At test time fc6_drop6 equals fc6_relu6, fc7_drop7 equals fc7_relu7", dropout_is_relu, "--table 3"
    ),
    Claim("Without renaming, blob fc7 holds the value after ReLU", in_place_is_relu, "--table 3"),
    Claim("AVE is steadier than SUM when an image doubles its size", average_is_steadier, "--table 3"),
    Claim("MAX pooling is slightly better than SUM and AVE", max_beats_sum, "--table 3"),
    Claim("R-MAC concatenated is better than summed", concatenated_beats_summed, "--table 3"),
    Claim("R-MAC gains from L = 1 to 3, and no more at 4", three_levels, "--table 3"),
    Claim("Middle layers are better than fully connected ones", middle_beats_fc, "--table 3"),
    Claim("Higher image resolution helps", resolution_helps, "--table 3"),
    Claim("PCA to the full dimension with whitening ruins mAP", whitening_ruins, "--table 3"),
    Claim("Fine-tuning helps, at every layer", finetuning_helps, ""),
    Claim("Fine-tuning all layers beats the last one alone", all_layers_beat_the_last, "--variants"),
)


def tried(claim: Claim, number: int, run: Run, command: str) -> dict[str, Any]:
    """One claim as results/claims.json has it. Raises ValueError or OSError for files that are wrong."""
    row: dict[str, Any] = {"claim": number, "text": claim.text}
    try:
        found = claim.experiment(run)
    except MissingError as missing:
        asked = f"{command} {claim.options}".rstrip()
        return row | {"verdict": "not measured here", "missing": str(missing), "command": asked}
    return row | {
        "verdict": VERDICTS[found.holds],
        "how": found.how,
        "figure": found.figure,
        "values": found.values,
    }


def as_markdown(rows: Sequence[dict[str, Any]], run: Run, note: str | None) -> str:
    """The claims for people."""
    lines = [[str(row["claim"]), row["text"], row["verdict"]] for row in rows]
    parts = ["# The article's claims", aligned([["", "Claim", "Here"], *lines], to_left=3)]
    if note:
        parts.append(wrapped(f"Measured on: {note}"))
    parts.append(
        wrapped(
            f"Representations are compared at {run.settings.label} dimensions, the poolings of "
            f"{run.settings.layer}; models at the article's {ARTICLE_LABEL}. ± is the standard error over "
            "the queries; a difference of less than "
            f"{LIKELY:g} of them is too close to tell."
        )
    )
    for row in rows:
        parts.append(f"## {row['claim']}. {row['text']}: {row['verdict']}")
        if "figure" in row:
            parts += [wrapped(f"Measured: {row['how']}."), wrapped(f"{row['figure']}.")]
        else:
            parts.append(wrapped(f"This run has no {row['missing']}. To measure it: `{row['command']}`"))
    return "\n\n".join(parts) + "\n"


def run(options: argparse.Namespace) -> None:
    """Try every claim, write both forms, and print the table of verdicts."""
    for folder in (options.features, options.ranks):
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}")
    measured = Run(Settings(options.features, options.ranks, options.layer, options.dim))
    rows = [tried(claim, number, measured, options.command) for number, claim in enumerate(CLAIMS, start=1)]
    markdown = as_markdown(rows, measured, options.data_note)
    options.out.mkdir(parents=True, exist_ok=True)
    settings = {"layer": options.layer, "dim": options.dim}
    write_text(options.out / "claims.json", json.dumps(settings | {"claims": rows}, indent=1) + "\n")
    write_text(options.out / "claims.md", markdown)
    print(markdown, end="")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
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
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {PROGRAM}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Try the article's claims on what a run has measured: claim, how, figure, holds or not.\n"
        "Reads FEATURES/{pretrained,pretrained_square,pretrained_double,wiring_*}.h5 and\n"
        "RANKS/{pretrained{,_fc,_square,_maps},finetuned{,_last,_two-phase}}/scores.json, as run_all.sh\n"
        "names them; a claim whose files are not there is not measured. Writes OUT/claims.md and .json.",
        epilog="example:\n  python -m eval.claims --features work/demo/features --ranks work/demo/ranks"
        " --out work/demo/results",
    )
    add = parser.add_argument
    add("--features", type=Path, required=True, metavar="DIR", help="folder with the features files")
    add("--ranks", type=Path, required=True, metavar="DIR", help="folder with eval.score's folders")
    add("--out", type=Path, required=True, metavar="DIR", help="where claims.md and claims.json go")
    add("--layer", default="pool5", metavar="BLOB", help="compare this layer's poolings (default: pool5)")
    add("--dim", default="128", metavar="DIM", help="compare at this dimension (default: 128)")
    add("--data-note", metavar="TEXT", help="what our figures were measured on")
    add(
        "--command",
        default="./run_all.sh",
        metavar="TEXT",
        help="how to run what is missing (default: ./run_all.sh)",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
