"""What the check says of one file."""

from dataclasses import dataclass
from pathlib import Path

NO_PICTURE = "not one picture in this folder is good"
"""The reason for which a folder is found `empty`."""


@dataclass(frozen=True)
class Finding:
    """What is the matter with one file: problems and their reasons (none: a good file), and what was done."""

    path: Path
    problems: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    done: str = "left"
