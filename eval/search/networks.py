"""The networks that photographs are searched with, and how photographs go into them.

R-MAC of pool5 at 640 pixels serves photographs best that nothing has been trained or fitted on: it finds a
thing wherever it is in the picture and however large, needs no whitening for it, and takes 2 KB. On the
sample of Oxford5k (180 photographs, three queries cut out, VGG16's convolutions, no whitening) mAP in % at a
longer side of 384, 512 and 640 was 64, 62, 69 for R-MAC, 52, 62, 64 for GeM, 54, 57, 71 for SUM and 51, 61,
69 for CroW; R-MAC whitened on those 180 themselves to 128 dimensions had 48, 52, 59. Three queries tell no
more than that R-MAC is good at each size; 640 takes 1.6 times the time of 512. Those photographs have 1024
pixels and were resized bilinearly. Here the area is averaged, as a phone's 4000 pixels would alias otherwise:
on the same photographs at 640 that made 69.1 of 68.6 for R-MAC, 65.4 of 64.2 for GeM, 71.0 of 71.2 for SUM,
67.1 of 69.3 for CroW; at 224 54.5 of 54.6, 47.5 of 48.2, 52.7 of 46.2 and 46.2 of 43.0.
"""

from dataclasses import dataclass
from pathlib import Path

from eval.forward.network import Network

PROTOTXTS = Path(__file__).parent.parent.parent / "prototxt"
POOLINGS = ("rmac", "gem")


@dataclass(frozen=True)
class Recipe:
    """A network by name, and what it is fed."""

    name: str
    layer: str
    mean: tuple[float, float, float]
    """Blue, green, red."""
    max_side: int
    min_side: int
    warning: str | None = None

    @property
    def deploy(self) -> Path:
        """The prototxt, in which every layer has a blob of its own."""
        return PROTOTXTS / self.name / "deploy.prototxt"

    def network(self, weights: Path) -> Network:
        """What a process needs to know."""
        return Network(
            deploy=str(self.deploy),
            weights=str(weights),
            layers=(self.layer,),
            input_size=None,
            mean=self.mean,
            batch=1,
            max_side=self.max_side,
            min_side=self.min_side,
            poolings=POOLINGS,
            interpolation="area",
        )


RECIPES = {
    "vgg16": Recipe("vgg16", "pool5", (104.00698793, 116.66876762, 122.67891434), 640, 96),
    "demo": Recipe(
        "demo",
        "pool5",
        (128.0, 128.0, 128.0),
        160,
        32,
        "the demo's toy network has only seen drawings of 64 pixels and is for trying the page out: among "
        "Oxford's photographs 16 of 100 answers were right, where chance gives 9 and VGG16 34",
    ),
}
