"""Moves any torch model onto crossbars, and back."""

import copy
from typing import Any, cast

from torch import nn

from hw_models.accelerator import Accelerator
from hw_models.layers import MvmLayer
from hw_models.mapping import LayerMapping, map_network
from pipeline.analog.layers import MaxPool2d, NoisyConv2d, NoisyLinear

# Layers with matrices that would silently stay digital.
_REFUSED = (nn.modules.conv._ConvNd, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, nn.Bilinear)


def to_analog(model: nn.Module, hardware: Accelerator) -> nn.Module:
    """A copy of a model whose convolutions and linear layers lie on crossbars.

    Everything else - batch normalisation, activations, pooling, sums of branches - stays digital, and the model keeps
    its own forward pass. Max pooling gives the same values faster. Weights and their names in the state dict stay the
    same. Next, train the model if you like (noise-aware with a `pipeline.analog.model.set_noise_strength` above 0),
    `calibrate` it on training images, and measure it with `pipeline.trial.variation.accuracy_under_variation`.

    Args:
        model: Its convolutions have square kernels, one stride and one zero padding for both sides, no groups and no
            dilation. A layer that is called twice is one set of cells. Both calls draw the same read noise, and
            share the input range calibrated on the first call and the ADC range calibrated on the last. Better give
            each call its own layer.
        hardware: The accelerator; `hw_models.mapping` lays the layers out on its crossbars.

    Raises:
        ValueError: If a layer is of a kind that crossbars here do not compute.
    """
    model = copy.deepcopy(model)
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    for name, layer in model.named_modules():
        _check(name, layer)
    if not layers:
        raise ValueError("the model has neither a Conv2d nor a Linear layer; there is nothing to put on crossbars")
    mapping = map_network(hardware, [_matrix_of(name, layer) for name, layer in layers])
    new: dict[nn.Module, nn.Module] = {old: MaxPool2d.like(old) for old in model.modules() if type(old) is nn.MaxPool2d}
    for index, ((name, layer), place) in enumerate(zip(layers, mapping.layers, strict=True)):
        new[layer] = _from_digital(layer, hardware, place, index, name)
    return _replaced(model, new)


def to_digital(model: nn.Module) -> nn.Module:
    """A copy of a model whose crossbar layers are plain torch layers with the same (float) weights."""
    model = copy.deepcopy(model)
    layers = [layer for layer in model.modules() if isinstance(layer, NoisyConv2d | NoisyLinear)]
    return _replaced(model, {layer: _to_digital(layer) for layer in layers})


def _from_digital(
    layer: nn.Conv2d | nn.Linear, hardware: Accelerator, mapping: LayerMapping, index: int, name: str
) -> NoisyConv2d | NoisyLinear:
    """The crossbar layer that shares a torch layer's parameters."""
    analog: NoisyConv2d | NoisyLinear
    bias = layer.bias is not None
    on_chip: dict[str, Any] = {"accelerator": hardware, "mapping": mapping, "index": index}
    if isinstance(layer, nn.Conv2d):
        sizes = layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0]
        analog = NoisyConv2d(*sizes, bias, _padding(layer), **on_chip)
    else:
        analog = NoisyLinear(layer.in_features, layer.out_features, bias, **on_chip)
    analog.to(layer.weight.device)
    analog.range_rule, analog.label = "error", f"layer {name or 'of the model'}"
    analog.weight, analog.bias = cast(nn.Parameter, layer.weight), cast(nn.Parameter | None, layer.bias)
    return analog.train(layer.training)


def _to_digital(layer: NoisyConv2d | NoisyLinear) -> nn.Conv2d | nn.Linear:
    """The torch layer that shares a crossbar layer's parameters."""
    digital: nn.Conv2d | nn.Linear
    (outputs, inputs, *kernel), bias = layer.weight.shape, layer.bias is not None
    if isinstance(layer, NoisyConv2d):
        digital = nn.Conv2d(inputs, outputs, kernel[0], layer.stride, layer.padding, bias=bias)
    else:
        digital = nn.Linear(inputs, outputs, bias=bias)
    digital.weight, digital.bias = layer.weight, layer.bias
    return digital.train(layer.training)


def _check(name: str, layer: nn.Module) -> None:
    place = f"layer {name or 'of the model'} ({type(layer).__name__})"
    if isinstance(layer, nn.Conv2d):
        limits = {
            "groups": (layer.groups, layer.groups == 1, "1"),
            "dilation": (layer.dilation, set(layer.dilation) == {1}, "1"),
            "kernel_size": (layer.kernel_size, len(set(layer.kernel_size)) == 1, "square"),
            "stride": (layer.stride, len(set(layer.stride)) == 1, "the same in both directions"),
            "padding": (layer.padding, _padding(layer) is not None, "the same on all sides"),
            "padding_mode": (layer.padding_mode, layer.padding_mode == "zeros", "zeros"),
        }
        for field, (value, holds, allowed) in limits.items():
            if not holds:
                raise ValueError(f"{place}: {field} must be {allowed}, got {value!r}; crossbars here compute no other")
    elif isinstance(layer, _REFUSED):
        raise ValueError(f"{place} cannot be put on crossbars here; only Conv2d and Linear can")


def _padding(layer: nn.Conv2d) -> int | None:
    """Zeros on each side, None if sides differ."""
    sides = set(layer._reversed_padding_repeated_twice)  # numbers even if `padding` is a string
    return sides.pop() if len(sides) == 1 else None


def _matrix_of(name: str, layer: nn.Conv2d | nn.Linear) -> MvmLayer:
    """The layer as the mapping sees it, which ignores the image size: one window is enough."""
    kernel = layer.kernel_size[0] if isinstance(layer, nn.Conv2d) else 1
    return MvmLayer(
        name=name or "layer",
        in_height=kernel,
        in_width=kernel,
        in_channels=layer.weight.shape[1],
        kernel=kernel,
        out_channels=layer.weight.shape[0],
        windows=1,
    )


def _replaced(model: nn.Module, new: dict[nn.Module, nn.Module]) -> nn.Module:
    """`model` with each module that is a key of `new` replaced by its value everywhere."""
    if model in new:
        return new[model]
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):  # named_children() names a shared child once
            if child in new:
                setattr(parent, name, new[child])
    return model
