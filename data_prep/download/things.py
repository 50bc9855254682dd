"""What there is to get (sources.toml), each a file as it is or a folder made of a set's archives."""

import os
import shutil
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_prep.download.archive import unpack
from data_prep.download.lock import held
from data_prep.download.transfer import NO_CHECKSUM, File, Patience, check_room, download, say, size_of
from tools.program import PART, folder_beside, sha256_of, shown

SOURCES = Path(__file__).parent / "sources.toml"
MOST_TIMES = 10
"""An archive of so many times the set's files is another one."""


@dataclass(frozen=True)
class Thing:
    """What a subcommand gets: a file as it is, or (with `keep`) a folder of archives' files of one kind."""

    name: str
    what: str
    page: str
    files: tuple[File, ...]
    keep: str = ""
    at_least: int = 0
    unpacked_bytes: int | None = None


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_file_name(value: object) -> bool:
    return (
        isinstance(value, str) and bool(value) and not value.startswith(".") and not set(value) & set("/\0\n")
    )


def _is_addresses(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(url, str) for url in value)


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


_THING: dict[str, Callable[[object], bool]] = {
    "what": _is_text,
    "page": _is_text,
    "files": lambda value: isinstance(value, list) and bool(value),
    "keep": _is_text,
    "at_least": _is_count,
    "unpacked_bytes": _is_count,
}
_FILE: dict[str, Callable[[object], bool]] = {
    "name": _is_file_name,
    "urls": _is_addresses,
    "bytes": _is_count,
    "about_bytes": _is_count,
    "sha256": _is_sha256,
}


def read_thing(path: Path, name: str) -> Thing:
    """Look up a thing in a table like sources.toml. Raises OSError, ValueError for a table that isn't one."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no TOML: {shown(str(error), 200)}") from error
    if name not in table:
        raise ValueError(f"{path} lacks {name!r}")
    entry = _checked(path, name, table[name], _THING, ("what", "page", "files"))
    files = tuple(
        File(**{**fields, "urls": tuple(fields["urls"])})
        for fields in (
            _checked(path, f"a file of {name}", file, _FILE, ("name", "urls")) for file in entry.pop("files")
        )
    )
    return Thing(name=name, files=files, **entry)


def _checked(
    path: Path, what: str, entry: object, keys: dict[str, Callable[[object], bool]], needed: tuple[str, ...]
) -> dict[str, Any]:
    """The entry's keys and values, all known and as they should be; else ValueError says which is not."""
    if not isinstance(entry, dict):
        raise ValueError(f"{path}: {what} is not like the ones in {SOURCES.name}")
    if missing := [key for key in needed if key not in entry]:
        raise ValueError(f"{path}: {what} lacks {missing[0]!r}")
    for key, value in entry.items():
        if key not in keys:
            raise ValueError(f"{path}: {what} has {shown(repr(key))}, not like the ones in {SOURCES.name}")
        if not keys[key](value):
            raise ValueError(f"{path}: {what} has a {key!r} that is not like the ones in {SOURCES.name}")
    return dict(entry)


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


def mirror_first(thing: Thing, folder: str) -> Thing:
    """The thing with a folder asked for its files, by their names, before the thing's own addresses."""
    folder = folder.rstrip("/")
    files = (replace(file, urls=(f"{folder}/{file.name}", *file.urls)) for file in thing.files)
    return replace(thing, files=tuple(files))


def obtain(thing: Thing, out: Path, patience: Patience, keep_archive: bool) -> str:
    """Have a thing at `out`, downloading it if it isn't there; returns a sentence on what was done.

    Raises OSError where it can't be had, ValueError where it or what lies at `out` isn't what it should be.
    """
    out = out.resolve()  # moving a folder in would replace a link to another disk
    archives = {out.with_name(file.name): file for file in thing.files} if thing.keep else {}
    there = _folder_there if thing.keep else _file_there
    if said := there(thing, out):
        return said
    with held(out, *archives):
        if said := there(thing, out):  # since another program has let go of it
            return said
        if thing.keep:
            return _obtain_folder(thing, archives, out, patience, keep_archive)
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


def _obtain_folder(
    thing: Thing, archives: dict[Path, File], out: Path, patience: Patience, keep_archive: bool
) -> str:
    new = download_missing(archives, patience)
    # what an earlier run left when it was killed; its room counts
    shutil.rmtree(out.with_name(out.name + PART), ignore_errors=True)
    check_room(out.parent, sum(size_of(archive) for archive in archives), "what is unpacked")
    most_files = MOST_TIMES * max(thing.at_least, 1)
    with folder_beside(out) as part:
        for archive in archives:
            say(f"unpacking {archive.name}")
            with thrown_away_if_bad(archive, new=new):
                unpack(archive, part, thing.keep, room_for(thing, out.parent), most_files)
        count = _count(part, thing.keep)
        if count < max(thing.at_least, 1):
            names = " and ".join(str(archive) for archive in archives)
            with thrown_away_if_bad(*archives, new=new):
                raise ValueError(
                    f"{names}: {count} {thing.keep} inside, {thing.at_least} expected: not taken"
                )
    for archive in [] if keep_archive else archives:
        archive.unlink()
    return f"{out} has {count} {thing.keep}"


def download_missing(files: dict[Path, File], patience: Patience) -> list[Path]:
    """Download those files that aren't there; returns which. Raises what `download` does."""
    new = [path for path in files if not path.exists()]
    for path in new:
        download(files[path], path, patience)
    return new


@contextmanager
def thrown_away_if_bad(*files: Path, new: list[Path]) -> Iterator[None]:
    """Where a ValueError says that the files are bad: remove those that this run has brought, no others."""
    try:
        yield
    except ValueError as error:
        if not set(files) & set(new):
            raise ValueError(f"{error}; remove it to have it fetched anew") from error
        for file in set(files) & set(new):
            file.unlink(missing_ok=True)
        raise


def room_for(thing: Thing, folder: Path) -> int:
    """Bytes that an archive may unpack to: what the set may weigh, else what the disk has room for."""
    return thing.unpacked_bytes or shutil.disk_usage(folder).free
