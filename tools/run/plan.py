"""What a run needs of disk and time on this machine, stage by stage, before it begins: run_all.sh --plan.

Only Python's standard library, as it runs before anything is installed. Sizes are counted where the pictures
are there, and taken from what is published where they are still to be downloaded. Times are those measured on
2 cores of an Intel Xeon with AVX-512 (README, How fast), by the pictures' pixels and this machine's cores; a
GPU's are not known and not guessed.
"""

import argparse
import json
import os
import re
import shutil
import signal
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
MEASURED_CORES = 2
LMDB_ENTRY_BYTES = 300  # key, Datum's other fields, and LMDB's pages, beside the pixels
COPY_BYTES = 80_000  # a JPEG of 640 x 480 at quality 75
PIXEL_BYTES = 0.26  # of a photograph as JPEG
HEADER_BYTES = 1 << 16  # within which a JPEG tells its size, unless it carries more than that about itself
DOWNLOAD_RATE = 10e6  # bytes a second: a guess, said as one

# VGG16 on 2 cores, seconds a picture: 224 x 224 forward, forward and backward; 768 x 1024 to pool5
FORWARD, TRAIN, MAP = 0.058, 0.191, 0.86
SCORE, POOLED_SCORE = 26, 5  # a layer of 4096 dimensions, a pooling of 512
SMALL = 0.02  # of a forward pass at 224 x 224 is what a picture takes however small it is
DEMO_SPEED = 46  # the demo's network, in VGG16's
# seconds of one core: a picture's, and each of its megapixels'
CHECK, LMDB = (0.0002, 0.005), (0.0003, 0.015)
AUGMENT = {"keras": (0.0004, 0.136), "keras3": (0.0004, 0.136), "opencv": (0.0004, 0.012)}
MOP_SIDES, MOP_IMAGE = (128, 64), 256  # of MOP-CNN's windows, in a picture of 256 x 256

SQUARE = 5  # poolings of square pictures, recipes/representations.sh
CHANNELS = 512  # of VGG16's last maps

PUBLISHED = {  # pictures, bytes and classes of what is downloaded, of 0.75 megapixels each
    "oxford5k": (5_063, 1_980_000_000, 11),
    "paris6k": (6_412, 2_600_000_000, 11),
    "sfm120k": (120_000, 30_000_000_000, 713),
    "landmarks": (213_000, 30_000_000_000, 680),
}
SOURCES = Path(__file__).resolve().parents[2] / "data_prep" / "download" / "sources.toml"
OUTPUTS = {  # of a stage, below W: what a stopped one has left there needs no room again
    "check": ("checked",),
    "lmdb": tuple(f"lmdb/{name}_lmdb{end}" for name in ("train", "val") for end in ("", ".unfinished")),
    "finetune": ("snapshots", "models"),
    "extract": ("features",),
    "score": ("ranks",),
    "representations": ("learnt",),
}
MADE = {  # the same of what the demo makes, of 0.02
    "DATABASE": (420, 3_500_000, 11),
    "TRAIN_PICTURES": (2_600, 10_000_000, 64),
    "LEARN_FROM": (5_580, 14_000_000, 155),
}


@dataclass(frozen=True)
class Need:
    """What one stage needs: bytes, seconds (None: not known), and in words why."""

    stage: str
    bytes: float
    seconds: float | None
    why: str
    in_data: bool = False
    """Whether it lies in DATA_DIR and not in the work folder."""


@dataclass(frozen=True)
class Pictures:
    """Pictures of a folder, or to be downloaded: how many in each class, their bytes, megapixels of one."""

    classes: tuple[int, ...]
    bytes: int
    megapixels: float
    there: bool

    @property
    def count(self) -> int:
        """How many there are in all."""
        return sum(self.classes)

    def seconds(self, of_one: tuple[float, float], count: int) -> float:
        """What `count` pictures like these take one core: so much for each, and for each megapixel."""
        return count * (of_one[0] + of_one[1] * self.megapixels)


def counted(folder: Path) -> Pictures:
    """The pictures below a folder that is there: 20 of a folder tell the size of all."""
    classes, size, pixels = [], 0.0, 0.0
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [
            name for name in folders if not name.startswith(".") and not _leads_back(Path(parent, name))
        ]
        pictures = [name for name in files if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
        if not pictures:
            continue
        classes.append(len(pictures))
        some = [Path(parent, name) for name in pictures[:: max(1, len(pictures) // 20)][:20]]
        some = [path for path in some if path.is_file()] or [Path(os.devnull)]  # no link to nowhere, no pipe
        sizes = [path.stat().st_size for path in some]
        size += sum(sizes) * len(pictures) / len(some)
        of_it = [
            pixels_of(path) or length / PIXEL_BYTES for path, length in zip(some[:5], sizes, strict=False)
        ]
        pixels += sum(of_it) / len(of_it) * len(pictures)
    return Pictures(tuple(classes), int(size), pixels / 1e6 / max(1, sum(classes)), True)


def _leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one that it lies in."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def pixels_of(path: Path) -> int | None:
    """Width times height of a JPEG or PNG, from its header; None where that doesn't tell."""
    try:
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
    except OSError:
        return None
    if head.startswith(b"\x89PNG") and len(head) >= 24:
        return int.from_bytes(head[16:20], "big") * int.from_bytes(head[20:24], "big")
    at = 2
    while head.startswith(b"\xff\xd8") and at + 9 <= len(head) and head[at] == 0xFF:
        if 0xC0 <= head[at + 1] <= 0xCF and head[at + 1] not in (0xC4, 0xC8, 0xCC):  # a start of frame
            return int.from_bytes(head[at + 5 : at + 7], "big") * int.from_bytes(head[at + 7 : at + 9], "big")
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None


def pictures_of(settings: dict[str, str], name: str) -> Pictures:
    """What a setting's folder holds, or will."""
    folder = Path(settings[name]) if settings[name] else None
    if folder and folder.is_dir():
        return counted(folder)
    count, size, classes, megapixels = 0, 0, 1, 0.0
    if settings["SOURCE"] == "made":
        (count, size, classes), megapixels = MADE.get(name, (0, 0, 1)), 0.02
    elif settings["SOURCE"] == "download":
        (count, size, classes), megapixels = PUBLISHED[published_set(settings, name)], 0.75
    uneven = tuple(count * (number + 1) // classes - count * number // classes for number in range(classes))
    return Pictures(uneven, size, megapixels, False)


def published_set(settings: dict[str, str], name: str) -> str:
    """Which set a setting's folder is downloaded from."""
    if name == "TRAIN_PICTURES":
        return settings["TRAINING_SET"].replace("own", "landmarks")
    return "paris6k" if Path(settings[name]).name == "paris6k" else "oxford5k"


def downloaded(settings: dict[str, str], name: str) -> float:
    """Bytes that a download has left at its place: its archives and what is unpacked, whole or begun."""
    kind, place = published_set(settings, name), Path(settings[name])
    if place.is_relative_to(settings["W"]):  # made of the set that lies in DATA_DIR
        place = Path(settings["DATA_DIR"], place.name)
    table = tomllib.loads(SOURCES.read_text(encoding="utf-8"))
    thing = table.get(kind) or table.get(f"{kind}-images") or {"files": []}
    files = [place.with_name(file["name"]) for file in thing["files"]]
    return sum(on_disk(one.with_name(one.name + end)) for one in (place, *files) for end in ("", ".part"))


def on_disk(path: Path) -> float:
    """Bytes that a file takes on its disk, or a folder's files; 0 where there is none."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_blocks * 512 for one in files)


def schedule_of(network: str, max_iter: str) -> tuple[int, int]:
    """A training's steps, and how often it looks at its validation pictures, by the network's own solver."""
    solver = Path(__file__).resolve().parents[2] / "prototxt" / network / "solver.prototxt"
    text = solver.read_text() if solver.is_file() else "max_iter: 50000"
    found = {name: int(value) for name, value in re.findall(r"(?m)^(max_iter|test_interval): *(\d+)", text)}
    steps = int(max_iter or found["max_iter"])
    interval = found.get("test_interval", found["max_iter"]) * steps / found["max_iter"]
    return steps, 1 + steps // max(1, round(interval))


def speed_of(network: str) -> float:
    """How many of a network's forward passes VGG16's takes: for its own layers the input's area decides."""
    if network == "demo":
        return DEMO_SPEED
    deploy = Path(__file__).resolve().parents[2] / "prototxt" / network / "deploy.prototxt"
    shape = re.search(r"dim: 3 dim: (\d+) dim: (\d+)", deploy.read_text()) if deploy.is_file() else None
    area = int(shape[1]) * int(shape[2]) / 224**2 if shape else 1.0
    return (1 + SMALL) / (area + SMALL)


def training_needs(settings: dict[str, str], cores: int) -> Iterator[Need]:
    """Sections 4 and 5, from the check to the trained network."""
    work = Path(settings["W"])
    faster = MEASURED_CORES / cores
    given = pictures_of(settings, "TRAIN_PICTURES")
    wanted, side = int(settings["NUM_WANTED"]), int(settings["RESIZE"])
    kept = [count for count in given.classes if count >= int(settings["MIN_PICTURES"])]
    copies = sum(max(0, wanted - count) for count in kept)
    all_of_them = sum(kept) + copies
    source = Path(settings["TRAIN_PICTURES"] or ".")
    linked = _device(source) == _device(work)
    yield Need(
        "check",
        0 if linked else given.bytes,
        given.seconds(CHECK, given.count) / cores,
        f"{given.count:,} pictures, "
        + ("as hard links" if linked else "copied, as they lie on another disk"),
    )
    size = min(COPY_BYTES, given.bytes / max(1, given.count)) if given.count else COPY_BYTES
    yield Need(
        "augment",
        copies * size,
        given.seconds(AUGMENT[settings["AUGMENT_ENGINE"]], copies) / cores,
        f"{copies:,} copies, about {size / 1e3:.0f} kB each",
    )
    entry = 3 * side * side + LMDB_ENTRY_BYTES
    yield Need(
        "lmdb",
        all_of_them * entry,
        given.seconds(LMDB, all_of_them) / cores,
        f"{all_of_them:,} pictures of {side}x{side}x3 bytes",
    )
    weights = _size(settings["WEIGHTS"], 553_432_081 if settings["NETWORK"] == "vgg16" else 2_000_000)
    snapshots = int(settings["KEEP_SNAPSHOTS"]) + 1
    steps, tests = schedule_of(settings["NETWORK"], settings["MAX_ITER"])
    batch = int(settings["EFFECTIVE_BATCH"] or (64 if settings["NETWORK"] == "vgg16" else 32))
    speed = speed_of(settings["NETWORK"])
    tested = round(all_of_them * (1 - float(settings["TRAIN_SHARE"])))
    yield Need(
        "finetune",
        weights * (2 * snapshots + 1),
        (steps * batch * TRAIN + tests * tested * FORWARD) / speed * faster
        if settings["GPUS"] == "none"
        else None,
        f"{steps:,} steps of {batch}, {tests} tests on {tested:,} pictures; {snapshots} snapshots of "
        f"{size_in_words(2 * weights)} and the model",
    )


def search_needs(settings: dict[str, str], cores: int) -> Iterator[Need]:
    """Sections 1, 2 and 6: features and ranks."""
    faster = MEASURED_CORES / cores
    searched = pictures_of(settings, "DATABASE")
    on_cpu = settings["GPUS"] == "none"
    speed = speed_of(settings["NETWORK"])
    dimensions = 4096 if settings["NETWORK"] == "vgg16" else 256
    layers = len(settings["LAYERS"].split())
    models = 1 if settings["TABLE"] in ("1", "3") else 2
    learnt = whitened_on(settings)
    features = layers * 4 * dimensions * searched.count
    ranks = layers * len(settings["DIMS"].split()) * 55 * searched.count * 20
    yield Need(
        "extract",
        models * features,
        models * (searched.count + learnt) * FORWARD / speed * faster if on_cpu else None,
        f"{searched.count:,} pictures{f' and {learnt:,} to whiten on' if learnt else ''}, {models} models, "
        f"{layers} layers of {dimensions}",
    )
    rankings, again = models * (2 if learnt else 1), 0
    if settings["AS_PUBLISHED"] == "yes":  # recipes/as_published.sh
        rankings, again = rankings + 1 + 3 * models, 1 + 2 * models
    fitted = rankings * layers * SCORE * (dimensions / 4096) ** 2
    passes = again * searched.count * FORWARD / speed if on_cpu else 0
    yield Need(
        "score",
        rankings * ranks + again * features,
        (fitted + passes) * faster,
        f"{rankings} rankings by {layers} layers; PCA to all dimensions takes most of the time",
    )
    if settings["TABLE"] in ("0", "3"):
        yield representations_need(settings, searched.count, models, faster)


def representations_need(settings: dict[str, str], searched: int, models: int, faster: float) -> Need:
    """Section 6 beyond single layers, recipes/representations.sh, for so many searched pictures."""
    network, learnt = settings["NETWORK"], whitened_on(settings)
    speed, dimensions = speed_of(network), 4096 if network == "vgg16" else 256
    channels = CHANNELS if network == "vgg16" else 32
    area = (int(settings["MAX_SIDE"] or 1024) / 1024) ** 2
    sample = int(settings["MOP_SAMPLE"] or settings["LEARN_SAMPLE"])
    windows = 1 + sum(((MOP_IMAGE - side) // int(settings["MOP_STEP"]) + 1) ** 2 for side in MOP_SIDES)
    layers, poolings = len(settings["LAYERS"].split()), len(settings["POOLINGS"].split(","))
    maps = poolings * len(settings["MAP_LAYERS"].split())
    pooled = maps + poolings * (models - 1) + SQUARE
    vlad = int(settings["MOP_CENTRES"]) * int(settings["MOP_WINDOW_DIMS"])  # a side's, before its PCA
    ends_at = len(MOP_SIDES) * min(int(settings["MOP_OUTPUT_DIMS"]), sample)
    size = 4 * (
        int(settings["LEARN_SAMPLE"]) * channels * 768 * area  # the maps that R-MAC's whitening learns from
        + sample * windows * dimensions
        + vlad * ends_at
        + searched * (pooled * channels + ends_at + 2 * dimensions)
    )
    # plain and with query expansion; whitened elsewhere only plain
    rankings = len(settings["MAP_DIMS"].split()) * (2 * (layers + 1 + pooled) + (maps if learnt else 0))
    took = (models * searched + learnt) * MAP * area / (1 if network == "vgg16" else 4) * 1.2
    took += (searched + sample) * windows * FORWARD / speed
    scored = (layers + 1 + (ends_at / 4096) ** 2) * SCORE * (dimensions / 4096) ** 2
    scored += (pooled + (maps if learnt else 0)) * POOLED_SCORE * (channels / CHANNELS) ** 2
    return Need(
        "representations",
        size + rankings * 55 * searched * 15,
        (took + scored) * faster if settings["GPUS"] == "none" else None,
        "every pooling of every map; MOP-CNN's windows take most of the time",
    )


def whitened_on(settings: dict[str, str]) -> int:
    """How many other photographs than the searched ones a whitening is fitted on."""
    if not settings["LEARN_FROM"] or settings["LEARN_FROM"] == settings["DATABASE"]:
        return 0
    return min(pictures_of(settings, "LEARN_FROM").count, int(settings["WHITEN_SAMPLE"]))


def needs(settings: dict[str, str], cores: int) -> list[Need]:
    """What the run needs, in the stages' order; nothing for a stage whose outputs are there."""
    found: list[Need] = []
    if settings["SOURCE"] == "download":
        wanted = {"DATABASE": True, "TRAIN_PICTURES": settings["TABLE"] in ("0", "2")}
        wanted["LEARN_FROM"] = whitened_on(settings) > 0
        for name in ("DATABASE", "TRAIN_PICTURES", "LEARN_FROM"):
            pictures = pictures_of(settings, name)
            if not pictures.there and wanted[name]:
                found.append(
                    Need(
                        "data",
                        max(0, 2 * pictures.bytes - downloaded(settings, name)),
                        pictures.bytes / DOWNLOAD_RATE,
                        f"{name}: {size_in_words(pictures.bytes)} to download (at 10 MB/s), and unpacked",
                        in_data=True,
                    )
                )
    if settings["TABLE"] in ("0", "2"):
        found += training_needs(settings, cores)
    found += search_needs(settings, cores)
    work, stages = Path(settings["W"]), settings.get("STAGES", "").split()
    return [
        replace(need, bytes=max(0.0, need.bytes - _left_by(work, need.stage)))
        for need in found
        if not _is_done(work, need.stage) and (need.stage in stages or not stages)
    ]


def _left_by(work: Path, stage: str) -> float:
    if stage == "augment":  # the others there are hard links
        copies = (work / "augmented").glob("*/aug_*")
        return sum(copy.stat().st_blocks * 512 for copy in copies)
    return sum(on_disk(work / one) for one in OUTPUTS.get(stage, ()))


def _is_done(work: Path, stage: str) -> bool:
    made = {
        "check": "checked",
        "augment": "augmented",
        "lmdb": "lmdb%val_lmdb",
        "finetune": "models%finetuned.caffemodel",
    }
    return stage in made and (work / ".steps" / f"{made[stage]}.done").is_file()


def _device(path: Path) -> int:
    while not path.exists():
        path = path.absolute().parent
    return path.stat().st_dev


def _size(path: str, unknown: int) -> int:
    return Path(path).stat().st_size if path and Path(path).is_file() else unknown


def _free(path: Path) -> int:
    while not path.exists():
        path = path.absolute().parent
    return shutil.disk_usage(path).free


def in_words(seconds: float | None) -> str:
    """Seconds as 3 min or 2.5 h."""
    if seconds is None:
        return "on the GPU"
    return f"{max(1, round(seconds / 60))} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size_in_words(size: float) -> str:
    """Bytes as 340 kB, 3.4 MB, 340 MB or 3.4 GB: two digits at least, where there are any."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if size >= 0.9995 * unit:
            return f"{size / unit:,.{1 if size < 99.95 * unit else 0}f} {name}"
    return f"{size / 1e3:.0f} kB"


def as_text(found: Sequence[Need], settings: dict[str, str], cores: int) -> str:
    """The plan for people."""
    lines = [f"Plan for {settings['PROFILE']} on {cores} cores, GPUs: {settings['GPUS']}", ""]
    lines += [
        f"{need.stage:<16}{size_in_words(need.bytes):>12} {in_words(need.seconds):>12}   {need.why}"
        for need in found
    ]
    for place, total in by_disk(found, settings).items():
        free = size_in_words(_free(place))
        lines.append(f"{'disk':<16}{size_in_words(total):>12} of {free} free at {place}")
    known = sum(need.seconds or 0 for need in found)
    lines.append(f"{'time':<16}{in_words(known):>12}, computed from what was measured on 2 cores")
    left_out = "set-up, where it is to come (1.3 GB, some minutes)"
    if settings.get("SOURCE") == "made":
        left_out += "; drawing the demo's pictures and training its network (0.2 GB, as long as all the rest)"
    lines.append(f"not counted: {left_out}")
    return "\n".join(lines)


def by_disk(found: Sequence[Need], settings: dict[str, str]) -> dict[Path, float]:
    """Bytes that are needed on each disk, under the first folder that lies on it."""
    totals: dict[int, tuple[Path, float]] = {}
    for need in found:
        place = Path(settings["DATA_DIR" if need.in_data else "W"])
        first, total = totals.get(_device(place), (place, 0.0))
        totals[_device(place)] = first, total + need.bytes
    return dict(totals.values())


def main(argv: Sequence[str] | None = None) -> int:
    """Print the plan, or with --check only what there is no room for (exit status 1)."""
    parser = argparse.ArgumentParser(prog="tools/run/plan.py", description=__doc__)
    parser.add_argument(
        "settings", nargs="+", metavar="NAME=VALUE", help="the profile's settings, and W, DATA_DIR, ..."
    )
    parser.add_argument("--check", action="store_true", help="say nothing where there is room")
    parser.add_argument("--json", action="store_true", help="the plan for programs")
    options = parser.parse_args(argv)
    settings = dict(setting.partition("=")[::2] for setting in options.settings)
    cores = len(os.sched_getaffinity(0))
    found = needs(settings, cores)
    lacking = {place: total for place, total in by_disk(found, settings).items() if total > _free(place)}
    if options.json:
        print(json.dumps([vars(need) for need in found], indent=1))
    elif not options.check:
        print(as_text(found, settings, cores))
    for place, total in lacking.items():
        print(
            f"run_all: too little room at {place}: this run needs {size_in_words(total)}, and "
            f"{size_in_words(_free(place))} are free (./run_all.sh --plan shows what for)",
            file=sys.stderr,
        )
    return 1 if lacking else 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # whoever reads may stop, as head does
    sys.exit(main())
