"""eval.score's annex: the same rankings among distractors. Loaded only where some are asked for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.distractors.ranking import (
    Distractors,
    Searched,
    average_precision,
    open_distractors,
    rank_among,
)
from eval.files.ground_truth import GroundTruth
from eval.rank.judge import by_protocol, mean, places_by
from eval.rank.protocols import PROTOCOLS
from eval.rank.recipe import Floats, Ranking, Whitening, l2_normalise, similarities


@dataclass(frozen=True)
class Annex:
    """The distractors of a run of eval.score, and how they are ranked."""

    distractors: Distractors
    truths: Mapping[str, GroundTruth]
    """By query."""
    revisited: bool
    """Whether the truths are judged by the protocols of Revisited Oxford and Paris."""
    first: int
    jobs: int

    def check(self, layer: str, dimensions: int) -> None:
        """Raise ValueError where a file lacks the layer, or has it in another shape."""
        self.distractors.check(layer, dimensions)

    def score(
        self,
        layer: str,
        whitening: Whitening | None,
        names: Sequence[str],
        database: Floats,
        queries: Mapping[str, Floats],
        ranking: Ranking,
        folder: Path,
    ) -> dict[str, Any]:
        """Rank among the distractors, and write how: {"count": how many, "map": mean, "ap": {query: figure}},
        or by_protocol's figures of a revisited ground truth.

        `database` (N, d) of `names` and `queries` (d,) by name are described as the distractors will be, by
        `whitening`; `ranking` (Q, N) is what they gave. Raises ValueError for values that are not finite.
        """
        judged = [self.truths[query] for query in queries]
        # of a revisited ground truth all places are wanted, and each protocol takes its own
        found = [truth.positives | truth.junk if self.revisited else truth.positives for truth in judged]
        vectors = np.stack(list(queries.values()))
        searched = Searched(
            names,
            vectors,
            similarities(vectors, database),
            ranking,
            found,
            [truth.junk - places for truth, places in zip(judged, found, strict=True)],
        )
        project = partial(_project, whitening=whitening, dimensions=database.shape[1])
        standings = rank_among(self.distractors, layer, project, searched, first=self.first, jobs=self.jobs)
        figures = {}
        for truth, standing in zip(judged, standings, strict=True):
            path = folder / truth.query.name
            places = sorted((place, name) for name, place in standing.places.items())
            lines = "".join(f"{place} {name}\n" for place, name in places)
            Path(f"{path}.places.txt").write_text(lines, encoding="utf-8")
            Path(f"{path}.first.txt").write_text("".join(f"{name}\n" for name in standing.first), "utf-8")
            if not self.revisited:
                figures[truth.query.name] = average_precision(standing.judged, len(truth.positives))
        count = {"count": len(self.distractors)}
        if not self.revisited:
            return count | {"map": mean(figures.values()), "ap": figures}
        ranked = {t.query.name: standing.places for t, standing in zip(judged, standings, strict=True)}

        def by(name: str, asked: Sequence[str]) -> dict[str, float]:
            protocol = PROTOCOLS[name]
            return {
                query: average_precision(
                    places_by(protocol, self.truths[query], ranked[query]),
                    len(protocol.positives(self.truths[query])),
                )
                for query in asked
            }

        return count | by_protocol(self.truths, ranked, by)


def _project(
    vectors: NDArray[np.float32], whitening: Whitening | None, dimensions: int
) -> NDArray[np.floating]:
    """What eval.rank.recipe.describe does, but for its last normalisation, which the comparison makes."""
    return vectors if whitening is None else whitening.transform(l2_normalise(vectors), dimensions)


@contextmanager
def open_annex(
    files: Sequence[Path],
    taken: Iterable[str],
    truths: Sequence[GroundTruth],
    revisited: bool,
    first: int,
    jobs: int,
) -> Iterator[Annex]:
    """Open the distractors' files; `taken` are names that none may have. Raises ValueError as they do."""
    with open_distractors(files, taken) as distractors:
        yield Annex(distractors, {truth.query.name: truth for truth in truths}, revisited, first, jobs)
