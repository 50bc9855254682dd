"""Ground truth in the layout of Oxford Buildings: four small text files a query.

`NAME_query.txt` holds one line, `oxc1_PICTURE x1 y1 x2 y2`; `NAME_good.txt`, `NAME_ok.txt` and
`NAME_junk.txt` hold one picture a line. Pictures are named by their path below the picture folder, without
extension.
https://www.robots.ox.ac.uk/~vgg/data/oxbuildings/

In place of the folder there may be a file of Revisited Oxford or Paris (eval/files/revisited.py): easy is
what good is here, hard what ok is, and the pictures to search in are those that it names.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from eval.files.revisited import Asked, Revisited, read_revisited
from tools.program import shown, some

# Oxford's query files, and only they, carry this in front of the picture's name.
QUERY_PREFIX = "oxc1_"
BLANKS = " \t\r\n"
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:inf|nan)", re.ASCII)


@dataclass(frozen=True)
class Query:
    """What is asked: the part `box` of the picture `image`."""

    name: str
    image: str
    box: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels, left < right, top < bottom; may reach past the picture's edge."""


@dataclass(frozen=True)
class GroundTruth:
    """A query and the pictures that a ranking is judged by; all others are negatives."""

    query: Query
    good: frozenset[str]
    """In a revisited ground truth: easy."""
    ok: frozenset[str]
    """In a revisited ground truth: hard."""
    junk: frozenset[str]

    @property
    def positives(self) -> frozenset[str]:
        """Pictures that should be found: at least one, but for a revisited ground truth's queries."""
        return self.good | self.ok


def read_queries(place: Path) -> list[Query]:
    """Read every `*_query.txt` of a folder, in the order of their names; or the queries of a revisited file.

    Raises OSError where a file can't be read, ValueError where there is no query or one makes no sense.
    """
    if place.is_file():
        return [truth.query for truth in read_ground_truth(place)]
    if not place.is_dir():
        raise ValueError(f"{place} is not a folder with ground truth, nor a file of a revisited one")
    files = sorted(place.glob("*_query.txt"))
    if not files:
        raise ValueError(f"{place} holds no query (no file called NAME_query.txt)")
    return [read_query(file) for file in files]


def read_query(file: Path) -> Query:
    """Read one `NAME_query.txt`. Raises OSError or ValueError as `read_queries` does."""
    lines = read_lines(file)
    if len(lines) != 1:
        raise ValueError(f"{file} holds {len(lines)} lines where a query is one: PICTURE x1 y1 x2 y2")
    picture, *fields = fields_from_the_right(lines[0], 4)
    if not picture or not all(NUMBER.fullmatch(field) for field in fields):
        raise ValueError(f"{file} says '{shown(lines[0])}' where a query is: PICTURE x1 y1 x2 y2")
    x1, y1, x2, y2 = (float(field) for field in fields)
    if not all(math.isfinite(value) for value in (x1, y1, x2, y2)) or x1 >= x2 or y1 >= y2:
        raise ValueError(f"{file} has a box of no area: x1 y1 x2 y2 = {shown(' '.join(fields))}")
    return Query(file.name.removesuffix("_query.txt"), picture.removeprefix(QUERY_PREFIX), (x1, y1, x2, y2))


def fields_from_the_right(line: str, count: int) -> list[str]:
    """What stands before the last `count` fields of a line, and they: a picture's name may hold blanks."""
    fields: list[str] = []
    for _ in range(count):
        cut = max(line.rfind(" "), line.rfind("\t"))
        fields.insert(0, line[cut + 1 :])
        line = line[: max(cut, 0)].rstrip(" \t")
    return [line, *fields]


def read_ground_truth(place: Path) -> list[GroundTruth]:
    """Read queries with their good, ok and junk pictures, in the order of the queries' names.

    Raises OSError where a file is missing, ValueError where a query has no positive, or a picture is positive
    and junk at once. A name that a list holds twice counts once (Oxford's own all_souls_1_good.txt has one).
    A revisited file's queries are named after their pictures, and one may be without positives.
    """
    if place.is_file():
        truths = sorted(map(_revisited, read_revisited(place).asked), key=lambda truth: truth.query.name)
        if not any(truth.positives for truth in truths):
            raise ValueError(f"{place} has no query with something to be found")
        return truths
    return [_judged(place, query) for query in read_queries(place)]


def is_revisited(place: Path) -> bool:
    """Whether it is judged by the protocols of Revisited Oxford and Paris."""
    return place.is_file()


def searched_pictures(place: Path, pictures: Iterable[str]) -> list[str]:
    """Those of a folder's pictures that are ranked: all, or those that a revisited file names.

    Raises ValueError where it names one that isn't there, and where the folder has more than it names and
    the queries' own.
    """
    there = list(pictures)
    if not is_revisited(place):
        return there
    revisited: Revisited = read_revisited(place)
    if lacking := sorted(set(revisited.searched) - set(there)):
        raise ValueError(f"{place} searches {len(lacking)} pictures that are not there: {some(lacking)}")
    known = {*revisited.searched, *(asked.image for asked in revisited.asked)}
    if others := sorted(set(there) - known):
        raise ValueError(
            f"{place} does not know {len(others)} of the pictures, so it is another set's: {some(others)}"
        )
    searched = set(revisited.searched)
    return [name for name in there if name in searched]


def _revisited(asked: Asked) -> GroundTruth:
    return GroundTruth(Query(asked.image, asked.image, asked.box), asked.easy, asked.hard, asked.junk)


def fingerprint(truths: Iterable[GroundTruth]) -> str:
    """A sha256 that two ground truths share if and only if they ask and judge alike.

    Over the queries in the order of their names: name, picture, box, and the sorted good, ok and junk
    pictures, as JSON. Blank lines and names that a list holds twice don't count.
    """
    told = [
        [
            truth.query.name,
            truth.query.image,
            list(truth.query.box),
            *map(sorted, (truth.good, truth.ok, truth.junk)),
        ]
        for truth in sorted(truths, key=lambda truth: truth.query.name)
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _judged(folder: Path, query: Query) -> GroundTruth:
    prefix = folder / query.name
    good, ok, junk = (frozenset(read_lines(Path(f"{prefix}_{kind}.txt"))) for kind in ("good", "ok", "junk"))
    if not good | ok:
        raise ValueError(f"{prefix}_good.txt and {prefix}_ok.txt name no picture: nothing could be found")
    if both := (good | ok) & junk:
        raise ValueError(f"{prefix}: {min(both)} is listed as positive and as junk")
    return GroundTruth(query, good, ok, junk)


def read_lines(file: Path) -> list[str]:
    """Read a list of names as `compute_ap` does: LF, CR or both end a line, blanks around a name are ignored.

    So are blank lines, and UTF-8's byte order mark. Raises OSError where the file can't be read, ValueError
    where it is not UTF-8 text.
    """
    data = file.read_bytes()
    if data.startswith(UTF_16_MARKS):
        raise ValueError(f"{file} is text in UTF-16: save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not text in UTF-8") from None
    return [name for line in re.split("[\r\n]", text) if (name := line.strip(BLANKS))]
