"""The report's section on what the network sees, from the maps that eval.keep_maps kept."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from eval.files.ground_truth import Query
from eval.report.page_pictures import Illustration, Pictures, Pixels, fit, read_image
from eval.report.run_folder import Run, read_json
from eval.report.words import percent
from eval.represent.pooling import crow, crow_spatial_weight, crow_weighted, rmac, rmac_regions, rmac_vectors
from eval.results.grid import reading
from eval.results.words import Words, text

HEIGHT = 200
CHANNELS = 3
REGIONS = 4
EDGE = (0, 220, 255)
Maps = NDArray[np.float32]
"""(C, H, W)."""


@dataclass(frozen=True)
class ModelView:
    """What one model sees in a photograph."""

    name: str
    pictures: list[Illustration]


@dataclass(frozen=True)
class QueryView:
    """A query's photograph as the models see it."""

    name: str
    models: list[ModelView]


@dataclass(frozen=True)
class MapsSection:
    """The section: what all pictures have in common in words, and the queries."""

    words: Words
    queries: list[QueryView]


def maps_section(run: Run, pictures: Pictures) -> MapsSection | None:
    """Everything that eval.keep_maps kept for this run; None without it."""
    index = run.work / "looks" / "look.json"
    if not index.is_file():
        return None
    kept = read_json(index)
    with reading("what eval.keep_maps keeps", index):
        layer, models, queries = str(kept["layer"]), list(kept["models"]), dict(kept["queries"])
    shown = []
    for query, image in queries.items():
        photo = read_image(Path(run.database[image].path)) if image in run.database else None
        if photo is not None and query in run.truths:
            box = _box(run.truths[query].query, photo)
            files = {model: run.work / "looks" / model / layer / f"{query}.npy" for model in models}
            seen = [
                ModelView(model, _illustrations(pictures, query, model, fit(photo, HEIGHT), file, box))
                for model, file in files.items()
            ]
            shown.append(QueryView(query, seen))
    words = text(
        "Maps of {layer}, the photograph whole and its aspect kept. Light is where CroW counts most and "
        "should lie on the building rather than on sky and grass: first by the spatial weight alone, then "
        "times the channel weight, as the article shows it. R-MAC's thick frames are the regions most like "
        "the vector that all regions give together; the {count} channels add most to CroW's vector. Where "
        "there are two models, compare them: fine-tuning on buildings should pull the light onto them.",
        layer=layer,
        count=CHANNELS,
    )
    return MapsSection(words, shown) if shown else None


def _illustrations(
    pictures: Pictures,
    query: str,
    model: str,
    photo: Pixels,
    maps: Path,
    box: tuple[float, float, float, float],
) -> list[Illustration]:
    """A model's views of a photograph, written."""
    shown = []
    for number, (picture, words) in enumerate(_views_of(photo, np.load(maps), box)):
        alt = text("{name}, {what}", name=query, what=words)
        shown.append(Illustration(pictures.jpeg(f"sees/{query}_{model}_{number}", picture, alt), words))
    return shown


def _box(query: Query, photo: Pixels) -> tuple[float, float, float, float]:
    """The query's box in shares of the photograph's width and height."""
    height, width = photo.shape[:2]
    x1, y1, x2, y2 = query.box
    return x1 / width, y1 / height, x2 / width, y2 / height


def _views_of(
    photo: Pixels, maps: Maps, box: tuple[float, float, float, float]
) -> Iterator[tuple[Pixels, Words]]:
    """Pictures with their captions: CroW's weight, R-MAC's regions, the strongest channels."""
    height, width = photo.shape[:2]
    sides = (width, height, width, height)
    left, top, right, bottom = (round(share * side) for share, side in zip(box, sides, strict=True))
    weights = {
        "CroW's spatial weight; the thin frame is the query": crow_spatial_weight(maps),
        "CroW's spatial times channel weight": crow_weighted(maps),
    }
    for words, weight in weights.items():
        weighted = heat(photo, weight)
        cv2.rectangle(weighted, (left, top), (right - 1, bottom - 1), EDGE, 1)
        yield weighted, words
    count = len(rmac_regions(*maps.shape[1:]))
    yield (
        regions(photo, maps),
        text("R-MAC: {count} regions, the {most} that count most", count=count, most=REGIONS),
    )
    vector = crow(maps)
    for channel in np.argsort(-vector, kind="stable")[:CHANNELS]:
        share = vector[channel] ** 2 / max(float(np.sum(vector**2)), 1e-30)
        yield (
            heat(photo, maps[channel]),
            text("channel {channel}, {share} of CroW's vector", channel=channel, share=percent(share, 0)),
        )


def heat(photo: Pixels, weight: NDArray[np.floating]) -> Pixels:
    """A photograph (h, w, 3) uint8 under a map (H, W) of values from 0 up, dark where it is low."""
    scaled = weight / max(float(weight.max()), 1e-30)
    large = cv2.resize(scaled.astype(np.float32), photo.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    colours = mpl.colormaps["inferno"](large)[:, :, 2::-1] * 255
    return np.clip(0.45 * photo + 0.55 * colours, 0, 255).astype(np.uint8)


def regions(photo: Pixels, maps: Maps) -> Pixels:
    """A photograph with R-MAC's regions: all thin, those most like R-MAC's vector thick."""
    drawn = (0.6 * photo).astype(np.uint8)
    scale = np.array(photo.shape[:2]) / maps.shape[1:]
    whole = rmac(maps)
    likeness = rmac_vectors(maps)[:-1] @ whole / max(float(np.linalg.norm(whole)), 1e-30)
    places = rmac_regions(*maps.shape[1:])
    strongest = set(np.argsort(-likeness, kind="stable")[:REGIONS].tolist())
    for number in sorted(range(len(places)), key=lambda number: number in strongest):
        top, left, side = places[number]
        y1, x1 = np.rint(np.array((top, left)) * scale).astype(int).tolist()
        y2, x2 = np.rint(np.array((top + side, left + side)) * scale).astype(int).tolist()
        colour, thickness = (EDGE, 2) if number in strongest else ((190, 190, 190), 1)
        cv2.rectangle(drawn, (x1 + 1, y1 + 1), (x2 - 2, y2 - 2), colour, thickness)
    return drawn
