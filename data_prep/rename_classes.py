"""Rename class folders to 0..N-1 in natural order (a2 before a10), and back with --undo.

Caffe wants labels that are numbers from 0. Which number was which class stands in a CSV file (number,name),
DIR.csv beside the folder unless --classes says otherwise. Folders that already have numbers as names are
renamed like any other, none overwrites another. Run again after an interruption it finishes what was begun,
--undo too; run twice it changes nothing.
"""

import argparse
import errno
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep.classes.folders import add_from_option, begin_from, class_folders, picture_names
from tools.files.class_names import read_class_names, write_class_names
from tools.files.csv_rows import read_csv, write_csv
from tools.program import run_program

# All folders first move into MOVING under numbers, then MOVING becomes MOVED in one step, then they move
# out under their new names. So the folders on disk say at any moment which half of the work is done, and an
# old name is never mistaken for a new one. The names begin with a dot: no program takes them for classes.
MOVING = ".renaming"
MOVED = ".renamed"
PLAN = "plan.csv"


def rename_classes(folder: Path, classes_csv: Path) -> list[str]:
    """Rename folder's class folders to 0..N-1 and write classes_csv; the old names in the numbers' order.

    Does nothing when that has been done. Raises ValueError for a folder without classes, a class without
    pictures, or a classes_csv of other classes; OSError for what can't be renamed or written.
    """
    _finish_interrupted(folder)
    names = [path.name for path in class_folders(folder)]
    for name in names:
        picture_names(folder / name)
    numbers = [str(number) for number in range(len(names))]
    if classes_csv.exists():
        known = read_class_names(classes_csv)
        if names == numbers and len(known) == len(names):
            return known
        if known != names:
            raise ValueError(
                f"{classes_csv} lists other classes than {folder} holds: undo with it first, or move it away"
            )
    write_class_names(classes_csv, names)
    _move_all(folder, list(zip(names, numbers, strict=True)))
    return names


def undo(folder: Path, classes_csv: Path) -> list[str]:
    """Give the folders 0..N-1 their old names from classes_csv, then remove it; the names.

    Raises ValueError when a folder of it is missing or an old name is taken, before anything is renamed.
    """
    _finish_interrupted(folder)
    if not classes_csv.exists():
        raise ValueError(f"nothing to undo in {folder}: there is no {classes_csv} to take the names from")
    names = read_class_names(classes_csv)
    there = {path.name for path in class_folders(folder)}
    numbers = [str(number) for number in range(len(names))]
    if not set(names) <= there or there >= set(numbers):
        if missing := [number for number in numbers if number not in there]:
            raise ValueError(f"{folder} has no class folder {missing[0]}, which {classes_csv} names")
        if taken := sorted(set(names) & (there - set(numbers))):
            raise ValueError(f"{folder} already has a folder {taken[0]!r}, the old name of another")
        _move_all(folder, list(zip(numbers, names, strict=True)))
    classes_csv.unlink()
    return names


def _move_all(folder: Path, pairs: list[tuple[str, str]]) -> None:
    """Rename each (old, new) in folder, where a new name may be another's old one."""
    begun = folder / f"{MOVING}.part"
    begun.mkdir()
    write_csv(begun / PLAN, [("old", "new"), *pairs])
    begun.rename(folder / MOVING)
    _finish_interrupted(folder)


def _finish_interrupted(folder: Path) -> None:
    """Go on from wherever a _move_all stopped; nothing to do where none did."""
    moving, moved, begun = folder / MOVING, folder / MOVED, folder / f"{MOVING}.part"
    if begun.is_dir():
        shutil.rmtree(begun)
    if moving.is_dir():
        try:
            for index, (old, _) in enumerate(_read_plan(moving)):
                if not (moving / str(index)).exists():
                    (folder / old).rename(moving / str(index))
        except OSError:
            _put_back(folder)
            raise
        moving.rename(moved)
    if moved.is_dir():
        # Backwards: until all is done there is no 0, without which split refuses the folder.
        for index, (_, new) in reversed(list(enumerate(_read_plan(moved)))):
            if (moved / str(index)).exists():
                _rename_to_free(moved / str(index), folder / new)
        (moved / PLAN).unlink(missing_ok=True)
        moved.rmdir()


def _put_back(folder: Path) -> None:
    """Undo the first half of _move_all."""
    moving = folder / MOVING
    for index, (old, _) in enumerate(_read_plan(moving)):
        if (moving / str(index)).exists():
            _rename_to_free(moving / str(index), folder / old)
    (moving / PLAN).unlink()
    moving.rmdir()


def _rename_to_free(source: Path, target: Path) -> None:
    """Rename, but not over an empty folder as the system would allow."""
    if target.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    source.rename(target)


def _read_plan(folder: Path) -> list[tuple[str, str]]:
    path = folder / PLAN
    if not path.exists() and not any(folder.iterdir()):
        return []
    return [(old, new) for old, new in read_csv(path)[1:]]


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.rename_classes",
        description=__doc__,
        epilog="example: python -m data_prep.rename_classes photos --classes photos.csv",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of class folders")
    add_from_option(parser)
    parser.add_argument(
        "--classes",
        type=Path,
        metavar="CSV",
        help="which number is which class (default: DIR.csv beside DIR)",
    )
    parser.add_argument("--undo", action="store_true", help="give the folders their names back")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; the exit status."""
    arguments = build_parser().parse_args(argv)

    def run() -> int:
        folder = arguments.folder.resolve()
        begin_from(arguments.source, folder)
        classes_csv = arguments.classes or folder.with_name(f"{folder.name}.csv")
        names = (undo if arguments.undo else rename_classes)(folder, classes_csv)
        for number, name in enumerate(names):
            print(f"{number} -> {name}" if arguments.undo else f"{name} -> {number}")
        return 0

    return run_program("rename_classes", run)


if __name__ == "__main__":
    sys.exit(main())
