"""classes.csv: the class that each of Caffe's labels stands for.

A header `number,name`, then a row for each class; numbers run from 0 without a gap. Semicolons or tabs may
stand for the commas.
"""

from collections.abc import Sequence
from pathlib import Path

from tools.files.csv_rows import read_csv, write_csv
from tools.program import written_beside

HEADER = ["number", "name"]
DELIMITERS = ",;\t"
"""Spreadsheets of many countries save semicolons."""


def read_class_names(path: Path) -> list[str]:
    """Names of the classes in the numbers' order. Raises OSError, or ValueError where it is no such list."""
    rows = next((rows for mark in DELIMITERS if (rows := read_csv(path, mark)) and len(rows[0]) == 2), [])
    if rows:
        rows[0][0] = rows[0][0].removeprefix("\ufeff")  # Excel's mark of UTF-8
    if rows[:1] == [HEADER]:
        del rows[0]
    names = {row[0]: row[1] for row in rows if len(row) == 2}
    numbers = [str(number) for number in range(len(rows))]
    if not rows or names.keys() != set(numbers):
        raise ValueError(
            f"{path} is no list of classes: rows of number,name, the numbers 0, 1, 2 ... each once"
        )
    return [names[number] for number in numbers]


def write_class_names(path: Path, names: Sequence[str]) -> None:
    """Write the classes 0, 1, 2 ... in this order, whole or not at all. Raises OSError."""
    with written_beside(path) as part:
        write_csv(part, [HEADER, *enumerate(names)])
