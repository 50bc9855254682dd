"""Taking the photographs of a folder into an index: new and changed ones are computed, the others kept.

Stopped at any moment and started again it goes on: each photograph's features are in a journal beside the
index as soon as they are there. A file that can't be read is left out, with the reason.
"""

import fcntl
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
from numpy.typing import NDArray

from eval.files.features import noted, open_features, precision_of
from eval.forward.network import Network
from eval.forward.workers import Batch, LostProcessError, Rows, ahead_of, compute, computed, workers
from eval.search.album import Album, LeftOut, look_through
from eval.search.index_file import Contents, OldRows, read_contents, write_index
from eval.search.journal import Journal
from tools.program import Progress, StopError, one_sentence, sha256_of

MAKER = {
    "weights_sha256": "other weights",
    "prototxt_sha256": "another network",
    "preprocessing": "pictures prepared otherwise",
    "run": "other representations",
}
"""The attributes that features follow from, and what is said where they differ."""
MOST_LOST = 3
"""Photographs in a row whose computation ends the process: more, and it isn't the photographs."""
READERS = f"opencv {cv2.__version__}, pillow-heif {pillow_heif.__version__}"
"""A file that is left out is tried again by other ones."""


@dataclass(frozen=True)
class Making:
    """What is to be done."""

    folder: Path
    out: Path
    network: Network
    model: str
    jobs: int
    gpus: Sequence[int] = ()


@dataclass(frozen=True)
class Outcome:
    """What an index holds now, and what was done for it."""

    photographs: int
    computed: int
    removed: int
    left_out: list[LeftOut]


def attributes(network: Network, model: str) -> dict[str, str]:
    """What a features file says of the network and of how photographs go in. Raises OSError."""
    preprocessing = {
        "resize": {"max_side": network.max_side, "min_side": network.min_side},
        "aspect": "kept",
        "interpolation": f"OpenCV {network.interpolation}",
        "channels": "BGR",
        "mean": [*network.mean],
    }
    run = {
        "layers": network.layers,
        "batch": network.batch,
        "poolings": network.poolings,
        **noted(network.precision),
    }
    return {
        "model": model,
        "deploy": str(Path(network.deploy).resolve()),
        "weights": str(Path(network.weights).resolve()),
        "prototxt_sha256": sha256_of(Path(network.deploy)),
        "weights_sha256": sha256_of(Path(network.weights)),
        "preprocessing": json.dumps(preprocessing),
        "run": json.dumps(run),
        "learnt": "{}",
    }


def take_in(making: Making) -> Outcome:
    """Bring an index up to date. Raises ValueError or OSError, and StopError between two photographs."""
    with _alone_with(making.folder):
        album = look_through(making.folder)
        if not album.stamps and not album.left_out:
            raise ValueError(f"{making.folder} holds no photographs")
        _check_place(making.out)
        maker = attributes(making.network, making.model)
        old = read_contents(making.out) if making.out.exists() else None
        if old is not None:
            _check_same(making, maker, old)
        identity = json.dumps([maker[name] for name in MAKER])
        with Journal(making.out.with_name(f"{making.out.name}.part"), identity) as journal:
            done = _done(album, old, journal)
            _fill(making, album, [name for name in album.stamps if name not in done], journal)
            contents = _contents(making, album, maker, _done(album, old, journal))
            if not contents.stamps:
                why = f" ({contents.left_out[0][0]}: {contents.left_out[0][2]})"
                raise ValueError(f"{making.folder} holds no photograph that can be searched{why}")
            kept = old.stamps if old is not None else {}
            if old is None or _differ(old, contents):
                _write(
                    making,
                    contents,
                    {name for name in kept if contents.stamps.get(name) == kept[name]},
                    journal,
                )
            journal.forget()
        return Outcome(
            photographs=len(contents.stamps),
            computed=sum(kept.get(name) != stamp for name, stamp in contents.stamps.items()),
            removed=sum(name not in contents.stamps for name in kept),
            left_out=[LeftOut(name, reason) for name, _, reason in contents.left_out],
        )


@contextmanager
def _alone_with(folder: Path) -> Iterator[None]:
    """Wait until nobody else takes this folder in."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        said = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not said:
                    print(
                        f"index: waiting for another one that takes {folder} in", file=sys.stderr, flush=True
                    )
                said = True
                StopError.check()
                time.sleep(0.2)
            except OSError:  # a file system without locks
                break
        yield
    finally:
        os.close(descriptor)


def _check_place(out: Path) -> None:
    """Raise OSError, before anything is computed, where the index can't be written."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out.parent).close()
    except OSError as error:
        raise OSError(f"{out} can't be written ({error.strerror}): name another file for the index") from None


def _check_same(making: Making, maker: dict[str, str], old: Contents) -> None:
    if old.folder != making.folder:
        raise ValueError(f"{making.out} is an index of {old.folder}: name another file for {making.folder}")
    there = precision_of(old.attributes)
    if there != making.network.precision:
        raise ValueError(
            f"{making.out} was made in {there} and goes on with --precision {there} alone: name another file "
            f"for {making.network.precision}"
        )
    for name, what in MAKER.items():
        if old.attributes.get(name) != maker[name]:
            raise ValueError(
                f"{making.out} was made with {what} (its weights: {old.attributes.get('weights')}): name "
                "another file for this index, or remove that one"
            )


def _reader_stamp(album: Album, name: str) -> str:
    return f"{album.stamps[name]} {READERS}"


def _done(album: Album, old: Contents | None, journal: Journal) -> dict[str, str | None]:
    """Names that need no computing, and why they are left out, or None where their features are there."""
    found: dict[str, str | None] = {}
    for name, (stamp, reason) in journal.stamps().items():
        if name in album.stamps and stamp == _reader_stamp(album, name):
            found[name] = reason
    if old is not None:
        for name, stamp, why in old.left_out:
            if name in album.stamps and stamp == _reader_stamp(album, name):
                found[name] = why
        found |= {name: None for name, made_of in old.stamps.items() if album.stamps.get(name) == made_of}
    return found


def attempt(batch: Batch) -> Rows | str:
    """In a worker: the features of a photograph, or why it has none."""
    try:
        return compute(batch)
    except (ValueError, OSError) as error:
        path = batch.pictures[0].path
        return one_sentence(error).removeprefix(f"{path} ").replace(path, "it")


def _fill(making: Making, album: Album, to_do: list[str], journal: Journal) -> None:
    """Compute features into the journal. Raises ValueError where the network can't be used, OSError."""
    if not to_do:
        return
    lost, careful = 0, 0
    with Progress("indexing", len(to_do)) as progress:
        while to_do:
            # after a lost process those under way are tried one at a time: the next one lost is the culprit
            part = to_do[:careful] if careful else to_do
            done: set[str] = set()
            try:
                for name in _computed(making, album, part, journal, alone=bool(careful)):
                    done.add(name)
                    progress.advance()
                    lost = 0
                careful = 0
            except LostProcessError as error:
                if careful:
                    lost += 1
                    if lost == MOST_LOST:
                        raise
                    culprit = next(name for name in part if name not in done)
                    journal.add(
                        culprit, _reader_stamp(album, culprit), f"reading it ended the process: {error}"
                    )
                    done.add(culprit)
                careful = 2 * making.jobs + 1
            to_do = [name for name in to_do if name not in done]


def _computed(
    making: Making, album: Album, names: Sequence[str], journal: Journal, alone: bool
) -> Iterator[str]:
    """Write features or reasons down as they come; yields the names."""
    jobs = 1 if alone else min(len(making.gpus) or making.jobs, len(names))
    batches = [Batch("database", place, [album.picture(name)]) for place, name in enumerate(names)]
    gpus = making.gpus[:jobs]
    with workers(making.network, jobs, gpus) as pool:
        try:
            pool.submit(compute, Batch("database", 0, [])).result()  # loads the network: does it fit?
        except ValueError as error:
            raise ValueError(f"{making.network.weights} can't be used: {error}") from None
        for batch, found in computed(pool, attempt, batches, 1 if alone else ahead_of(jobs, gpus)):
            name = batch.pictures[0].name
            row = found if isinstance(found, str) else _joined(found)
            journal.add(name, _reader_stamp(album, name), row)
            yield name


def _joined(rows: Rows) -> NDArray[np.float32]:
    return np.concatenate([rows[layer][0] for layer in sorted(rows)])


def _contents(making: Making, album: Album, maker: dict[str, str], done: dict[str, str | None]) -> Contents:
    """What the index is to hold."""
    stamps, left_out = {}, [(_text(one.file), "", one.reason) for one in album.left_out]
    for name, stamp in album.stamps.items():
        reason = done[name]
        if reason is None:
            stamps[name] = stamp
        else:
            left_out.append((name, _reader_stamp(album, name), reason))
    return Contents(maker, making.folder, stamps, sorted(left_out))


def _differ(old: Contents, new: Contents) -> bool:
    places = ("deploy", "weights")
    return (old.stamps, old.left_out) != (new.stamps, new.left_out) or any(
        old.attributes.get(name) != new.attributes[name] for name in places
    )


def _write(making: Making, contents: Contents, kept: set[str], journal: Journal) -> None:
    """Write the index with the rows of the old one that are `kept`, and the journal's."""
    network = making.network
    layers = sorted(f"{layer}_{pooling}" for layer in network.layers for pooling in network.poolings)
    with ExitStack() as stack:
        old = OldRows(stack.enter_context(open_features(making.out))) if kept else None

        def rows_of(names: Sequence[str]) -> Rows:
            before = [name for name in names if name in kept]
            new = [name for name in names if name not in kept]
            rows = dict(zip(new, journal.features(new), strict=True))
            if old is not None and before:
                rows |= dict(zip(before, old.read(before), strict=True))
            # all poolings give as many values: the layer's channels
            parts = np.split(np.stack([rows[name] for name in names]), len(layers), axis=1)
            return dict(zip(layers, parts, strict=True))

        write_index(making.out, contents, rows_of)


def _text(name: str) -> str:
    """A name as it can be shown, whatever is in it."""
    plain = name.encode("utf-8", "backslashreplace").decode()
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in plain)
