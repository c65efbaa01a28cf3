"""Weights that all networks of a space share, and the slice of them that one design takes.

A design takes the first filters of the largest layer, the centre of its kernel and the first units. A layer's place in
the network decides its weights. Absent layers do not count, so equal designs have equal weights. A fully connected
layer that sees pixels has weights of its own for each size of the feature map.
"""

import math

import torch
from torch import Tensor, nn

from pipeline.analog.base import NoisyLayer
from pipeline.analog.model import noisy_layers
from pipeline.data.spec import image_of
from pipeline.design.design_point import DesignPoint
from pipeline.design.topology import Layer, topology
from pipeline.study.spaces import ABSENT, ConvSpace, Dimension, NetworkSpace
from pipeline.study.study_spec import StudySpec
from pipeline.trial.network import FIXED_POINT_SPREAD, plain_network

SharedWeights = dict[str, Tensor]


def shared_weights(spec: StudySpec, generator: torch.Generator) -> SharedWeights:
    """Fresh weights (He et al., 2015) of the largest layer at each place, by name.

    The names are `conv1`, `fc2`, `classifier`, and `fc1@4x4` for inputs of 4 x 4 pixels. `NAME.scale` and
    `NAME.shift` are the parameters of batch normalisation; without it `NAME.shift` is the bias. Fixed-point weights
    start so widely spread that they do not round to zero; batch normalisation undoes the factor.
    """
    network = _space(spec)
    formats = [*(conv.weight_format for conv in network.convs), *(fc.weight_format for fc in network.hidden)]
    fixed = any(formats) and network.batch_norm
    shared = {}
    for name, shape in _shapes(spec).items():
        spread = math.sqrt(2 / math.prod(shape[1:]))
        layer = name.split("@")[0]
        if fixed and layer != "classifier":
            spread = max(spread, FIXED_POINT_SPREAD)
        shared[name] = torch.randn(shape, generator=generator) * spread
        shared[f"{layer}.scale"], shared[f"{layer}.shift"] = torch.ones(shape[0]), torch.zeros(shape[0])
    return shared


def part_of(shared: SharedWeights, design: DesignPoint, network: nn.Module) -> dict[str, Tensor]:
    """The parameters of a design's network, by their names in it; their gradients reach the shared weights."""
    names = {module: name for name, module in network.named_modules()}
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    parameters: dict[str, Tensor] = {}
    for place, (layer, module) in enumerate(zip(topology(design), noisy_layers(network), strict=True)):
        name, outputs = layer.mvm.name, layer.mvm.out_channels
        parameters[f"{names[module]}.weight"] = _slice(shared, design, layer, module)
        if layer.batch_norm:
            parameters[f"{names[norms[place]]}.weight"] = shared[f"{name}.scale"][:outputs]
            parameters[f"{names[norms[place]]}.bias"] = shared[f"{name}.shift"][:outputs]
        else:
            parameters[f"{names[module]}.bias"] = shared[f"{name}.shift"][:outputs]
    return parameters


def build_channels_last(design: DesignPoint) -> nn.Sequential:
    """The design's network in the memory format of training."""
    network = plain_network(topology(design), design.accelerator)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _space(spec: StudySpec) -> NetworkSpace:
    assert isinstance(spec.network, NetworkSpace), "the study file was checked"
    return spec.network


def _slice(shared: SharedWeights, design: DesignPoint, layer: Layer, module: NoisyLayer) -> Tensor:
    mvm = layer.mvm
    if layer.is_conv:
        cut = (shared[mvm.name].shape[-1] - mvm.square_kernel) // 2
        centre = slice(cut, cut + mvm.square_kernel)
        weight = shared[mvm.name][: mvm.out_channels, : mvm.in_channels, centre, centre]
        return weight.contiguous(memory_format=torch.channels_last)
    if mvm.name in shared and (mvm.name != "classifier" or design.hidden):
        return shared[mvm.name][: mvm.out_channels, : mvm.in_channels].contiguous()
    channels = design.convs[-1].filters if design.convs else design.image.channels
    height, width = design.image.height, design.image.width
    for conv in design.convs:
        height, width = _shrunk((height, width), conv.stride, conv.pool)
    return shared[f"{mvm.name}@{height}x{width}"][: mvm.out_channels, :channels].flatten(1).contiguous()


def _shrunk(size: tuple[int, int], stride: int, pool: bool) -> tuple[int, int]:
    height, width = (-(-side // stride) // (2 if pool else 1) for side in size)
    return height, width


def _shapes(spec: StudySpec) -> dict[str, tuple[int, ...]]:
    """Name of each weight -> its shape."""
    convs, hidden, image = _space(spec).convs, _space(spec).hidden, image_of(spec.dataset)
    shapes: dict[str, tuple[int, ...]] = {}
    channels = image.channels
    for place in range(len(convs)):
        filters = max(_largest(conv.filters) for conv in convs[place:])
        kernel = max(_largest(conv.kernel) for conv in convs[place:])
        shapes[f"conv{place + 1}"] = (filters, channels, kernel, kernel)
        channels = filters
    features = max([image.channels, *(_largest(conv.filters) for conv in convs)])
    if image.masks:
        kernels = [int(kernel) for conv in convs for kernel in conv.kernel.values]
        ups = {f"up{place + 1}": (features, features, max(kernels), max(kernels)) for place in range(len(convs))}
        return shapes | ups | {"classifier": (image.classes, features, 1, 1)}
    units = [max(_largest(fc.units) for fc in hidden[place:]) for place in range(len(hidden))]
    sizes = _feature_sizes(convs, (image.height, image.width))
    for height, width in sizes:
        if units:
            shapes[f"fc1@{height}x{width}"] = (units[0], features, height, width)
        if all(ABSENT in fc.units.values for fc in hidden):
            shapes[f"classifier@{height}x{width}"] = (image.classes, features, height, width)
    shapes |= {f"fc{place + 1}": (units[place], units[place - 1]) for place in range(1, len(units))}
    return shapes | ({"classifier": (image.classes, max(units))} if units else {})


def _largest(dimension: Dimension) -> int:
    return max(int(value) for value in dimension.values if value != ABSENT)


def _feature_sizes(convs: list[ConvSpace], size: tuple[int, int]) -> list[tuple[int, int]]:
    """All sizes that the last feature map of a network of the space can have."""
    sizes = {size}
    for conv in convs:
        steps = [(int(stride), bool(pool)) for stride in conv.stride.values for pool in conv.pool.values]
        after = {_shrunk(before, *step) for before in sizes for step in steps}
        sizes = after | (sizes if ABSENT in conv.filters.values else set())
    return sorted(size for size in sizes if min(size) >= 1)
