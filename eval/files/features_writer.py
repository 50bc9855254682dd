"""Writing a features file (eval/files/features.py says what is in it) row by row, over interruptions.

While it grows it is NAME.part beside its place, laid out by HDF5 at its final size; NAME.part.done lists
which rows are there, each batch with a checksum. Rows are on the disk before their line is, the file's
structure before the list's first line; so whatever a kill or a power cut leaves, what the list vouches for is
there or is found damaged and made again, and HDF5 never opens a file whose structure it didn't leave whole.
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from eval.files.features import STAMPS, open_features, precision_of
from eval.forward.photographs import Picture
from tools.program import to_disk

SYNC_SECONDS = 1.0
"""How often rows are brought to the disk, and how much work a kill can cost at most."""
FORMAT = "v110"
"""HDF5's format since 1.10, in which its structure carries checksums."""


class Extent(NamedTuple):
    """Where a dataset's rows are in the file, in bytes."""

    offset: int
    row: int


class FeaturesFile:
    """The file while it grows: features, and the stamp of the picture that each row was made from.

    Rows go to their places past HDF5, which would hold them back in buffers, lose them when it is killed, and
    crash on a full disk instead of saying so.
    """

    def __init__(
        self,
        path: Path,
        provenance: Mapping[str, str],
        places: Mapping[str, str],
        groups: Mapping[str, Mapping[str, Picture]],
    ) -> None:
        """`groups` are the rows with their names. `provenance` and `places` become the root's attributes.

        Features of another provenance are others; `places` only say where the files were.
        """
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._list = path.with_name(path.name + ".part.done")
        self._provenance = provenance
        self._places = places
        self._groups = groups
        self._stamps = {
            group: np.array([picture.stamp() for picture in rows.values()], "<u8")
            for group, rows in groups.items()
        }
        self._extents: dict[str, Extent] = {}
        self._descriptor = -1
        self._unlisted: list[str] = []
        self._synced = time.monotonic()

    def refuse_other_precision(self) -> None:
        """Raise ValueError where what is there, finished or not, was computed in another precision."""
        there = None
        with suppress(OSError, ValueError), open_features(self._path) as file:
            there = self._path, precision_of(file.attrs)
        with suppress(OSError, StopIteration, AttributeError):
            there = self._part, next(_valid_lines(self._list)).get("precision", "fp32")
        own = precision_of(self._provenance)
        if there is not None and there[1] != own:
            raise ValueError(
                f"{there[0]} was made in {there[1]}, which {own} does not go on with: name another file, or "
                "remove that one"
            )

    def is_complete(self) -> bool:
        """Whether the finished file is there, from the very same inputs."""
        with suppress(OSError, ValueError, KeyError), open_features(self._path) as file:
            return all(file.attrs[key] == value for key, value in self._provenance.items()) and all(
                list(file[group]["names"].asstr()[:]) == list(rows)
                and np.array_equal(file[STAMPS][group][:], self._stamps[group])
                for group, rows in self._groups.items()
            )
        return False

    def go_on(self) -> dict[str, np.ndarray]:
        """Open the unfinished file if it is of this run; which rows of each group are done, (N,) bool.

        A row whose picture has changed since is not done. Raises OSError where another process has it open.
        """
        done = {group: np.zeros(len(stamps), bool) for group, stamps in self._stamps.items()}
        with suppress(FileNotFoundError):
            self._open()
            with suppress(FileNotFoundError, IndexError, KeyError, TypeError, ValueError):
                lines = list(_valid_lines(self._list))
                about = lines[0]
                self._extents = {name: Extent(*extent) for name, extent in about["extents"].items()}
                if about["run"] == self._identity() and about["structure"] == self._structure():
                    for group, start, count, checksum in lines[1:]:
                        rows = slice(start, start + count)
                        done[group][rows] = self._checksum(group, start, count) == checksum
                    return done
            self.close()
            self._extents = {}
        return done

    def write(self, group: str, start: int, features: dict[str, np.ndarray]) -> None:
        """Write rows from `start` on, and that they are done. Raises OSError; a full disk shows at once."""
        with self._sentences():
            if self._descriptor < 0:
                self._create({layer: rows.shape[1] for layer, rows in features.items()})
            for layer, rows in features.items():
                self._put(f"{group}/{layer}", start, rows.astype("<f4"))
            count = len(next(iter(features.values())))
            self._put(f"{STAMPS}/{group}", start, self._stamps[group][start : start + count])
            self._unlisted.append(_line([group, start, count, self._checksum(group, start, count)]))
            if time.monotonic() - self._synced > SYNC_SECONDS:
                self._list_what_is_done()

    def finish(self) -> None:
        """Bring everything to the disk and move the file to its place.

        Raises ValueError, or OSError, where a picture has changed or gone since it was read.
        """
        for group, rows in self._groups.items():
            for picture, stamp in zip(rows.values(), self._stamps[group], strict=True):
                if picture.stamp() != stamp:
                    raise ValueError(f"{picture.path} has changed meanwhile: run again, the rest is kept")
        with self._sentences():
            if self._descriptor < 0:
                raise OSError("no row was written")
            os.fsync(self._descriptor)
            self._unlisted = []
            self._part.replace(self._path)
            to_disk(self._path.parent)
            self._list.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Close the file, whole or not."""
        if self._descriptor >= 0:
            try:
                with self._sentences():
                    self._list_what_is_done()
            finally:
                os.close(self._descriptor)
                self._descriptor = -1

    def _list_what_is_done(self) -> None:
        if self._unlisted:
            os.fdatasync(self._descriptor)
            with self._list.open("a", encoding="utf-8") as file:
                file.writelines(self._unlisted)
            self._unlisted = []
        self._synced = time.monotonic()

    def _put(self, dataset: str, row: int, values: np.ndarray) -> None:
        offset = self._extents[dataset].offset + row * self._extents[dataset].row
        left = memoryview(values.tobytes())
        while left:
            written = os.pwrite(self._descriptor, left, offset)
            left, offset = left[written:], offset + written

    def _checksum(self, group: str, start: int, count: int) -> str:
        """Of what is in the file for these rows, and of the stamps that their pictures have now."""
        digest = hashlib.sha256(self._stamps[group][start : start + count].tobytes())
        for name, extent in sorted(self._extents.items()):
            if name == f"{STAMPS}/{group}" or name.startswith(f"{group}/"):
                digest.update(
                    os.pread(self._descriptor, count * extent.row, extent.offset + start * extent.row)
                )
        return digest.hexdigest()

    def _identity(self) -> str:
        names = {group: list(rows) for group, rows in self._groups.items()}
        return hashlib.sha256(json.dumps([dict(self._provenance), names]).encode()).hexdigest()

    def _structure(self) -> str:
        """A checksum of all that is in the file beside the rows."""
        digest = hashlib.sha256()
        at = 0
        for name, extent in sorted(self._extents.items(), key=lambda item: item[1].offset):
            self._digest(digest, at, extent.offset)
            at = extent.offset + extent.row * len(self._groups[name.removeprefix(f"{STAMPS}/").split("/")[0]])
        self._digest(digest, at, os.fstat(self._descriptor).st_size)
        return digest.hexdigest()

    def _digest(self, digest: Any, start: int, end: int) -> None:
        while piece := os.pread(self._descriptor, min(1 << 20, max(0, end - start)), start):
            digest.update(piece)
            start += len(piece)

    def _create(self, dimensions: dict[str, int]) -> None:
        rows = sum(map(len, self._groups.values()))
        self._list.unlink(missing_ok=True)
        try:
            with self._part.open("wb") as file:
                # is there room for all rows, the names and HDF5's own tables? h5py then starts afresh
                names = sum(len(rows) * _longest(rows) for rows in self._groups.values())
                os.posix_fallocate(
                    file.fileno(), 0, rows * (4 * sum(dimensions.values()) + 8) + names + (1 << 16)
                )
            with h5py.File(self._part, "w", libver=(FORMAT, FORMAT)) as file:
                self._lay_out(file, dimensions)
                file.flush()
                self._remember_places(file)
            self._open()
            os.posix_fallocate(self._descriptor, 0, os.fstat(self._descriptor).st_size)
            os.fsync(self._descriptor)
            about = {
                "run": self._identity(),
                "precision": precision_of(self._provenance),
                "extents": self._extents,
                "structure": self._structure(),
            }
            with self._list.open("w", encoding="utf-8") as file:
                file.write(_line(about))
                file.flush()
                os.fsync(file.fileno())
            to_disk(self._path.parent)
        except OSError:
            self._part.unlink(missing_ok=True)
            raise

    def _lay_out(self, file: h5py.File, dimensions: dict[str, int]) -> None:
        for key, value in {**self._provenance, **self._places}.items():
            file.attrs[key] = value
        for group, rows in self._groups.items():
            file.create_group(group)  # in so many words, as HDF5 puts the time into a group that it makes
            file.require_group(STAMPS)
            kind = h5py.string_dtype("utf-8", _longest(rows))
            file[f"{group}/names"] = np.array([name.encode() for name in rows], dtype=kind)
            _reserve(file, f"{STAMPS}/{group}", (len(rows),), "<u8")
            for layer, dimension in dimensions.items():
                _reserve(file, f"{group}/{layer}", (len(rows), dimension), "<f4")

    def _remember_places(self, file: h5py.File) -> None:
        def remember(name: str, node: h5py.Group | h5py.Dataset) -> None:
            if isinstance(node, h5py.Dataset) and node.dtype.kind in "fu":
                row = node.dtype.itemsize * int(np.prod(node.shape[1:]))
                self._extents[name] = Extent(node.id.get_offset(), row)

        file.visititems(remember)

    def _open(self) -> None:
        self._descriptor = os.open(self._part, os.O_RDWR)
        try:
            fcntl.flock(
                self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB
            )  # the lock that HDF5 itself looks for
        except BlockingIOError as error:
            os.close(self._descriptor)
            self._descriptor = -1
            raise OSError(error.errno, "Another run is writing it", str(self._part)) from error

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Errors with the file's name, which neither a write nor HDF5 gives."""
        try:
            yield
        except OSError as error:
            if not error.errno:
                raise OSError(f"{self._part} can't be written: {error}") from error
            raise OSError(error.errno, error.strerror, str(self._part)) from error


def _longest(names: Mapping[str, Picture]) -> int:
    return max(len(name.encode()) for name in names)


def _line(what: object) -> str:
    """A line of the list of what is done: JSON behind a checksum of its own."""
    text = json.dumps(what)
    return f"{hashlib.sha256(text.encode()).hexdigest()} {text}\n"


def _valid_lines(path: Path) -> Iterator[Any]:
    """What the lines of a list say, as far as they are whole. Raises FileNotFoundError."""
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        checksum, _, text = line.partition(" ")
        if hashlib.sha256(text.encode()).hexdigest() == checksum:
            yield json.loads(text)


def _reserve(file: h5py.File, name: str, shape: tuple[int, ...], kind: str) -> None:
    """Make a dataset with its place in the file from now on; only the stamps are cleared."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(
        h5py.h5d.FILL_TIME_ALLOC if name.startswith(f"{STAMPS}/") else h5py.h5d.FILL_TIME_NEVER
    )
    file.create_dataset(name, shape, kind, dcpl=plan)
