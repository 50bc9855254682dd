"""map_ordered: order, errors, how many items are under way, and how it ends when it is interrupted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.processes import map_ordered

ROOT = Path(__file__).resolve().parent.parent

ENDLESS = """
import itertools, sys, time
from tools.processes import map_ordered
from tools.program import run_program

def count():
    for number in map_ordered(abs, itertools.count(), jobs=2, what="counting"):
        if number == 500:
            print("going", flush=True)
    return 0

if __name__ == "__main__":
    sys.exit(run_program("endless", count))
"""


def slow_when_even(number: int) -> int:
    if number % 2 == 0:
        time.sleep(0.002)
    return number * number


def fail_at_50(number: int) -> int:
    if number == 50:
        raise ValueError("fifty is too much")
    return number


def die_at_50(number: int) -> int:
    if number == 50:
        os._exit(1)
    return number


def fail_at_50_die_at_40(number: int) -> int:
    if number == 40:
        os.kill(os.getpid(), signal.SIGSEGV)
    return fail_at_50(number)


def die_by_a_signal_at_50_and_70(number: int) -> int:
    if number in (50, 70):
        os.kill(os.getpid(), signal.SIGSEGV)
    return number


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_the_order_of_the_items(jobs: int) -> None:
    results = map_ordered(slow_when_even, range(300), jobs=jobs, what="squaring")
    assert list(results) == [number * number for number in range(300)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_nothing_to_do(jobs: int) -> None:
    assert list(map_ordered(slow_when_even, [], jobs=jobs, what="squaring")) == []


def test_few_items_are_drawn_ahead() -> None:
    drawn = 0

    def items():
        nonlocal drawn
        for number in range(100_000):
            drawn += 1
            yield number

    results = map_ordered(abs, items(), jobs=2, what="drawing")
    for _ in range(1000):
        next(results)
    assert drawn < 1000 + 2000
    results.close()


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_comes_out(jobs: int) -> None:
    with pytest.raises(ValueError, match="fifty is too much"):
        list(map_ordered(fail_at_50, range(1000), jobs=jobs, what="failing"))


def test_a_dead_worker_is_an_error_not_a_hang() -> None:
    with pytest.raises(OSError, match="dying: a worker process died"):
        list(map_ordered(die_at_50, range(1000), jobs=2, what="dying"))


def test_who_dies_of_an_item_costs_that_item() -> None:
    results = map_ordered(
        die_by_a_signal_at_50_and_70, range(300), jobs=2, what="dying", died=lambda number: -number
    )
    assert list(results) == [-number if number in (50, 70) else number for number in range(300)]


def test_an_error_after_a_death_comes_out_in_its_turn() -> None:
    results = map_ordered(fail_at_50_die_at_40, range(300), jobs=2, what="dying", died=lambda _: -1)
    assert [next(results) for _ in range(50)] == [-1 if number == 40 else number for number in range(50)]
    with pytest.raises(ValueError, match="fifty is too much"):
        next(results)


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_ended_from_outside_it_leaves_no_process(tmp_path: Path, sent: int, status: int) -> None:
    program = tmp_path / "endless.py"
    program.write_text(ENDLESS)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, program],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "going\n"
    if sent == signal.SIGINT:
        os.killpg(process.pid, sent)  # a terminal's Ctrl-C reaches the whole group
    else:
        process.send_signal(sent)
    # stderr closes when the last process that holds it, worker or not, has ended.
    _, errors = process.communicate(timeout=120)
    assert process.returncode == status
    assert "Traceback" not in errors
