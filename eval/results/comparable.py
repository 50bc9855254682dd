"""Whether a run's figures may stand beside the article's: same network, pictures and ground truth, or not."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from eval.files.scores import Scores
from eval.results.article import Article


@dataclass(frozen=True)
class Comparability:
    """Whether figures can be compared one by one with the article's; None where the scores don't tell."""

    verdict: bool | None
    sentence: str


def comparability(article: Article, scores: Iterable[Scores], data_note: str | None = None) -> Comparability:
    """Decide by what the pre-trained network's scores say they are made of; a note on the data says no."""
    theirs = f"{article.network} on {article.dataset}"
    differing, unknown = _differences(article, scores)
    if differing or data_note:
        why = f": they come from {_joined(differing)}" if differing else ""
        return Comparability(
            False,
            f"These figures are not comparable with the article's ({theirs}) one by one{why}. Compare which "
            "rise and which fall.",
        )
    if unknown:
        return Comparability(
            None,
            f"Whether these figures can be compared with the article's ({theirs}) can't be told: their "
            f"scores don't say {_joined(unknown)}.",
        )
    return Comparability(
        True, f"Weights, pictures and ground truth are the article's ({theirs}): the figures can be compared."
    )


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


def _joined(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
