"""A blob for every layer that works in place, so that the values before and after it can be read.

In the usual files relu7 and drop7 overwrite blob fc7: after a forward pass `net.blobs['fc7']` holds the value
after ReLU, and the value before it is gone. Here the layers are wired in sequence instead,
fc7 -> fc7_relu7 -> fc7_drop7 -> fc8, which computes the same network. Layer names stay, so weights still fit.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tools.files.prototxt import Layer, Net
from tools.network.structure import in_phase


class Rename(NamedTuple):
    """One in-place layer: the blob it overwrote, and the blob it writes now."""

    layer: str
    old: str
    new: str


def own_blobs(net: Net) -> tuple[Net, list[Rename]]:
    """Return the network with a blob of its own for every in-place layer, and what was renamed.

    The network is taken as caffe.Net(file, caffe.TEST) builds it: layers that its include and exclude rules
    leave out of the test phase are left out. A reader of an overwritten blob gets the version that it would
    have found there, also where layers share memory (Split, Flatten, Reshape: an in-place layer behind one
    overwrites what the others read). A blob's new name is OLD_LAYER, as in fc6_relu6.

    Caffe doesn't stop a layer that can't work in place (an Eltwise sum) from doing so and computing nonsense;
    with a blob of its own such a layer computes what it is meant to.

    Raises ValueError for a network that Caffe would refuse, and for one whose function can't be kept.
    """
    new = in_phase(net, "TEST")
    blobs = _Blobs(taken={blob for layer in new.layer for blob in layer.top})
    renames = list(_rewire(new, blobs))
    return new, renames


def _rewire(net: Net, blobs: "_Blobs") -> Iterator[Rename]:
    for layer in net.layer:
        # Caffe works in place where a top has the name of the bottom at the same position
        in_place = [i < len(layer.bottom) and top == layer.bottom[i] for i, top in enumerate(layer.top)]
        source = layer.bottom[0] if layer.bottom else ""
        layer.bottom[:] = [blobs.read(name, layer) for name in layer.bottom]
        for i, top in enumerate(layer.top):
            if in_place[i]:
                layer.top[i] = blobs.overwrite(top, layer)
                yield Rename(layer.name, top, layer.top[i])
            else:
                blobs.produce(top, layer, source)


@dataclass
class _Blobs:
    """What each blob's name stands for, while one walks through the layers in order."""

    taken: set[str]
    newest: dict[str, str] = field(default_factory=dict)  # old name -> the blob with its value by now
    memory: dict[str, str] = field(default_factory=dict)  # old name -> the blob whose memory it uses
    view: dict[str, str] = field(default_factory=dict)  # the same, among blobs of one shape
    lost: dict[str, str] = field(default_factory=dict)  # old name -> the layer that overwrote it unseen

    def read(self, name: str, layer: Layer) -> str:
        if name not in self.newest:
            raise ValueError(f"layer {layer.name} reads blob {name}, which no layer before it makes")
        if name in self.lost:
            raise ValueError(
                f"layer {layer.name} reads blob {name} after layer {self.lost[name]} has overwritten its"
                " memory in another shape: no renaming keeps what this network computes"
            )
        return self.newest[name]

    def produce(self, name: str, layer: Layer, source: str) -> None:
        if name in self.newest:
            raise ValueError(f"blob {name} is made by two layers, the second is {layer.name}")
        self.newest[name] = self.memory[name] = self.view[name] = name
        if _shares_memory(layer):
            self.memory[name] = self.memory[source]
            if layer.type not in ("Flatten", "Reshape"):
                self.view[name] = self.view[source]

    def overwrite(self, name: str, layer: Layer) -> str:
        new = self._free_name(name, layer)
        for other, memory in self.memory.items():
            if self.view[other] == self.view[name]:
                self.newest[other] = new
            elif memory == self.memory[name]:
                self.lost[other] = layer.name
        return new

    def _free_name(self, blob: str, layer: Layer) -> str:
        name = layer.name or layer.type.lower()
        # the article calls the layer itself fc7_relu7
        wanted = name if name.startswith(f"{blob}_") else f"{blob}_{name}"
        new, number = wanted, 2
        while new in self.taken:
            new, number = f"{wanted}_{number}", number + 1
        self.taken.add(new)
        return new


def _shares_memory(layer: Layer) -> bool:
    """Whether Caffe lets the layer's tops use its bottom's memory (Blob::ShareData in its sources)."""
    return (
        layer.type in ("Split", "Flatten", "Reshape")
        or (layer.type == "Concat" and len(layer.bottom) == 1)
        or (layer.type == "Slice" and len(layer.top) == 1)
    )
