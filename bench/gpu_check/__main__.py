"""One GPU, one command, under seven minutes: does Caffe compute right on it, and how fast.

Needs no package but tqdm, which a bundle has in it. Results are written after every part.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.gpu_check import nets
from bench.gpu_check.parts import PARTS, REHEARSAL_TESTS, Check, device, python_with_torch
from bench.gpu_check.running import Caffe, CheckError, check_libraries, check_machine, nvidia_libraries
from tools.program import run_program, write_text

MOST_SECONDS = 410
LEAST_SECONDS = 5  # of a part that is begun


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu_check",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Does Caffe compute right on this GPU, and how fast: Caffe's own tests, losses and\n"
        "features beside the CPU's, times beside PyTorch's. Under seven minutes. Exit status 1, with the\n"
        "reasons, where anything is wrong; a goal of speed that is missed is not.",
        epilog="example: python -m bench.gpu_check --gpu 0 --out gpu --torch ~/torch/bin/python",
    )
    add = parser.add_argument
    prefix = os.environ.get("CAFFE_PREFIX")
    add("--gpu", type=int, default=0, metavar="N", help="its number, as nvidia-smi's (default: 0)")
    add("--out", type=Path, default=Path("gpu_check"), metavar="DIR", help="default: gpu_check")
    add("--torch", metavar="PYTHON", help="a Python that has PyTorch (default: this one, where it has)")
    add("--prefix", type=Path, default=prefix, metavar="DIR", help="Caffe's (default: CAFFE_PREFIX)")
    add(
        "--rehearse",
        action="store_true",
        help="all on the CPU, in small: checks the check, says nothing else",
    )
    args = parser.parse_args(argv)
    if not args.prefix:
        parser.error("--prefix or CAFFE_PREFIX names Caffe's folder")
    if args.gpu < 0:
        parser.error("--gpu takes a number from 0 up")
    return args


def make_check(args: argparse.Namespace, scratch: Path) -> Check:
    """What to measure. Raises CheckError where Caffe can't start here."""
    check_machine()
    prefix = args.prefix.resolve()
    if not (prefix / "bin" / "caffe_measure").exists():
        raise CheckError(f"{prefix} holds no Caffe (bin/caffe_measure)")
    if args.torch and not Path(args.torch).exists():
        raise CheckError(f"--torch {args.torch}: there is no such program")
    torch = python_with_torch(args.torch)
    gpu = None if args.rehearse else args.gpu
    caffe = Caffe(prefix, gpu, scratch, nvidia_libraries([*filter(None, [torch]), sys.executable]))
    caffe.deadline = time.monotonic() + 30
    check_libraries(caffe)
    if args.rehearse:
        return Check(caffe, torch, nets.SMALL, batches=(1, 4), iterations=3, tests=REHEARSAL_TESTS)
    return Check(caffe, torch)


def report(check: Check, sections: list[tuple[str, list[str]]], seconds: float, finished: bool) -> str:
    """The Markdown: first the verdict."""
    kind = "GPU check" if check.caffe.gpu is not None else "Rehearsal on the CPU, which says nothing of a GPU"
    if check.problems:
        verdict = f"**{len(check.problems)} wrong**: " + "; ".join(check.problems) + "."
    else:
        verdict = "**All is well.**" if finished else "Nothing is wrong so far."
    lines = [f"# {kind}", "", verdict, "", f"{seconds:.0f} s{'' if finished else ' so far'}."]
    for title, text in sections:
        lines += ["", f"## {title}", "", *text]
    return "\n".join(lines) + "\n"


def run(check: Check, out: Path) -> None:
    """All parts, each with its time limit; what is there is written after each. Without a GPU the first."""
    started, sections = time.monotonic(), list[tuple[str, list[str]]]()
    for title, most, part in PARTS:
        now = time.monotonic()
        left = started + MOST_SECONDS - now
        print(f"gpu_check: {title}", flush=True)
        try:
            if left < LEAST_SECONDS:
                raise CheckError("not begun, as the time was up")
            check.caffe.deadline = now + min(most, left)
            text = part(check)
        except CheckError as error:
            text = [check.wrong(f"{title}: {error}")]
        except (OSError, ValueError, KeyError, IndexError) as error:
            text = [check.wrong(f"{title}: {type(error).__name__}: {error}")]
        sections.append((title, [*text, "", f"({time.monotonic() - now:.0f} s)"]))
        no_gpu = part is device and bool(check.problems)
        seconds = time.monotonic() - started
        write_text(out / "gpu_check.md", report(check, sections, seconds, no_gpu or part is PARTS[-1][2]))
        figures = {"problems": check.problems, "seconds": seconds, "figures": check.figures}
        write_text(out / "gpu_check.json", json.dumps(figures, indent=1) + "\n")
        if no_gpu:
            return


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status: 1 where anything is wrong."""
    args = parse(argv)

    def check_all() -> int:
        args.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="gpu_check-") as scratch:
            check = make_check(args, Path(scratch))
            run(check, args.out)
        print(f"\n{(args.out / 'gpu_check.md').read_text(encoding='utf-8')}", flush=True)
        for problem in check.problems:
            print(f"gpu_check: {problem}", file=sys.stderr)
        return 1 if check.problems else 0

    return run_program("gpu_check", check_all, interrupted="interrupted; what was measured is there")


if __name__ == "__main__":
    sys.exit(main())
