"""Get the article's data from the internet: pictures, ground truth, VGG16's weights.

What there is to get stands in download/sources.toml; what is there already needs no request. Pictures to
fine-tune on are retrieval-SfM-120k (sfm120k) or a list of one's own (landmarks).
"""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from PIL import Image

from data_prep.classes.folders import class_folders
from data_prep.download.picture_list import PictureGetter, obtain_landmarks, read_links
from data_prep.download.sfm120k import obtain_sfm120k
from data_prep.download.things import SOURCES, Thing, from_mirrors, mirror_first, obtain, read_thing
from data_prep.download.transfer import Patience
from tools.program import positive_int, run_program

OTHER_SOURCES = "FETCH_SOURCES"
"""The environment's name for a table in place of sources.toml: a mirror of one's own, for a whole run."""
MIRROR = "DATA_URL"
"""The environment's name for the address of a folder with all files by their names, which is asked first."""
THINGS = (
    *("oxford5k-images", "oxford5k-gt", "paris6k-images", "paris6k-gt"),
    *("roxford5k-gt", "rparis6k-gt", "vgg16"),
)


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.fetch",
        description="Get the article's data from the internet. What is there already is left alone; a"
        " download that was cut goes on where it ended; size and checksum are checked where they are known.",
        epilog="example: python -m data_prep.fetch oxford5k-images --out data/oxford5k/jpg",
    )
    things = parser.add_subparsers(dest="thing", required=True, metavar="THING")
    for name in THINGS:
        _add_thing(things, read_thing(SOURCES, name))
    _add_sfm120k(things, read_thing(SOURCES, "sfm120k"))
    _add_landmarks(things)
    return parser


def _add_thing(things: argparse._SubParsersAction, thing: Thing) -> None:
    files = " and ".join(file.name for file in thing.files)
    kind = f"the {thing.keep} files of {files}" if thing.keep else files
    own = (
        f" Archives you have got yourself are taken from beside --out ({files})."
        if thing.keep
        else " A copy of your own at --out is taken as it is."
    )
    command = things.add_parser(
        thing.name, help=thing.what, description=f"{thing.what}: {kind}, from {thing.page} or a mirror.{own}"
    )
    command.set_defaults(keep_archive=False)
    _add_places(command, "folder" if thing.keep else "file")
    if thing.keep:
        _add_keep_archive(command)
    _add_patience(command, Patience())


def _add_sfm120k(things: argparse._SubParsersAction, thing: Thing) -> None:
    files = " and ".join(file.name for file in thing.files)
    command = things.add_parser(
        thing.name,
        help=thing.what,
        description=f"{thing.what}. The pictures of {files} come into class folders, one a cluster, named by"
        " part and number (train_0012); a run that was stopped goes on. Files you have got yourself are taken"
        " from beside --out.",
        epilog="example: python -m data_prep.fetch sfm120k --out data/sfm120k",
    )
    _add_places(command, "folder for the class folders")
    command.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="the archive's folder ims/, if you have unpacked it: its files get second names (hard links)"
        " instead of copies",
    )
    _add_keep_archive(command)
    _add_patience(command, Patience())


def _add_places(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument("--out", type=Path, required=True, help=f"the {what} to have it in")
    command.add_argument(
        "--url",
        action="append",
        metavar="URL",
        help="get it from here instead (several times: one after the other); a URL ending in '/' is a folder"
        f" that has the files by their names. {MIRROR} in the environment names such a folder to ask first",
    )
    command.add_argument(
        "--sources",
        type=Path,
        default=Path(os.environ.get(OTHER_SOURCES) or SOURCES),
        metavar="FILE",
        help=f"another table of addresses, sizes, checksums (or {OTHER_SOURCES} in the environment)",
    )


def _add_keep_archive(command: argparse.ArgumentParser) -> None:
    command.add_argument("--keep-archive", action="store_true", help="don't delete what was unpacked")


def _add_landmarks(things: argparse._SubParsersAction) -> None:
    command = things.add_parser(
        "landmarks",
        help="pictures from a list of `url class` lines, into class folders",
        description="Download a list of pictures into class folders. Dead links, web pages and stand-ins for"
        " pictures that are gone are passed over and named in the report. Run again, it asks only for what is"
        " not there. Whether a picture can be decoded to its end is for data_prep.check_images to say.",
        epilog="example: python -m data_prep.fetch landmarks --urls landmark_urls.txt --out data/landmarks",
    )
    command.add_argument("--urls", type=Path, required=True, metavar="FILE", help="`url class` lines")
    command.add_argument("--out", type=Path, required=True, help="folder for the class folders")
    command.add_argument(
        "--report",
        type=Path,
        metavar="CSV",
        help="what became of each address (default: OUT_fetch.csv beside OUT)",
    )
    command.add_argument("--threads", type=positive_int, default=16, help="downloads at once (default 16)")
    command.add_argument(
        "--max-mb",
        type=positive_int,
        default=30,
        metavar="N",
        help="largest picture taken, in MB (default 30)",
    )
    command.add_argument(
        "--min-side",
        type=positive_int,
        default=64,
        metavar="N",
        help="smallest side taken, in pixels (default 64)",
    )
    _add_patience(command, Patience(timeout=20.0, tries=2))


def _add_patience(command: argparse.ArgumentParser, default: Patience) -> None:
    command.add_argument(
        "--timeout",
        type=positive_int,
        default=default.timeout,
        metavar="S",
        help=f"seconds without a byte before an attempt is given up (default {default.timeout:.0f})",
    )
    command.add_argument(
        "--tries",
        type=positive_int,
        default=default.tries,
        metavar="N",
        help=f"attempts in a row that may bring nothing (default {default.tries})",
    )


def chosen(sources: Path, name: str, urls: list[str] | None, mirror: str) -> Thing:
    """The thing from its table, or from addresses of one's own, or from a mirror first (none: "").

    Raises what reading the table does.
    """
    thing = read_thing(sources, name)
    if urls:
        return from_mirrors(thing, urls)
    return mirror_first(thing, mirror) if mirror else thing


def get_landmarks(
    urls: Path, out: Path, report: Path | None, getter: PictureGetter, threads: int
) -> list[str]:
    """Have the pictures of a list; returns sentences on what was done. Raises OSError, ValueError.

    Class folders that are there already will do without a list.
    """
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    folder = out.resolve()
    if not urls.exists():
        with suppress(OSError, ValueError):
            count = len(class_folders(folder))
            return [f"{folder} is there already, {count} class folders; no list {urls} to add to it"]
        raise ValueError(
            "Landmarks has no complete public copy: bring class folders to"
            f" {out}, or a list of `url class` lines to {urls}; Table 1 works without (--table 1)"
        )
    report = report or folder.with_name(f"{folder.name}_fetch.csv")
    return obtain_landmarks(read_links(urls), folder, report, getter, threads)


def _tell(sentences: list[str]) -> None:
    for sentence in sentences:
        print(f"fetch: {sentence}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    args = build_parser().parse_args(argv)
    patience = Patience(args.timeout, args.tries)

    def get() -> list[str]:
        if args.thing == "landmarks":
            getter = PictureGetter(patience, args.max_mb * 1_000_000, args.min_side)
            return get_landmarks(args.urls, args.out, args.report, getter, args.threads)
        mirror = "" if args.url else os.environ.get(MIRROR, "")
        try:
            return from_places(mirror)
        except ValueError as error:
            if not mirror:
                raise
            _tell([f"{error}; again, without {MIRROR}"])
            return from_places("")

    def from_places(mirror: str) -> list[str]:
        thing = chosen(args.sources, args.thing, args.url, mirror)
        if args.thing == "sfm120k":
            return obtain_sfm120k(
                thing, args.out, patience, images=args.images, keep_archive=args.keep_archive
            )
        return [obtain(thing, args.out, patience, args.keep_archive)]

    return run_program("fetch", lambda: _tell(get()))


if __name__ == "__main__":
    sys.exit(main())
