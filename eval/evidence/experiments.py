"""The experiments that try the article's claims: figures in, a finding with its comparisons out.

None chooses by the figures that it then compares.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from eval.evidence.measured import Measured, Scored
from eval.evidence.statistics import (
    Effect,
    cross_fitted,
    effect_of,
    is_above,
    is_below,
    is_within,
    together,
)
from eval.files.features import Vectors
from eval.rank.recipe import Whitening, l2_normalise

FC_LAYERS = ("fc7_relu7", "fc7", "fc6_relu6", "fc6")
TUNED = ("sum", "max", "crow", "rmac")
"""Poolings that fine-tuning is tried at: section 2's."""
POOLED = ("sum", "max", "crow", "rmac")
LITTLE = 0.03
"""What "differ little" is taken for: at 128 dimensions the article's four layers span 2.3 points."""
NO_MORE = 0.01
"""What "no more" is taken for: a gain of less than a point."""


@dataclass(frozen=True)
class Part:
    """One comparison of a claim."""

    what: str
    effect: Effect
    holds: bool | None


@dataclass(frozen=True)
class Finding:
    """What an experiment gave."""

    how: str
    figure: str
    """What was measured, for people; the comparisons' effects stand in `parts`."""
    holds: bool | None
    """None: too close to tell on these queries."""
    values: dict[str, Any]
    parts: Sequence[Part] = ()


def percent(share: float) -> str:
    """As a figure of the tables has it."""
    return f"{100 * share:.2f} %"


def maps(rows: Mapping[str, Scored]) -> str:
    """mAP of several rows in one line."""
    return ", ".join(f"{name} {percent(row.map)}" for name, row in rows.items())


def compared(
    pairs: Mapping[str, Effect], test: Callable[..., bool | None], *bounds: float
) -> tuple[list[Part], bool | None]:
    """The parts of a claim that asks the same of several differences, and its verdict."""
    parts = [Part(what, effect, test(effect, *bounds, of=len(pairs))) for what, effect in pairs.items()]
    return parts, together([part.holds for part in parts])


def layers_differ_little(measured: Measured) -> Finding:
    """Every two of the four layers."""
    rows = {layer: measured.row("pretrained", layer, measured.fc_label) for layer in FC_LAYERS}
    pairs = {f"{one} over {other}": rows[one].over(rows[other]) for one, other in combinations(rows, 2)}
    parts, holds = compared(pairs, is_within, -LITTLE, LITTLE)
    return Finding(
        f"mAP at {measured.fc_label} dimensions, every two layers",
        maps(rows),
        holds,
        {layer: row.map for layer, row in rows.items()},
        parts,
    )


def middle_beats_fc(measured: Measured) -> Finding:
    """The best of each kind, chosen on other places than it is judged on."""
    fc = {layer: measured.row("pretrained_fc", layer, measured.label) for layer in FC_LAYERS}
    chosen = _best(fc)
    effects, said = [], []
    for what, name in (("full resolution", "maps"), ("the network's own input size", "square")):
        pooled = {pooling: measured.pooled(f"pretrained_{name}", pooling) for pooling in POOLED}
        effects.append(effect_of(_best(pooled), chosen, fc["fc6"].truths))
        said.append(f"at {what} {maps(pooled)}")
    full, square = effects
    low, high = square.interval()
    part = Part("poolings at full resolution over layers", full, is_above(full))
    return Finding(
        f"mAP at {measured.label} dimensions of the best pooling of {measured.layer} against the best layer, "
        "each chosen on the queries of other places than the one that it is judged on",
        f"{maps(fc)}; {'; '.join(said)}. At the network's own input size the poolings' gain is "
        f"{100 * square.mean:+.2f} points ({100 * low:.2f} to {100 * high:.2f})",
        part.holds,
        {"full": full.mean, "square": square.mean},
        [part],
    )


def _best(rows: Mapping[str, Scored]) -> list[dict[str, float]]:
    runs = range(len(next(iter(rows.values())).ap))
    return [cross_fitted({name: row.ap[run] for name, row in rows.items()}) for run in runs]


def resolution_helps(measured: Measured) -> Finding:
    """Each pooling at both sizes."""
    rows = {
        name: [measured.pooled(f"pretrained_{size}", name) for size in ("maps", "square")] for name in POOLED
    }
    pairs = {f"{name}, large over small": large.over(small) for name, (large, small) in rows.items()}
    parts, holds = compared(pairs, is_above)
    return Finding(
        f"mAP of {measured.layer}'s poolings at full resolution with the aspect kept, and at the network's "
        "own input size",
        "; ".join(
            f"{name} {percent(large.map)}, {percent(small.map)}" for name, (large, small) in rows.items()
        ),
        holds,
        {name: [row.map for row in pair] for name, pair in rows.items()},
        parts,
    )


def in_both(one: Vectors, other: Vectors) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of the pictures that both have, in one order.

    A revisited ground truth leaves its queries' pictures out where it is read, and only there.
    """
    place = {name: row for row, name in enumerate(other.names)}
    rows = [row for row, name in enumerate(one.names) if name in place]
    return one.values[rows], other.values[[place[one.names[row]] for row in rows]]


def average_is_steadier(measured: Measured) -> Finding:
    """A guess of the article's about cosines. They see no lengths, so those are compared as well."""
    cosines, ratios, means = {}, {}, {}
    distances: dict[str, list[np.ndarray]] = {}
    for pooling in ("sum", "average"):
        name = f"{measured.layer}_{pooling}"
        sizes = (measured.vectors(f"pretrained_{size}", name) for size in ("square", "double"))
        runs = [in_both(small, large) for small, large in zip(*sizes, strict=True)]
        cosines[pooling] = float(
            np.mean([(l2_normalise(a) * l2_normalise(b)).sum(axis=1).mean() for a, b in runs])
        )
        lengths = [[np.linalg.norm(rows.astype(np.float64), axis=1) for rows in run] for run in runs]
        longer = [large[small > 0] / small[small > 0] for small, large in lengths]
        ratios[pooling] = float(np.median(np.concatenate(longer))) if any(map(len, longer)) else 0.0
        moved = [np.linalg.norm(b.astype(np.float64) - a, axis=1) for a, b in runs]
        distances[pooling] = [
            distance / np.maximum((small + large) / 2, np.finfo(np.float64).tiny)
            for distance, (small, large) in zip(moved, lengths, strict=True)
        ]
        means[pooling] = float(np.concatenate(distances[pooling]).mean())
    both = (np.concatenate(distances[pooling]) for pooling in ("average", "sum"))
    steadier = float(np.less(*both).mean())
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


def max_beats_sum(measured: Measured) -> Finding:
    """MAX over both."""
    rows = {name: measured.pooled("pretrained_maps", name) for name in ("max", "sum", "average")}
    pairs = {f"MAX over {name}": rows["max"].over(rows[name]) for name in ("sum", "average")}
    parts, holds = compared(pairs, is_above)
    return Finding(
        "mAP of the pooled maps, aspect kept",
        maps(rows),
        holds,
        {name: row.map for name, row in rows.items()},
        parts,
    )


def three_levels(measured: Measured) -> Finding:
    """More from 1 to 2 and from 2 to 3, no more at 4."""
    names = {"L = 1": "rmac_l1", "L = 2": "rmac_l2", "L = 3": "rmac", "L = 4": "rmac_l4"}
    rows = {level: measured.pooled("pretrained_maps", name) for level, name in names.items()}
    one, two, three, four = rows.values()
    parts = [
        Part("L = 2 over 1", two.over(one), is_above(two.over(one), of=3)),
        Part("L = 3 over 2", three.over(two), is_above(three.over(two), of=3)),
        Part("L = 4 over 3", four.over(three), is_below(four.over(three), NO_MORE, of=3)),
    ]
    return Finding(
        "mAP of R-MAC with 1 to 4 levels",
        maps(rows),
        together([part.holds for part in parts]),
        {level: row.map for level, row in rows.items()},
        parts,
    )


def concatenated_gains(measured: Measured) -> Finding:
    """The size of the gain, not its sign alone."""
    rows = {name: measured.pooled("pretrained_maps", name) for name in ("rmac_concat", "rmac_sum")}
    pairs = {"concatenated over summed": rows["rmac_concat"].over(rows["rmac_sum"])}
    parts, holds = compared(pairs, is_within, 0.02 - NO_MORE, 0.03 + NO_MORE)
    return Finding(
        "mAP of the 20 regions' sum beside the global vector, and of the sum of all 21",
        maps(rows),
        holds,
        {name: row.map for name, row in rows.items()},
        parts,
    )


def rmac_is_like_crow(measured: Measured) -> Finding:
    """An equivalence."""
    rows = {name: measured.pooled("pretrained_maps", name) for name in ("rmac", "crow")}
    parts, holds = compared({"R-MAC over CroW": rows["rmac"].over(rows["crow"])}, is_within, -LITTLE, LITTLE)
    return Finding(
        "mAP of the pooled maps, aspect kept",
        maps(rows),
        holds,
        {name: row.map for name, row in rows.items()},
        parts,
    )


def rmac_and_crow_are_best(measured: Measured) -> Finding:
    """Each of the two over each of the three."""
    names = {"rmac": "R-MAC", "crow": "CroW", "max": "MAX", "sum": "SUM", "average": "AVE"}
    rows = {name: measured.pooled("pretrained_maps", name) for name in names}
    pairs = {
        f"{names[one]} over {names[other]}": rows[one].over(rows[other])
        for one in ("rmac", "crow")
        for other in ("max", "sum", "average")
    }
    parts, holds = compared(pairs, is_above)
    return Finding(
        "mAP of the pooled maps, aspect kept",
        maps(rows),
        holds,
        {name: row.map for name, row in rows.items()},
        parts,
    )


def _farthest(measured: Measured, one: tuple[str, str], other: tuple[str, str]) -> float:
    """The largest difference between two files' layers, over pictures, values and runs."""
    pairs = zip(measured.vectors(*one), measured.vectors(*other), strict=True)
    return max(float(np.abs(a.values - b.values).max()) for a, b in pairs)


def dropout_is_relu(measured: Measured) -> Finding:
    """An equality."""
    largest = {
        f"fc{n}": _farthest(measured, ("wiring_own", f"fc{n}_relu{n}"), ("wiring_own", f"fc{n}_drop{n}"))
        for n in (6, 7)
    }
    drop = ("wiring_as_printed", "fc7_drop7")
    moved = {f"to_{name}": _farthest(measured, drop, (drop[0], name)) for name in ("fc7", "fc7_relu7")}
    own, printed = (
        np.concatenate([run.values.argmax(axis=1) for run in measured.vectors(f"wiring_{name}", "prob")])
        for name in ("own", "as_printed")
    )
    other = float((own != printed).mean())
    return Finding(
        f"largest difference over {len(own)} pictures; then with the snippet's wiring taken literally",
        f"fc6_drop6 to fc6_relu6 {largest['fc6']:g}, fc7_drop7 to fc7_relu7 {largest['fc7']:g}. As printed, "
        f"fc7_drop7 differs from fc7 by {moved['to_fc7']:g}, from fc7_relu7 by {moved['to_fc7_relu7']:g}, "
        f"and the network's first class changes for {percent(other)} of the pictures",
        max(largest.values()) == 0,
        {"largest": largest, "as_printed": moved, "class_changed": other},
    )


def in_place_is_relu(measured: Measured) -> Finding:
    """An equality, and a difference."""
    stock = ("wiring_in_place", "fc7")
    to_relu, to_raw = (_farthest(measured, stock, ("wiring_own", name)) for name in ("fc7_relu7", "fc7"))
    pictures = sum(len(run.names) for run in measured.vectors(*stock))
    return Finding(
        f"blob fc7 of the file with in-place layers, largest difference over {pictures} pictures",
        f"it differs from fc7_relu7 by {to_relu:g}, from fc7 by {to_raw:g}",
        to_relu == 0 < to_raw,
        {"to_fc7_relu7": to_relu, "to_fc7": to_raw},
    )


def _tuned(what: str, names: Sequence[str], row: Callable[[str, str], Scored]) -> Finding:
    """Figures before and after fine-tuning; `row` has a model's of a name."""
    before, after = ({name: row(model, name) for name in names} for model in ("pretrained", "finetuned"))
    pairs = {f"{name} fine-tuned": after[name].over(before[name]) for name in names}
    parts, holds = compared(pairs, is_above)
    return Finding(
        f"mAP at {what}, before and after fine-tuning",
        "; ".join(f"{name} {percent(before[name].map)} to {percent(after[name].map)}" for name in names),
        holds,
        {name: [before[name].map, after[name].map] for name in names},
        parts,
    )


def _tuned_layers(measured: Measured, layers: Sequence[str]) -> Finding:
    what = f"{measured.fc_label} dimensions"
    return _tuned(what, layers, lambda model, layer: measured.row(model, layer, measured.fc_label))


def finetuning_helps(measured: Measured) -> Finding:
    """At the layer that the article measures."""
    return _tuned_layers(measured, ["fc6"])


def finetuning_helps_everywhere(measured: Measured) -> Finding:
    """At all four."""
    return _tuned_layers(measured, FC_LAYERS)


def finetuning_helps_maps(measured: Measured) -> Finding:
    """At the map whose poolings are compared, of pictures at full resolution."""
    what = f"{measured.label} dimensions of {measured.layer}'s poolings at full size"
    return _tuned(what, TUNED, lambda model, pooling: measured.pooled(f"{model}_maps", pooling))


def all_layers_beat_the_last(measured: Measured) -> Finding:
    """The three ways of fine-tuning."""
    names = {
        "pre-trained": "pretrained",
        "last layer only": "finetuned_last",
        "two phases": "finetuned_two-phase",
        "all layers": "finetuned",
    }
    rows = {what: measured.row(name, "fc6", measured.fc_label) for what, name in names.items()}
    _, last, two, every = rows.values()
    asked, holds = compared({"all layers over the last": every.over(last)}, is_above)
    others = {"two phases over the last": two.over(last), "two phases over all": two.over(every)}
    return Finding(
        f"mAP of fc6 at {measured.fc_label} after each; training only the last layer leaves fc6 as it was",
        maps(rows) + "".join(f"; {what} {100 * effect.mean:+.2f} points" for what, effect in others.items()),
        holds,
        {what: row.map for what, row in rows.items()},
        asked,
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


def whitening_ruins(measured: Measured) -> Finding:
    """At every layer; the spectra are the first run's."""
    cut, full, plain = (
        {layer: measured.row("pretrained", layer, label) for layer in FC_LAYERS}
        for label in (measured.fc_label, "full", "none")
    )
    pairs = {f"{layer}, {measured.fc_label} over full": cut[layer].over(full[layer]) for layer in FC_LAYERS}
    parts, holds = compared(pairs, is_above)
    spectra = {layer: spectrum(measured.vectors("pretrained", layer)[0]) for layer in ("fc6", "fc7_relu7")}
    said = ". ".join(f"{layer}: {in_words(found)}" for layer, found in spectra.items())
    return Finding(
        f"mAP with whitening PCA to {measured.fc_label}, to all dimensions, and without PCA; standard "
        "deviations along the principal directions",
        f"to {measured.fc_label}: {maps(cut)}. To all: {maps(full)}. Without: {maps(plain)}. Why: {said}",
        holds,
        {"cut": maps(cut), "full": maps(full), "plain": maps(plain), "spectrum": spectra},
        parts,
    )
