"""What the report says of the network: its layers and the blobs they write, before and after renaming."""

from dataclasses import dataclass
from pathlib import Path

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
