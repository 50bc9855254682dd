"""The demo's ImageNet: pictures of many sorts of things, scenes and surfaces, none of them a landmark.

Each class is one function that draws it anew from a random generator. A network that has learnt to tell them
apart knows edges, textures, shading and outlines in general, and nothing of any building in particular.
"""

from collections.abc import Callable
from functools import partial

from data_prep.demo.generic import landscapes, shapes, structures, surfaces
from data_prep.demo.generic.bodies import BODIES, turned_body
from data_prep.demo.photo import Array, Rng

Painter = Callable[[Rng], Array]
GENERIC: dict[str, Painter] = {
    **{name: partial(turned_body, body=body) for name, body in BODIES.items()},
    "brick_wall": partial(surfaces.surface, make=surfaces.with_colours(1, surfaces.bricks)),
    "cobbles": partial(surfaces.surface, make=surfaces.with_colours(1, surfaces.stones)),
    "planks": partial(surfaces.surface, make=surfaces.with_colours(1, surfaces.planks)),
    "checked_cloth": partial(surfaces.surface, make=surfaces.with_colours(2, surfaces.check)),
    "zebra": partial(surfaces.surface, make=surfaces.with_colours(1, surfaces.zebra)),
    "leopard": partial(surfaces.surface, make=surfaces.with_colours(1, surfaces.spots)),
    "honeycomb": partial(surfaces.surface, make=surfaces.with_colours(1, surfaces.honeycomb)),
    "foliage": partial(surfaces.surface, make=surfaces.with_colours(1, surfaces.foliage)),
    "sand": partial(surfaces.surface, make=partial(surfaces.ripples, base=(0.26, 0.42, 0.55), contrast=0.2)),
    "water": partial(surfaces.surface, make=partial(surfaces.ripples, base=(0.4, 0.32, 0.2), contrast=0.5)),
    "knitting": partial(surfaces.surface, make=surfaces.with_colours(2, surfaces.knit)),
    "forest": landscapes.forest,
    "mountain": landscapes.mountain,
    "sea": landscapes.sea,
    "dunes": landscapes.dunes,
    "street": structures.street,
    "tree": partial(landscapes.standing, kind="tree", metres=7.0, count=(1, 3), near=(7, 14)),
    "conifer": partial(landscapes.standing, kind="conifer", metres=8.0, count=(1, 3), near=(8, 15)),
    "person": partial(landscapes.standing, kind="person", metres=1.75, count=(1, 5), near=(2.5, 6)),
    "car": partial(landscapes.standing, kind="car", metres=1.5, count=(1, 3), near=(4, 9)),
    "street_lamp": partial(landscapes.standing, kind="lamp", metres=5.0, count=(1, 3), near=(6, 12)),
    "house": partial(structures.house, archetype="terrace"),
    "block_of_flats": partial(structures.house, archetype="flats"),
    "church": partial(structures.house, archetype="church"),
    "castle": partial(structures.house, archetype="keep"),
    "palace": partial(structures.house, archetype="palace"),
    "dome": partial(structures.house, archetype="rotunda"),
    "gateway": partial(structures.house, archetype="gatehouse"),
    "museum": partial(structures.house, archetype="hall"),
    "bridge": structures.bridge,
    "lighthouse": structures.lighthouse,
    "windmill": partial(structures.lighthouse, windmill=True),
    "tent": structures.tent,
    "fence": landscapes.fence,
    "flower": partial(shapes.flat_shape, draw=shapes.flower),
    "butterfly": partial(shapes.flat_shape, draw=shapes.butterfly),
    "clock": partial(shapes.flat_shape, draw=shapes.clock_face),
    "umbrella": partial(shapes.flat_shape, draw=shapes.umbrella),
    "fish": partial(shapes.flat_shape, draw=shapes.fish),
    "ladder": partial(shapes.flat_shape, draw=shapes.ladder),
    "chair": partial(shapes.flat_shape, draw=shapes.chair),
    "boat": landscapes.boat,
    "balloon": landscapes.balloon,
}
"""The order is a contract too: it numbers the classes, and their numbers seed the pictures."""
