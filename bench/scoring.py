"""How long eval.score takes on data of Oxford5k's size: python -m bench.scoring --help."""

import tempfile
from pathlib import Path

import h5py
import numpy as np

from bench.measure import alternate, compare, finish, in_fresh_process, options, peak_mib, run_bench
from eval import score

PICTURES, DIMENSIONS, LANDMARKS, QUERIES_EACH, POSITIVES = 5063, 512, 11, 5, 50
GOAL = "<= 3"


def make_features(path: Path, pictures: int, dimensions: int) -> None:
    """A features file of noise, in which a landmark's pictures and queries lie near each other."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((LANDMARKS, dimensions), dtype=np.float32)
    database = random.standard_normal((pictures, dimensions), dtype=np.float32)
    for landmark, centre in enumerate(centres):
        database[landmark * POSITIVES : (landmark + 1) * POSITIVES] += centre
    queries = np.repeat(centres, QUERIES_EACH, axis=0)
    queries = queries + random.standard_normal(queries.shape, dtype=np.float32)
    asked = [f"landmark{i}_{j}" for i in range(LANDMARKS) for j in range(QUERIES_EACH)]
    with h5py.File(path, "w") as file:
        for group, names, rows in (
            ("database", [f"picture_{i:05}" for i in range(pictures)], database),
            ("queries", asked, queries),
        ):
            file[f"{group}/names"] = np.array(names, dtype=h5py.string_dtype())
            file[f"{group}/pool5_rmac"] = rows
        file.attrs["complete"] = True


def make_ground_truth(folder: Path) -> None:
    """Oxford's four files for each query."""
    for landmark in range(LANDMARKS):
        mine = [f"picture_{landmark * POSITIVES + i:05}\n" for i in range(POSITIVES)]
        for query in range(QUERIES_EACH):
            name = folder / f"landmark{landmark}_{query}"
            Path(f"{name}_query.txt").write_text(f"oxc1_{mine[query].strip()} 0 0 9 9\n")
            for kind, listed in (("good", mine[:20]), ("ok", mine[20:40]), ("junk", mine[40:])):
                Path(f"{name}_{kind}.txt").write_text("".join(listed))


def scored(pictures: int, dimensions: int, dim: str, runs: int) -> tuple[list[float], float]:
    """Seconds of every run of eval.score, and the most memory in MiB. Raises ValueError where it fails."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "gt").mkdir()
        make_features(folder / "f.h5", pictures, dimensions)
        make_ground_truth(folder / "gt")
        command = [str(folder / "f.h5"), "--gt", str(folder / "gt"), "--out", str(folder / "ranks")]

        def run() -> None:
            if score.main([*command, "--dims", dim]) != 0:
                raise ValueError("eval.score failed")

        return alternate(run, runs=runs, warm_up=0)[0], peak_mib()


def main() -> int:
    """Time eval.score, in a process of its own for its memory."""
    parser = options(
        "scoring",
        "Times eval.score (PCA, ranking, ranked lists, compute_ap) on made-up features.",
        "--pictures 20000",
    )
    parser.add_argument("--pictures", type=int, default=PICTURES, help=f"default {PICTURES}")
    parser.add_argument("--dimensions", type=int, default=DIMENSIONS, help=f"default {DIMENSIONS}")
    parser.add_argument("--dim", default="128", help="PCA to this, as eval.score's --dims (default 128)")
    arguments = parser.parse_args()
    if arguments.pictures < LANDMARKS * POSITIVES or arguments.dimensions < 1:
        parser.error(f"--pictures takes {LANDMARKS * POSITIVES} or more, --dimensions 1 or more")
    runs = 1 if arguments.quick else 5
    durations, memory = in_fresh_process(
        scored, arguments.pictures, arguments.dimensions, arguments.dim, runs
    )
    of_goal_size = (arguments.pictures, arguments.dimensions) == (PICTURES, DIMENSIONS)
    what = f"scoring {arguments.pictures} x {arguments.dimensions}, PCA to {arguments.dim}"
    rows = [
        compare(what, "eval.score", "", "s", durations, goal=GOAL if of_goal_size else ""),
        compare(what, "eval.score", "", "MiB at most", [memory]),
    ]
    return finish(rows, arguments)


if __name__ == "__main__":
    run_bench("scoring", main)
