"""The demo's ImageNet: pictures of many sorts of things, scenes and surfaces, none of them a landmark.

Each class is one function that draws it anew from a random generator. A network that has learnt to tell them
apart knows edges, textures, shading and outlines in general, and nothing of any building in particular.
"""

from collections.abc import Callable
from functools import partial

from data_prep.demo.generic import landscapes, shapes, structures, surfaces
from data_prep.demo.generic.bodies import BODIES, turned_body
from data_prep.demo.generic.studio import HUES
from data_prep.demo.photo import Array, Rng

HOUSES = {
    "house": "terrace",
    "block_of_flats": "flats",
    "church": "church",
    "castle": "keep",
    "palace": "palace",
    "dome": "rotunda",
    "gateway": "gatehouse",
    "museum": "hall",
}
MAKES = 10
"""Of each sort of building. Much of ImageNet is as fine: breeds of dogs, makes of cars, sorts of birds."""
Painter = Callable[[Rng], Array]
GENERIC: dict[str, Painter] = {
    **{
        f"{hue}_{name}": partial(turned_body, body=body, hue=hue)
        for name, body in BODIES.items()
        for hue in HUES
    },
    **{
        f"{name}_{make}": partial(structures.house, archetype=archetype, make=make)
        for name, archetype in HOUSES.items()
        for make in range(1, MAKES + 1)
    },
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
