"""Processes that read ahead, as those of GPUs do: here with None for a GPU, on the CPU."""

import os
import threading
from pathlib import Path

import caffe
import cv2
import numpy as np
import pytest
from crashing import FATAL, crashing_environment

from eval.forward.network import Network
from eval.forward.photographs import Picture
from eval.forward.workers import Batch, LostProcessError, Rows, ahead_of, compute, computed, workers

DEPLOY = """
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 16 dim: 20 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
"""


@pytest.fixture
def network(tmp_path: Path) -> Network:
    (tmp_path / "deploy.prototxt").write_text(DEPLOY)
    caffe.set_random_seed(3)
    caffe.Net(str(tmp_path / "deploy.prototxt"), caffe.TEST).save(str(tmp_path / "weights.caffemodel"))
    deploy, weights = (str(tmp_path / name) for name in ("deploy.prototxt", "weights.caffemodel"))
    return Network(deploy, weights, ("fc",), (16, 20), (1.0, 2.0, 3.0), batch=2)


def jpeg(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (40 + number, 50, 3), np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


@pytest.fixture
def batches(tmp_path: Path) -> list[Batch]:
    """Two pictures each, and one picture in two of them."""
    for number in range(20):
        (tmp_path / f"{number:02}.jpg").write_bytes(jpeg(number))
    pictures = [Picture(str(tmp_path / f"{number:02}.jpg")) for number in [*range(20), 3, 4]]
    return [Batch("database", start, pictures[start : start + 2]) for start in range(0, len(pictures), 2)]


def all_of(network: Network, batches: list[Batch], gpus: list[int | None] | None) -> dict[int, Rows]:
    with workers(network, 1, gpus) as pool:
        return {batch.start: rows for batch, rows in computed(pool, compute, batches, ahead_of(1, gpus))}


@pytest.mark.parametrize("processes", [1, 3])
def test_features_are_the_same_bytes(network: Network, batches: list[Batch], processes: int) -> None:
    plain, ahead = all_of(network, batches, None), all_of(network, batches, [None] * processes)
    assert plain.keys() == ahead.keys() == {batch.start for batch in batches}
    assert all(np.array_equal(plain[start]["fc"], ahead[start]["fc"]) for start in plain)


def test_pictures_are_read_before_their_turn(network: Network, tmp_path: Path) -> None:
    """The process opens the fifth of eight pipes before the fourth has given it a picture."""
    batches = []
    for number in range(8):
        os.mkfifo(tmp_path / f"{number}.jpg")
        batches.append(Batch("database", number, [Picture(str(tmp_path / f"{number}.jpg"))]))
    opened: list[int] = []

    def hand_over(number: int, may_write: threading.Event) -> None:
        with (tmp_path / f"{number}.jpg").open("wb") as pipe:  # waits for one who reads
            opened.append(number)
            may_write.wait()
            pipe.write(jpeg(number))

    may_write = [threading.Event() for _ in batches]
    threads = [threading.Thread(target=hand_over, args=one, daemon=True) for one in enumerate(may_write)]
    for thread in threads:
        thread.start()
    for number in (0, 1, 2, 4, 5, 6, 7):
        may_write[number].set()
    seen: list[bool] = []

    def release_the_fourth() -> None:
        threads[4].join(20)
        seen.append(4 in opened)
        may_write[3].set()

    threading.Thread(target=release_the_fourth, daemon=True).start()
    rows = all_of(network, batches, [None])
    assert len(rows) == 8 and seen == [True]


def test_a_picture_that_is_none_is_told(network: Network, batches: list[Batch]) -> None:
    Path(batches[3].pictures[1].path).write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"07\.jpg is "):
        all_of(network, batches, [None, None])


def test_a_picture_that_crashes_its_decoder_is_named(
    network: Network, batches: list[Batch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", crashing_environment(tmp_path / "python")["PYTHONPATH"])
    Path(batches[3].pictures[1].path).write_bytes(jpeg(7) + FATAL)
    with pytest.raises(LostProcessError, match=r"07\.jpg crashes its decoder"):
        all_of(network, batches, [None])
