"""How an archive's files come out without reaching anything else on the disk, or filling it."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from data_prep.download.tar import FILE, FOLDER, Member, members
from data_prep.download.transfer import naming_full_disk
from tools.program import LONGEST_NAME


def unpack(archive: Path, folder: Path, keep: str, most_bytes: int, most_files: int) -> None:
    """Put an archive's files that end in `keep` into one folder, from whatever folders.

    most_bytes bounds all that is in the archive, most_files what is kept. Raises OSError where the disk has
    no room for a file, before any of it is written; ValueError for an archive that is damaged or beyond its
    bounds, that holds what `plain_files` refuses, or two different files of one name. The caller then throws
    the folder away.
    """
    count = 0
    for member, name in plain_files(archive, most_bytes):
        if not name.lower().endswith(keep):
            continue
        count += 1
        if count > most_files:
            raise ValueError(f"{archive} holds more than {most_files:,} {keep} files: refused")
        target = folder / name
        if not target.exists():
            write_out(member, target)
        elif not _same(member.pieces(), target):
            raise ValueError(f"{archive} holds another file called {name} than was there before")


def plain_files(archive: Path, most_bytes: int) -> Iterator[tuple[Member, str]]:
    """An archive's files, each with its name without folders; hidden ones are passed over.

    Only contents are copied out, under names without a folder: nothing in an archive can reach elsewhere.
    Raises what `members` does, and ValueError for a link, a device, an absolute path, '..' or a name that no
    disk takes: none of ours has any, so it is somebody else's archive.
    """
    for member in members(archive, most_bytes):
        _refuse_strange(archive, member)
        name = member.name.rpartition("/")[2]
        if member.kind == FILE and not name.startswith("."):
            yield member, name


def write_out(member: Member, target: Path) -> None:
    """Write a member's content to a new file. Raises OSError, also where the disk has no room for it."""
    if member.size > (free := shutil.disk_usage(target.parent).free):
        raise OSError(
            f"{target.parent} has {free / 1e6:,.0f} MB free, and {target.name} wants {member.size / 1e6:,.0f}"
        )
    with naming_full_disk(target), target.open("wb") as copy:
        for piece in member.pieces():
            copy.write(piece)


def _refuse_strange(archive: Path, member: Member) -> None:
    shown = member.name[:200]
    if member.name.startswith("/"):
        raise ValueError(f"{archive} holds an absolute path ({shown}): not unpacked")
    if ".." in member.name.split("/"):
        raise ValueError(f"{archive} holds a path out of its folder ({shown}): not unpacked")
    if member.kind not in (FILE, FOLDER):
        raise ValueError(f"{archive} holds {member.kind} ({shown}): not unpacked")
    if len(member.name.rpartition("/")[2].encode(errors="surrogateescape")) > LONGEST_NAME:
        raise ValueError(
            f"{archive} holds a name of more than {LONGEST_NAME} bytes ({shown}...): not unpacked"
        )


def _same(pieces: Iterable[bytes], path: Path) -> bool:
    """Whether a file's content is this."""
    with path.open("rb") as file:
        return all(file.read(len(piece)) == piece for piece in pieces) and not file.read(1)
