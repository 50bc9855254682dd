"""Which queries are looked at more closely, by the report and by what keeps maps for it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """A query that is worth a look, and why."""

    query: str
    why: str


def chosen(ap: Mapping[str, Mapping[str, float]]) -> list[Choice]:
    """Best and worst answered query, and those that changed most, by the models' AP; each query once."""
    models = list(ap)
    last = ap[models[-1]]
    by_ap = sorted(last, key=lambda query: (last[query], query))
    choices = [Choice(by_ap[-1], "answered best")]
    if len(models) > 1:
        first = ap[models[0]]
        by_change = sorted(last, key=lambda query: (last[query] - first[query], query))
        choices += [
            Choice(by_change[-1], "gained most by fine-tuning"),
            Choice(by_change[0], "lost most by fine-tuning"),
        ]
    else:
        choices.append(Choice(by_ap[len(by_ap) // 2], "in the middle"))
    choices.append(Choice(by_ap[0], "answered worst"))
    once = {choice.query: choice for choice in reversed(choices)}
    return [choice for choice in choices if once[choice.query] == choice]
