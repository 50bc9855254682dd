"""Make the demo's pictures from a seed: a miniature of the article that needs no download.

generic    DIR/<class>/*.jpg, varied things, scenes and surfaces to pre-train on (the article's ImageNet)
landmarks  DIR/<landmark>/*.jpg, buildings in classes of uneven size, and a few broken files (its Landmarks)
retrieval  DIR/jpg/*.jpg and DIR/gt/*.txt in Oxford5k's layout: 11 other buildings with 5 queries each;
           DIR/gnd_demo.pkl is the same in the layout of Revisited Oxford
"""

import argparse
import pickle
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np

from data_prep.demo.broken import BROKEN, break_picture
from data_prep.demo.buildings.archetypes import ARCHETYPES, draw_building
from data_prep.demo.buildings.plan import Building
from data_prep.demo.generic.classes import GENERIC
from data_prep.demo.photo import Array, Rng, jpeg
from data_prep.demo.scenes import Framing, Photo, photograph
from tools.processes import add_jobs_option, map_ordered
from tools.program import folder_beside, positive_int, run_program, whole_number

# What seeds a picture (seed, stream, class, number) is a contract, as the order of draws is (archetypes.py).
STREAMS = {"generic": 1, "landmarks": 2, "retrieval": 3, "distractors": 4}
LANDMARKS_OF_A_CITY = 11
QUERIES = 5
SMALLEST_CLASS = 9
SMALLEST_QUERY = 48  # pixels, of a photograph's 290: Oxford's smallest box is 4 % of its photograph
TRIES = 200
NEW_BUILDING_EVERY = 3

CUTS = 2
LEAST_CUT = 0.6
"""Of each generic picture, by area. With the network's crop of 64 in 72 it sees 0.47 to 0.79 of a picture;
VGG16 saw 0.19 to 0.77, crops of 224 in pictures whose shorter side was drawn from 256 to 512 (Simonyan and
Zisserman, section 3.1), of a million pictures. Wider cuts helped layers here and not maps."""

PLACES = (
    "alder amber ashen barrow birch bramble brook cinder clover copper corbel dell ember fallow fern garnet "
    "hazel heron hollow juniper kestrel larch linden lowmoor maple marrow mistral mossy nettle oaken orchard "
    "otter pebble pewter plover quarry raven rowan saffron sedge sorrel thistle umber velvet willow wren"
)
CITY_PLACES = "ardwin belmore carrick dunmere elsworth fenwold garrowby hexley ivenhall jessamy kelder lorne"
KINDS_OF_PLACE = {
    "hall": ("hall", "museum", "library"),
    "church": ("church", "priory", "minster"),
    "palace": ("palace", "college", "townhall"),
    "rotunda": ("rotunda", "observatory", "temple"),
    "gatehouse": ("gate", "gatehouse", "bridgehead"),
    "terrace": ("row", "terrace", "market"),
    "flats": ("house", "hotel", "exchange"),
    "keep": ("castle", "keep", "tower"),
}

LARGER = 1.83
"""A searched photograph's side in that of one to train on: 293 pixels to the network's 64, as 1024 to 224."""
TOWN = partial(Framing, across=0.3, town=0.8, pixels=LARGER, turn=0.4, clutter=0.7)
"""As Oxford's: the landmark is one thing among many."""
FRAMINGS = {
    "good": TOWN(span=(0.35, 1.15), blocked=(0, 1)),
    "ok": TOWN(span=(0.4, 1.9), across=0.45, blocked=(1, 3)),
    "junk": TOWN(span=(0.7, 3.0), across=1.1, blocked=(2, 5), clutter=1.5),
}
VIEW_OF_THE_CITY = TOWN(span=(0.35, 1.5), blocked=(0, 2))
SNAPSHOT = TOWN(span=(0.45, 1.4), turn=0.6, pixels=1.0, blocked=(0, 1))
"""To train on: of the same kind, at the size of the pictures that training takes."""
VISIBLE = {"good": 0.7, "ok": 0.25, "junk": 0.03}
"""Share of the building that is seen: Oxford's good is clearly visible, ok more than a quarter, junk less."""


@dataclass(frozen=True)
class Shot:
    """One picture to be made: where it goes, the numbers that seed it, and what it shows."""

    path: Path
    seed: tuple[int, ...]
    building: tuple[int, ...] | None = None
    archetype: str = ""
    subject: str = ""
    asked: bool = False


@dataclass(frozen=True)
class Taken:
    """What came of a Shot: how well the building is seen, its box (x0, y0, x1, y1), whether it is a query."""

    path: Path
    subject: str
    box: tuple[float, float, float, float]
    asked: bool


@lru_cache(maxsize=8)
def _building(seed: tuple[int, ...], archetype: str) -> Building:
    return draw_building(np.random.default_rng(seed), archetype)


def _rng(seed: tuple[int, ...]) -> Rng:
    cv2.setNumThreads(1)  # the processes fill the cores already
    return np.random.default_rng(seed)


def _take_generic(shot: Shot) -> None:
    rng = _rng(shot.seed)
    picture = GENERIC[shot.subject](rng)
    for number in range(CUTS):
        path = shot.path.with_stem(f"{shot.path.stem}_{number + 1}")
        path.write_bytes(jpeg(rng, some_of(rng, picture)))


def some_of(rng: Rng, picture: Array) -> Array:
    """A part of a picture, LEAST_CUT of its area or more: things are near and far, whole and cut."""
    height, width = picture.shape[:2]
    share = float(np.sqrt(rng.uniform(LEAST_CUT, 1.0)))
    h, w = round(height * share), round(width * share)
    top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    return picture[top : top + h, left : left + w]


def _take_landmark(shot: Shot) -> None:
    rng = _rng(shot.seed)
    photo = photograph(rng, _building(shot.building, shot.archetype), SNAPSHOT)
    shot.path.write_bytes(jpeg(rng, photo.picture))


def _take_labelled(shot: Shot) -> Taken:
    rng = _rng(shot.seed)
    building = _building(shot.building, shot.archetype)
    framing = replace(FRAMINGS[shot.subject], place=_place(shot))
    take = photograph_clearly if shot.asked else photograph
    photo = take(rng, building, framing)
    shot.path.write_bytes(jpeg(rng, photo.picture))
    return Taken(shot.path, label_of(photo), generous(rng, photo), shot.asked)


def _place(shot: Shot) -> tuple[int, ...]:
    """The seed of what stands around a shot's building."""
    return *(shot.building or ()), 7


def photograph_clearly(rng: Rng, building: Building, framing: Framing) -> Photo:
    """Photograph a building until it is clearly visible and large enough to cut out as a query.

    Raises ValueError if that never happens.
    """
    for _ in range(TRIES):
        photo = photograph(rng, building, framing)
        if label_of(photo) == "good" and _box_size(photo) >= SMALLEST_QUERY:
            return photo
    raise ValueError(f"no photograph of a building came out good in {TRIES} tries")


def label_of(photo: Photo) -> str:
    """Oxford's word for how much of the building is seen; `absent` where there is next to nothing of it."""
    return next((label for label, least in VISIBLE.items() if photo.visible >= least), "absent")


def generous(rng: Rng, photo: Photo) -> tuple[float, float, float, float]:
    """The photo's box as drawn by hand: up to a tenth too large on each side, within the picture."""
    height, width = photo.picture.shape[:2]
    x0, y0, x1, y1 = photo.box
    left, right = rng.uniform(0.02, 0.1, 2) * (x1 - x0)
    above, below = rng.uniform(0.02, 0.1, 2) * (y1 - y0)
    return max(x0 - left, 0.0), max(y0 - above, 0.0), min(x1 + right, width), min(y1 + below, height)


def _box_size(photo: Photo) -> float:
    x0, y0, x1, y1 = photo.box
    return min(x1 - x0, y1 - y0)


def _write_folders(shots: Iterable[Shot]) -> None:
    for folder in sorted({shot.path.parent for shot in shots}):
        folder.mkdir(parents=True, exist_ok=True)


def _take_all(take: Callable[[Shot], object], shots: list[Shot], jobs: int, what: str) -> list:
    _write_folders(shots)
    return list(map_ordered(take, shots, jobs=jobs, what=what))


def make_generic(out: Path, seed: int, jobs: int, pictures: int) -> None:
    """Write `pictures` pictures of each generic class below `out`."""
    stream = STREAMS["generic"]
    shots = [
        Shot(out / name / f"{name}_{i:04d}.jpg", (seed, stream, number, i), subject=name)
        for number, name in enumerate(GENERIC)
        for i in range(pictures)
    ]
    _take_all(_take_generic, shots, jobs, "generic pictures")


def class_sizes(rng: Rng, classes: int, largest: int) -> list[int]:
    """Uneven sizes, in random order: SMALLEST_CLASS and `largest` are among them, small classes are many."""
    shares = np.linspace(0, 1, classes) ** 1.5
    sizes = np.rint(SMALLEST_CLASS * (largest / SMALLEST_CLASS) ** shares).astype(int)
    return [int(size) for size in rng.permutation(sizes)]


def landmark_names(rng: Rng, archetypes: list[str], places: list[str]) -> list[str]:
    """Invented names such as hazel_priory, one for each archetype, no two the same.

    Raises ValueError when the places don't suffice.
    """
    names: list[str] = []
    for archetype in archetypes:
        free = [f"{p}_{k}" for p in places for k in KINDS_OF_PLACE[archetype] if f"{p}_{k}" not in names]
        if not free:
            raise ValueError(f"{len(archetypes)} classes are too many: there are names for {len(names)}")
        names.append(free[int(rng.integers(len(free)))])
    return names


def _archetypes(rng: Rng, count: int) -> list[str]:
    kinds = list(ARCHETYPES)
    return [str(kind) for kind in rng.permutation([kinds[i % len(kinds)] for i in range(count)])]


def make_landmarks(out: Path, seed: int, jobs: int, classes: int, largest: int, broken: int) -> None:
    """Write `classes` folders of photographs, a building each, and `broken` files of every broken kind."""
    stream = STREAMS["landmarks"]
    rng = np.random.default_rng((seed, stream))
    archetypes = _archetypes(rng, classes)
    names = landmark_names(rng, archetypes, PLACES.split())
    sizes = class_sizes(rng, classes, largest)
    shots = [
        Shot(out / name / f"{name}_{i:04d}.jpg", (seed, stream, number, i), (seed, stream, number), archetype)
        for number, (name, archetype, size) in enumerate(zip(names, archetypes, sizes, strict=True))
        for i in range(size)
    ]
    _take_all(_take_landmark, shots, jobs, "landmark photographs")
    for path, kind in _break_some(rng, shots, dict(zip(names, sizes, strict=True)), broken):
        print(f"broken on purpose: {path.parent.name}/{path.name}: {kind}")


def _break_some(rng: Rng, shots: list[Shot], sizes: dict[str, int], each: int) -> list[tuple[Path, str]]:
    """Add broken pictures, numbered after the good ones, to classes chosen by chance."""
    done, added = [], dict.fromkeys(sizes, 0)
    for kind in [kind for kind in BROKEN for _ in range(each)]:
        name = str(rng.choice(list(sizes)))
        source = shots[int(rng.integers(len(shots)))].path
        path = source.parent.parent / name / f"{name}_{sizes[name] + added[name]:04d}.jpg"
        added[name] += 1
        done.append((break_picture(source.read_bytes(), kind, path), kind))
    return done


def make_retrieval(out: Path, seed: int, jobs: int, distractors: int) -> None:
    """Write out/jpg and out/gt: 11 landmarks, 5 queries each, and distractors."""
    stream = STREAMS["retrieval"]
    rng = np.random.default_rng((seed, stream))
    archetypes = _archetypes(rng, LANDMARKS_OF_A_CITY)
    names = landmark_names(rng, archetypes, CITY_PLACES.split())
    shots: list[Shot] = []
    for number, (name, archetype) in enumerate(zip(names, archetypes, strict=True)):
        counts = {"good": rng.integers(5, 9), "ok": rng.integers(5, 12), "junk": rng.integers(7, 14)}
        labels = rng.permutation([label for label, count in counts.items() for _ in range(count)])
        asked = np.flatnonzero(labels == "good")[:QUERIES]
        for i, label in enumerate(labels):
            path = out / "jpg" / f"{name}_{i + 1:06d}.jpg"
            seeds = (seed, stream, number, i), (seed, stream, number)
            shots.append(Shot(path, *seeds, archetype, str(label), asked=i in asked))
    taken = _take_all(_take_labelled, shots, jobs, "retrieval photographs")
    _take_all(_take_distractor, _distractor_shots(out, seed, distractors), jobs, "distractors")
    (out / "gt").mkdir()
    of = {name: [t for t in taken if t.path.stem.rpartition("_")[0] == name] for name in names}
    for name, pictures in of.items():
        write_ground_truth(out / "gt", name, pictures)
    write_revisited(out, of)


def _distractor_shots(out: Path, seed: int, count: int) -> list[Shot]:
    """Pictures of the same city: other buildings, up to NEW_BUILDING_EVERY of each, and generic scenes."""
    stream, shots = STREAMS["distractors"], []
    rng = np.random.default_rng((seed, stream))
    for i in range(count):
        path = out / "jpg" / f"city_{i + 1:06d}.jpg"
        if rng.random() < 0.25:
            shots.append(Shot(path, (seed, stream, i), subject=str(rng.choice(list(GENERIC)))))
        else:
            number = i // NEW_BUILDING_EVERY
            archetype = list(ARCHETYPES)[number % len(ARCHETYPES)]
            shots.append(Shot(path, (seed, stream, i), (seed, stream, count, number), archetype))
    return shots


def _take_distractor(shot: Shot) -> None:
    rng = _rng(shot.seed)
    if shot.building:
        framing = replace(VIEW_OF_THE_CITY, place=_place(shot))
        picture = photograph(rng, _building(shot.building, shot.archetype), framing).picture
    else:
        small = GENERIC[shot.subject](rng)
        picture = cv2.resize(small, None, fx=LARGER, fy=LARGER, interpolation=cv2.INTER_CUBIC)
    shot.path.write_bytes(jpeg(rng, picture))


def write_ground_truth(folder: Path, name: str, taken: list[Taken]) -> None:
    """Write Oxford's four files for each of a landmark's QUERIES queries.

    A query file has one line, `oxc1_` and the picture's name, then the box; the others one name a line. The
    queries are good pictures, and stand in the good list as Oxford's do.
    """
    lists = {label: [t.path.stem for t in taken if t.subject == label] for label in VISIBLE}
    for i, query in enumerate([t for t in taken if t.asked], start=1):
        box = " ".join(f"{c:.1f}" for c in query.box)
        (folder / f"{name}_{i}_query.txt").write_text(f"oxc1_{query.path.stem} {box}\n", encoding="utf-8")
        for label, members in lists.items():
            text = "".join(f"{member}\n" for member in members)
            (folder / f"{name}_{i}_{label}.txt").write_text(text, encoding="utf-8")


def write_revisited(out: Path, taken: dict[str, list[Taken]]) -> None:
    """Write out/gnd_demo.pkl, the layout of Revisited Oxford: the queries' pictures are not searched.

    What is good is easy to find, what is ok is hard, and both by how much of the building is seen.
    """
    asked = {name: [t for t in of if t.asked] for name, of in taken.items()}
    images = [t.path.stem for of in asked.values() for t in of]
    searched = sorted({path.stem for path in (out / "jpg").iterdir()} - set(images))
    place = {name: number for number, name in enumerate(searched)}

    def places(name: str, label: str) -> list[int]:
        return [place[t.path.stem] for t in taken[name] if t.subject == label and t.path.stem in place]

    entries = [
        {"bbx": [round(c, 1) for c in query.box]}
        | {kind: places(name, label) for kind, label in (("easy", "good"), ("hard", "ok"), ("junk", "junk"))}
        for name, queries in asked.items()
        for query in queries
    ]
    content = {"imlist": searched, "qimlist": images, "gnd": entries}
    (out / "gnd_demo.pkl").write_bytes(pickle.dumps(content, protocol=2))


def make_whole(out: Path, make: Callable[[Path], None], *, force: bool) -> None:
    """Run make(a folder beside `out`) and move it in, so that what carries the name `out` is whole.

    Raises ValueError if `out` exists, unless `force`, which replaces it once the new one is whole.
    """
    if out.exists() and not force:
        raise ValueError(f"{out} exists already (--force replaces it)")
    with folder_beside(out) as part:
        make(part)


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.make_demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m data_prep.make_demo landmarks --out work/demo/data/landmarks --seed 1",
    )
    sets = parser.add_subparsers(dest="set", required=True, metavar="{generic,landmarks,retrieval}")
    generic = sets.add_parser("generic", help="varied classes to pre-train on")
    _add_number(generic, "--pictures", positive_int, 18, f"a class, each cut {CUTS} times")
    landmarks = sets.add_parser("landmarks", help="buildings to fine-tune on, and broken files")
    _add_number(landmarks, "--classes", positive_int, 64, "buildings")
    _add_number(landmarks, "--largest", _class_size, 150, "pictures of the largest class; the smallest has 9")
    _add_number(landmarks, "--broken", whole_number, 2, "broken files of each kind")
    retrieval = sets.add_parser("retrieval", help="Oxford5k's layout: jpg/ and gt/")
    _add_number(retrieval, "--distractors", whole_number, 150, "pictures of none of the landmarks")
    for each in (generic, landmarks, retrieval):
        each.add_argument(
            "--out", type=Path, required=True, metavar="DIR", help="folder to make; must not exist"
        )
        each.add_argument(
            "--seed", type=whole_number, required=True, help="same seed, same pictures, whatever --jobs"
        )
        each.add_argument("--force", action="store_true", help="replace DIR if it exists")
        add_jobs_option(each)
    return parser


def _add_number(
    parser: argparse.ArgumentParser, option: str, kind: Callable[[str], int], default: int, what: str
) -> None:
    parser.add_argument(option, type=kind, default=default, metavar="N", help=f"{what} (default {default})")


def _class_size(text: str) -> int:
    number = positive_int(text)
    if number < SMALLEST_CLASS:
        raise argparse.ArgumentTypeError(f"must be at least {SMALLEST_CLASS}, not {text}")
    return number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    options = vars(build_parser().parse_args(argv))
    makers: dict[str, Callable[..., None]] = {
        "generic": make_generic,
        "landmarks": make_landmarks,
        "retrieval": make_retrieval,
    }
    make, out, force = makers[options.pop("set")], options.pop("out"), options.pop("force")
    return run_program("make_demo", lambda: make_whole(out, partial(make, **options), force=force))


if __name__ == "__main__":
    sys.exit(main())
