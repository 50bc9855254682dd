"""Get the article's data from the internet: Oxford5k, Paris6k, VGG16's weights, Landmarks by a list.

What there is to get stands in sources.toml; the program knows when it is there already, which needs no
request, and makes one folder of a set's archives.
"""

import argparse
import os
import shutil
import sys
import tomllib
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from data_prep.classes.folders import class_folders
from data_prep.download.archive import unpack
from data_prep.download.picture_list import PictureGetter, obtain_landmarks, read_links
from data_prep.download.transfer import NO_CHECKSUM, File, Patience, check_room, download, say, size_of
from tools.program import positive_int, run_program, sha256_of

SOURCES = Path(__file__).parent / "download" / "sources.toml"
THINGS = ("oxford5k-images", "oxford5k-gt", "paris6k-images", "paris6k-gt", "vgg16")


@dataclass(frozen=True)
class Thing:
    """What a subcommand gets: a file as it is, or (with `keep`) a folder of archives' files of one kind."""

    name: str
    what: str
    page: str
    files: tuple[File, ...]
    keep: str | None = None
    at_least: int = 0


def read_thing(path: Path, name: str) -> Thing:
    """Look up one thing in a table like sources.toml. Raises ValueError for a table that isn't one."""
    try:
        entry = tomllib.loads(path.read_text(encoding="utf-8"))[name]
        files = tuple(File(**{**file, "urls": tuple(file["urls"])}) for file in entry.pop("files"))
        return Thing(name=name, files=files, **entry)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is no TOML: {error}") from error
    except KeyError as error:
        raise ValueError(f"{path} lacks {error.args[0]!r}, looking for {name}") from error
    except (TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: the table of {name} is not like the ones in {SOURCES.name}") from error


def from_mirrors(thing: Thing, urls: list[str]) -> Thing:
    """The same thing from other addresses; one that ends in '/' is a folder with the files by their names.

    Raises ValueError for a file's address where the thing comes in several files.
    """
    if len(thing.files) > 1 and not all(url.endswith("/") for url in urls):
        names = " and ".join(file.name for file in thing.files)
        raise ValueError(
            f"{thing.name} comes in {names}: --url must be the folder that has them, ending in '/'"
        )
    files = (
        replace(file, urls=tuple(url + file.name if url.endswith("/") else url for url in urls))
        for file in thing.files
    )
    return replace(thing, files=tuple(files))


# A file, or a folder from archives


def obtain(thing: Thing, out: Path, patience: Patience, keep_archive: bool) -> str:
    """Have a thing at `out`, downloading it if it isn't there; returns a sentence on what was done.

    Raises OSError where it can't be had, ValueError where it or what lies at `out` isn't what it should be.
    """
    out = out.resolve()  # moving a folder in would replace a link to another disk
    there = _folder_there(thing, out) if thing.keep else _file_there(thing, out)
    if there:
        return there
    out.parent.mkdir(parents=True, exist_ok=True)
    if thing.keep:
        return _obtain_folder(thing, out, patience, keep_archive)
    download(thing.files[0], out, patience)
    return f"{out} is there"


def _file_there(thing: Thing, out: Path) -> str | None:
    if not out.exists():
        return None
    file = thing.files[0]
    size = out.stat().st_size if out.is_file() else 0
    # another VGG16 has the same parameters, so about the same size
    if size < 0.99 * (file.bytes or 1):
        raise ValueError(f"{out} is not a whole {file.name} ({size:,} bytes): remove it to have it fetched")
    if file.sha256 and sha256_of(out) != file.sha256:
        return f"{out} is there already; it is not the published {file.name}: taken as it is"
    return f"{out} is there already, {'its sha256 as published' if file.sha256 else NO_CHECKSUM}"


def _folder_there(thing: Thing, out: Path) -> str | None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    count = _count(out, thing.keep)
    if not count:
        raise ValueError(f"{out} is there but has no {thing.keep} in it: empty it or name another folder")
    if count < thing.at_least:
        return f"{out} is there already, {count} {thing.keep} of {thing.at_least}: taken as it is"
    return f"{out} is there already, {count} {thing.keep}"


def _count(folder: Path, suffix: str) -> int:
    return sum(name.lower().endswith(suffix) for _, _, names in os.walk(folder) for name in names)


def _obtain_folder(thing: Thing, out: Path, patience: Patience, keep_archive: bool) -> str:
    archives = {out.with_name(file.name): file for file in thing.files}
    fetched = [archive for archive in archives if not archive.exists()]
    for archive in fetched:
        download(archives[archive], archive, patience)
    part = out.with_name(f"{out.name}.part")
    try:
        count = _unpack_all(thing, list(archives), part)
        part.replace(out)
    except ValueError as error:
        if not fetched:
            raise ValueError(f"{error}; remove it to have it fetched anew") from error
        for archive in fetched:
            archive.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    for archive in [] if keep_archive else archives:
        archive.unlink()
    return f"{out} has {count} {thing.keep}"


def _unpack_all(thing: Thing, archives: list[Path], part: Path) -> int:
    shutil.rmtree(part, ignore_errors=True)
    check_room(part.parent, sum(size_of(archive) for archive in archives), "what is unpacked")
    part.mkdir()
    for archive in archives:
        say(f"unpacking {archive.name}")
        unpack(archive, part, thing.keep)
    count = _count(part, thing.keep)
    if count < max(thing.at_least, 1):
        names = " and ".join(str(archive) for archive in archives)
        raise ValueError(f"{names}: {count} {thing.keep} inside, {thing.at_least} expected: not taken")
    return count


# The program


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.fetch",
        description="Get the article's data from the internet. What is there already is left alone; a"
        " download that was cut goes on where it ended; size and checksum are checked where they are known.",
        epilog="example: python -m data_prep.fetch oxford5k-images --out data/oxford5k/jpg",
    )
    things = parser.add_subparsers(dest="thing", required=True, metavar="THING")
    for name in THINGS:
        _add_thing(things, read_thing(SOURCES, name))
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
    what = "folder" if thing.keep else "file"
    command.add_argument("--out", type=Path, required=True, help=f"the {what} to have it in")
    command.add_argument(
        "--url",
        action="append",
        metavar="URL",
        help="get it from here instead (several times: one after the other); a URL ending in '/' is a folder"
        " that has the files by their names",
    )
    if thing.keep:
        command.add_argument("--keep-archive", action="store_true", help="don't delete what was unpacked")
    command.add_argument(
        "--sources",
        type=Path,
        default=SOURCES,
        metavar="FILE",
        help="another table of addresses, sizes, checksums",
    )
    _add_patience(command, Patience())


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


def _run_landmarks(args: argparse.Namespace) -> list[str]:
    out = args.out.resolve()
    if not args.urls.exists():
        with suppress(OSError, ValueError):
            count = len(class_folders(out))
            return [f"{out} is there already, {count} class folders; no list {args.urls} to add to it"]
        raise ValueError(
            "Landmarks has no complete public copy: bring class folders to"
            f" {args.out}, or a list of `url class` lines to {args.urls}; Table 1 works without (--table 1)"
        )
    report = args.report or out.with_name(f"{out.name}_fetch.csv")
    getter = PictureGetter(Patience(args.timeout, args.tries), args.max_mb * 1_000_000, args.min_side)
    return obtain_landmarks(read_links(args.urls), out, report, getter, args.threads)


def _run(args: argparse.Namespace) -> int:
    if args.thing == "landmarks":
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        said = _run_landmarks(args)
    else:
        thing = read_thing(args.sources, args.thing)
        thing = from_mirrors(thing, args.url) if args.url else thing
        patience = Patience(args.timeout, args.tries)
        said = [obtain(thing, args.out, patience, getattr(args, "keep_archive", False))]
    for sentence in said:
        print(f"fetch: {sentence}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    args = _parser().parse_args(argv)
    return run_program("fetch", lambda: _run(args))


if __name__ == "__main__":
    sys.exit(main())
