"""Give every in-place layer of a deploy prototxt its own blob: the values before and after it can be read.

In the usual files relu7 and drop7 overwrite blob fc7: after a forward pass `net.blobs['fc7']` holds the value
after ReLU, and the value before it is gone. Here the layers are wired in sequence instead,
fc7 -> fc7_relu7 -> fc7_drop7 -> fc8, which computes the same network. Layer names stay, so weights still fit.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tools.files.prototxt import Layer, Net, caffe_messages, read_net, write_prototxt
from tools.program import one_sentence


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
    new = test_phase(net)
    blobs = _Blobs(taken={blob for layer in new.layer for blob in layer.top})
    renames = list(_rewire(new, blobs))
    return new, renames


def test_phase(net: Net) -> Net:
    """Return the network without the layers that include and exclude rules leave out of the test phase."""
    new = type(net)()
    new.CopyFrom(net)
    del new.layer[:]
    new.layer.extend(layer for layer in net.layer if _in_test_phase(layer, net.state))
    return new


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


def _in_test_phase(layer: Layer, state: Any) -> bool:
    """Net::FilterNet: with include rules one must hold, and no exclude rule may."""
    if layer.include:
        return any(_rule_holds(rule, state) for rule in layer.include)
    return not any(_rule_holds(rule, state) for rule in layer.exclude)


def _rule_holds(rule: Any, state: Any) -> bool:
    """Net::StateMeetsRule, in the test phase."""
    return (
        (not rule.HasField("phase") or rule.phase == caffe_messages().TEST)
        and (not rule.HasField("min_level") or state.level >= rule.min_level)
        and (not rule.HasField("max_level") or state.level <= rule.max_level)
        and set(rule.stage) <= set(state.stage)
        and not set(rule.not_stage) & set(state.stage)
    )


def main(argv: list[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.rename_blobs",
        description="Give every in-place layer of a deploy prototxt its own blob (relu6 and drop6 on fc6 get"
        " fc6_relu6 and fc6_drop6), so that pycaffe can read any layer's value. The network computes the"
        " same; layer names stay, so its caffemodel fits. Reads old files with `layers` too, writes `layer`."
        " The last blob has a new name where the last layer worked in place.",
        epilog="example: python -m tools.rename_blobs VGG_ILSVRC_16_layers_deploy.prototxt deploy.prototxt",
    )
    parser.add_argument("input", metavar="IN", type=Path, help="deploy prototxt, of any of Caffe's formats")
    parser.add_argument("output", metavar="OUT", type=Path, help="where to write the new one")
    args = parser.parse_args(argv)
    try:
        net, renames = own_blobs(read_net(args.input))
        why = f"{args.input.name} with a blob for every layer (python -m tools.rename_blobs)"
        write_prototxt(args.output, net, why)
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError) as error:
        print(f"rename_blobs: {one_sentence(error)}", file=sys.stderr)
        return 1
    for rename in renames:
        print(f"{rename.layer}: {rename.old} -> {rename.new}")
    print(f"{args.output}: {len(renames)} layers worked in place and have blobs of their own now")
    return 0


if __name__ == "__main__":
    sys.exit(main())
