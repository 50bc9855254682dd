"""What an archive may hold, and how its files come out without reaching anything else on the disk."""

import gzip
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import IO

from data_prep.download.transfer import CHUNK, naming_full_disk


def unpack(archive: Path, folder: Path, keep: str) -> None:
    """Put an archive's files that end in `keep` into one folder, from whatever folders.

    Raises ValueError for an archive that is damaged, that holds a link, an absolute path or '..' (none of
    ours does, so it is somebody else's), or two different files of one name. The caller then throws the
    folder away.
    Only contents are copied out, under names without a folder: nothing in an archive can reach elsewhere,
    and the extraction filters that Debian 12's tarfile lacks aren't missed.
    """
    try:
        with gzip.open(archive) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as members:
                for member in members:
                    _refuse_strange(archive, member)
                    name = Path(member.name).name
                    if member.isfile() and name.lower().endswith(keep) and not name.startswith("."):
                        _copy_out(members.extractfile(member), folder / name, archive)
            while stream.read(CHUNK):
                pass  # gzip compares its checksum only at the very end, behind what tar reads
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{archive} is damaged or no .tgz archive ({error})") from error


def _refuse_strange(archive: Path, member: tarfile.TarInfo) -> None:
    if member.name.startswith("/"):
        raise ValueError(f"{archive} holds an absolute path ({member.name}): not unpacked")
    if ".." in member.name.split("/"):
        raise ValueError(f"{archive} holds a path out of its folder ({member.name}): not unpacked")
    if not (member.isfile() or member.isdir()):
        kind = "a link" if member.islnk() or member.issym() else "a device"
        raise ValueError(f"{archive} holds {kind} ({member.name}): not unpacked")


def _copy_out(stream: IO[bytes], target: Path, archive: Path) -> None:
    if not target.exists():
        with naming_full_disk(target), target.open("wb") as copy:
            shutil.copyfileobj(stream, copy, CHUNK)
    elif stream.read() != target.read_bytes():
        raise ValueError(f"{archive} holds another file called {target.name} than was there before")
