"""In which precision a CPU computes features: FP32, or bf16 where that is asked for and it can."""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import cache

from tools.processes import sigint_held_back, spawned_pool

SETTING = "CAFFE_CPU_PRECISION"
PRECISIONS = ("fp32", "bf16")


def add_precision_option(parser: argparse.ArgumentParser) -> None:
    """Add --precision."""
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help=f"what CPUs compute in; bf16 is faster, and rounds (default: {SETTING}, or fp32)",
    )


def asked_precision(option: str | None) -> str:
    """What a program's --precision says, or else the environment. Raises ValueError for nonsense there."""
    precision = option or os.environ.get(SETTING) or PRECISIONS[0]
    if precision not in PRECISIONS:
        raise ValueError(f"{SETTING} is {precision!r}, neither fp32 nor bf16")
    return precision


def given_precision(precision: str, gpus: Sequence[int], program: str) -> str:
    """What comes of the precision that is asked for on this machine, said on the terminal where it is
    another."""
    if precision == "fp32":
        return precision
    why_not = "it is for CPUs, and GPUs compute in FP32" if gpus else why_no_bf16()
    if not why_not:
        return precision
    print(f"{program}: FP32, not bf16 as asked for: {why_not}", file=sys.stderr, flush=True)
    return "fp32"


@cache
def why_no_bf16() -> str:
    """A clause that says why Caffe can't compute in bf16 here; empty where it can."""
    with spawned_pool(1) as pool:
        with sigint_held_back():
            answer = pool.submit(_caffes_answer)
        return answer.result()


def _caffes_answer() -> str:
    os.environ |= {SETTING: "bf16", "GLOG_minloglevel": "2"}
    return set_for_caffe("bf16")


def set_for_caffe(precision: str) -> str:
    """Have Caffe compute so in this process, which has not computed yet; a clause on why it can't, or ""."""
    os.environ[SETTING] = precision  # Caffe reads it once
    import caffe

    computed, why_not = caffe.cpu_precision()
    return "" if computed == precision else why_not or f"this process computes in {computed} already"
