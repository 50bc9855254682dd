"""--scheduler: what a Dask cluster of real processes gives, and what is said when it can't."""

import filecmp
import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import caffe
import cv2
import dask
import h5py
import numpy as np
import pytest
from distributed import Client, LocalCluster

from eval.forward.kept_process import KeptProcess
from eval.forward.network import Network
from eval.forward.photographs import Picture
from eval.forward.workers import Batch
from tools.cluster import _run, executor_at
from tools.processes import map_ordered

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = """
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 24 dim: 20 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "fc6" type: "InnerProduct" bottom: "conv" top: "fc6"
  inner_product_param { num_output: 37 weight_filler { type: "xavier" } } }
"""
PICTURES = 40


@contextmanager
def local_cluster(workers: int, threads: int = 1) -> Iterator[LocalCluster]:
    cluster = LocalCluster(
        n_workers=workers, threads_per_worker=threads, processes=True, dashboard_address=":0"
    )
    try:
        yield cluster
    finally:
        # Dask can't join a worker that its nanny is just about to start anew, after one was killed
        with suppress(AssertionError):
            cluster.close()


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a cluster of two worker processes."""
    with local_cluster(2) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with classes/{a,b}/*.jpg, some of them bad, good/{a,b} without those, and a network."""
    folder = tmp_path_factory.mktemp("scheduler")
    random = np.random.default_rng(5)
    for i in range(PICTURES):
        height, width = (int(size) for size in random.integers(75, 130, 2))
        picture = cv2.resize(random.integers(0, 256, (6, 6, 3), dtype=np.uint8), (width, height))
        for kind in ("classes", "good"):
            path = folder / kind / "ab"[i % 2] / f"p {i:02}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), picture)
    (folder / "classes" / "a" / "text.jpg").write_text("not a picture")
    cv2.imwrite(str(folder / "classes" / "a" / "grey.jpg"), picture[:, :, 0])
    shutil.copy(folder / "good" / "b" / "p 01.jpg", folder / "classes" / "b" / "no extension")
    (folder / "deploy.prototxt").write_text(DEPLOY)
    caffe.set_random_seed(3)
    caffe.Net(str(folder / "deploy.prototxt"), caffe.TEST).save(str(folder / "weights.caffemodel"))
    return folder


@pytest.fixture
def work(made: Path, tmp_path: Path) -> Path:
    """A copy of `made` to work in."""
    return shutil.copytree(made, tmp_path / "work")


def start(folder: Path, module: str, *words: object, **more: str) -> subprocess.Popen[str]:
    """A program of the project, begun in folder with paths relative to it."""
    paths = [more.pop("first", ""), str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | more
    command = [sys.executable, "-m", module, *map(str, words)]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen[str], status: int = 0) -> str:
    """What a program has written to stderr, once it has ended with this status."""
    _, said = process.communicate(timeout=120)
    assert process.returncode == status, said
    return said


def run(*arguments: object, status: int = 0, **more: str) -> str:
    return ended(start(*arguments, **more), status)


LOOK = ("data_prep.check_images", "good")
AUGMENT = ("data_prep.augment", "good", "--num-wanted", 150, "--engine", "opencv")


def extract(images: Path | str, out: Path | str, deploy: str = "deploy.prototxt") -> tuple[object, ...]:
    """To be run in `made`: the processes kept for a network are kept from test to test then."""
    network = ("--deploy", deploy, "--weights", "weights.caffemodel", "--layers", "conv", "fc6")
    return ("eval.extract", *network, "--mean", "100,110,120", "--images", images, "--out", out)


@pytest.fixture(scope="module")
def features(made: Path) -> Path:
    """The features without a cluster."""
    run(made, *extract("good", "plain.h5"))
    return made / "plain.h5"


def contents(path: Path) -> dict[str, object]:
    """Everything in a features file but its name."""
    found: dict[str, object] = {}
    with h5py.File(path) as file:
        found |= {f"attribute {name}": value for name, value in file.attrs.items()}
        file.visititems(
            lambda name, node: found.update(
                {name: (node.dtype, node[:].tolist())} if isinstance(node, h5py.Dataset) else {}
            )
        )
    return found


def assert_same_tree(one: Path, other: Path) -> None:
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    assert filecmp.cmpfiles(one, other, list(map(str, names)), shallow=False)[1:] == ([], [])


def test_the_same_report_quarantine_and_mended_files(made, work, tmp_path, scheduler) -> None:
    other = shutil.copytree(made, tmp_path / "other")
    words = ("data_prep.check_images", "classes", "--fix", "--quarantine", "bad")
    plain, spread = start(other, *words), start(work, *words, "--scheduler", scheduler)
    ended(plain)
    ended(spread)
    assert_same_tree(other, work)
    assert len((work / "classes_check.csv").read_text().splitlines()) == 1 + 3
    assert (work / "bad" / "a" / "text.jpg").exists() and (
        work / "classes" / "b" / "no extension.jpg"
    ).exists()


def test_the_same_features(made: Path, features: Path, scheduler: str) -> None:
    run(made, *extract("good", "spread.h5"), "--scheduler", scheduler)
    assert contents(made / "spread.h5") == contents(features)
    assert np.ptp(contents(features)["database/fc6"][1]) > 1


def wait_until(condition: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_worker_killed_among_augmented_copies(made: Path, work: Path, tmp_path: Path) -> None:
    other = shutil.copytree(made / "good", tmp_path / "other" / "good").parent
    plain = start(other, *AUGMENT)
    with local_cluster(2) as cluster:
        process = start(work, *AUGMENT, "--scheduler", cluster.scheduler_address)
        wait_until(lambda: next((work / "good").rglob("aug_*"), None))
        os.kill(cluster.workers[0].pid, signal.SIGKILL)
        assert len(list((work / "good").rglob("aug_*"))) < 200
        assert re.fullmatch(r"(augmenting: .*\n)+", ended(process))
    ended(plain)
    assert_same_tree(other / "good", work / "good")


def test_what_caffe_says_comes_back_and_no_worker_dies_of_it(made: Path, work: Path, scheduler: str) -> None:
    (made / "wrong.prototxt").write_text(DEPLOY.replace('"Convolution"', '"Convulsion"'))
    bad = work / "good" / "a" / "p 08.jpg"
    bad.write_text("no picture")
    with Client(scheduler, set_as_default=False) as client:
        before = client.run(os.getpid)
        words = ("--scheduler", scheduler)
        said = run(made, *extract(work / "good", work / "f.h5"), *words, status=1)
        assert said.splitlines()[-1] == f"extract: {bad} is not a picture that OpenCV can read"
        said = run(made, *extract("good", work / "f.h5", "wrong.prototxt"), *words, status=1)
        assert re.fullmatch(r"extract: Caffe stopped: .*Unknown layer type: Convulsion.*\n", said)
        assert client.run(os.getpid) == before


def test_the_process_kept_for_a_network_ends_when_nothing_comes(made: Path) -> None:
    network = Network(
        *(str(made / name) for name in ("deploy.prototxt", "weights.caffemodel")),
        ("fc6",),
        (24, 20),
        (0, 0, 0),
        8,
    )
    batch = Batch("database", 0, [Picture(str(made / "good" / "a" / "p 00.jpg"), None, "p")])
    kept = KeptProcess(idle=0.3)
    others = multiprocessing.active_children()
    first = kept.compute(network, batch)
    (process,) = set(multiprocessing.active_children()) - set(others)
    process.kill()
    assert kept.compute(network, batch)["fc6"].tobytes() == first["fc6"].tobytes()
    wait_until(lambda: len(multiprocessing.active_children()) == len(others))


@contextmanager
def silent_server() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_no_scheduler_there(work: Path) -> None:
    with silent_server() as silent:
        programs = (LOOK, AUGMENT, extract("good", "f.h5"))
        cases = [(program, "127.0.0.1:1") for program in programs] + [(LOOK, silent), (LOOK, "tcp://nowhere")]
        running = [start(work, *program, "--scheduler", address) for program, address in cases]
        began = time.monotonic()
        with pytest.raises(OSError, match="no Dask scheduler answers"):
            executor_at(silent, []).__enter__()
        assert 4 < time.monotonic() - began < 60
        for (program, address), process in zip(cases, running, strict=True):
            name = program[0].partition(".")[2]
            assert ended(process, 1) == f"{name}: no Dask scheduler answers at {address}\n"
        said = run(work, *LOOK, DASK_SCHEDULER_ADDRESS="127.0.0.1:1", status=1)
        assert said == "check_images: no Dask scheduler answers at 127.0.0.1:1\n"


def test_a_goodbye_that_takes_too_long_hides_nothing(scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    close = Client.close
    slow = []

    def close_slowly(client: Client, *args: object, **kwargs: object) -> None:
        close(client, *args, **kwargs)
        slow.append(client)
        raise TimeoutError("Timeout")

    monkeypatch.setattr(Client, "close", close_slowly)
    with pytest.raises(ValueError, match="is not a picture"), executor_at(scheduler, []):
        raise ValueError("p.jpg is not a picture")
    with executor_at(scheduler, []) as executor:
        assert executor.submit(abs, -3).result() == 3
    assert len(slow) >= 2


def test_dask_not_installed(work: Path) -> None:
    (work / "lacking").mkdir()
    (work / "lacking" / "distributed.py").write_text("raise ModuleNotFoundError('distributed')")
    said = run(work, *LOOK, "--scheduler", "x:1", status=1, first=str(work / "lacking"))
    assert said == "check_images: --scheduler needs Dask: pip install distributed\n"
    assert run(work, *LOOK, first=str(work / "lacking")).startswith("checking: ")


def test_a_scheduler_without_workers_and_workers_with_threads() -> None:
    with local_cluster(0) as cluster:
        address = cluster.scheduler_address
        with pytest.raises(ValueError, match="has no workers: start some by python -m dask worker"):
            executor_at(address, []).__enter__()
    with (
        local_cluster(1, threads=2) as cluster,
        pytest.raises(ValueError, match=r"worker tcp\S+ runs 2 threads: start it with --nthreads 1"),
    ):
        executor_at(cluster.scheduler_address, []).__enter__()


def test_files_that_a_worker_does_not_see(work: Path, scheduler: str) -> None:
    with pytest.raises(ValueError, match=rf"worker tcp\S+ does not see {work}/nowhere"):
        executor_at(scheduler, [work / "good", work / "nowhere"]).__enter__()
    with executor_at(scheduler, [work / "good"]) as executor:
        assert executor.workers == 2


def test_a_worker_that_comes_later_is_asked_too(scheduler: str) -> None:
    sentence = r"worker tcp\S+ has another version of the code"
    with Client(scheduler, set_as_default=False) as client, pytest.raises(ValueError, match=sentence):
        client.submit(_run, "the hash of other code", Path.cwd(), b"never unpickled").result()


def worker_of(project: Path, address: str) -> subprocess.Popen[str]:
    words = ("worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard")
    return start(project, "dask", *words, first=str(project))


def test_workers_with_other_code(work: Path, tmp_path: Path) -> None:
    """A copy of the project is the same code. Edited it is another, though the worker's files are too."""
    copy = tmp_path / "copy"
    for room in ("data_prep", "eval", "tools"):
        shutil.copytree(ROOT / room, copy / room)
    with local_cluster(0) as cluster, worker_of(copy, cluster.scheduler_address) as worker:
        try:
            with Client(cluster.scheduler_address, set_as_default=False) as client:
                client.wait_for_workers(1, timeout=120)
            program = (*LOOK, "--scheduler", cluster.scheduler_address)
            assert run(work, *program).startswith("checking: ")
            with (copy / "data_prep" / "check_images.py").open("a") as source:
                source.write("\nGREY_ROWS = 9\n")
            said = run(work, *program, status=1, first=str(copy))
            sentence = "has another version of the code or of its packages: restart it with this one"
            assert re.fullmatch(rf"check_images: worker tcp\S+ {sentence}\n", said)
            assert run(work, *program).startswith("checking: ")
        finally:
            worker.kill()
            worker.communicate()


def test_workers_of_another_project(work: Path, tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "__init__.py").write_text("")
    with local_cluster(0) as cluster, worker_of(tmp_path, cluster.scheduler_address) as worker:
        try:
            with Client(cluster.scheduler_address, set_as_default=False) as client:
                client.wait_for_workers(1, timeout=120)
            said = run(work, *LOOK, "--scheduler", cluster.scheduler_address, status=1)
            sentence = rf"can't run this project, was it started in {ROOT}\? \(.*\)"
            assert re.fullmatch(rf"check_images: worker tcp\S+ {sentence}\n", said)
        finally:
            worker.kill()
            worker.communicate()


def test_work_that_kills_every_worker() -> None:
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        local_cluster(1) as cluster,
        pytest.raises(OSError, match="too many workers died at one piece of work"),
        executor_at(cluster.scheduler_address, []) as executor,
    ):
        executor.submit(os._exit, 1).result()


def end_at_20(number: int) -> int:
    if number == 20:
        os._exit(1)
    return number


def test_an_item_that_kills_every_worker_costs_that_item() -> None:
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        local_cluster(2) as cluster,
        executor_at(cluster.scheduler_address, []) as executor,
    ):
        results = map_ordered(
            end_at_20, range(60), jobs=2, what="ending", executor=executor, died=lambda number: -number
        )
        assert list(results) == [-20 if number == 20 else number for number in range(60)]


def test_any_executor_will_do() -> None:
    with ThreadPoolExecutor(2) as executor:
        squares = map_ordered(lambda n: n * n, range(500), jobs=2, what="squaring", executor=executor)
        assert list(squares) == [n * n for n in range(500)]
