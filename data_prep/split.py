"""Split class folders 0..N-1 into train.txt and val.txt for Caffe's convert_imageset.

A line is an absolute path, a space and the label; give convert_imageset / as its root folder. It splits at
the last space, so spaces in paths are fine. Of each class's n pictures int(0.6 n) go into train.txt, chosen
by the seed, the others into val.txt; every class is in both.

An augmented copy goes where its original goes, so that no photograph is seen in both lists: the originals
are then dealt out so that the share of pictures comes as near to 0.6 as whole originals with their copies
allow. The article's own split deals out every picture by itself (--copies-anywhere): the network is then
validated on copies of what it was trained on, and its validation accuracy comes out too high.
"""

import argparse
import random
import sys
from collections.abc import Iterable
from pathlib import Path

from data_prep.classes.folders import class_folders, original_of, picture_names
from tools.program import run_program, written_beside


def split_class(
    names: list[str], train_share: float, seed: str, copies_anywhere: bool
) -> tuple[list[str], list[str]]:
    """Deal one class's picture names into (train, val), each with at least one picture.

    train gets int(len(names) * train_share) of them, or as near as whole groups of an original and its copies
    come; which ones depends on names, share and seed alone. Raises ValueError where there is but one group.
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(name if copies_anywhere else original_of(name), []).append(name)
    if len(groups) < 2:
        raise ValueError("has one photograph only, which can't be in both train.txt and val.txt")
    dealt = list(groups.values())
    random.Random(seed).shuffle(dealt)
    target = int(len(names) * train_share)
    sizes = [0]
    for group in dealt:
        sizes.append(sizes[-1] + len(group))
    cut = min(range(1, len(dealt)), key=lambda count: abs(sizes[count] - target))
    train, val = dealt[:cut], dealt[cut:]
    _swap_towards(train, val, target - sizes[cut])
    return [name for group in train for name in group], [name for group in val for name in group]


def _swap_towards(train: list[list[str]], val: list[list[str]], missing: int) -> None:
    """Swap groups of different sizes while that brings train nearer to the `missing` pictures it lacks."""
    while missing:
        in_train = {len(group): index for index, group in enumerate(train)}
        in_val = {len(group): index for index, group in enumerate(val)}
        swaps = [(abs(missing - (more - less)), more, less) for less in in_train for more in in_val]
        left, more, less = min(swaps)
        if left >= abs(missing):
            return
        i, j = in_train[less], in_val[more]
        train[i], val[j] = val[j], train[i]
        missing -= more - less


def split(
    folder: Path, train_share: float, seed: int, copies_anywhere: bool
) -> tuple[list[tuple[Path, str]], list[tuple[Path, str]]]:
    """(picture, label) of every picture in folder's classes, shuffled, as (train, val).

    Raises ValueError for class folders that aren't exactly 0..N-1, for a single class, for a class without
    pictures or with one photograph only; OSError for what can't be listed.
    """
    classes = class_folders(folder)
    _check_labels(folder, {path.name for path in classes})
    train: list[tuple[Path, str]] = []
    val: list[tuple[Path, str]] = []
    for path in classes:
        names = picture_names(path)
        try:
            parts = split_class(names, train_share, f"{seed} {path.name}", copies_anywhere)
        except ValueError as error:
            raise ValueError(f"class folder {path} {error}") from error
        for chosen, part in zip((train, val), parts, strict=True):
            chosen.extend((path / name, path.name) for name in part)
    for name, chosen in (("train", train), ("val", val)):
        random.Random(f"{seed} {name}").shuffle(chosen)
    return train, val


def _check_labels(folder: Path, names: set[str]) -> None:
    if missing := {str(number) for number in range(len(names))} - names:
        raise ValueError(
            f"{folder}'s class folders must be named 0 to {len(names) - 1}, but there is no "
            f"{min(missing, key=int)}: run python -m data_prep.rename_classes first"
        )
    if len(names) < 2:
        raise ValueError(f"{folder} has one class only: a network needs two or more to tell apart")


def write_list(path: Path, pictures: Iterable[tuple[Path, str]]) -> None:
    """Write convert_imageset's `path label` lines. Raises ValueError for a path that holds a line break."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        for picture, label in pictures:
            if "\n" in str(picture):
                raise ValueError(
                    f"{str(picture)!r} has a line break in its name, which no list can hold: rename it"
                )
            file.write(f"{picture} {label}\n")


def share(text: str) -> float:
    """An argparse type: a number between 0 and 1, neither included."""
    number = float(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"must lie between 0 and 1, not {text}")
    return number


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.split",
        description=__doc__,
        epilog="example: python -m data_prep.split work/demo/classes --out work/demo/lists --seed 1",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of class folders 0..N-1")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where train.txt and val.txt go"
    )
    parser.add_argument(
        "--train-share",
        type=share,
        default=0.6,
        metavar="X",
        help="share of a class's pictures (default: 0.6)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the dealing (default: 0)")
    parser.add_argument(
        "--copies-anywhere", action="store_true", help="deal out copies without regard to their originals"
    )
    return parser


def main() -> int:
    """Run the program; the exit status."""
    arguments = build_parser().parse_args()

    def run() -> int:
        folder = arguments.folder.resolve()
        train, val = split(folder, arguments.train_share, arguments.seed, arguments.copies_anywhere)
        arguments.out.mkdir(parents=True, exist_ok=True)
        with (
            written_beside(arguments.out / "train.txt") as train_part,
            written_beside(arguments.out / "val.txt") as val_part,
        ):
            write_list(train_part, train)
            write_list(val_part, val)
        classes = len({label for _, label in train})
        reached = len(train) / (len(train) + len(val))
        print(
            f"{classes} classes: {len(train)} pictures to train, {len(val)} to validate (share {reached:.3f})"
        )
        return 0

    return run_program("split", run)


if __name__ == "__main__":
    sys.exit(main())
