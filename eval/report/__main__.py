"""Write a run's report: a folder with one page and its pictures, to be opened from disk.

What the run has not made (no training in a run of Table 1 alone) is said to be missing on the page.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader

from eval.report import story
from eval.report.pages import Pictures
from eval.report.provenance import duration
from eval.report.run_folder import Run
from eval.report.views import views


def write(run: Run, out: Path) -> None:
    """Write the page and its pictures into the folder out, which changes only when all is there.

    Raises ValueError for a run without results, or what is no result; OSError where reading or writing fails.
    """
    if not run.work.is_dir():
        raise NotADirectoryError(20, "Not a folder", str(run.work))
    if not run.scores and not run.tables and not run.steps:
        raise ValueError(f"{run.work} holds no run: ./run_all.sh makes one")
    if out.exists() and not (out / "index.html").is_file() and any(out.iterdir()):
        raise ValueError(f"{out} holds files that are not a report's; choose another folder")
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        (part / "index.html").write_text(page(run, Pictures(part / "img")), encoding="utf-8")
        shutil.rmtree(out, ignore_errors=True)
        part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def page(run: Run, pictures: Pictures) -> str:
    """The page's HTML; its pictures are written on the way."""
    environment = Environment(
        loader=PackageLoader("eval.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.2f}\u00a0%"
    environment.filters["duration"] = duration
    return environment.get_template("report.html").render(
        run=run,
        steps=run.steps,
        names=story.NAMES,
        headline=story.headline(run),
        data=story.data_section(run, pictures),
        network=story.network_section(run, pictures),
        training=story.training_section(run, pictures),
        views=views(run, pictures),
        retrieval=story.retrieval_section(run, pictures),
        provenance=story.provenance_section(run),
    )


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m eval.report",
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
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; its exit status."""
    options = parse_options(arguments)
    out = options.out or options.work / "report"
    run = Run(options.work, options.images, options.gt, options.network, options.profile)
    try:
        write(run, out)
    except ValueError as error:
        print(f"report: {error}", file=sys.stderr)
    except OSError as error:
        print(f"report: {error.strerror or error}: {error.filename or out}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    else:
        size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
        print(f"{out / 'index.html'}: {size / 1e6:.1f} MB with its pictures")
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
