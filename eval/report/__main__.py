"""Write a run's report: a folder with one page and its pictures, to be opened from disk.

The page is there in English (index.html) and in Chinese (index.zh.html), each linked to the other. What the
run has not made (no training in a run of Table 1 alone) is said to be missing.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from eval.report.page import write_report
from eval.report.run_folder import Run
from tools.program import run_program

PROGRAM = "eval.report"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; its exit status."""
    options = parse_options(argv)
    out = options.out or options.work / "report"
    run = Run(options.work, options.images, options.gt, options.network, options.profile)

    def write() -> None:
        write_report(run, out)
        size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
        print(f"{out / 'index.html'}: {size / 1e6:.1f} MB with its pictures; in Chinese: index.zh.html")

    return run_program(PROGRAM, write)


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {PROGRAM}",
        description=__doc__,
        epilog="example: python -m eval.report work/demo --images work/demo/data/retrieval/jpg"
        " --gt work/demo/data/retrieval/gt --out work/demo/report",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("work", type=Path, metavar="DIR", help="the run's folder, as run_all.sh makes it")
    add("--images", type=Path, metavar="DIR", help="the searched pictures")
    add("--gt", type=Path, metavar="DIR", help="ground truth in Oxford's layout")
    add("--network", type=Path, metavar="DIR", help="the network's folder in prototxt/")
    add("--profile", type=Path, metavar="FILE", help="the run's settings")
    add("--out", type=Path, metavar="DIR", help="where the report goes (default: DIR/report)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
