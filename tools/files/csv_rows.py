"""CSV files as we write and read them: UTF-8, a comma between fields, rows that end with a line feed.

Names of files go in and come out as they are: those that are not UTF-8, and those with line breaks, too.
"""

import codecs
import csv
from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path

ENCODING, ERRORS = "utf-8", "surrogateescape"


def csv_row(fields: Iterable[object]) -> str:
    """One row, with its line feed."""
    row = StringIO()
    # by its line terminator Python 3.11 knows what to quote: a lone CR ends a row for its reader
    csv.writer(row, lineterminator="\r\n").writerow(fields)
    return row.getvalue().removesuffix("\r\n") + "\n"


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows, a header among them, to a file. Raises OSError."""
    with path.open("w", newline="", encoding=ENCODING, errors=ERRORS) as file:
        file.writelines(map(csv_row, rows))


def read_csv(path: Path, delimiter: str = ",") -> list[list[str]]:
    """All rows but empty ones. Raises OSError, and ValueError where it is no CSV file."""
    with path.open("rb") as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise ValueError(f"{path} is text in UTF-16: save it as UTF-8")
    with path.open(newline="", encoding=ENCODING, errors=ERRORS) as file:
        try:
            return [row for row in csv.reader(file, delimiter=delimiter) if row]
        except csv.Error as error:
            raise ValueError(f"{path} can't be read as a CSV file: {error}") from None
