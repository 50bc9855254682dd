"""tools.plot_log on logs written by hand, and on one that Caffe itself writes."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.plot_log import main, parse, plot, read_log, summary

GLOG = "I1122 06:01:02.123456  1234 solver.cpp:218] "
LOG = """
Iteration 0, Testing net (#0)
    Test net output #0: accuracy = 0.1
    Test net output #1: loss = 2.3026 (* 1 = 2.3026 loss)
Iteration 0 (0 iter/s, 0.5s/100 iters), loss = 2.5
    Train net output #0: loss = 2.5 (* 1 = 2.5 loss)
Iteration 0, lr = 0.001
Iteration 100 (-1.2e-07 iter/s, 3s/100 iters), loss = 1.5e+00
    Train net output #0: loss = 1.4 (* 1 = 1.4 loss)
Iteration 100, lr = 0.001
Iteration 200, loss = 0.75
Iteration 200, lr = 0.0001
Iteration 300, loss = 0.5
Iteration 300, Testing net (#0)
    Test net output #0: accuracy = 0.9
    Test net output #1: loss = 0.6 (* 1 = 0.6 loss)
Optimization Done.
"""


def lines(text: str) -> list[str]:
    return [GLOG + line for line in text.strip("\n").split("\n")]


def test_what_a_later_start_repeats_may_be_all_that_there_was() -> None:
    again = "Iteration 5, Testing net (#0)\n    Test net output #0: loss = 2\nIteration 0, loss = 1.5\n"
    log = parse(again.splitlines(), "log")
    assert log.test == {} and log.loss == {0: 1.5} and summary(log)


def test_a_log_of_no_training_is_named() -> None:
    for line in (
        "Train net output #0: loss = 1",
        f"Iteration {'9' * 5000}, loss = 1",
        "Iteration 3, lr = 0.1",
    ):
        with pytest.raises(ValueError, match="a log has no line of a Caffe training"):
            parse([line, "Iteration 1, lr = 1", "Train net output #0: loss = 1"], "a log")


def test_each_test_net_has_its_own_curve() -> None:
    lines = "".join(
        f"Iteration {i}, Testing net (#{net})\n    Test net output #0: accuracy = 0.{net + 1}\n"
        for i in (0, 50)
        for net in (0, 1)
    )
    log = parse(f"{lines}Iteration 50, loss = 1.5\n".splitlines(), "log")
    assert log.test == {"accuracy": {0: 0.1, 50: 0.1}, "accuracy (test net 1)": {0: 0.2, 50: 0.2}}


def test_every_value_of_a_log() -> None:
    log = parse(["Log file created at: 2026/11/22", *lines(LOG), "some library's own words"], "log")
    assert log.loss == {0: 2.5, 100: 1.5, 200: 0.75, 300: 0.5}
    assert log.train == {"loss": {0: 2.5, 100: 1.4}}
    assert log.test == {"accuracy": {0: 0.1, 300: 0.9}, "loss": {0: 2.3026, 300: 0.6}}
    assert log.rate_steps() == [(200, 0.0001)]
    assert log.last_iteration() == 300


def test_what_was_trained_again_after_a_stop_is_counted_once() -> None:
    again = "Iteration 200, loss = 0.7\nIteration 200, lr = 0.0001\nIteration 250, loss = 0.65"
    log = parse(lines(LOG + again), "log")
    assert log.loss == {0: 2.5, 100: 1.5, 200: 0.7, 250: 0.65}
    assert log.test["accuracy"] == {0: 0.1}


@given(st.lists(st.floats(width=32), min_size=1, max_size=20))
def test_any_number_that_caffe_prints_comes_back(losses: list[float]) -> None:
    log = parse([f"{GLOG}Iteration {i}, loss = {loss:.6g}" for i, loss in enumerate(losses)], "log")
    assert [f"{log.loss[i]:.6g}" for i in range(len(losses))] == [f"{loss:.6g}" for loss in losses]


@pytest.mark.parametrize(
    ("said", "meant"), [("1.#QNAN", "nan"), ("-1.#IND", "nan"), ("1.#INF", "inf"), ("-1.#INF", "-inf")]
)
def test_what_windows_calls_no_number_is_none(said: str, meant: str) -> None:
    log = parse(
        lines(f"Iteration 20, loss = {said}\n    Train net output #0: loss = {said} (* 1 = {said} loss)"),
        "log",
    )
    assert f"{log.loss[20]:g}" == f"{log.train['loss'][20]:g}" == meant


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_a_log_that_powershell_wrote(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (tmp_path / "log.txt").write_bytes((mark + "\r\n".join(lines(LOG))).encode(encoding))
    assert read_log(tmp_path / "log.txt").loss == {0: 2.5, 100: 1.5, 200: 0.75, 300: 0.5}


def test_a_column_a_phase_and_marked_steps() -> None:
    figure = plot([parse(lines(LOG), "log_last.txt"), parse(lines(LOG), "log.txt")])
    assert [axes.get_title() for axes in figure.axes] == ["log_last", "log", "", ""]
    drawn = {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].get_lines()}
    assert drawn["training"] == [2.5, 1.5, 0.75, 0.5]
    assert drawn["validation"] == [2.3026, 0.6]
    assert [text.get_text() for text in figure.axes[0].texts] == ["rate 0.0001"]


def test_a_training_from_nothing_is_dashed_beside_the_last_phase(tmp_path: Path) -> None:
    logs = [parse(lines(LOG), "one"), parse(lines(LOG), "two")]
    shorter = parse(lines("Iteration 0, loss = 3\nIteration 50, loss = 2.75"), "nothing")
    dashed = [
        [line.get_xydata().tolist() for line in axes.get_lines() if line.get_linestyle() == "--"]
        for axes in plot(logs, shorter).axes
    ]
    assert dashed == [[], [[[0, 3], [50, 2.75]]], [], []]
    (tmp_path / "a.txt").write_text(LOG)
    (tmp_path / "b.txt").write_text("Iteration 0, loss = 3\n")
    values = tmp_path / "values.csv"
    words = [str(tmp_path / "a.txt"), "--beside", str(tmp_path / "b.txt"), "--csv", str(values)]
    assert main(words) == 0
    assert f"{tmp_path / 'b.txt'},loss,loss,0,3.0" in values.read_text()


def test_a_rate_that_always_falls_gets_a_panel_instead_of_marks() -> None:
    falling = [f"{GLOG}Iteration {i}, {what} = {1 / (i + 1)}" for i in range(30) for what in ("loss", "lr")]
    figure = plot([parse(falling, "log")])
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "learning rate"]
    assert not figure.axes[0].texts


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_figure_and_values_are_written(tmp_path: Path, ending: str, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "log.txt").write_text("\n".join(lines(LOG)))
    out, values = tmp_path / "new" / f"training.{ending}", tmp_path / "new" / "training.csv"
    assert main([str(tmp_path / "log.txt"), "--out", str(out), "--csv", str(values)]) == 0
    assert out.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml", b"%PDF-")
    rows = list(csv.DictReader(values.open()))
    assert [row["value"] for row in rows if row["what"] == "loss"] == ["2.5", "1.5", "0.75", "0.5"]
    assert "validation accuracy 0.9 (best 0.9 at 300)" in capsys.readouterr().out
    assert sorted(path.name for path in out.parent.iterdir()) == sorted((out.name, values.name))


def test_without_out_the_figure_lies_beside_the_log(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("\n".join(lines(LOG)))
    assert main([str(tmp_path / "log.txt")]) == 0
    assert (tmp_path / "log.png").is_file()


def test_a_loss_that_is_no_number_is_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "log.txt").write_text("\n".join(lines("Iteration 0, loss = 2\nIteration 5, loss = -nan")))
    assert main([str(tmp_path / "log.txt")]) == 0
    assert "the loss is no number from iteration 5 on" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "options", "sentence"),
    [
        ("log.txt", None, [], "No such file or directory: "),
        ("log.txt", b"hello\n", [], "has no line of a Caffe training"),
        ("log.txt", b"\xff\xfe\x00\n", [], "has no line of a Caffe training"),
        ("log.txt", LOG.encode(), ["--out", "training.doc"], "training.doc must end in .png, .svg or .pdf"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path,
    name: str,
    content: bytes | None,
    options: list[str],
    sentence: str,
    capfd: pytest.CaptureFixture,
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert main([str(tmp_path / name), *options]) == 1
    said = capfd.readouterr().err
    assert said.startswith("plot_log: ") and sentence in said and said.count("\n") == 1


def test_a_log_of_caffes_own(tmp_path: Path) -> None:
    net = """layer { name: "d" type: "DummyData" top: "data" top: "label"
      dummy_data_param { shape { dim: 4 dim: 2 } shape { dim: 4 }
        data_filler { type: "gaussian" } data_filler { type: "constant" } } }
    layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
      inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
    layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy"
      include { phase: TEST } }
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }"""
    (tmp_path / "net.prototxt").write_text(net)
    (tmp_path / "solver.prototxt").write_text(
        f'net: "{tmp_path}/net.prototxt" base_lr: 0.1 lr_policy: "step" stepsize: 20 gamma: 0.1 display: 5'
        f' max_iter: 40 test_iter: 1 test_interval: 10 snapshot_prefix: "{tmp_path}/s" solver_mode: CPU'
    )
    done = subprocess.run(
        ["caffe", "train", "-solver", str(tmp_path / "solver.prototxt")],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"GLOG_logtostderr": "1", "GLOG_minloglevel": "0"},
    )
    log = parse(done.stderr.splitlines(), "log")
    assert sorted(log.loss) == list(range(0, 45, 5))
    assert sorted(log.test["accuracy"]) == [0, 10, 20, 30, 40] and set(log.test) == {"accuracy", "loss"}
    assert log.rate_steps() == [(20, pytest.approx(0.01))]
    printed = re.findall(r"Iteration (\d+) \(.*\), loss = (\S+)", done.stderr)
    assert all(log.loss[int(i)] == float(loss) for i, loss in printed) and len(printed) == 8


def test_interrupted_while_reading_a_pipe_it_leaves_nothing(tmp_path: Path) -> None:
    pipe = tmp_path / "log"
    os.mkfifo(pipe)
    program = subprocess.Popen(
        [sys.executable, "-m", "tools.plot_log", str(pipe), "--out", str(tmp_path / "f.png")],
        cwd=Path(__file__).parent.parent,
    )
    with pipe.open("w"):  # opens once the program reads
        program.send_signal(2)
        assert program.wait(30) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
