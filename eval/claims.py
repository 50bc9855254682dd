"""The article's claims as experiments: what each says, how it is measured, the figure, and whether it holds.

Everything is read from features files and scores.json that runs have made; nothing is computed by a network
here. A claim whose files are not there is said to be not measured, with the command that measures it.
"""

import argparse
import csv
import io
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eval.evidence.claims import CLAIMS, UNTRIED, Claim
from eval.evidence.experiments import Finding, Part
from eval.evidence.measured import Folders, Measured, MissingError
from eval.results.markdown import aligned, wrapped
from eval.results.summary import verdicts
from tools.program import dimension, run_program, write_text

PROGRAM = "eval.claims"
VERDICTS = {True: "holds", False: "does not hold", None: "too close to tell"}
NOT_MEASURED = "not measured here"
COLUMNS = ("claim", "whose", "section", "text", "verdict", "comparison", "effect", "low", "high")


def points(share: float) -> float | None:
    """Points of mAP; None where there is no such number."""
    return round(100 * share, 4) if math.isfinite(share) else None


def part_row(part: Part) -> dict[str, Any]:
    """One comparison as claims.json has it, in points."""
    low, high = part.effect.interval()
    return {
        "what": part.what,
        "effect": points(part.effect.mean),
        "interval": [points(low), points(high)],
        "verdict": VERDICTS[part.holds],
    }


def deciding(found: Finding) -> Part | None:
    """The comparison that the verdict hangs on: the weakest of those that are as the claim is."""
    parts = [part for part in found.parts if part.holds is found.holds]
    return min(parts, key=lambda part: part.effect.interval()[0], default=None)


def in_points(row: dict[str, Any]) -> str:
    """A comparison in one line: '+2.41 points (0.30 to 4.52)'."""
    low, high = row["interval"]
    reach = "no interval" if low is None or high is None else f"{low:.2f} to {high:.2f}"
    return f"{row['effect']:+.2f} points ({reach})"


def tried(claim: Claim, number: int, measured: Measured, command: str) -> dict[str, Any]:
    """One claim as results/claims.json has it. Raises ValueError or OSError for files that are wrong."""
    row: dict[str, Any] = {
        "claim": number,
        "text": claim.text,
        "whose": claim.whose,
        "section": claim.section,
        "sentence": claim.sentence,
        "margin": claim.margin,
    }
    try:
        found = claim.experiment(measured)
    except MissingError as missing:
        asked = f"{command} {claim.options}".rstrip()
        return row | {"verdict": NOT_MEASURED, "missing": str(missing), "command": asked}
    parts = [part_row(part) for part in found.parts]
    decides = deciding(found)
    headline = part_row(decides) if decides else {"effect": None, "interval": None}
    said = "; ".join(f"{part['what']} {in_points(part)}" for part in parts)
    return row | {
        "verdict": VERDICTS[found.holds],
        "effect": headline["effect"],
        "interval": headline["interval"],
        "how": found.how,
        "figure": f"{found.figure}: {said}" if said else found.figure,
        "parts": parts,
        "values": found.values,
    }


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """The claims for a spreadsheet, a line for each comparison; effects in points."""
    text = io.StringIO()
    lines = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    lines.writeheader()
    for row in rows:
        for part in row.get("parts") or [{}]:
            low, high = part.get("interval", (None, None))
            lines.writerow(
                row
                | {"comparison": part.get("what"), "effect": part.get("effect"), "low": low, "high": high}
                | {"verdict": part.get("verdict", row["verdict"])}
            )
    return text.getvalue()


def as_markdown(rows: Sequence[dict[str, Any]], measured: Measured, note: str | None) -> str:
    """The claims for people."""
    lines = [
        [
            str(row["claim"]),
            row["text"] + ("" if row["whose"] == "article" else " (ours)"),
            row["verdict"],
            in_points(row) if row.get("effect") is not None else "",
        ]
        for row in rows
    ]
    header = ["", "Claim", "Here", "Effect (95 % interval)"]
    parts = ["# The article's claims", aligned([header, *lines], to_left=4)]
    if note:
        parts.append(wrapped(f"Measured on: {note}"))
    pooled = f", pooled over {len(measured.runs)} runs" if len(measured.runs) > 1 else ""
    parts.append(
        wrapped(
            f"Representations are compared at {measured.label} dimensions, the poolings of {measured.layer}, "
            f"fully connected layers at {measured.fc_label}{pooled}. Errors come from a bootstrap over "
            "places (and runs), as the queries of a place share what they should find. A claim of several "
            "comparisons holds if all do; its effect is that of the one which decides. A verdict is wrong "
            "in at most 1 of 20 cases; what these queries can't tell is too close to tell."
        )
    )
    for row in rows:
        parts.append(f"## {row['claim']}. {row['text']}: {row['verdict']}")
        where = f"the article, {row['section']}" if row["section"] else "ours"
        margin = f" Here {row['margin']}." if row["margin"] else ""
        parts.append(wrapped(f"Claimed ({where}): {row['sentence'].rstrip('.')}.{margin}"))
        if "figure" in row:
            parts += [wrapped(f"Measured: {row['how']}."), wrapped(f"{row['figure']}.")]
        else:
            parts.append(wrapped(f"This run has no {row['missing']}. To measure it: `{row['command']}`"))
    parts.append("## What can't be tried here")
    for other in UNTRIED:
        parts.append(
            wrapped(f"{other.text} ({other.section}): {other.sentence} It would take {other.needs}.")
        )
    return "\n\n".join(parts) + "\n"


def try_claims(measured: Measured, out: Path, note: str | None, command: str) -> None:
    """Try every claim, write all forms, and say how many have which verdict. Raises ValueError or OSError."""
    for folder in (folder for run in measured.runs for folder in (run.features, run.ranks)):
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}")
    rows = [tried(claim, number, measured, command) for number, claim in enumerate(CLAIMS, start=1)]
    about = {
        "layer": measured.layer,
        "dim": measured.label,
        "fc_dim": measured.fc_label,
        "runs": len(measured.runs),
    }
    found = about | {"claims": rows, "untried": [asdict(other) for other in UNTRIED]}
    markdown = as_markdown(rows, measured, note)
    write_text(out / "claims.json", json.dumps(found, indent=1, allow_nan=False) + "\n")
    write_text(out / "claims.csv", as_csv(rows))
    write_text(out / "claims.md", markdown)
    print(f"{out / 'claims.md'}: {verdicts(rows)}; beside it .json and .csv")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    options = parse_options(argv)
    if options.runs:
        runs = [Folders(run / "features", run / "ranks") for run in options.runs]
    else:
        pairs = zip(options.features, options.ranks, strict=True)
        runs = [Folders(features, ranks) for features, ranks in pairs]
    measured = Measured(runs, options.layer, options.dim, options.fc_dim)
    return run_program(PROGRAM, lambda: try_claims(measured, options.out, options.data_note, options.command))


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {PROGRAM}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Try the article's claims on what a run, or several that differ in their seed, have\n"
        "measured: claim, how, figure, holds or not. Reads\n"
        "FEATURES/{pretrained,pretrained_square,pretrained_double,wiring_*}.h5 and\n"
        "RANKS/{pretrained{,_fc,_square,_maps},finetuned{,_maps,_last,_two-phase}}/scores.json, as\n"
        "run_all.sh names them; a claim whose files are not there is not measured. Writes OUT/claims.md,\n"
        ".json, .csv.",
        epilog="examples:\n"
        "  python -m eval.claims --features work/demo/features --ranks work/demo/ranks"
        " --out work/demo/results\n"
        "  python -m eval.claims --runs work/demo/seed_1 work/demo/seed_2 --out work/demo/results",
    )
    add = parser.add_argument
    add("--features", type=Path, nargs="+", metavar="DIR", help="folder with the features files, of each run")
    add("--ranks", type=Path, nargs="+", metavar="DIR", help="folder with eval.score's folders, of each run")
    add("--runs", type=Path, nargs="+", metavar="DIR", help="in their place: DIR/features and DIR/ranks")
    add("--out", type=Path, required=True, metavar="DIR", help="where claims.md, .json and .csv go")
    add("--layer", default="pool5", metavar="BLOB", help="compare this layer's poolings (default: pool5)")
    add("--dim", type=dimension, default="128", help="compare at this dimension (default: 128)")
    add(
        "--fc-dim",
        type=dimension,
        default="128",
        help="compare fully connected layers at this one (default: 128, the article's)",
    )
    add("--data-note", metavar="TEXT", help="what our figures were measured on")
    add(
        "--command",
        default="./run_all.sh",
        metavar="TEXT",
        help="how to run what is missing (default: ./run_all.sh)",
    )
    options = parser.parse_args(argv)
    if options.runs and (options.features or options.ranks):
        parser.error("--runs stands in place of --features and --ranks")
    if not options.runs and not (options.features and options.ranks):
        parser.error("name the runs: --features and --ranks, or --runs")
    if not options.runs and len(options.features) != len(options.ranks):
        parser.error("--features and --ranks go together, a folder of each for every run")
    return options


if __name__ == "__main__":
    sys.exit(main())
