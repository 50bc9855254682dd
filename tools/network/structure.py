"""What a network's prototxt says of its structure: which layers read the data, which one the loss judges."""

from typing import Any

from tools.files.prototxt import Layer, Net, caffe_messages


def copy_of(net: Net) -> Net:
    """A network of its own with the same contents."""
    new = type(net)()
    new.CopyFrom(net)
    return new


def in_phase(net: Net, phase: str) -> Net:
    """Return the network without the layers that its rules leave out of phase TRAIN or TEST."""
    state = type(net.state)()
    state.CopyFrom(net.state)
    state.phase = caffe_messages().Phase.Value(phase)
    new = copy_of(net)
    del new.layer[:]
    new.layer.extend(layer for layer in net.layer if _is_left(layer, state))
    return new


def _is_left(layer: Layer, state: Any) -> bool:
    """Net::FilterNet: with include rules one must hold, and no exclude rule may."""
    if layer.include:
        return any(_rule_holds(rule, state) for rule in layer.include)
    return not any(_rule_holds(rule, state) for rule in layer.exclude)


def _rule_holds(rule: Any, state: Any) -> bool:
    """Net::StateMeetsRule."""
    return (
        (not rule.HasField("phase") or rule.phase == state.phase)
        and (not rule.HasField("min_level") or state.level >= rule.min_level)
        and (not rule.HasField("max_level") or state.level <= rule.max_level)
        and set(rule.stage) <= set(state.stage)
        and not set(rule.not_stage) & set(state.stage)
    )


def data_layer(net: Net, phase: str) -> Layer:
    """The Data layer of phase TRAIN or TEST. Raises ValueError where there isn't exactly one."""
    number = caffe_messages().Phase.Value(phase)
    data_layers = [layer for layer in net.layer if layer.type == "Data"]
    found = [
        layer
        for layer in data_layers
        if any(rule.HasField("phase") and rule.phase == number for rule in layer.include)
    ]
    if len(found) != 1:
        wanted = f"Data layer with include {{ phase: {phase} }}"
        raise ValueError(f"the network needs one {wanted} and has {len(found)}")
    return found[0]


def classifier(net: Net) -> Layer:
    """The layer whose output the loss judges. Raises ValueError where it isn't an InnerProduct layer."""
    losses = [layer for layer in net.layer if layer.type == "SoftmaxWithLoss"]
    if len(losses) != 1:
        raise ValueError(f"the network has {len(losses)} SoftmaxWithLoss layers, not one")
    judged = losses[0].bottom[0]
    for layer in net.layer:
        if judged in layer.top and layer.type == "InnerProduct":
            return layer
    raise ValueError(f"blob {judged}, which the loss judges, doesn't come from an InnerProduct layer")


def freeze_all_but_last(net: Net) -> Net:
    """Return a copy in which only the classifier learns: lr_mult 0 everywhere else.

    Caffe then skips the backward pass through the frozen layers; their weight decay is multiplied by the
    same 0. A BatchNorm layer learns its mean and variance without a rate, from every forward pass in
    training, so it is told to use those that it has.
    """
    frozen = copy_of(net)
    last = classifier(frozen).name
    for layer in frozen.layer:
        if layer.name == last:
            continue
        while len(layer.param) < _learned_blobs(layer):
            layer.param.add()
        for param in layer.param:
            param.lr_mult = 0
        if layer.type == "BatchNorm":
            layer.batch_norm_param.use_global_stats = True
    return frozen


def _learned_blobs(layer: Layer) -> int:
    """How many blobs learn at Caffe's default rate unless a param says otherwise."""
    biased = {
        "Convolution": layer.convolution_param,
        "Deconvolution": layer.convolution_param,
        "InnerProduct": layer.inner_product_param,
        "Embed": layer.embed_param,
    }
    if layer.type in biased:
        return 1 + int(biased[layer.type].bias_term)
    if layer.type == "Scale" and len(layer.bottom) == 1:
        return 1 + int(layer.scale_param.bias_term)
    return int(layer.type == "PReLU" or (layer.type == "Bias" and len(layer.bottom) == 1))
