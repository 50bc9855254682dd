"""bench.rehearsal: stand-ins in the layouts that fetch knows, the plan, the table; not the walk."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

from bench.rehearsal.__main__ import (
    Measured,
    Planned,
    copy_checkout,
    end_session,
    memory_of,
    plan_for,
    plan_of,
    serving,
    session_of,
    table,
)
from bench.rehearsal.stand_ins import (
    Scale,
    cluster_sizes,
    make_ground_truth,
    make_oxford,
    make_table,
    make_training_pictures,
    photographs,
    write_sources,
)
from data_prep import fetch
from eval.files.ground_truth import read_ground_truth
from tools.run.plan import Need, as_text

SMALL = Scale(0.012, 64)


def test_real_counts() -> None:
    assert len(photographs(Scale())) == 5063
    sizes = cluster_sizes(Scale())
    assert (len(sizes), min(sizes), max(sizes)) == (713, 1, 850)


def test_fetch_takes_the_stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served, out = tmp_path / "served", tmp_path / "data"
    served.mkdir()
    makers = {
        "oxbuild_images-v1.tgz": make_oxford,
        "gt_files_170407.tgz": make_ground_truth,
        "retrieval-SfM-120k.pkl": make_table,
        "ims.tar.gz": make_training_pictures,
    }
    for name, make in makers.items():
        make(served / name, SMALL)
    for name in ("paris_1-v1.tgz", "paris_2-v1.tgz", "weights"):
        (served / name).touch()
    with serving(served) as url:
        write_sources(tmp_path / "sources.toml", url, SMALL, served / "weights")
        monkeypatch.setenv("FETCH_SOURCES", str(tmp_path / "sources.toml"))
        for thing, place in (("oxford5k-images", "jpg"), ("oxford5k-gt", "gt"), ("sfm120k", "sfm")):
            assert fetch.main([thing, "--out", str(out / place)]) == 0
    assert len(read_ground_truth(out / "gt")) == 55
    pictures = {path.stem: path for path in (out / "jpg").iterdir()}
    assert len(pictures) == len(photographs(SMALL))
    assert cv2.imread(str(pictures["all_souls_000001"])).shape == (768, 1024, 3)
    found = sorted(len(list(folder.iterdir())) for folder in (out / "sfm").iterdir())
    assert found == sorted(cluster_sizes(SMALL))


PLAN = """Plan for article on 2 cores, GPUs: none

data                 3.96 GB        3 min   DATABASE: 2.0 GB to download (at 10 MB/s), and unpacked
data                60.00 GB       50 min   TRAIN_PICTURES: 30.0 GB to download
lmdb                12.00 GB        2.5 h   570,400 pictures
finetune             4.98 GB   on the GPU   50,000 steps of 128
disk                80.94 GB of 70.0 GB free at /work
time                  3.4 h, computed from what was measured on 2 cores
"""


def test_the_plan_counts_the_stand_ins(tmp_path: Path) -> None:
    sizes_of = {"oxbuild_images-v1.tgz": 1234, "ims.tar.gz": 567, "paris_1-v1.tgz": 20, "paris_2-v1.tgz": 3}
    for name, size in sizes_of.items():
        (tmp_path / name).write_bytes(bytes(size))
    plan = tmp_path / "plan.py"
    plan.write_text((Path(__file__).parent.parent / "tools/run/plan.py").read_text())
    plan_for(plan, SMALL, tmp_path)
    names: dict[str, Any] = {}
    module = {"__name__": "plan", "__file__": str(plan)}
    exec(plan.read_text().replace('if __name__ == "__main__"', "if False"), module, names)
    sizes = cluster_sizes(SMALL)
    assert names["PUBLISHED"]["oxford5k"] == (len(photographs(SMALL)), 1234, 11)
    assert names["PUBLISHED"]["sfm120k"] == (sum(sizes), 567, 713)
    assert names["PUBLISHED"]["paris6k"] == (2 * SMALL.of(320, 5), 23, 11)


def test_the_copy_has_the_network_at_its_side(tmp_path: Path) -> None:
    for name in ("oxbuild_images-v1.tgz", "ims.tar.gz", "paris_1-v1.tgz", "paris_2-v1.tgz"):
        (tmp_path / name).touch()
    copy_checkout(tmp_path / "copy", SMALL, tmp_path)
    texts = [path.read_text() for path in (tmp_path / "copy/prototxt/vgg16").rglob("*.prototxt")]
    assert sum(": 64" in text for text in texts) >= 3 and not any("224" in text for text in texts)
    recipe = (tmp_path / "copy/tools/run/recipes/representations.sh").read_text()
    assert '--layers "$map" --side 96 --pool sum,average,max,crow,rmac' in recipe
    solver = (tmp_path / "copy/prototxt/vgg16/solver.prototxt").read_text()
    assert "test_interval: 50000" in solver and "max_iter: 50000" in solver
    assert "MAX_ITER=3" in (tmp_path / "copy/profiles/article").read_text()


def test_the_plan_as_it_is_printed_is_read() -> None:
    """Sizes in kB, MB and GB, and every stage's line."""
    needs = [
        Need("extract", 664e6, 1320.0, "x"),
        Need("check", 0, 240.0, "x"),
        Need("lmdb", 112e9, 7200.0, "x"),
        Need("finetune", 5e9, None, "x"),
    ]
    text = as_text(needs, {"PROFILE": "article", "GPUS": "0", "W": "/", "DATA_DIR": "/"}, 2)
    assert plan_of(text) == {need.stage: Planned(need.seconds, pytest.approx(need.bytes)) for need in needs}


def test_the_plan_is_read() -> None:
    plan = plan_of(PLAN)
    assert plan["data"] == Planned(53 * 60, pytest.approx(63.96e9))
    assert plan["lmdb"] == Planned(2.5 * 3600, 12e9)
    assert plan["finetune"] == Planned(None, 4.98e9)


def test_the_table_marks_what_the_plan_missed() -> None:
    done = [
        Measured("data", 53 * 60, 90, 5 << 20, 64_000_000_000),
        Measured("lmdb", 3600, 6600, 0, 77_000_000_000, ["SIGINT"]),
    ]
    rows = table(done, plan_of(PLAN), cores=2).splitlines()
    assert rows[2] == "| data | 53.00 | 53.00 | 1.50 | 5 | 64.00 | 63.96 | - |"
    assert rows[3] == "| lmdb | 60.00 | 150.00 (!) | 110.00 | 0 | 13.00 | 12.00 | SIGINT |"
    assert rows[4].startswith("| all | 113.0 | | 111.5 | 5 | 77.00 |")


def test_memory_and_end_of_a_session() -> None:
    """A process and its child in another group: both count, and SIGKILL reaches both."""
    child = "held = bytearray(60_000_000); print(len(held), flush=True); import time; time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], process_group=0)"
    process = subprocess.Popen([sys.executable, "-c", parent], start_new_session=True, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"60000000\n"
    assert 60_000_000 < memory_of(process.pid) < 200_000_000
    assert len(list(session_of(process.pid))) == 2
    end_session(process.pid, 9)
    assert process.wait() == -9
    while list(session_of(process.pid)):
        pass
