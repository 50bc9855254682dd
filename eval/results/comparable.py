"""Whether a run's figures may stand beside the article's: same network, pictures and ground truth, or not."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.files.scores import Scores
from eval.results.article import Article
from eval.results.words import Text, Words, as_json, text


@dataclass(frozen=True)
class Comparability:
    """Whether figures can be compared one by one with the article's; None where the scores don't tell."""

    verdict: bool | None
    sentence: Text


def told(comparable: Comparability, remarks: Sequence[Words]) -> dict[str, Any]:
    """What a table's JSON says beside its rows; `comparable` is null where that can't be told."""
    return {
        "comparable": comparable.verdict,
        "compared": as_json(comparable.sentence),
        "remarks": [as_json(remark) for remark in remarks],
    }


def comparability(article: Article, scores: Iterable[Scores], data_note: str | None = None) -> Comparability:
    """Decide by what the pre-trained network's scores say they are made of; a note on the data says no."""
    theirs = {"network": article.network, "dataset": article.dataset}
    differing, unknown = _differences(article, scores)
    if differing:
        sentence = text(
            "These figures are not comparable with the article's ({network} on {dataset}) one by one: they "
            "come from {what}. Compare which rise and which fall.",
            **theirs,
            what=differing,
        )
        return Comparability(False, sentence)
    if data_note:
        sentence = text(
            "These figures are not comparable with the article's ({network} on {dataset}) one by one. "
            "Compare which rise and which fall.",
            **theirs,
        )
        return Comparability(False, sentence)
    if unknown:
        sentence = text(
            "Whether these figures can be compared with the article's ({network} on {dataset}) can't be "
            "told: their scores don't say {what}.",
            **theirs,
            what=unknown,
        )
        return Comparability(None, sentence)
    sentence = text(
        "Weights, pictures and ground truth are the article's ({network} on {dataset}): the figures can be "
        "compared.",
        **theirs,
    )
    return Comparability(True, sentence)


def _differences(article: Article, scores: Iterable[Scores]) -> tuple[list[str], list[str]]:
    """What differs from the article in words, and what the scores don't say."""
    differing: dict[str, None] = {}
    unknown: dict[str, None] = {}
    for one in scores:
        weights = article.weights_sha256 if one.model == "finetuned" else one.made_of.weights_sha256
        checks: Mapping[tuple[str, str], bool | None] = {
            ("another network's weights", "which weights they come from"): (
                None if weights is None else weights == article.weights_sha256
            ),
            ("another number of pictures", "how many pictures were searched"): (
                None if one.made_of.pictures is None else one.made_of.pictures in article.pictures
            ),
            ("other queries or another ground truth", "which ground truth judged them"): (
                None
                if one.made_of.ground_truth_sha256 is None
                else one.made_of.ground_truth_sha256 == article.ground_truth_sha256
            ),
        }
        for (different, unsaid), same in checks.items():
            if same is None:
                unknown[unsaid] = None
            elif not same:
                differing[different] = None
    return list(differing), list(unknown)
