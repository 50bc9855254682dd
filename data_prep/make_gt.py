"""Make queries, a database and ground truth in Oxford's layout out of class folders; the rest is to train on.

Of each class some photographs are held out, drawn by the seed. They are the database, DIR/jpg; each class's
first few of them are queries, whole pictures. Good are all held-out photographs of a query's class, its own
picture too, as in Oxford5k, where every query's picture is in the database and counts as found. Nothing is
ok or junk, and the other classes' photographs are what they are to be told apart from. All the rest of the
folders, as hard links, is DIR/train. DIR/pictures.csv says which file became which picture, and why a class
is only trained on.

No photograph is on both sides: augmented copies stay with their original, and files of the same bytes stay
together. What data_prep.check_images would find bad is not held out, but left for it in DIR/train. Two
photographs of one scene, taken one after the other, are two photographs: where a class has many such, its
figures come out too high, and folders by visit serve better.

A class of fewer than 4 photographs is only trained on: both sides need 2, one to ask with and one to find,
one to train on and one to validate. Such classes are named.

A picture's name in the ground truth is CLASS/FILE without its extension. Where that can't be (a line break, a
character that is not UTF-8, blanks at an end, two files a.jpg and a.png) it is changed, and no other name.
"""

import argparse
import hashlib
import os
import random
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from data_prep.check.look import look_at
from data_prep.classes.folders import class_folders, link_or_copy, original_of
from tools.files.csv_rows import write_csv
from tools.files.picture_names import files_below, pictures_in, shortened
from tools.files.pixels import decoded
from tools.processes import add_jobs_option, map_ordered
from tools.program import folder_beside, positive_int, run_program, share, some, whole_number

SHARE = 0.3
QUERIES = 5  # of each landmark, as Oxford5k has
LEAST = 2
"""Photographs of a class that each side needs."""
PICTURES = "pictures.csv"
HEADER = ("picture", "file", "why")
LONGEST = 200
"""Bytes of a name: room for `_1_query.txt`, and for what ranked lists and features add."""
BREAKS = ("Cc", "Zl", "Zp")
"""Unicode's categories of what ends a line, or might."""


@dataclass(frozen=True)
class Photograph:
    """One good picture of a class."""

    path: Path
    size: tuple[int, int]
    """Width and height in pixels, upright."""
    sha256: str


@dataclass
class Class:
    """A class's photographs in groups that stay together, and which of them are held out."""

    name: str
    groups: list[list[Photograph]]
    held_out: list[Photograph] = field(default_factory=list)
    why_not: str = ""


def photograph_at(path: str) -> Photograph | None:
    """A picture, if it is good but for its name; its size is what eval reads."""
    look = look_at(Path(path), None)
    if not {*look.finding.problems} <= {"name"}:
        return None
    pixels = decoded(look.data)
    if pixels is None:
        return None
    return Photograph(Path(path), (pixels.shape[1], pixels.shape[0]), hashlib.sha256(look.data).hexdigest())


def grouped(photographs: Iterable[Photograph]) -> list[list[Photograph]]:
    """Photographs in groups that share an original or their bytes, in one step or several; in their order."""
    listed = list(photographs)
    above = list(range(len(listed)))  # each one's representative, or another nearer to it
    first_with: dict[str, int] = {}

    def representative(place: int) -> int:
        while above[place] != place:
            above[place] = place = above[above[place]]
        return place

    for place, one in enumerate(listed):
        for key in (f"name {original_of(one.path.name)}", f"bytes {one.sha256}"):
            known = representative(first_with.setdefault(key, place))
            above[max(known, representative(place))] = min(known, representative(place))
    groups: dict[int, list[Photograph]] = {}
    for place, one in enumerate(listed):
        groups.setdefault(representative(place), []).append(one)
    return list(groups.values())


def hold_out(one: Class, elsewhere: frozenset[str], share: float, seed: int) -> None:
    """Draw a class's held-out groups: about `share` of its photographs, LEAST groups and more on each side.

    Groups with a photograph whose bytes are in another class too (`elsewhere`, sha256) stay to train on.
    """
    free = [group for group in one.groups if not any(member.sha256 in elsewhere for member in group)]
    if len(one.groups) < 2 * LEAST or len(free) < LEAST:
        one.why_not = f"{len(one.groups)} different photographs, of which {len(free)} could be held out"
        return
    random.Random(f"{seed} {one.name}").shuffle(free)
    wanted = share * sum(map(len, one.groups))
    most = min(len(free), len(one.groups) - LEAST)
    counts = list(accumulate(map(len, free[:most])))
    number = min(range(LEAST, most + 1), key=lambda groups: abs(counts[groups - 1] - wanted))
    one.held_out = [member for group in free[:number] for member in group]


def safe(name: str) -> str:
    """The name where every program of ours can hold it, else one like it, not empty."""
    text = os.fsencode(name).decode(errors="replace").replace("\N{REPLACEMENT CHARACTER}", "_")
    text = "".join("_" if unicodedata.category(letter) in BREAKS else letter for letter in text)
    return shortened(text.strip(), "", LONGEST).strip() or "_"


def named(names: Iterable[str]) -> Iterator[str]:
    """Safe names for each of `names`, no two the same."""
    taken: set[str] = set()
    for name in names:
        one, number = safe(name), 1
        while one in taken:
            number += 1
            one = shortened(safe(name), f"_{number}", LONGEST)
        taken.add(one)
        yield one


def write_class(folder: Path, name: str, one: Class, queries: int) -> Iterator[tuple[str, str, str]]:
    """Write a class's pictures and queries below folder, under a safe name; the rows of pictures.csv."""
    stems = list(named(photograph.path.stem for photograph in one.held_out))
    pictures = [f"{name}/{stem}" for stem in stems]
    (folder / "jpg" / name).mkdir()
    for picture, photograph in zip(pictures, one.held_out, strict=True):
        link_or_copy(str(photograph.path), folder / "jpg" / f"{picture}{photograph.path.suffix.lower()}")
        yield picture, str(photograph.path), ""
    asked = list(zip(pictures, one.held_out, strict=True))[:queries]
    for number, (picture, photograph) in enumerate(asked, start=1):
        width, height = photograph.size
        texts = {"query": f"oxc1_{picture} 0 0 {width} {height}\n", "ok": "", "junk": ""}
        texts["good"] = "".join(f"{other}\n" for other in sorted(pictures))
        for kind, text in texts.items():
            (folder / "gt" / f"{name}_{number}_{kind}.txt").write_text(text, encoding="utf-8")


def write_rest(source: Path, out: Path, held_out: set[str]) -> None:
    """Link everything below source but what is held out, to out. Raises OSError."""
    for file in files_below(source):
        target = out / os.path.relpath(file, source)
        if Path(file).is_dir():  # with nothing in it
            target.mkdir(parents=True, exist_ok=True)
        elif file not in held_out:
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(file, target)


def read_classes(source: Path, jobs: int) -> list[Class]:
    """The classes and their good photographs. Raises ValueError and OSError."""
    folders = class_folders(source)
    names = {folder: pictures_in(folder) for folder in folders}
    files = [str(folder / name) for folder in folders for name in names[folder]]
    looks = map_ordered(photograph_at, files, jobs=jobs, what="reading", died=lambda _: None)
    good = {str(one.path): one for one in looks if one}
    return [
        Class(
            folder.name,
            grouped(good[file] for name in names[folder] if (file := str(folder / name)) in good),
        )
        for folder in folders
    ]


def in_more_than_one(classes: Sequence[Class]) -> frozenset[str]:
    """sha256 of the photographs that lie in two classes."""
    seen: dict[str, str] = {}
    twice = set()
    for one in classes:
        for photograph in (member for group in one.groups for member in group):
            if seen.setdefault(photograph.sha256, one.name) != one.name:
                twice.add(photograph.sha256)
    return frozenset(twice)


def make_gt(source: Path, out: Path, share: float, queries: int, seed: int, jobs: int) -> list[Class]:
    """Write out/jpg, out/gt, out/train and out/pictures.csv, all or nothing; the classes.

    What an earlier run wrote to out is replaced. Raises ValueError for folders of which nothing can be
    asked, an out that is something else's, or one within source; OSError for what can't be read or written.
    """
    source = source.resolve()
    if out.is_dir() and any(out.iterdir()) and not (out / PICTURES).is_file():
        raise ValueError(f"{out} is there already, and this program has not written it: name another place")
    if out.resolve().is_relative_to(source):
        raise ValueError(f"{out} lies within {source}, where it would be taken for a class")
    classes = read_classes(source, jobs)
    elsewhere = in_more_than_one(classes)
    for one in classes:
        hold_out(one, elsewhere, share, seed)
    searched = [one for one in classes if one.held_out]
    if len(searched) < 2:
        raise ValueError(
            f"{source} has {len(searched)} classes of {2 * LEAST} good photographs or more: two are needed, "
            f"one to search for and one to tell it apart from"
        )
    with folder_beside(out) as part:
        rows = [HEADER]
        for folder in ("jpg", "gt", "train"):
            (part / folder).mkdir()
        for one, name in zip(searched, named(one.name for one in searched), strict=True):
            rows += write_class(part, name, one, queries)
        write_rest(source, part / "train", {str(held.path) for one in searched for held in one.held_out})
        rows += [("", str(source / one.name), one.why_not) for one in classes if not one.held_out]
        write_csv(part / PICTURES, rows)
    return classes


def in_words(classes: Sequence[Class], out: Path, queries: int) -> Iterator[str]:
    """What came of it, a sentence a line."""
    searched = [one for one in classes if one.held_out]
    held = sum(len(one.held_out) for one in searched)
    asked = sum(min(queries, len(one.held_out)) for one in searched)
    yield f"{held} photographs of {len(searched)} classes held out, {asked} of them queries: {out}"
    if only := [one.name for one in classes if not one.held_out]:
        yield (
            f"{len(only)} classes are only trained on, as they lack {2 * LEAST} good photographs "
            f"of their own: {some(only, 10)}"
        )


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.make_gt",
        description=__doc__,
        epilog="example: python -m data_prep.make_gt photos/by_place --out work/photos --seed 1",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", type=Path, metavar="CLASS_FOLDERS", help="folder of class folders; stays as it is")
    add("--out", type=Path, required=True, metavar="DIR", help="where jpg/, gt/ and train/ go")
    add(
        "--share",
        type=share,
        default=SHARE,
        metavar="X",
        help="of a class's photographs that is held out (default: %(default)s)",
    )
    add(
        "--queries",
        type=positive_int,
        default=QUERIES,
        metavar="N",
        help="at most, of each class (default: %(default)s)",
    )
    add("--seed", type=whole_number, default=0, metavar="S", help="of the drawing (default: 0)")
    add_jobs_option(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; the exit status."""
    given = build_parser().parse_args(argv)

    def run() -> None:
        classes = make_gt(given.source, given.out, given.share, given.queries, given.seed, given.jobs)
        for line in in_words(classes, given.out, given.queries):
            print(line)

    return run_program("make_gt", run)


if __name__ == "__main__":
    sys.exit(main())
