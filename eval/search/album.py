"""The photographs below a folder, whatever else lies there: one file more or less never ends an index."""

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from eval.files.ground_truth import BLANKS
from eval.forward.photographs import PICTURE_SUFFIXES, Picture

NOT_READ = {
    "a camera's raw file, which is not read: export it as JPEG": (
        ".3fr .arw .cr2 .cr3 .dng .erf .nef .nrw .orf .pef .raf .raw .rw2 .sr2 .srw .x3f"
    ),
    "JPEG XL, which is not read: export it as JPEG": ".jxl",
}
"""Photographs that nothing here decodes, by the reason that people are given."""
REASON_OF_SUFFIX = {suffix: reason for reason, suffixes in NOT_READ.items() for suffix in suffixes.split()}
SYSTEM_FOLDERS = frozenset(("@eaDir", "__MACOSX", "$RECYCLE.BIN", "lost+found"))
"""Where a NAS, macOS or Windows keeps small copies and remains; what begins with a dot is left alone too."""


@dataclass(frozen=True)
class LeftOut:
    """A file that looks like a photograph and is not in the index, and why."""

    file: str
    reason: str


@dataclass
class Album:
    """Photographs by name, which is the path below the folder; and what can't be one of them."""

    folder: Path
    stamps: dict[str, int] = field(default_factory=dict)
    """Names in ascending order, each with a number that changes with the file's size and time of change."""
    left_out: list[LeftOut] = field(default_factory=list)

    def picture(self, name: str) -> Picture:
        """What is to be read for a name."""
        return Picture(str(self.folder / name), None, name)


def look_through(folder: Path) -> Album:
    """List a folder's photographs. Raises OSError where the folder itself can't be listed."""
    os.scandir(folder).close()
    album = Album(folder)
    found: dict[str, int] = {}
    for path in _files(folder, album.left_out):
        name = path.relative_to(folder).as_posix()
        suffix = path.suffix.lower()
        if suffix not in PICTURE_SUFFIXES and suffix not in REASON_OF_SUFFIX:
            continue
        reason = REASON_OF_SUFFIX.get(suffix) or unusable_name(name) or _unreadable(path)
        if reason:
            album.left_out.append(LeftOut(name, reason))
            continue
        try:
            found[name] = Picture(str(path)).stamp()
        except OSError as error:
            album.left_out.append(LeftOut(name, error.strerror or "it can't be read"))
    album.stamps = dict(sorted(found.items()))
    return album


def _files(folder: Path, left_out: list[LeftOut]) -> Iterator[Path]:
    def unlisted(error: OSError) -> None:
        name = Path(error.filename).relative_to(folder).as_posix()
        left_out.append(LeftOut(f"{name}/", f"the folder can't be listed: {error.strerror}"))

    for parent, folders, files in os.walk(folder, onerror=unlisted):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in SYSTEM_FOLDERS]
        for file in files:
            if not file.startswith("."):
                yield Path(parent, file)


def unusable_name(name: str) -> str | None:
    """Why a name can't stand in an index or a list of one name a line; None where it can."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not UTF-8 text: rename it"
    if any(unicodedata.category(letter) == "Cc" for letter in name):
        return "its name holds a control character: rename it"
    if name != name.strip(BLANKS):
        return "its name begins or ends with a blank: rename it"
    return None


def _unreadable(path: Path) -> str | None:
    if not path.exists():
        return "a link that leads nowhere"
    if not path.is_file():
        return "not a file"
    return None if os.access(path, os.R_OK) else "no permission to read it"
