"""The report's page: sections made once, said in every language, written with their pictures."""

import os
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from eval.report.claims_section import claims_section
from eval.report.contrast_section import contrast_section
from eval.report.data_section import data_section
from eval.report.maps_section import maps_section
from eval.report.network_section import network_section
from eval.report.page_pictures import Pictures
from eval.report.prototxt_section import prototxt_section
from eval.report.provenance_section import duration, provenance_section
from eval.report.queries_section import queries_section
from eval.report.run_folder import Run
from eval.report.tables_section import answers, protocols, table
from eval.report.terms import TERMS
from eval.report.training_section import training_section
from eval.report.words import LANGUAGES, Language, percent
from eval.results import as_published
from eval.results.grid import NAMES
from tools.program import folder_beside, write_text

INDEX = {"en": "index.html", "zh": "index.zh.html"}
"""The page's file in each language."""
README = {
    code: Path(__file__).resolve().parents[2] / name
    for code, name in (("en", "README.md"), ("zh", "README.zh.md"))
}


def write_report(run: Run, out: Path) -> None:
    """Write the page in every language and its pictures into the folder out, once all is there.

    Raises ValueError for a run without results, or what is no result; OSError where reading or writing fails.
    """
    if not run.work.is_dir():
        raise NotADirectoryError(20, "Not a folder", str(run.work))
    if not run.scores and not run.tables and not run.steps:
        raise ValueError(f"{run.work} holds no run: ./run_all.sh makes one")
    if out.exists() and not (out / "index.html").is_file() and any(out.iterdir()):
        raise ValueError(f"{out} holds files that are not a report's; choose another folder")
    with folder_beside(out) as folder:
        sections = make_sections(run, Pictures(folder / "img"))
        for code in LANGUAGES:
            readme = os.path.relpath(README[code], out)
            write_text(folder / INDEX[code], page(sections, Language(code), readme))


def make_sections(run: Run, pictures: Pictures) -> dict[str, Any]:
    """What the page shows of a run, by the names that the template has for it; pictures are written."""
    return {
        "run": run,
        "tables": {number: table(run, pictures, number) for number in (1, 2, 3)},
        "protocols": protocols(run),
        "answers": answers(run),
        "claims": claims_section(run),
        "contrast": contrast_section(run, pictures),
        "maps": maps_section(run, pictures),
        "network": network_section(run, pictures),
        "prototxt": prototxt_section(run),
        "data": data_section(run, pictures),
        "training": training_section(run, pictures),
        "queries": queries_section(run, pictures),
        "provenance": provenance_section(run),
    }


def breakable(name: str, after: str = "/_") -> Markup:
    """A file's or a class's name that a line may break after these characters, nowhere else."""
    return Markup("").join(
        part + Markup("<wbr>") if part and part in after else part for part in re.split(f"([{after}])", name)
    )


def page(sections: dict[str, Any], language: Language, readme: str = "README.md") -> str:
    """The page's HTML in one language; `readme` is the way from it to the project's README."""
    environment = Environment(
        loader=PackageLoader("eval.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def html(words: str, **values: Any) -> Markup:
        """Words that hold HTML of ours; the values are escaped."""
        return Markup(language.say(words)).format(**values)

    environment.filters |= {
        "percent": percent,
        "duration": duration,
        "say": language.say,
        "breakable": breakable,
    }
    environment.globals |= {"_": language.say, "_html": html}
    return environment.get_template("report.html").render(
        sections,
        language=language.code,
        pages=INDEX,
        terms=TERMS,
        names=NAMES,
        published=as_published,
        readme=readme,
        steps=sections["run"].steps,
    )
