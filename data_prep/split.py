"""Split class folders 0..N-1 into train.txt and val.txt for Caffe's convert_imageset.

A line is an absolute path, a space and the label; give convert_imageset / as its root folder. It splits at
the last space, so spaces in paths are fine. Of each class's n pictures int(0.6 n) go into train.txt, chosen
by the seed, the others into val.txt; every class is in both.

An augmented copy goes where its original goes, so that no photograph is seen in both lists: the originals
are then dealt out so that the share of pictures comes as near to 0.6 as whole originals with their copies
allow. The article's own split deals out every picture by itself (--copies-anywhere): the network is then
validated on copies of what it was trained on, and its validation accuracy comes out too high.

Caffe tests on test_iter batches, which should be the validation pictures exactly, each once. --test-batch N
moves the remainder, N - 1 pictures at most, from validation to training. Where copies stay with their
original whole groups move, of sizes that sum to the remainder. If none do, as when all groups are of one
size, it is the remainder and N, or 2 N and so on, the least that whole groups sum to. Which ones depends on
the seed; every class keeps one in each list. Fewer validation pictures than N stay, and are one batch. Where
nothing does it, another N is asked for here, not hours later by the training.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.classes.folders import class_folders, original_of, picture_names
from tools.files.image_list import MOST_SHOWN, Entry, write_image_list
from tools.program import positive_int, run_program, share, some, whole_number, written_beside

Group = list[str]
"""Names of pictures that go into the same list: a photograph and its copies."""


@dataclass
class Dealt:
    """What one list gets of a class."""

    folder: Path
    groups: list[Group]

    @property
    def pictures(self) -> int:
        """How many pictures those are."""
        return sum(map(len, self.groups))


def grouped(names: list[str], copies_anywhere: bool) -> list[Group]:
    """A class's pictures in groups that stay together."""
    groups: dict[str, Group] = {}
    for name in sorted(names):
        groups.setdefault(name if copies_anywhere else original_of(name), []).append(name)
    return list(groups.values())


def deal(groups: list[Group], train_share: float, seed: str) -> tuple[list[Group], list[Group]]:
    """Deal two groups or more of one class into (train, val), each with at least one.

    train gets int(pictures * train_share) of the pictures, or as near as whole groups come; which ones
    depends on names, share and seed alone.
    """
    dealt = list(groups)
    random.Random(seed).shuffle(dealt)
    sizes = [0]
    for group in dealt:
        sizes.append(sizes[-1] + len(group))
    target = int(sizes[-1] * train_share)
    cut = min(range(1, len(dealt)), key=lambda count: abs(sizes[count] - target))
    train, val = dealt[:cut], dealt[cut:]
    _swap_towards(train, val, target - sizes[cut])
    return train, val


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
) -> tuple[list[Dealt], list[Dealt]]:
    """Deal out the pictures of folder's classes 0..N-1 to (train, val), a Dealt for each class in both.

    Raises ValueError for class folders that aren't exactly 0..N-1, for a single class, for a class without
    pictures, and for classes with one photograph only; OSError for what can't be listed.
    """
    classes = class_folders(folder)
    _check_labels(folder, {path.name for path in classes})
    train: list[Dealt] = []
    val: list[Dealt] = []
    too_few = []
    for path in classes:
        groups = grouped(picture_names(path), copies_anywhere)
        if len(groups) < 2:
            too_few.append(path.name)
            continue
        for chosen, part in zip((train, val), deal(groups, train_share, f"{seed} {path.name}"), strict=True):
            chosen.append(Dealt(path, part))
    if too_few:
        raise ValueError(
            f"{folder} has classes with one photograph only, which can't be in both train.txt and val.txt: "
            f"{some(too_few, MOST_SHOWN)}"
        )
    return train, val


def move_to_train(train: list[Dealt], val: list[Dealt], batch: int, seed: int) -> int | None:
    """Move groups from val to train until val's pictures are a multiple of batch; how many pictures moved.

    None where no choice of groups does it and leaves each class one in val; nothing has moved then.
    """
    free = [(dealt, group) for dealt in val for group in dealt.groups[1:]]
    random.Random(f"{seed} batch").shuffle(free)
    of_size: dict[int, list[tuple[Dealt, Group]]] = {}
    for dealt, group in free:
        of_size.setdefault(len(group), []).append((dealt, group))
    count = sum(dealt.pictures for dealt in val)
    counts = {size: len(groups) for size, groups in of_size.items()}
    into = {dealt.folder: dealt for dealt in train}
    for total in range(count % batch, count, batch):
        chosen = sizes_that_sum_to(total, counts)
        if chosen is None:
            continue
        for size, number in chosen.items():
            for dealt, group in of_size[size][:number]:
                dealt.groups.remove(group)
                into[dealt.folder].groups.append(group)
        return total
    return None


def sizes_that_sum_to(total: int, counts: dict[int, int]) -> dict[int, int] | None:
    """How many of each size to take, at most `counts`, for a sum of total; None where none has that sum."""
    steps = []
    reached = 1  # bit n: some choice among the sizes so far sums to n
    below = (1 << total + 1) - 1
    for size, count in sorted(counts.items(), reverse=True):
        left, number = min(count, total // size), 1
        while left:
            number = min(number, left)
            steps.append((size, number, reached))
            reached |= reached << size * number & below
            left -= number
            number *= 2
    if not reached >> total & 1:
        return None
    chosen: dict[int, int] = {}
    for size, number, before in reversed(steps):
        if not before >> total & 1:
            chosen[size] = chosen.get(size, 0) + number
            total -= size * number
    return chosen


def entries(dealt: list[Dealt], seed: str) -> list[Entry]:
    """A list's entries, classes mixed by seed."""
    listed = [
        Entry(str(one.folder / name), int(one.folder.name))
        for one in dealt
        for group in one.groups
        for name in group
    ]
    random.Random(seed).shuffle(listed)
    return listed


def _check_labels(folder: Path, names: set[str]) -> None:
    if missing := {str(number) for number in range(len(names))} - names:
        raise ValueError(
            f"{folder}'s class folders must be named 0 to {len(names) - 1}, but there is no "
            f"{min(missing, key=int)}: run python -m data_prep.rename_classes first"
        )
    if len(names) < 2:
        raise ValueError(f"{folder} has one class only: a network needs two or more to tell apart")


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
    parser.add_argument(
        "--seed", type=whole_number, default=0, metavar="S", help="of the dealing (default: 0)"
    )
    parser.add_argument(
        "--test-batch",
        type=positive_int,
        metavar="N",
        help="move pictures from validation to training until N divides those that are left",
    )
    parser.add_argument(
        "--copies-anywhere", action="store_true", help="deal out copies without regard to their originals"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; the exit status."""
    arguments = build_parser().parse_args(argv)
    return run_program(
        "split",
        lambda: write_lists(
            arguments.folder.resolve(),
            arguments.out,
            arguments.train_share,
            arguments.seed,
            arguments.copies_anywhere,
            arguments.test_batch,
        ),
    )


def write_lists(
    folder: Path, out: Path, train_share: float, seed: int, copies_anywhere: bool, test_batch: int | None
) -> None:
    """Split, write both lists and say what is in them. Raises ValueError and OSError."""
    train, val = split(folder, train_share, seed, copies_anywhere)
    if test_batch:
        print(exact_validation(train, val, test_batch, seed))
    lists = {"train.txt": entries(train, f"{seed} train"), "val.txt": entries(val, f"{seed} val")}
    with written_beside(out / "train.txt") as train_part, written_beside(out / "val.txt") as val_part:
        write_image_list(train_part, lists["train.txt"])
        write_image_list(val_part, lists["val.txt"])
    to_train, to_validate = map(len, lists.values())
    share = to_train / (to_train + to_validate)
    print(
        f"{len(train)} classes: {to_train} pictures to train, {to_validate} to validate (share {share:.3f})"
    )


def exact_validation(train: list[Dealt], val: list[Dealt], batch: int, seed: int) -> str:
    """move_to_train, and a sentence on what came of it. Raises ValueError where no choice of groups does."""
    moved = move_to_train(train, val, batch, seed)
    count = sum(dealt.pictures for dealt in val)
    if moved is None and count > batch:
        divides = next(size for size in range(batch, 0, -1) if count % size == 0)
        raise ValueError(
            f"{count} validation pictures can't be made a multiple of the test batch, {batch}, with a "
            f"photograph of every class left: take {divides} (TEST_BATCH), which divides them"
        )
    if moved is None:
        return f"{count} validation pictures are fewer than the test batch of {batch}: they are one batch"
    return f"{moved} pictures moved from validation to training: {batch} x {count // batch} are left"


if __name__ == "__main__":
    sys.exit(main())
