"""Stand-ins for what the article's profile downloads: the same layouts, counts and names, other pictures.

    python -m bench.rehearsal.stand_ins --out work/rehearsal/served --scale 0.02

oxbuild_images-v1.tgz     5,063 pictures of 1024 x 768, of 11 landmarks with 5 queries each and of others
gt_files_170407.tgz       Oxford's ground truth for them, 220 files
paris_1-v1.tgz, paris_2-v1.tgz  a tenth of Paris' pictures
ims.tar.gz, retrieval-SfM-120k.pkl  713 clusters of 1 to 850 small pictures, files without extension
VGG_ILSVRC_16_layers.caffemodel  VGG16 of random weights, for an input of --side
Each is there whole or not at all, so that a stopped run goes on. The same scale, the same pictures.
"""

import argparse
import hashlib
import io
import pickle
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from tools.program import Progress, run_program, written_beside

Array = npt.NDArray[Any]

LANDMARKS = (
    *("all_souls", "ashmolean", "balliol", "bodleian", "christ_church", "cornmarket", "hertford", "keble"),
    *("magdalen", "pitt_rivers", "radcliffe_camera"),
)
QUERIES = 5
PHOTOGRAPHS, WIDTH, HEIGHT = 5063, 1024, 768
CLUSTERS, TRAIN_CLUSTERS, LARGEST_CLUSTER = 713, 551, 850
SMALL = (96, 72)
"""Width and height of a picture to train on: half a million fit on a disk."""
GOOD, OK, JUNK = 30, 20, 15
"""Pictures of a landmark by how much of it is seen, about as many as Oxford's."""


@dataclass(frozen=True)
class Scale:
    """How much of the real counts is made, and the side of the network's input."""

    share: float = 1.0
    side: int = 224

    def of(self, count: int, least: int) -> int:
        """So many things at this scale, but not fewer than `least`."""
        return max(least, round(count * self.share))


def make_all(out: Path, scale: Scale) -> None:
    """Make what isn't there yet. Raises OSError."""
    out.mkdir(parents=True, exist_ok=True)
    makers: dict[str, Callable[[Path, Scale], None]] = {
        "oxbuild_images-v1.tgz": make_oxford,
        "gt_files_170407.tgz": make_ground_truth,
        "paris_1-v1.tgz": lambda path, scale: make_paris(path, scale, 1),
        "paris_2-v1.tgz": lambda path, scale: make_paris(path, scale, 2),
        "retrieval-SfM-120k.pkl": make_table,
        "ims.tar.gz": make_training_pictures,
        "VGG_ILSVRC_16_layers.caffemodel": make_weights,
    }
    for name, make in makers.items():
        if not (out / name).exists():
            with written_beside(out / name) as part:
                make(part, scale)


def write_sources(path: Path, url: str, scale: Scale, weights: Path) -> None:
    """A table like data_prep's sources.toml, with the stand-ins at `url` (which ends in '/')."""
    sets = {
        "oxford5k-images": (".jpg", len(photographs(scale)), ["oxbuild_images-v1.tgz"]),
        "oxford5k-gt": (".txt", 4 * QUERIES * len(LANDMARKS), ["gt_files_170407.tgz"]),
        "paris6k-images": (".jpg", 2 * scale.of(320, 5), ["paris_1-v1.tgz", "paris_2-v1.tgz"]),
        "sfm120k": ("", 0, ["retrieval-SfM-120k.pkl", "ims.tar.gz"]),
        "vgg16": ("", 0, [weights.name]),
    }
    lines = []
    for name, (keep, at_least, files) in sets.items():
        lines += [f"[{name}]", 'what = "a stand-in"', f'page = "{url}"', f'keep = "{keep}"']
        lines += [f"at_least = {at_least}"]
        for file in files:
            lines += [f"[[{name}.files]]", f'name = "{file}"', f'urls = ["{url}{file}"]']
            lines += [f"bytes = {(weights.parent / file).stat().st_size}"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


# Oxford's layout


def photographs(scale: Scale) -> list[tuple[str, int, str]]:
    """Each picture's name, whose it is (a landmark's number, -1 for none) and its label."""
    counts = {"good": scale.of(GOOD, QUERIES + 1), "ok": scale.of(OK, 2), "junk": scale.of(JUNK, 1)}
    labels = [label for label, count in counts.items() for _ in range(count)]
    listed = [
        (f"{name}_{number:06d}", landmark, label)
        for landmark, name in enumerate(LANDMARKS)
        for number, label in enumerate(labels, 1)
    ]
    others = scale.of(PHOTOGRAPHS, 0) - len(listed)
    return listed + [(f"oxford_{number:06d}", -1, "other") for number in range(1, others + 1)]


def make_oxford(path: Path, scale: Scale) -> None:
    """The archive of photographs, all in its top folder."""
    listed = photographs(scale)
    camera = Camera(WIDTH, HEIGHT)
    with Progress(path.name, len(listed)) as progress:
        files = (
            (f"{name}.jpg", camera.jpeg(number, landmark, label))
            for number, (name, landmark, label) in enumerate(listed)
        )
        write_archive(path, files, progress)


def make_ground_truth(path: Path, scale: Scale) -> None:
    """Four files a query: the first QUERIES good pictures of each landmark, the box being the middle."""
    listed = photographs(scale)
    files = {}
    for landmark, name in enumerate(LANDMARKS):
        of_label = {
            label: [picture for picture, whose, its in listed if whose == landmark and its == label]
            for label in ("good", "ok", "junk")
        }
        for number, query in enumerate(of_label["good"][:QUERIES], 1):
            box = f"{WIDTH * 0.2:.1f} {HEIGHT * 0.2:.1f} {WIDTH * 0.8:.1f} {HEIGHT * 0.8:.1f}"
            files[f"{name}_{number}_query.txt"] = f"oxc1_{query} {box}\n"
            for label, pictures in of_label.items():
                files[f"{name}_{number}_{label}.txt"] = "".join(f"{picture}\n" for picture in pictures)
    write_archive(path, ((name, text.encode()) for name, text in files.items()))


def make_paris(path: Path, scale: Scale, part: int) -> None:
    """One of the two archives of Paris, its pictures in folders."""
    camera, count = Camera(WIDTH, HEIGHT), scale.of(320, 5)
    names = (f"paris/place_{part}/paris_{part}_{number:06d}.jpg" for number in range(count))
    with Progress(path.name, count) as progress:
        files = (
            (name, camera.jpeg(part * 10_000 + number, -1, "other")) for number, name in enumerate(names)
        )
        write_archive(path, files, progress)


# SfM-120k's layout


def cluster_sizes(scale: Scale) -> list[int]:
    """From one picture to the largest cluster, small ones being many; the same for the same scale."""
    clusters, largest = scale.of(CLUSTERS, 8), scale.of(LARGEST_CLUSTER, 12)
    sizes = np.rint(np.geomspace(1, largest, clusters)).astype(int)
    return [int(size) for size in np.random.default_rng(1).permutation(sizes)]


def training_pictures(scale: Scale) -> Iterator[tuple[str, str, int]]:
    """Each picture's part, name (cid) and cluster; the numbers of clusters begin anew in val."""
    sizes = cluster_sizes(scale)
    train = round(len(sizes) * TRAIN_CLUSTERS / CLUSTERS)
    for cluster, size in enumerate(sizes):
        part, number = ("train", cluster) if cluster < train else ("val", cluster - train)
        for picture in range(size):
            yield part, hashlib.md5(b"%d %d" % (cluster, picture)).hexdigest(), number


def make_table(path: Path, scale: Scale) -> None:
    """The table of clusters, as its authors' is a pickle of lists."""
    table: dict[str, dict[str, list[Any]]] = {
        part: {"cids": [], "cluster": [], "qidxs": [], "pidxs": []} for part in ("train", "val")
    }
    for part, cid, cluster in training_pictures(scale):
        table[part]["cids"].append(cid)
        table[part]["cluster"].append(cluster)
    path.write_bytes(pickle.dumps(table, protocol=2))


def make_training_pictures(path: Path, scale: Scale) -> None:
    """The archive: ims/XX/YY/ZZ/CID."""
    camera = Camera(*SMALL)
    total = sum(cluster_sizes(scale))
    with Progress(path.name, total) as progress:
        files = (
            (
                f"ims/{cid[-2:]}/{cid[-4:-2]}/{cid[-6:-4]}/{cid}",
                camera.jpeg(number, cluster + (part == "val") * CLUSTERS, "good"),
            )
            for number, (part, cid, cluster) in enumerate(training_pictures(scale))
        )
        write_archive(path, files, progress)


# Pictures, archives, weights


class Camera:
    """Makes pictures by the thousand: of each subject a rough drawing, from somewhere, with grain."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._grain = np.random.default_rng(0).normal(0, 10, (2 * height, 2 * width, 3)).astype(np.int8)

    def jpeg(self, number: int, subject: int, label: str) -> bytes:
        """Picture `number`, of a subject (-1: of nothing that another picture shows), as a JPEG file."""
        rng = np.random.default_rng([7, number])
        drawing = np.random.default_rng([8, subject if subject >= 0 else 10_000 + number])
        rough = drawing.integers(0, 255, (9, 12, 3), dtype=np.uint8)
        away = {"good": 0.05, "ok": 0.2, "junk": 0.45}.get(label, 0.1)
        matrix = np.array([[self.width / 12, 0, 0], [0, self.height / 9, 0]]) * rng.uniform(0.9, 1.2)
        matrix[:, 2] = rng.uniform(-away, away, 2) * (self.width, self.height)
        picture = cv2.warpAffine(rough, matrix, (self.width, self.height), borderMode=cv2.BORDER_REFLECT)
        x, y = rng.integers(0, self.width), rng.integers(0, self.height)
        picture = cv2.add(
            picture.astype(np.int16), self._grain[y:, x:][: self.height, : self.width].astype(np.int16)
        )
        return cv2.imencode(".jpg", np.clip(picture, 0, 255).astype(np.uint8))[1].tobytes()


def write_archive(path: Path, files: Iterable[tuple[str, bytes]], progress: Progress | None = None) -> None:
    """A .tar.gz of names and contents."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
            if progress:
                progress.advance()


def make_weights(path: Path, scale: Scale) -> None:
    """VGG16 with weights drawn as a network starts (He et al., arXiv 1502.01852): values keep their size."""
    import caffe

    text = Path("prototxt/vgg16/deploy.prototxt").read_text(encoding="utf-8")
    deploy = path.with_name("deploy.prototxt")
    deploy.write_text(text.replace("224", str(scale.side)), encoding="utf-8")
    net = caffe.Net(str(deploy), caffe.TEST)
    rng = np.random.default_rng(16)
    for blobs in net.params.values():
        weights = blobs[0].data
        fan_in = weights[0].size
        weights[...] = rng.standard_normal(weights.shape, np.float32) * np.float32(np.sqrt(2 / fan_in))
    net.params["conv1_1"][0].data[...] /= 64  # about the deviation of a picture's values
    net.save(str(path))
    deploy.unlink()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.rehearsal.stand_ins",
        description=__doc__,
        epilog="example: python -m bench.rehearsal.stand_ins --out /tmp/stand_ins --scale 0.01",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the files")
    add_scale_options(parser)
    options = parser.parse_args(argv)
    return run_program("stand_ins", lambda: make_all(options.out, Scale(options.scale, options.side)))


def add_scale_options(parser: argparse.ArgumentParser) -> None:
    """Give a program the options --scale and --side."""
    parser.add_argument(
        "--scale", type=_share, default=1.0, metavar="S", help="share of the real counts (default 1)"
    )
    parser.add_argument(
        "--side",
        type=int,
        choices=(32, 64, 96, 128, 160, 192, 224),
        default=64,
        metavar="N",
        help="side of the network's input: of 64 (default) half a million pictures take an LMDB of 9 GB, of"
        " VGG16's own 224 one of 112 GB",
    )


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, not {text}")
    return share


if __name__ == "__main__":
    sys.exit(main())
