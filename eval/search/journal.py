"""What has been computed for an index that is not finished, safe from a kill at any moment.

A SQLite file, one table: maker (what the features follow from), file, stamp, and the features or the reason
why there are none. Photographs may come and go between two tries, and so may makers: nothing is computed
twice.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

TABLE = """CREATE TABLE IF NOT EXISTS done
(maker TEXT, file TEXT, stamp TEXT, features BLOB, reason TEXT, PRIMARY KEY (maker, file))"""


class Journal:
    """The rows of one maker; made with the first row, gone when no maker has any left."""

    def __init__(self, path: Path, maker: str) -> None:
        self._path, self._maker = path, maker
        self._open: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        if self._path.exists():
            self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        if self._open is not None:
            self._open.close()

    def _connect(self) -> sqlite3.Connection:
        if self._open is None:
            try:
                self._open = sqlite3.connect(self._path, isolation_level=None)
                self._open.execute(TABLE)
            except sqlite3.Error as error:
                raise OSError(f"{self._path} can't be used ({error}): remove it to begin anew") from error
        return self._open

    def stamps(self) -> dict[str, tuple[str, str | None]]:
        """Stamp of each file that is done, and the reason why it is left out, or None."""
        if self._open is None:
            return {}
        rows = self._connect().execute("SELECT file, stamp, reason FROM done WHERE maker = ?", [self._maker])
        return {file: (stamp, reason) for file, stamp, reason in rows}

    def add(self, file: str, stamp: str, done: NDArray[np.float32] | str) -> None:
        """Write down a file's features (D,), or the reason why it has none. Raises OSError (a full disk)."""
        features, reason = (None, done) if isinstance(done, str) else (done.astype("<f4").tobytes(), None)
        try:
            self._connect().execute(
                "INSERT OR REPLACE INTO done VALUES (?, ?, ?, ?, ?)",
                [self._maker, file, stamp, features, reason],
            )
        except sqlite3.Error as error:
            raise OSError(f"{self._path} can't be written: {error}") from error

    def features(self, files: Iterable[str]) -> list[NDArray[np.float32]]:
        """The features (D,) of files that have some, in their order."""
        found = []
        for file in files:
            (blob,) = (
                self._connect()
                .execute("SELECT features FROM done WHERE maker = ? AND file = ?", [self._maker, file])
                .fetchone()
            )
            found.append(np.frombuffer(blob, "<f4"))
        return found

    def forget(self) -> None:
        """Remove this maker's rows, and the file with the last ones."""
        if self._open is None:
            return
        self._open.execute("DELETE FROM done WHERE maker = ?", [self._maker])
        if not self._open.execute("SELECT EXISTS (SELECT 1 FROM done)").fetchone()[0]:
            self._open.close()
            self._open = None
            with suppress(OSError):
                self._path.unlink()
