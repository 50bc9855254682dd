"""The annexes (search page, distractors, Dask's cluster) are loaded by nobody on the article's way."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ANNEXES = ("eval.search", "eval.serve", "eval.distractors", "eval.forward.kept_process", "tools.cluster")


def test_the_article_s_way_loads_no_annex() -> None:
    way = [
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for room in ("eval", "data_prep", "tools")
        for path in sorted((ROOT / room).glob("*.py"))
        if "__main__" in path.read_text() and path.stem not in ("serve", "index", "cluster")
    ]
    assert {"eval.extract", "eval.score", "eval.claims", "data_prep.augment", "tools.check_lmdb"} <= set(way)
    code = f"import sys, {', '.join(way)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert [name for name in loaded if name.startswith((*ANNEXES, "distributed", "dask"))] == []
