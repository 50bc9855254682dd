"""The report's section on queries: average precision by query, precision against recall, what came back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.files.ground_truth import GroundTruth, read_lines
from eval.files.scores import Row, shown_rows
from eval.report import figures
from eval.report.page_pictures import Illustration, Pictures, Shown, boxed
from eval.report.rankings import landmark, places, precision_at_recall, verdict
from eval.report.run_folder import Run
from eval.report.words import percent
from eval.results.grid import dimension
from eval.results.shown_queries import Choice, chosen
from eval.results.words import Text, Words, text

SHOWN = 8
VERDICTS = {
    "good": "good: the building is clearly seen",
    "ok": "ok: more than a quarter of it is seen",
    "junk": "junk: hardly seen, counts neither way",
    "wrong": "wrong: another place",
}


@dataclass(frozen=True)
class Answer:
    """A picture that came back, and what it is."""

    name: str
    verdict: str
    picture: Shown | None


@dataclass(frozen=True)
class Answers:
    """A model's first answers to a query."""

    model: str
    ap: float
    first: list[Answer]
    words: Words


@dataclass(frozen=True)
class QueryShown:
    """A query with each model's first answers."""

    name: str
    why: str
    picture: Shown | None
    words: Words
    answers: list[Answers]


@dataclass(frozen=True)
class QueriesSection:
    """How single queries were answered, at one layer and dimension."""

    setting: Words
    ap: Illustration
    precision_recall: Illustration
    choice: list[Choice]
    queries: list[QueryShown]
    verdicts: Mapping[str, str]
    unchanged: bool
    """Whether both models answer every query alike: only the last layer was trained, or nearly nothing."""
    evened_out: bool
    """Whether they must, as whitening has left nothing to rank."""


def queries_section(run: Run, pictures: Pictures) -> QueriesSection | None:
    """The queries at the setting that is shown; None without ground truth or scores that both models have."""
    rows = shown_rows(run.scores)
    if not rows or not run.truths:
        return None
    first, last = next(iter(rows.values())), list(rows.values())[-1]
    ap = {model: row.ap for model, row in rows.items()}
    drawn = pictures.figure("ap_by_query", figures.ap_by_query(ap), "Average precision of each query")
    ranks = {model: run.ranks(model) / row.ranks for model, row in rows.items()}
    return QueriesSection(
        setting=text("{row}, {column}", row=first.layer, column=dimension(first.label)),
        ap=Illustration(drawn, _ap_caption(ap)),
        precision_recall=_precision_recall(run, pictures, ranks),
        choice=chosen(ap),
        queries=_queries(run, pictures, rows, ranks),
        verdicts=VERDICTS,
        unchanged=len(rows) > 1 and first.ap == last.ap,
        evened_out=run.scores[next(iter(rows))].evened_out(first),
    )


def _ap_caption(ap: Mapping[str, Mapping[str, float]]) -> Text:
    models = list(ap)
    last = ap[models[-1]]
    if len(last) == 1:
        return text("One query: its average precision is the mAP of the table.")
    if len(models) == 1:
        best, worst = max(last, key=last.__getitem__), min(last, key=last.__getitem__)
        return text(
            "{count} queries, from {worst} at {low} to {best} at {high}. The mean of these dots is the mAP "
            "of the table.",
            count=len(last),
            worst=worst,
            low=percent(last[worst], 1),
            best=best,
            high=percent(last[best], 1),
        )
    changes = {query: last[query] - ap[models[0]][query] for query in last}
    if not any(changes.values()):
        return text(
            "Both models answer all {count} queries alike: the dots lie on each other.", count=len(last)
        )
    most, least = max(changes, key=changes.__getitem__), min(changes, key=changes.__getitem__)
    return text(
        "Fine-tuning made {up} of {count} queries better and {down} worse. The largest gain is {most}'s "
        "({gain}), the largest loss {least}'s ({loss}). Green lines are gains, red ones losses; the mean of "
        "the dots of one colour is that model's mAP.",
        up=sum(change > 0 for change in changes.values()),
        count=len(changes),
        down=sum(change < 0 for change in changes.values()),
        most=most,
        gain=f"{100 * changes[most]:+.1f}",
        least=least,
        loss=f"{100 * changes[least]:+.1f}",
    )


def _precision_recall(run: Run, pictures: Pictures, ranks: Mapping[str, Path]) -> Illustration:
    by_landmark: dict[str, list[GroundTruth]] = {}
    for query, truth in run.truths.items():
        by_landmark.setdefault(landmark(query), []).append(truth)
    curves = {
        name: {model: _mean_precision(folder, truths) for model, folder in ranks.items()}
        for name, truths in by_landmark.items()
    }
    figure = pictures.figure(
        "precision_recall",
        figures.precision_recall(curves),
        text("Precision against recall of {count} landmarks", count=len(curves)),
    )
    return Illustration(
        figure,
        "The mean over each landmark's queries; precision is the best at that recall or a higher one. A "
        "curve that stays high and then falls finds most of its pictures first; one that falls at once has a "
        "few easy ones and loses the rest among other buildings.",
    )


def _mean_precision(ranks: Path, truths: Sequence[GroundTruth]) -> np.ndarray:
    """Mean over queries of precision at each of rankings.RECALLS, from their ranked lists. (51,)"""
    each = [precision_at_recall(read_lines(ranks / f"{truth.query.name}.txt"), truth) for truth in truths]
    return np.asarray(np.mean(each, axis=0))


def _queries(
    run: Run, pictures: Pictures, rows: Mapping[str, Row], ranks: Mapping[str, Path]
) -> list[QueryShown]:
    reasons = {choice.query: choice.why for choice in chosen({model: row.ap for model, row in rows.items()})}
    return [
        shown_query(run, pictures, truth, reasons.get(name, ""), rows, ranks)
        for name, truth in run.truths.items()
    ]


def shown_query(
    run: Run,
    pictures: Pictures,
    truth: GroundTruth,
    why: str,
    rows: Mapping[str, Row],
    ranks: Mapping[str, Path],
) -> QueryShown:
    """A query with the first answers by each ranking: `rows` has figures, `ranks` the folder of its lists."""
    name = truth.query.name
    answers = [
        _answers(run, pictures, truth, model, row, ranks[model])
        for model, row in rows.items()
        if name in row.ap
    ]
    words = text(
        "{count} pictures show it ({good} good, {ok} ok)",
        count=len(truth.positives),
        good=len(truth.good),
        ok=len(truth.ok),
    )
    return QueryShown(name, why, _asked(run, pictures, truth), words, answers)


def _asked(run: Run, pictures: Pictures, truth: GroundTruth) -> Shown | None:
    """The query's photograph with its box."""
    query = truth.query
    asked = run.database.get(query.image)
    image = boxed(Path(asked.path), query.box) if asked else None
    if image is None:
        return None
    alt = text("{picture} with the box that is searched for", picture=query.image)
    return pictures.jpeg(f"queries/{query.name}", image, alt)


def _answers(run: Run, pictures: Pictures, truth: GroundTruth, model: str, row: Row, ranks: Path) -> Answers:
    ranking = read_lines(ranks / f"{truth.query.name}.txt")
    first = [_answer(run, pictures, name, truth) for name in ranking[:SHOWN]]
    found = places(ranking, truth)
    early = sum(rank <= 10 for rank in found)
    if found:
        words = text(
            "{early} of the first 10 are right, the last right one is at rank {last}",
            early=early,
            last=found[-1],
        )
    else:
        words = text("none of the right ones is in the list")
    return Answers(model, row.ap[truth.query.name], first, words)


def _answer(run: Run, pictures: Pictures, name: str, truth: GroundTruth) -> Answer:
    file = run.database.get(name)
    picture = pictures.thumbnail(Path(file.path), f"thumbs/{name}", name, 96) if file else None
    return Answer(name, verdict(name, truth), picture)
