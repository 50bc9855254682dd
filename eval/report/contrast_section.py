"""The report's picture of why: a query's first answers by a fully connected layer, and by R-MAC of a map."""

from eval.files.scores import read_scores
from eval.report.page_pictures import Pictures
from eval.report.queries_section import QueryShown, shown_query
from eval.report.run_folder import Run
from eval.results.grid import dimension
from eval.results.words import Words, text

FC, POOLED = "fc6", "rmac"


def contrast_section(run: Run, pictures: Pictures) -> tuple[QueryShown, dict[str, Words]] | None:
    """The query whose gain by R-MAC is nearest to the mean one, and what its two rankings are called.

    Both are the pre-trained network's, at the dimension that the claims compare at. None where the run has
    not ranked by both, or has not tried the claims. Raises OSError or ValueError for files that are wrong.
    """
    if run.claims is None or not run.truths:
        return None
    layer, label = str(run.claims.get("layer")), str(run.claims.get("dim"))
    rows, ranks = {}, {}
    for name, key in (("pretrained_fc", FC), ("pretrained_maps", f"{layer}_{POOLED}")):
        file = run.ranks(name) / "scores.json"
        row = read_scores(file).plain.get((key, label)) if file.is_file() else None
        if row is None or not (run.ranks(name) / row.ranks).is_dir():
            return None
        rows[name], ranks[name] = row, run.ranks(name) / row.ranks
    fc, pooled = (row.ap for row in rows.values())
    both = [query for query in run.truths if query in fc and query in pooled]
    if not both:
        return None
    mean = sum(pooled[query] - fc[query] for query in both) / len(both)
    typical = min(both, key=lambda query: abs(pooled[query] - fc[query] - mean))
    names: dict[str, Words] = {
        name: text("{row}, {column}", row=row.layer, column=dimension(label)) for name, row in rows.items()
    }
    return shown_query(run, pictures, run.truths[typical], "", rows, ranks), names
