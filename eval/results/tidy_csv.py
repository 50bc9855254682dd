"""Figures as CSV that pandas.read_csv makes a tidy frame of: a row a figure, a column a property."""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO


def as_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows of values under the names of the first row's, which all have; None and "" as nothing."""
    text = StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
