"""Every reader of a file against changed files: `python -m tests.fuzz_long --cases 1000000`.

A case is a whole file with bytes changed, cut, put in, doubled or exchanged, drawn from the reader's name and
the case's number alone. A reader must read it or refuse it in one sentence that names it. Cases run in forked
processes, so that a signal or a hang is found and the next cases go on; what is found is printed with its
number, and `--reader NAME --first NUMBER --cases 1` runs it again.
"""

import argparse
import json
import mmap
import os
import pickle
import random
import signal
import struct
import sys
import tarfile
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

import h5py
import numpy as np
import test_archives
import test_fuzz_caffe_files as caffe_files
import test_fuzz_files as features_files

from data_prep.download import things
from data_prep.download.archive import unpack
from data_prep.download.picture_list import read_links
from data_prep.download.sfm120k import read_table
from eval.files.ground_truth import read_ground_truth
from eval.files.npz import read_npy
from eval.files.revisited import read_revisited
from eval.files.scores import read_scores
from eval.represent import mop
from eval.represent.region_whitening import RegionWhitening
from eval.results.pooled import read_figures
from eval.search.index_file import read_contents
from tools.files import hdf5
from tools.files.caffemodel import stored_shapes
from tools.files.class_names import read_class_names
from tools.files.csv_rows import read_csv
from tools.files.image_list import read_image_list
from tools.files.mean_file import read_mean_image
from tools.files.prototxt import read_solver
from tools.files.prototxt_comments import with_comments
from tools.files.solverstate import read_state

BLOCK = 500
HANG_SECONDS = 60
COUNTS = struct.Struct("3q")
TOKENS = [
    b"",
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\x80",
    b"\xff" * 9 + b"\x01",
    b"\r",
    b"\n",
    b"\t",
    b"\xef\xbb\xbf",
    b"\xc4\xe3",
    b"\xe2\x80\xa8",
    b'"',
    b"'",
    b"{",
    b"}",
    b"[" * 3000,
    b"-1",
    b"1e999",
    b"nan",
    b"9" * 5000,
    b"0" * 40,
    b"1_000",
    "\u0663".encode(),
]


class Reader(NamedTuple):
    """A reader, the whole files that its cases are made of, and the name that it wants of a file."""

    read: Callable[[Path], object]
    seeds: list[bytes]
    name: str = "file"


def changed(whole: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """A whole file with one to six things done to it."""
    data = bytearray(whole)
    for _ in range(draw.choice((1, 1, 2, 3, 6))):
        at, length = draw.randrange(len(data) + 1), draw.choice((1, 1, 2, 4, 8, 40))
        kind = draw.randrange(8)
        if kind <= 1:
            data[at : at + 1] = bytes([draw.randrange(256)])
        elif kind == 2 and data:
            place = at % len(data)
            data[place] ^= 1 << draw.randrange(8)
        elif kind == 3:
            data[at : at + length * draw.randrange(2)] = draw.choice(TOKENS)
        elif kind == 4:
            del data[at : at + length]
        elif kind == 5:
            data[at:at] = data[at : at + length] * draw.choice((1, 2, 50))
        elif kind == 6:
            other = draw.choice(others)
            start = draw.randrange(len(other) + 1)
            data[at : at + length] = other[start : start + length]
        elif draw.randrange(4) == 0:
            del data[at:]
    return bytes(data)


def truth_of(path: Path) -> object:
    """Ground truth whose every file is this one, in turn."""
    for kind, line in (("query", "a 1 2 30 40\n"), ("good", "a\n"), ("ok", "b\n"), ("junk", "c\n")):
        (path.parent / f"q_{kind}.txt").write_text(line)
    path.replace(
        path.parent / f"q_{random.Random(path.stat().st_size).choice(('query', 'good', 'junk'))}.txt"
    )
    return read_ground_truth(path.parent)


def unpacked(path: Path) -> None:
    """An archive, into a folder beside it."""
    (path.parent / "out").mkdir()
    unpack(path, path.parent / "out", "", 1 << 20, 100)


def table_of_figures(path: Path) -> object:
    (path.parent / "results").mkdir()
    path.replace(path.parent / "results" / "table1.json")
    try:
        return read_figures([path.parent], 1)
    except ValueError as error:
        raise ValueError(f"{path.parent}: {error}") from error


def thing(path: Path) -> None:
    for name in ("oxford5k-gt", "vgg16"):
        things.read_thing(path, name)


def readers() -> dict[str, Reader]:
    """All of them; those that take the most cases first."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hdf5 = [
            features_files.features_file(folder, "earliest"),
            features_files.features_file(folder, ("v110",) * 2),
        ]
        model, whitening = features_files.model(folder), features_files.whitening(folder)
        np.save(folder / "a.npy", np.ones((3, 4, 5), np.float32))
        array = (folder / "a.npy").read_bytes()
        index = folder / "f.h5"
        with h5py.File(index, "r+") as file:
            album = file.create_group("album")
            album.attrs["folder"] = "/photographs"
            album.create_dataset("left_out", data=[["a.jpg", "1", "why"]], dtype=h5py.string_dtype())
        indices = [index.read_bytes()]
    net, solver = caffe_files.NET.encode(), caffe_files.SOLVER.encode()
    part = {"cids": ["a" * 8, "b" * 8], "cluster": np.arange(2)}
    places = {"easy": [0], "hard": np.array([1]), "junk": []}
    judged_anew = {"imlist": ["a", "b"], "qimlist": ["q"], "gnd": [{"bbx": [1, 2.5, 30, 40], **places}]}
    row = {
        "layer": "fc6",
        "label": "128",
        "dim": 128,
        "pca": True,
        "query_expansion": "none",
        "rerank": "none",
    }
    row |= {"noise_directions": 0, "ranks": "fc6/128", "map": 0.5, "ap": {"a": 0.5}}
    archives = [
        test_archives.gzipped(
            test_archives.tar_of({"d/a.jpg": b"1" * 700, "b.jpg": b"2", "l" * 120: b"3"}, kind)
        )
        for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    ]
    return {
        "caffemodel": Reader(stored_shapes, [caffe_files.model_file()]),
        "solverstate": Reader(read_state, [caffe_files.state_file()]),
        "caffemodel in hdf5": Reader(stored_shapes, [caffe_files.HDF5_FILES[0]], "file.h5"),
        "solverstate in hdf5": Reader(read_state, [caffe_files.HDF5_FILES[1]], "file.h5"),
        "mean": Reader(read_mean_image, [caffe_files.mean_file()]),
        "lmdb": Reader(caffe_files.read_database, [caffe_files.lmdb_file()], "data.mdb"),
        "net": Reader(caffe_files.read_net_text, [net, b'name: "a"  # \xc4\xe3\n' + net]),
        "solver": Reader(read_solver, [solver, b'net: "\xc4\xe3"\n' + solver]),
        "comments": Reader(lambda path: with_comments(path.read_text(errors="replace"), net.decode()), [net]),
        "training log": Reader(caffe_files.read_training_log, [caffe_files.LOG]),
        "class names": Reader(read_class_names, [b"number,name\n0,a\n1,b\n", b'0;"a;b"\n1;c\n']),
        "csv": Reader(read_csv, [b'a,b\n"c\nd",e\n']),
        "image list": Reader(read_image_list, [b"/a b/c.jpg 0\n/d.jpg 1\n"]),
        "ground truth": Reader(truth_of, [b"a 1 2 30 40\n", b"a\nb\r\nc\n"]),
        "scores": Reader(read_scores, [json.dumps({"model": "m", "rows": [row]}).encode()]),
        "table of figures": Reader(table_of_figures, [json.dumps({"rows": [row]}).encode()]),
        "links": Reader(read_links, [b"http://a/b.jpg c\n# d\nhttp://e/f g h\n"]),
        "sources": Reader(thing, [things.SOURCES.read_bytes()]),
        "pickle": Reader(read_table, [pickle.dumps({"train": part, "val": part}, kind) for kind in range(6)]),
        "revisited truth": Reader(read_revisited, [pickle.dumps(judged_anew, kind) for kind in range(6)]),
        "archive": Reader(unpacked, archives),
        "npz of MOP-CNN": Reader(mop.load, [model]),
        "npz of whitening": Reader(RegionWhitening.load, [whitening]),
        "npy": Reader(read_npy, [array]),
        "features": Reader(features_files.read_features, hdf5),
        "index": Reader(read_contents, indices),
    }


SHARES = {
    "features": 0.01,
    "index": 0.01,
    "caffemodel in hdf5": 0.01,
    "solverstate in hdf5": 0.01,
    "sources": 0.3,
    "npz of MOP-CNN": 0.3,
    "lmdb": 0.6,
    "archive": 0.6,
}
"""Of a reader's equal part, where a case takes long."""


def judged(reader: Reader, data: bytes, folder: Path) -> str:
    """Read one case; what is wrong with how it ended, or "read" or "refused"."""
    path = folder / reader.name
    path.write_bytes(data)
    try:
        reader.read(path)
    except (ValueError, OSError) as error:
        said = str(error)
        good = str(folder) in said and "\n" not in said and len(said) < 2000
        return "refused" if good else f"a sentence that is none: {said[:300]!r}"
    except BaseException:
        return "traceback: " + " | ".join(traceback.format_exc().strip().splitlines()[-3:])
    return "read"


def run_block(name: str, reader: Reader, numbers: range, place: Path) -> Iterator[tuple[int, Any]]:
    """Cases in a process of their own; number and what is wrong, of those that end as they should not.

    With the number -1, how many ended as they should.
    """
    with mmap.mmap(-1, COUNTS.size) as shared:  # the case under way, and how many were read and refused
        receiving, sending = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(receiving)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            with os.fdopen(sending, "w") as out:
                ended = Counter[str]()
                for number in numbers:
                    shared[:] = COUNTS.pack(number, ended["read"], ended["refused"])
                    signal.alarm(HANG_SECONDS)
                    draw = random.Random(f"{name} {number}")
                    data = changed(draw.choice(reader.seeds), reader.seeds, draw)
                    with tempfile.TemporaryDirectory(dir=place) as folder:
                        said = judged(reader, data, Path(folder))
                    ended[said] += 1
                    if said not in ("read", "refused"):
                        print(json.dumps([number, said]), file=out, flush=True)
                shared[:] = COUNTS.pack(number, ended["read"], ended["refused"])
            os._exit(0)
        os.close(sending)
        with os.fdopen(receiving) as lines:
            for line in lines:
                yield tuple(json.loads(line))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        number, read, refused = COUNTS.unpack(shared[:])
        yield -1, {"read": read, "refused": refused}
        if status:
            yield number, "it hangs" if status == -signal.SIGALRM else f"it ends by {status}"
            if number + 1 < numbers.stop:
                yield from run_block(name, reader, range(number + 1, numbers.stop), place)


def main() -> int:
    """Run the program; 1 where anything is wrong. Ended early, it tells of what there was."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_long", description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000, help="in all (default: a million)")
    parser.add_argument("--reader", help="this one alone")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    given = parser.parse_args()
    hdf5.PROBE_SECONDS = 5
    every = readers()
    chosen = {given.reader: every[given.reader]} if given.reader else every
    part = given.cases / sum(SHARES.get(name, 1.0) for name in chosen)
    stops = {name: given.first + max(1, round(part * SHARES.get(name, 1.0))) for name in chosen}
    counts = {name: Counter[str]() for name in chosen}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for first in range(given.first, max(stops.values()), BLOCK):
            for name, reader in chosen.items():
                numbers = range(first, min(first + BLOCK, stops[name]))
                counts[name].update(run_round(name, reader, numbers))
    except KeyboardInterrupt:
        print("stopped")
    for name, count in counts.items():
        print(f"{name}: {sum(count.values())} cases, {dict(sorted(count.items()))}")
    wrong = sum(count["wrong"] for count in counts.values())
    print(f"{sum(sum(count.values()) for count in counts.values())} cases, {wrong} wrong", flush=True)
    return 1 if wrong else 0


def run_round(name: str, reader: Reader, numbers: range) -> Counter[str]:
    """Run cases, print what is wrong, and count how they ended."""
    counts: Counter[str] = Counter()
    if not numbers:
        return counts
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        for number, said in run_block(name, reader, numbers, Path(place)):
            if number < 0:
                counts.update(said)
            else:
                print(f"{name} {number}: {said}", flush=True)
    counts["wrong"] = len(numbers) - counts["read"] - counts["refused"]
    return counts


if __name__ == "__main__":
    sys.exit(main())
