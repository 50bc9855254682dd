"""Comments of a prototxt, kept when the message is changed and printed anew: protobuf itself drops them."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

Path = tuple[tuple[str, int], ...]
"""Where a field stands: names from the outside in, each with its number among those of one name there."""

TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*) | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
      | (?P<name>[A-Za-z_]\w*)(?=\s*[:{<]) | (?P<open>[{<]) | (?P<close>[}>]) | (?P<newline>\n)""",
    re.VERBOSE,
)


@dataclass
class _Place:
    """Walks through a prototxt's fields and says where it is."""

    path: Path = ()
    inside: list[Path] = field(default_factory=list)
    counts: defaultdict[Path, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def name(self, name: str) -> Path:
        around = self.inside[-1] if self.inside else ()
        self.path = (*around, (name, self.counts[around][name]))
        self.counts[around][name] += 1
        return self.path

    def open(self) -> None:
        self.inside.append(self.path)

    def close(self) -> Path:
        """The end of a message has a place too."""
        self.path = (*(self.inside.pop() if self.inside else ()), ("}", 0))
        return self.path


def comments_by_place(text: str) -> dict[Path, list[str]]:
    """A prototxt's comments by the field that each belongs to.

    A comment on a line of its own belongs to the field after it, one behind a field to that field, those
    before the first field to the file, whose place is ().
    """
    found: dict[Path, list[str]] = defaultdict(list)
    place, waiting, fresh_line = _Place(), list[str](), True
    for token in TOKEN.finditer(text):
        kind = token.lastgroup
        if kind == "newline":
            fresh_line = True
            continue
        if kind == "comment" and fresh_line:
            waiting.append(token[0].rstrip())
        elif kind == "comment":
            found[place.path].append(token[0].rstrip())
        elif kind == "name":
            first = not place.path
            at = place.name({"layers": "layer"}.get(token[0], token[0]))  # as Caffe upgrades it
            found[() if first else at] += waiting
            waiting = []
        elif kind == "open":
            place.open()
        elif kind == "close":
            found[place.close()] += waiting
            waiting = []
        fresh_line = False
    found[(("", 0),)] = waiting
    return found


def with_comments(printed: str, original: str) -> str:
    """A message as protobuf prints it, a field a line, with the comments of the file that it came from.

    A comment whose field isn't there any more goes.
    """
    return "".join(f"{line}\n" for line in _lines(printed, comments_by_place(original)))


def _lines(printed: str, comments: dict[Path, list[str]]) -> Iterator[str]:
    yield from comments.get((), ())
    place = _Place()
    for line in printed.removesuffix("\n").split("\n"):
        words = line.strip()
        at = place.close() if words == "}" else place.name(re.split(r"[:\s{]", words)[0])
        indent = line[: len(line) - len(line.lstrip())]
        yield from (indent + "  " * (words == "}") + comment for comment in comments.get(at, ()))
        yield line
        if words.endswith("{") and not words.endswith('"'):
            place.open()
    yield from comments.get((("", 0),), ())
