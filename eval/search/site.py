"""What the search page's requests are answered from: indexes, their pictures, queries, uploads."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.files.ground_truth import Query, read_queries
from eval.forward.photographs import list_pictures
from eval.rank.recipe import Floats
from eval.search.index import Index, Representation
from eval.search.uploads import Uploads
from eval.search.views import Box, Views

RESULTS = 24
PAGE_OF_PICTURES = 48


@dataclass(frozen=True)
class Asked:
    """A picture to search with: a file, perhaps a box of it, and where its features lie, if they do."""

    path: Path
    box: Box | None
    name: str | None = None
    query: str | None = None


class Site:
    """Answers questions; every sentence of a ValueError is for the page."""

    def __init__(
        self, indexes: Sequence[Index], images: Path | None, gt: Path | None, uploads: Uploads, views: Views
    ) -> None:
        """Raises ValueError where the folder lacks pictures of an index; OSError for no folder."""
        self.indexes = {index.model: index for index in indexes}
        if len(self.indexes) < len(indexes):
            raise ValueError("two features files are of one model: give one of them another name")
        self._files = _files(indexes, images)
        self.names = sorted(self._files)
        self.queries: dict[str, Query] = {}
        if gt is not None:
            self.queries = {query.name: query for query in read_queries(gt) if query.image in self._files}
        self.uploads, self.views = uploads, views

    @property
    def left_out(self) -> list[tuple[str, str]]:
        """Files that an index has left out, and why."""
        return [one for index in self.indexes.values() for one in index.left_out]

    @property
    def only_its_own(self) -> str | None:
        """Why uploads and boxes can't be searched, of the first index where that is so."""
        return next((why for index in self.indexes.values() if (why := index.why_no_network)), None)

    @property
    def precision(self) -> str:
        """In what the features were computed, as a sentence."""
        each = {model: index.precision.replace("fp", "FP") for model, index in self.indexes.items()}
        if len(set(each.values())) == 1:
            return f"Features computed in {next(iter(each.values()))}."
        return f"Features computed in {', '.join(f'{one} ({model})' for model, one in each.items())}."

    def file_of(self, name: str) -> Path | None:
        """The file of a picture in an index; None for other names."""
        # addresses lose the dot of ./NAME, as a name that begins with a blank is written
        return self._files.get(name) or self._files.get(f"./{name}")

    def listed(self, what: str, start: int, seed: int | None) -> dict[str, Any]:
        """Some names of the `pictures` or the `queries` to choose from, from place `start` on, in order or
        shuffled by a seed."""
        there = self.names if what == "pictures" else list(self.queries)
        order = range(len(there)) if seed is None else _shuffled(len(there), seed)
        names = [there[i] for i in order[start : start + PAGE_OF_PICTURES]]
        return {"names": names, "start": start, "all": len(there)}

    def query_thumbnail(self, name: str) -> bytes | None:
        """What a query of the ground truth asks for, as JPEG; None for others. Raises OSError, ValueError."""
        query = self.queries.get(name)
        path = self.file_of(query.image) if query else None
        return self.views.thumbnail(path, query.box) if query and path else None

    def search(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer the page's question. Raises ValueError in a sentence for it, OSError where Caffe ends."""
        index = self.indexes.get(_text(asked, "model"))
        if index is None:
            raise ValueError("There is no such model.")
        representation = index.representation(_text(asked, "representation"))
        started = time.monotonic()
        picture = self._asked(asked)
        try:
            view = self.views.of(picture.path)
            hits = index.search(self._vector(index, representation, picture), representation, RESULTS)
        except FileNotFoundError:
            raise ValueError("This picture is not there any more.") from None
        return {
            "results": [{"name": hit.name, "score": round(hit.score, 4)} for hit in hits],
            "seconds": round(time.monotonic() - started, 2),
            "pictures": len(index.names),
            "width": view.width,
            "height": view.height,
            "box": picture.box,
            "picture": picture.name,
        }

    def _asked(self, asked: dict[str, Any]) -> Asked:
        box = read_box(asked.get("box"))
        if asked.get("upload") is not None:
            path = self.uploads.get(_text(asked, "upload"))
            if path is None:
                raise ValueError("This photograph is not kept any more: drop it again.")
            return Asked(path, box)
        if asked.get("query") is not None:
            query = self.queries.get(_text(asked, "query"))
            if query is None:
                raise ValueError("There is no such query.")
            path = self.file_of(query.image)
            assert path is not None
            return Asked(
                path, box or query.box, query.image, query.name if box in (None, query.box) else None
            )
        name = _text(asked, "name")
        path = self.file_of(name)
        if path is None:
            raise ValueError("There is no such picture in the index.")
        return Asked(path, box, name)

    def _vector(self, index: Index, representation: Representation, picture: Asked) -> Floats:
        if picture.query is not None and picture.query in index.queries:
            return index.of_query(picture.query, representation)
        if picture.name is not None and picture.box is None:
            return index.of_picture(picture.name, representation)
        return index.of_file(picture.path, picture.box, representation)


def _files(indexes: Sequence[Index], images: Path | None) -> dict[str, Path]:
    """The file of each picture: an index of photographs knows them, a run's features file only the names."""
    files: dict[str, Path] = {}
    there = None
    for index in indexes:
        folder = images or index.folder
        if folder is None:
            raise ValueError(
                f"{index.path} doesn't say where its pictures are: name the folder with --images"
            )
        if not folder.is_dir():
            raise NotADirectoryError(20, "Not a folder", str(folder))
        if index.folder is not None:
            files |= {name: folder / name for name in index.names}
            continue
        there = there or {name: Path(one.path) for name, one in list_pictures(folder).items()}
        if lacking := [name for name in index.names if name not in there]:
            raise ValueError(
                f"{folder} lacks {len(lacking)} pictures that {index.path} indexes, such as {lacking[0]}"
            )
        files |= {name: there[name] for name in index.names}
    return files


def _shuffled(count: int, seed: int) -> list[int]:
    order: list[int] = np.random.default_rng(seed).permutation(count).tolist()
    return order


def _text(asked: dict[str, Any], what: str) -> str:
    value = asked.get(what)
    return value if isinstance(value, str) else ""


def read_box(value: Any) -> Box | None:
    """A box x1, y1, x2, y2 of a request. Raises ValueError for one without area or of other things."""
    if value is None:
        return None
    numbers = value if isinstance(value, list) else []
    if len(numbers) != 4 or not all(type(one) in (int, float) for one in numbers):
        raise ValueError("A box is four numbers: left, top, right, bottom.")
    # compared before they become floats, which numbers of 400 digits can't
    x1, y1, x2, y2 = numbers
    if not (0 <= x1 < x2 < 1e6 and 0 <= y1 < y2 < 1e6):
        raise ValueError("The box has no area.")
    return float(x1), float(y1), float(x2), float(y2)
