"""Writing a features file (eval/files/features.py says what is in it) row by row, over interruptions."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py
import numpy as np

from eval.forward.photographs import Picture


class FeaturesFile:
    """The file while it grows, NAME.part beside its place: features, rows done, and what they were made from.

    HDF5 lays the file out at its final size. Rows then go to their places past HDF5, which would hold them
    back in buffers, lose them when it is killed, and crash on a full disk instead of saying so.
    """

    def __init__(self, path: Path, provenance: dict[str, str], groups: dict[str, dict[str, Picture]]) -> None:
        """`provenance` becomes the root's attributes; `groups` are the rows with their names."""
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._provenance = provenance
        self._groups = groups
        self._stamps = {
            group: np.array([picture.stamp() for picture in rows.values()], "<u8")
            for group, rows in groups.items()
        }
        self._offsets: dict[str, int] = {}
        self._descriptor = -1

    def is_complete(self) -> bool:
        """Whether the finished file is there, from the very same inputs."""
        with suppress(OSError, KeyError), h5py.File(self._path, "r") as file:
            same_pictures = file.attrs["pictures"] == self._pictures()
            return bool(file.attrs["complete"] and same_pictures and self._is_this_run(file))
        return False

    def _pictures(self) -> np.bytes_:
        stamps = [self._stamps[group].tobytes() for group in self._groups]
        return np.bytes_(hashlib.sha256(b"".join(stamps)).hexdigest())

    def _is_this_run(self, file: h5py.File) -> bool:
        return all(file.attrs[key] == value for key, value in self._provenance.items()) and all(
            list(file[group]["names"].asstr()[:]) == list(rows) for group, rows in self._groups.items()
        )

    def go_on(self) -> dict[str, np.ndarray]:
        """Open the unfinished file if it is of this run; which rows of each group are done, (N,) bool.

        A row whose picture has changed since is not done. Raises OSError where another process has it open.
        """
        try:
            with suppress(KeyError), h5py.File(self._part, "r") as file:
                if self._is_this_run(file):
                    done = {group: file["done"][group][:] == self._stamps[group] for group in self._groups}
                    self._remember_places(file)
        except BlockingIOError as error:
            raise OSError(error.errno, "Another run is writing it", str(self._part)) from error
        except OSError:  # not there, or killed before it was laid out
            pass
        if self._offsets:
            self._open()
            return done
        return {group: np.zeros(len(stamps), bool) for group, stamps in self._stamps.items()}

    def write(self, group: str, start: int, features: dict[str, np.ndarray]) -> None:
        """Write rows from `start` on, and that they are done. Raises OSError; a full disk shows at once."""
        with self._sentences():
            if self._descriptor < 0:
                self._create({layer: rows.shape[1] for layer, rows in features.items()})
            for layer, rows in features.items():
                self._put(f"{group}/{layer}", start, rows.astype("<f4"))
            count = len(next(iter(features.values())))
            stamps = self._stamps[group][start : start + count]
            self._put(f"done/{group}", start, stamps)

    def _put(self, dataset: str, row: int, values: np.ndarray) -> None:
        offset = self._offsets[dataset] + row * values[0].nbytes
        left = memoryview(values.tobytes())
        while left:
            written = os.pwrite(self._descriptor, left, offset)
            left, offset = left[written:], offset + written

    def _create(self, dimensions: dict[str, int]) -> None:
        rows = sum(map(len, self._groups.values()))
        try:
            with self._part.open("wb") as file:
                # is there room for all rows, the names and HDF5's own tables? h5py then starts afresh
                os.posix_fallocate(file.fileno(), 0, rows * (4 * sum(dimensions.values()) + 512) + (1 << 16))
            with h5py.File(self._part, "w") as file:
                self._lay_out(file, dimensions)
                file.flush()
                self._remember_places(file)
            self._open()
            os.posix_fallocate(self._descriptor, 0, os.fstat(self._descriptor).st_size)
        except OSError:
            self._part.unlink(missing_ok=True)
            raise

    def _lay_out(self, file: h5py.File, dimensions: dict[str, int]) -> None:
        for key, value in self._provenance.items():
            file.attrs[key] = value
        file.attrs["complete"] = False
        file.attrs["pictures"] = np.bytes_(" " * len(self._pictures()))
        for group, rows in self._groups.items():
            file[f"{group}/names"] = np.array(list(rows), dtype=h5py.string_dtype())
            _reserve(file, f"done/{group}", (len(rows),), "<u8")
            for layer, dimension in dimensions.items():
                _reserve(file, f"{group}/{layer}", (len(rows), dimension), "<f4")

    def _remember_places(self, file: h5py.File) -> None:
        def remember(name: str, node: h5py.Group | h5py.Dataset) -> None:
            if isinstance(node, h5py.Dataset) and node.dtype.kind in "fu":
                self._offsets[name] = node.id.get_offset()

        file.visititems(remember)

    def _open(self) -> None:
        self._descriptor = os.open(self._part, os.O_RDWR)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the lock that HDF5 itself looks for

    def finish(self) -> None:
        """Mark the file as complete and move it to its place."""
        self.close()
        with self._sentences():
            with h5py.File(self._part, "r+") as file:
                file.attrs.modify("pictures", self._pictures())
                file.attrs.modify("complete", True)
                del file["done"]
            self._part.replace(self._path)

    def close(self) -> None:
        """Close the file, whole or not."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Errors with the file's name, which neither a write nor HDF5 gives."""
        try:
            yield
        except OSError as error:
            if not error.errno:
                raise OSError(f"{self._part} can't be written: {error}") from error
            raise OSError(error.errno, os.strerror(error.errno), str(self._part)) from error


def _reserve(file: h5py.File, name: str, shape: tuple[int, ...], kind: str) -> None:
    """Make a dataset with its place in the file from now on; only the marks of done rows are cleared."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_ALLOC if name.startswith("done/") else h5py.h5d.FILL_TIME_NEVER)
    file.create_dataset(name, shape, kind, dcpl=plan)
