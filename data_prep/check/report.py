"""check.csv: a row for each bad file; and the memory that keeps it whole when a check is stopped."""

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self, TextIO

from tqdm import tqdm

from data_prep.check.finding import NO_PICTURE, Finding
from tools.files.csv_rows import ENCODING, ERRORS, csv_row, read_csv, write_csv
from tools.program import written_beside

MEMORY = ".check_images.csv"


class Row(NamedTuple):
    """A row of the report: the file's name below the folder, problems and reasons as text, what was done."""

    file: str
    problem: str
    reason: str
    done: str


HEADER = Row._fields


def row_of(finding: Finding, folder: Path) -> Row:
    """A finding as the report has it."""
    name = str(finding.path.relative_to(folder))
    return Row(name, " ".join(finding.problems), "; ".join(finding.reasons), finding.done)


class Memory:
    """What was fixed or quarantined below a folder, kept in the folder: it lives as long as that does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def remember(self, finding: Finding) -> None:
        """Write a finding down, before what it says is done. Raises OSError."""
        path = self._folder / MEMORY
        try:
            if self._file is None:
                self._file = path.open("a", newline="", encoding=ENCODING, errors=ERRORS)
                os.truncate(path, path.read_bytes().rfind(b"\n") + 1)  # a row that a power cut has torn
            self._file.write(csv_row(row_of(finding, self._folder)))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            error.filename = error.filename or str(path)
            raise


def remembered(folder: Path) -> dict[str, Row]:
    """What checks before this one have dealt with, by file."""
    path = folder / MEMORY
    rows: list[list[str]] = []
    with suppress(FileNotFoundError, ValueError):
        rows = read_csv(path)
    return {row[0]: Row(*row) for row in rows if len(row) == len(HEADER)}


def write_report(findings: Iterable[Finding | None], folder: Path, report_csv: Path) -> Counter[str]:
    """Print a line for each bad file and write report_csv; how many are good, fixed, quarantined and left.

    What checks before this one have dealt with is in it too. Raises OSError.
    """
    earlier = remembered(folder)
    found: list[Row] = []
    outcomes: Counter[str] = Counter()
    with written_beside(report_csv) as part:
        part.touch()  # where nothing can be written that is said before the work
        for finding in findings:
            if finding is None:
                outcomes["good"] += 1
                continue
            row = row_of(finding, folder)
            before = earlier.pop(row.file, row)
            # stopped before its new name, a picture is fixed once more: its first reasons are the true ones
            row = before if before.done == row.done == "fixed" else row
            found.append(row)
            tqdm.write(f"{row.file}: {row.problem}: {row.reason} [{row.done}]")
        rows = sorted((*earlier.values(), *found), key=_place)
        write_csv(part, [HEADER, *rows])
    outcomes.update(row.done for row in rows)
    outcomes["good"] -= sum(row.done == "fixed" for row in earlier.values())
    return outcomes


def _place(row: Row) -> tuple[bool, list[tuple[bool, str]]]:
    """Where a row stands: files in the order that they are looked at in, then folders."""
    *folders, name = Path(row.file).parts or (row.file,)
    return row.reason == NO_PICTURE, [*((True, part) for part in folders), (False, name)]
