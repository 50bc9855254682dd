"""retrieval-SfM-120k (Radenović et al., arXiv 1711.02512) as class folders: a cluster of photographs a class.

The archive has a file ims/XX/YY/ZZ/CID, without an extension, for each picture (XX, YY and ZZ are the end of
CID, from behind), the table a dict of the parts 'train' and 'val', each with a list 'cids' and the number of
each picture's cluster in 'cluster'. Both parts become classes, as our own split comes later; their clusters
are told apart by part and number (train_0012, val_0012), since nobody says that numbers don't repeat.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from data_prep.classes.folders import class_folders, link_or_copy
from data_prep.download.archive import plain_files, write_out
from data_prep.download.lock import held
from data_prep.download.picture_list import SUFFIX_OF_FORMAT
from data_prep.download.things import Thing, download_missing, room_for, thrown_away_if_bad
from data_prep.download.transfer import Patience, check_room, size_of
from tools.files.plain_pickle import read_plain_pickle
from tools.program import LONGEST_NAME, PART, Progress, all_to_disk, some, to_disk

PARTS = ("train", "val")
MISSING_SHARE = 0.01
"""Some pictures of the table may be missing in the archive; with more it is another archive or a cut one."""
START = 32
"""Bytes that tell a picture's format."""


@dataclass(frozen=True)
class Table:
    """The class folder's name for each picture (by cid), and what is said of what is odd in the table."""

    class_of: dict[str, str]
    remarks: tuple[str, ...]


def read_table(path: Path) -> Table:
    """The table of clusters. Raises OSError, and ValueError for a file that is no such table."""
    data = read_plain_pickle(path)
    class_of: dict[str, str] = {}
    numbers: dict[str, set[int]] = {}
    twice: dict[str, None] = {}
    for part in PARTS:
        cids, clusters = _columns(path, data, part)
        numbers[part] = set(clusters)
        for cid, cluster in zip(cids, clusters, strict=True):
            name = f"{part}_{cluster:04d}"
            if class_of.setdefault(cid, name) != name:
                twice[cid] = None
    remarks = []
    if both := numbers["train"] & numbers["val"]:
        remarks.append(
            f"{len(both)} cluster numbers stand in train and in val: kept apart as train_... and val_..."
        )
    if twice:
        remarks.append(
            f"{len(twice)} pictures stand in two clusters ({some(twice)}): each is in its first alone"
        )
    return Table(class_of, tuple(remarks))


def _columns(path: Path, data: object, part: str) -> tuple[list[str], list[int]]:
    entry = data.get(part) if isinstance(data, dict) else None
    if not isinstance(entry, dict) or not {"cids", "cluster"} <= entry.keys():
        raise ValueError(
            f"{path} has no part {part!r} with 'cids' and 'cluster': not retrieval-SfM-120k's table"
        )
    try:
        cids, clusters = list(entry["cids"]), [_whole(number) for number in entry["cluster"]]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"{path}: 'cids' and 'cluster' of {part!r} are no lists of names and numbers"
        ) from None
    if len(cids) != len(clusters) or not cids:
        raise ValueError(f"{path}: {part!r} has {len(cids)} pictures and {len(clusters)} clusters")
    for cid, cluster in zip(cids, clusters, strict=True):
        if not isinstance(cid, str):
            raise ValueError(
                f"{path}: {part!r} has a {type(cid).__name__} among its 'cids', which is no picture's name"
            )
        if not 0 <= cluster < 1_000_000:
            raise ValueError(f"{path}: {part!r} has {cid[:100]!r} in a cluster of no sensible number")
        if not _is_name(cid):
            raise ValueError(
                f"{path}: {part!r} has {cid[:100]!r} in cluster {cluster}, which is no picture's name"
            )
    return [str(cid) for cid in cids], clusters


def _whole(number: Any) -> int:
    """A number as int; ValueError where that would be another one, as of 7.9."""
    if int(number) != number:
        raise ValueError("not a whole number")
    return int(number)


def _is_name(cid: str) -> bool:
    """What can be a file's name as it is: no folder, nothing hidden, and room for an extension."""
    return (
        cid.isascii() and cid.isprintable() and not set(cid) & set("/ .") and 0 < len(cid) < LONGEST_NAME // 2
    )


def obtain_sfm120k(
    thing: Thing, out: Path, patience: Patience, *, images: Path | None, keep_archive: bool
) -> list[str]:
    """Have the class folders at `out`; returns sentences on what was done.

    Pictures come out of the archive one by one, straight to their places; a stopped run goes on where it was.
    From `images`, a folder of the unpacked archive's files, they come as hard links (copies on another disk).
    Raises OSError where something can't be had, ValueError where it isn't what it should be.
    """
    out = out.resolve()
    if said := _there(out):
        return [said]
    if len(thing.files) != 2:
        raise ValueError(f"{thing.name} comes in two files, the table and then the archive")
    (table_path, table_file), (archive, archive_file) = (
        (out.with_name(file.name), file) for file in thing.files
    )
    with held(out, table_path, archive):
        if said := _there(out):
            return [said]
        new = download_missing({table_path: table_file}, patience)
        with thrown_away_if_bad(table_path, new=new):
            table = read_table(table_path)
        part = out.with_name(out.name + PART)
        if images:
            _link_pictures(images, table, part)
        else:
            new = download_missing({archive: archive_file}, patience)
            _unpack_pictures(archive, table, part, room_for(thing, out.parent), new=archive in new)
        remarks = [*table.remarks, *_check_missing(images or archive, table, part)]
        all_to_disk(part)
        part.replace(out)
        to_disk(out.parent)
    for path in [] if keep_archive or images else [archive, table_path]:
        path.unlink()
    return [f"{out} has {len(list(_placed(out)))} pictures in {len(class_folders(out))} classes", *remarks]


def _there(out: Path) -> str | None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    return f"{out} is there already, {len(class_folders(out))} class folders"


def _unpack_pictures(archive: Path, table: Table, part: Path, most_bytes: int, *, new: bool) -> None:
    """Unpack the table's pictures; of a bad archive none is sure, and all go (with the archive, if new)."""
    check_room(
        part.parent, size_of(archive) - sum(path.stat().st_size for path in _placed(part)), "unpacking"
    )
    try:
        with thrown_away_if_bad(archive, new=[archive] if new else []):
            _take_pictures(archive, table, part, most_bytes)
    except ValueError:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _take_pictures(archive: Path, table: Table, part: Path, most_bytes: int) -> None:
    """Put each picture of the table into its class folder, under a hidden name while it grows."""
    # a name alone is no sign: after a power cut a file may have its name and not its bytes
    done = {path.stem: path for path in _placed(part)}
    seen: set[str] = set()
    with Progress("unpacking pictures", len(table.class_of)) as progress:
        for member, cid in plain_files(archive, most_bytes):
            if cid not in table.class_of or cid in seen:
                continue
            seen.add(cid)
            if cid not in done or done[cid].stat().st_size != member.size:
                folder = part / table.class_of[cid]
                folder.mkdir(parents=True, exist_ok=True)
                growing = folder / f".{cid}{PART}"
                write_out(member, growing)
                if cid in done:
                    done[cid].unlink()
                growing.replace(folder / (cid + suffix_of(growing)))
            progress.advance()


def _link_pictures(images: Path, table: Table, part: Path) -> None:
    """Give each picture of the table, found in a folder laid out as the archive is, its place in a class."""
    done = {path.stem for path in _placed(part)}
    with Progress("linking pictures", len(table.class_of)) as progress:
        for cid, name in table.class_of.items():
            source = images / cid[-2:] / cid[-4:-2] / cid[-6:-4] / cid
            if cid not in done and source.is_file():
                folder = part / name
                folder.mkdir(parents=True, exist_ok=True)
                link_or_copy(source, folder / (cid + suffix_of(source)))
            progress.advance()


def suffix_of(path: Path) -> str:
    """The extension for what a file is; .jpg for what is no picture, so that the check finds it."""
    try:
        with Image.open(path) as picture:
            return SUFFIX_OF_FORMAT.get(picture.format or "", ".jpg")
    except Exception:
        return ".jpg"  # Pillow's decoders raise whatever they stumble over


def _placed(folder: Path) -> Iterator[Path]:
    """The pictures that stand in class folders already."""
    if folder.is_dir():
        for name in sorted(folder.iterdir()):
            if name.is_dir():
                yield from (path for path in name.iterdir() if not path.name.startswith("."))


def _check_missing(source: Path, table: Table, part: Path) -> list[str]:
    """What to say of pictures that the source lacks. Raises ValueError where those are too many."""
    there = {path.stem for path in _placed(part)}
    missing = [cid for cid in table.class_of if cid not in there]
    if not missing:
        return []
    said = f"{source} lacks {len(missing)} of the table's {len(table.class_of)} pictures ({some(missing)})"
    if len(missing) > MISSING_SHARE * len(table.class_of):
        raise ValueError(f"{said}: not taken")
    return [said]
