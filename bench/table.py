"""The rows of all benches and the machine they ran on, in Markdown: python -m bench.table --help."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from bench.measure import Row
from tools.program import run_program

PACKAGES = ("numpy", "scipy", "opencv-python-headless", "h5py", "torch")
VECTORS = ("avx512f", "avx2", "avx", "sse4_2")
HEAD = (
    "| what | ours | median (least to most) | peer | median (least to most) | unit | ratio | goal |\n"
    "|---|---|---|---|---|---|---|---|"
)


def machine() -> Iterator[tuple[str, str]]:
    """What the figures depend on, as name and value."""
    flags = _value_of(Path("/proc/cpuinfo"), "flags").split()
    vectors = next((name for name in VECTORS if name in flags), "none of " + ", ".join(VECTORS))
    memory = int(_value_of(Path("/proc/meminfo"), "MemTotal").split()[0]) / 2**20
    yield "CPU", f"{_value_of(Path('/proc/cpuinfo'), 'model name')}, {vectors}"
    yield "cores this run may use", str(len(os.sched_getaffinity(0)))
    yield "memory", f"{memory:.0f} GiB"
    yield "kernel", platform.release()
    yield "system", platform.freedesktop_os_release().get("PRETTY_NAME", "")
    yield "Python", platform.python_version()
    yield "packages", ", ".join(_installed())
    yield "OPENBLAS_CORETYPE", os.environ.get("OPENBLAS_CORETYPE", "not set")
    yield "when", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    yield "load when the table was written", " ".join(f"{load:.1f}" for load in os.getloadavg())


def _value_of(file: Path, key: str) -> str:
    lines = (line.partition(":") for line in file.read_text().splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() == key), "unknown")


def _installed() -> Iterator[str]:
    for package in PACKAGES:
        try:
            yield f"{package} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            yield f"no {package}"


def read_rows(file: Path) -> list[Row]:
    """The rows that a bench wrote by --json. Raises ValueError where they are something else."""
    try:
        return [Row(**row) for row in json.loads(file.read_text("utf-8"))]
    except (TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} does not hold a bench's rows: {error}") from error


def cells(row: Row) -> list[str]:
    """A row of the table."""
    goal = f"{row.goal.replace('<=', '≤').replace('>=', '≥')}, {row.verdict}" if row.goal else ""
    return [
        row.what,
        row.ours,
        _figures(row.ours_median, row.ours_min, row.ours_max),
        row.peer,
        _figures(row.peer_median, row.peer_min, row.peer_max),
        row.unit,
        "" if row.ratio is None else f"{row.ratio:.2f}",
        goal,
    ]


def _figures(median: float | None, least: float | None, most: float | None) -> str:
    if median is None:
        return ""
    return f"{median:.4g}" if least == most else f"{median:.4g} ({least:.4g} to {most:.4g})"


def markdown(rows: Sequence[Row], failures: Sequence[str]) -> str:
    """The whole page."""
    lines = [HEAD, *(f"| {' | '.join(cells(row))} |" for row in rows), ""]
    lines += [f"- {name}: {value}" for name, value in machine()]
    if failures:
        lines += ["", "Not run:", "", *(f"- {failure}" for failure in failures)]
    return "\n".join(lines) + "\n"


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.table",
        description="Prints the rows that benches wrote by --json as a Markdown table, and the machine.",
        epilog="example: python -m bench.table pooling.json scoring.json > bench-results.md",
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="JSON", help="what benches wrote")
    parser.add_argument(
        "--failed", action="append", default=[], metavar="SENTENCE", help="what could not run"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    arguments = build_parser().parse_args(argv)

    def run() -> None:
        rows = [row for file in arguments.files for row in read_rows(file)]
        print(markdown(rows, arguments.failed), end="")

    return run_program("bench.table", run)


if __name__ == "__main__":
    sys.exit(main())
