"""The report's section on the network: its layers and the blobs they write, before and after renaming."""

from dataclasses import dataclass
from pathlib import Path

from eval.report import figures
from eval.report.page_pictures import Illustration, Pictures
from eval.report.run_folder import Run
from eval.results.words import text
from tools.files.prototxt import read_net

AROUND = ("pool5", "fc6", "relu6", "drop6", "fc7", "relu7", "drop7")
"""The layers that the article's question is about, which the diagram shows."""


@dataclass(frozen=True)
class Layer:
    """One layer of the network: its name, its type, the blobs it reads and writes."""

    name: str
    kind: str
    bottom: str
    top: str

    @property
    def in_place(self) -> bool:
        """Whether it overwrites what it reads."""
        return self.bottom == self.top


@dataclass(frozen=True)
class Wiring:
    """A layer's blob before renaming and after."""

    name: str
    kind: str
    before: str
    after: str

    @property
    def new(self) -> bool:
        """Whether it has a blob of its own now."""
        return self.before != self.after


def layers(path: Path) -> list[Layer]:
    """The layers of a prototxt in order, without data, loss and accuracy. Raises what read_net raises."""
    net = read_net(path)
    return [
        Layer(layer.name, layer.type, layer.bottom[0], layer.top[0])
        for layer in net.layer
        if layer.bottom and layer.top and layer.type not in ("Accuracy", "SoftmaxWithLoss", "Softmax")
    ]


def wirings(before: list[Layer], after: list[Layer]) -> list[Wiring]:
    """The layers that both have, by name, in order."""
    written = {layer.name: layer.top for layer in before}
    return [
        Wiring(layer.name, layer.kind, written[layer.name], layer.top)
        for layer in after
        if layer.name in written
    ]


@dataclass(frozen=True)
class NetworkSection:
    """The layers with their blobs before and after renaming, and a drawing of those around fc6 and fc7."""

    layers: list[Wiring]
    before: Path
    after: Path
    figure: Illustration | None


def network_section(run: Run, pictures: Pictures) -> NetworkSection | None:
    """The network's layers; None where the run has not come to it, or its folder is not known."""
    after = run.work / "prototxt" / "deploy.prototxt"
    if run.network is None or not after.is_file():
        return None
    before = run.network / "as_printed" / "deploy.prototxt"
    if not before.is_file():  # a network of one's own
        before = run.network / "train_val.prototxt"
    if not before.is_file():
        return None
    wired = wirings(layers(before), layers(after))
    around = [one for one in wired if one.name in AROUND]
    return NetworkSection(wired, before, after, _drawn(wired, around, pictures) if around else None)


def _drawn(wired: list[Wiring], around: list[Wiring], pictures: Pictures) -> Illustration:
    drawing = figures.blobs(
        [(one.name, one.before, one.new) for one in around],
        [(one.name, one.after, one.new) for one in around],
    )
    return Illustration(
        pictures.figure("blobs", drawing, "Layers around fc6 and fc7 with the blobs they write"),
        text(
            "On the left relu7 and drop7 write over fc7, so after a forward pass the blob called fc7 holds "
            "the value after ReLU and the one before it is lost. On the right each layer hands a blob of its "
            "own to the next: the same network, with {count} more layers that can be read.",
            count=sum(one.new for one in wired),
        ),
    )
