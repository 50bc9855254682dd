"""The photographs below a folder, whatever else lies there: one file more or less never ends an index."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from eval.forward.photographs import Picture, trouble_with
from tools.files.picture_names import FORMAT_OF_SUFFIX, is_hidden

ALSO_READ = frozenset((".heic", ".heif", ".hif", ".avif", ".mpo", ".gif"))
"""What can be searched beside what can be trained on."""
NOT_READ = {
    "is a camera's raw file, which is not read: export it as JPEG": (
        ".3fr .arw .cr2 .cr3 .dng .erf .nef .nrw .orf .pef .raf .raw .rw2 .sr2 .srw .x3f"
    ),
    "is JPEG XL, which is not read: export it as JPEG": ".jxl",
}
"""Photographs that nothing here decodes, by the reason that people are given."""
REASON_OF_SUFFIX = {suffix: reason for reason, suffixes in NOT_READ.items() for suffix in suffixes.split()}


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
        suffix = path.suffix.lower()
        if suffix not in FORMAT_OF_SUFFIX.keys() | ALSO_READ | REASON_OF_SUFFIX.keys():
            continue
        name = path.relative_to(folder).as_posix()
        if name[0].isspace():
            name = f"./{name}"  # the same file, and a name that keeps its blanks in a list
        reason = REASON_OF_SUFFIX.get(suffix) or trouble_with(name) or _unreadable(path)
        if reason:
            album.left_out.append(LeftOut(name, reason))
            continue
        try:
            found[name] = Picture(str(path)).stamp()
        except OSError as error:
            album.left_out.append(LeftOut(name, error.strerror or "can't be read"))
    album.stamps = dict(sorted(found.items()))
    return album


def _files(folder: Path, left_out: list[LeftOut]) -> Iterator[Path]:
    """All files below a folder but hidden ones. Links are followed, a folder that they lead to twice once."""

    def unlisted(error: OSError) -> None:
        name = Path(error.filename).relative_to(folder).as_posix()
        left_out.append(LeftOut(f"{name}/", f"can't be listed: {error.strerror}"))

    seen: set[tuple[int, int]] = set()
    for parent, folders, files in os.walk(folder, onerror=unlisted, followlinks=True):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [name for name in folders if not is_hidden(name)]
        yield from (Path(parent, file) for file in files if not is_hidden(file))


def _unreadable(path: Path) -> str | None:
    try:
        if not path.exists():
            return "is a link that leads nowhere"
        if not path.is_file():
            return "is no file"
    except PermissionError:  # a link into a folder that is not ours to enter
        return "may not be read (permissions)"
    return None if os.access(path, os.R_OK) else "may not be read (permissions)"
