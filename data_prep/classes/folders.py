"""What a class folder is, how an augmented copy is named, and how a data set begins from another.

A data set is a folder of class folders, each holding one class's pictures.
"""

import argparse
import os
import re
import shutil
from collections.abc import Container, Iterable
from pathlib import Path

from natsort import natsorted

from tools.files.picture_names import FORMAT_OF_SUFFIX, files_below, folders_in, pictures_in, trouble_with
from tools.program import all_to_disk, written_beside

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
    names = folders_in(folder)
    if not names:
        raise ValueError(
            f"{folder} has no class folders: each class's pictures belong in a folder of their own"
        )
    return [folder / name for name in natsorted(names)]


def picture_names(class_folder: Path) -> list[str]:
    """Names of one folder's pictures, sorted. Raises ValueError when there are none."""
    names = pictures_in(class_folder)
    if not names:
        raise ValueError(f"class folder {class_folder} has no pictures: add some or remove the folder")
    return names


def refuse_names(folders: Iterable[Path]) -> None:
    """Raise ValueError for pictures whose names can't stay as they are, all of them named."""
    refused = [
        f"{str(folder / name)!r} {why}"
        for folder in folders
        for name in pictures_in(folder)
        if not is_copy(name) and (why := trouble_with(name))
    ]
    if refused:
        raise ValueError(f"rename, or let python -m data_prep.check_images --fix do it: {'; '.join(refused)}")


def too_small(folder: Path, least: int) -> dict[str, int]:
    """Number of pictures of each class folder that has fewer than `least`, in natural order.

    Copies count for none: a photograph and its copies go into one list, which leaves nothing for the other.

    Raises ValueError where fewer than two classes have as many, OSError for what can't be listed.
    """
    classes = class_folders(folder)
    sizes = {path.name: sum(not is_copy(name) for name in pictures_in(path)) for path in classes}
    small = {name: size for name, size in sizes.items() if size < least}
    if small and len(classes) - len(small) < 2:
        left = len(classes) - len(small)
        raise ValueError(f"{folder} has {left} classes with {least} pictures or more, and two are needed")
    return small


def add_from_option(parser: argparse.ArgumentParser) -> None:
    """Give a program that works in place the option to leave a folder as it is and work on its like."""
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="SOURCE",
        help="make DIR first, of hard links to SOURCE's files; where DIR is there it goes on with it",
    )


def begin_from(source: Path | None, folder: Path, leave_out: Container[str] = ()) -> None:
    """Let folder hold what source holds but for some class folders, as hard links, or as copies elsewhere.

    Does nothing without a source, or where folder exists: it is whole then, as it appears in one step.
    Raises OSError for a source that can't be read and a folder that can't be made.
    """
    if source is None or folder.exists():
        return
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        for name in files_below(source):
            below = Path(name).relative_to(source)
            if below.parts[:1] and below.parts[0] in leave_out:
                continue
            target = part / below
            if Path(name).is_dir():  # with nothing in it
                target.mkdir(parents=True, exist_ok=True)
            else:
                link_or_copy(name, target)
        all_to_disk(part)  # of copies a power cut would leave the names, and nothing in them
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def link_or_copy(source: str | Path, target: Path) -> None:
    """Another name for what source is, or where its links lead; a copy, whole, on another file system."""
    whole = os.path.realpath(source)
    try:
        os.link(whole, target)
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        if Path(whole).exists():
            link_or_copy(whole, target)
        else:
            target.symlink_to(whole)
    except OSError:
        with written_beside(target, one_of_many=True) as part:
            shutil.copy2(whole, part)
