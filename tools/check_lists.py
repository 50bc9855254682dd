"""Check train.txt and val.txt before the conversion: what convert_imageset and Caffe would stumble over.

That is a line that is no picture and label, a picture that is not there, a path that leaves LMDB's keys no
room, labels that are not 0 to N-1 with each in both lists.
"""

import argparse
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.files.image_list import Entry, read_image_list
from tools.program import run_program, some

LISTS = ("train.txt", "val.txt")


def check_lists(folder: Path, root: str) -> int:
    """Check both lists of a folder, pictures named after `root`; the number of classes.

    Raises ValueError with what is wrong, OSError for what can't be read.
    """
    lists = {name: read_image_list(folder / name) for name in LISTS}
    labels = {name: {entry.label for entry in listed} for name, listed in lists.items()}
    every = labels["train.txt"] | labels["val.txt"]
    if max(every) >= len(every):
        missing = next(label for label in range(len(every)) if label not in every)
        raise ValueError(f"{folder}: labels go up to {max(every)}, but no picture is of {missing}")
    for name, found in labels.items():
        if lacking := every - found:
            raise ValueError(f"{folder / name} has no picture of {some(map(str, sorted(lacking)))}")
    for name, listed in lists.items():
        picture_sizes(folder / name, listed, root)
    return len(every)


def picture_sizes(path: Path, listed: Sequence[Entry], root: str) -> list[int]:
    """Bytes of every picture of a list. Raises ValueError naming those that are no files, or empty."""
    sizes, gone = [], []
    for entry in listed:
        try:
            found = Path(root + entry.picture).stat()
        except (OSError, ValueError):
            gone.append(entry.picture)
            continue
        sizes.append(found.st_size)
        if not stat.S_ISREG(found.st_mode):
            gone.append(entry.picture)
        elif not found.st_size:
            gone.append(f"{entry.picture} (empty)")
    if gone:
        raise ValueError(f"{path} lists {len(gone)} pictures that are not there: {some(gone)}")
    return sizes


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.check_lists",
        description=__doc__,
        epilog="example: python -m tools.check_lists work/demo/lists",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of train.txt and val.txt")
    parser.add_argument(
        "--root", default="/", metavar="PREFIX", help="what convert_imageset gets before names (default: /)"
    )
    arguments = parser.parse_args(argv)

    def run() -> None:
        classes = check_lists(arguments.folder, arguments.root)
        print(f"{arguments.folder}: {classes} classes, every picture is there")

    return run_program("check_lists", run)


if __name__ == "__main__":
    sys.exit(main())
