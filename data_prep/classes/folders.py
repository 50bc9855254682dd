"""What a class folder is, which files in it are pictures, and how an augmented copy is named.

A data set is a folder of class folders, each holding one class's pictures. Names that begin with a dot are
nobody's (a shell's * passes them over too): our own half-written files are among them.
"""

import argparse
import os
import re
import shutil
from pathlib import Path, PurePath

from natsort import natsorted

# What both Pillow and the OpenCV behind Caffe's convert_imageset read, by extension.
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

# The original's extension is part of a copy's name: a.jpg and a.png then can't claim the same copies, and no
# photograph a user brings is called like that.
_COPY = re.compile(rf"aug_(.+(?:{'|'.join(map(re.escape, FORMAT_OF_SUFFIX))}))_(\d+)\.jpg", re.I | re.S)


def copy_name(original: str, number: int) -> str:
    """Name of an original's augmented copy: ('a.png', 3) -> 'aug_a.png_3.jpg'."""
    return f"aug_{original}_{number}.jpg"


def original_of(name: str) -> str:
    """Name of the photograph that a picture shows: an augmented copy's original, else the picture's own."""
    match = _COPY.fullmatch(name)
    return match[1] if match else name


def is_copy(name: str) -> bool:
    """True for the name of an augmented copy, whether its original is still there or not."""
    return original_of(name) != name


def class_folders(folder: Path) -> list[Path]:
    """The class folders of a data set in natural order (class2 before class10).

    Raises OSError when the folder can't be listed, ValueError when it has no folders.
    """
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise ValueError(
            f"{folder} has no class folders: each class's pictures belong in a folder of their own"
        )
    return [folder / name for name in natsorted(names)]


def picture_names(class_folder: Path) -> list[str]:
    """Names of one folder's picture files (by extension), sorted. Raises ValueError when there are none."""
    with os.scandir(class_folder) as entries:
        names = sorted(
            entry.name
            for entry in entries
            if not entry.name.startswith(".")
            and PurePath(entry.name).suffix.lower() in FORMAT_OF_SUFFIX
            and entry.is_file()
        )
    if not names:
        raise ValueError(f"class folder {class_folder} has no pictures: add some or remove the folder")
    return names


def add_from_option(parser: argparse.ArgumentParser) -> None:
    """Give a program that works in place the option to leave a folder as it is and work on its like."""
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="SOURCE",
        help="make DIR first, of hard links to SOURCE's files; where DIR is there it goes on with it",
    )


def begin_from(source: Path | None, folder: Path) -> None:
    """Let folder hold what source holds, as hard links, or as copies on another file system.

    Does nothing without a source, or where folder exists: it is whole then, as it appears in one step.
    Raises OSError for a source that can't be read and a folder that can't be made.
    """
    if source is None or folder.exists():
        return
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(source, part, copy_function=_link_or_copy, ignore=shutil.ignore_patterns(".*"))
    except shutil.Error as error:
        shutil.rmtree(part, ignore_errors=True)
        name, _, why = error.args[0][0]
        raise OSError(f"{name} can't be linked or copied: {why}") from error
    part.rename(folder)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
