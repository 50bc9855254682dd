"""One rule on names of pictures for all rooms: which files are pictures, which names are nobody's.

A picture is a file with one of the extensions below, in whatever case. Any name that a file system allows
will do, blanks and characters of every script included, but for a line break, which no list can hold.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePath

from tools.program import LONGEST_NAME

FORMAT_OF_SUFFIX = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".png": "PNG",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    ".ppm": "PPM",
    ".pgm": "PPM",
}
"""What both Pillow and the OpenCV behind Caffe's convert_imageset read, by extension, as Pillow calls it."""

KEPT_BY_MACHINES = frozenset(
    ("@eaDir", "@Recycle", "@tmp", "#recycle", "#snapshot", "$RECYCLE.BIN", "__MACOSX", "lost+found")
)
"""Folders that network drives, systems and archivers put among somebody's pictures, with copies of them."""

ROOM = len("aug__99999.jpg")
"""Bytes that a picture's name leaves free, for the names of its augmented copies."""


def is_hidden(name: str) -> bool:
    """True for a file or folder that no program of ours looks at: a dot in front, or a machine's own folder.

    Our own half-written files begin with a dot.
    """
    return name.startswith(".") or name in KEPT_BY_MACHINES


def is_picture(name: str) -> bool:
    """True for the name of a picture, by its extension."""
    return PurePath(name).suffix.lower() in FORMAT_OF_SUFFIX and not is_hidden(name)


def trouble_with(name: str) -> str | None:
    """Why a picture can't keep its name, in words that follow the name; None where it can."""
    if "\n" in name:
        return "has a line break in its name, which no list can hold"
    if len(os.fsencode(name)) > LONGEST_NAME - ROOM:
        return (
            f"has a name of more than {LONGEST_NAME - ROOM} bytes, which leaves no room for its copies' names"
        )
    return None


def shortened(stem: str, ending: str, most: int) -> str:
    """stem + ending, as much taken off stem's end as makes it `most` bytes; no character is cut in two."""
    room = most - len(os.fsencode(ending))
    while len(os.fsencode(stem)) > room:
        stem = stem[:-1]
    return stem + ending


def files_below(folder: Path) -> Iterator[str]:
    """All files in folder and the folders in it, in order of their names, and folders with nothing in them.

    Lists one folder at a time, so that half a million files cost neither memory nor a wait before the first;
    strings, as making half a million Paths takes longer than listing them. Links are followed; a folder that
    they lead to twice comes once. Pipes and devices are passed over, and so are links to such: nobody knows
    when reading one ends. Raises OSError when a folder can't be listed.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [os.fspath(folder)]
    while waiting:
        here = waiting.pop()
        status = os.stat(here)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        files, folders = [], []
        with os.scandir(here) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if _is_file(entry):
                    files.append(entry.name)
                elif _is_folder(entry):
                    folders.append(entry.name)
                elif _leads_nowhere(entry):  # which is for the check to find
                    files.append(entry.name)
        folders.sort(reverse=True)
        files.sort()
        waiting.extend(f"{here}{os.sep}{name}" for name in folders)
        yield from (f"{here}{os.sep}{name}" for name in files)
        if not files and not folders:
            yield here


def pictures_in(folder: Path) -> list[str]:
    """Names of the pictures that lie in one folder itself, sorted. Raises OSError when it can't be listed."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if is_picture(entry.name) and _is_file(entry))


def folders_in(folder: Path) -> list[str]:
    """Names of the folders that lie in one folder itself, sorted. Raises OSError when it can't be listed."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if _is_folder(entry) and not is_hidden(entry.name))


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file, or a link to one that can be reached."""
    try:  # not suppress, which takes longer than all else about half a million files
        return entry.is_file()
    except OSError:  # a link in a circle, or into a folder that is not ours to enter
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one that can be reached."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _leads_nowhere(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not os.path.exists(entry.path)  # noqa: PTH110
