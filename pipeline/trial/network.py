"""Builds a design's torch network, whose weights lie on crossbars, and stores its trained weights in a file."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hw_models.accelerator import Accelerator
from hw_models.mapping import LayerMapping, map_network
from pipeline.analog.base import NoisyLayer
from pipeline.analog.conversion import to_analog
from pipeline.analog.layers import MaxPool2d, NoisyConv2d, NoisyLinear
from pipeline.compute_device import compute_device
from pipeline.design.design_point import DesignPoint
from pipeline.design.topology import Layer, topology
from pipeline.files import checksum_of, write_whole
from pipeline.networks.models import example_of, float_model, load_weights, read_weights
from pipeline.networks.workload import workload_of

FIXED_POINT_SPREAD = 0.25  # assumed: weights this widely spread do not all round to zero with 3 or more fraction bits


def build_network(design: DesignPoint, weights: Path | None = None, weights_hash: str | None = None) -> nn.Module:
    """The design's network on its crossbars; torch's global generator draws what `weights` do not give.

    Args:
        design: Its network is one of the family `plain`, or what a function builds.
        weights: File of trained weights for the latter, as `pipeline.networks.models.load_weights` reads it.
        weights_hash: What the file's hash must be.

    Raises:
        InfeasibleDesign: If the network cannot exist.
        ValueError: If the builder or the weights are gone, have changed or do not fit.
    """
    if design.network is None:
        return plain_network(topology(design), design.accelerator)
    model = float_model(design.network, design.image)
    if weights is not None:
        load_weights(model, weights, weights_hash)
    bits = {layer.name: layer.weight_bits for layer in workload_of(design).layers if layer.weight_bits is not None}
    allowed = design.network.allow_digital
    return to_analog(model, design.accelerator, example_of(design.image), weight_bits=bits, allow_digital=allowed)


def plain_network(layers: Sequence[Layer], accelerator: Accelerator) -> nn.Sequential:
    """A network of the given layers.

    Its input is (images, channels, height, width) in 0 to 1, its output (images, classes), or (images, classes, height,
    width) for masks. Batch normalisation, pooling, ReLU and bias are digital. Pooling comes before the ReLU,
    which gives the same values and costs less.
    """
    mapping = map_network(accelerator, [layer.mvm for layer in layers])
    modules: list[nn.Module] = []
    for index, (layer, place) in enumerate(zip(layers, mapping.layers, strict=True)):
        if layer.grow_to:
            modules.append(nn.Upsample(layer.grow_to))
        if not layer.is_conv and (index == 0 or layers[index - 1].is_conv):
            modules.append(nn.Flatten())
        noisy = _crossbar_layer(layer, accelerator, place, index)
        modules += [noisy, *_digital_parts(layer)]
        if layer.batch_norm and layer.weight_format:
            _widen(noisy)
    return nn.Sequential(*modules)


def _crossbar_layer(layer: Layer, accelerator: Accelerator, place: LayerMapping, index: int) -> NoisyLayer:
    inputs, outputs, bias = layer.mvm.in_channels, layer.mvm.out_channels, not layer.batch_norm
    on_chip: dict[str, Any] = {"accelerator": accelerator, "mapping": place, "weight_format": layer.weight_format}
    if layer.is_conv:
        return NoisyConv2d(inputs, outputs, layer.mvm.square_kernel, layer.stride, bias, index=index, **on_chip)
    return NoisyLinear(inputs, outputs, bias, index=index, **on_chip)


def _digital_parts(layer: Layer) -> list[nn.Module]:
    parts: list[nn.Module] = []
    if layer.batch_norm:
        norm = nn.BatchNorm2d if layer.is_conv else nn.BatchNorm1d
        parts.append(norm(layer.mvm.out_channels))
    if layer.mvm.pooled:
        parts.append(MaxPool2d(2))
    if layer.mvm.relu:
        parts.append(nn.ReLU())
    return parts


@torch.no_grad()
def _widen(layer: NoisyLayer) -> None:
    spread = float(layer.weight.square().mean().sqrt())
    layer.weight.mul_(max(1.0, FIXED_POINT_SPREAD / spread))


def save_checkpoint(network: nn.Module, path: Path) -> str:
    """Write weights and ranges to `path`; the file is complete or absent. Gives its checksum (`files.checksum_of`)."""
    return write_weights({name: value.cpu() for name, value in network.state_dict().items()}, path)


def write_weights(content: dict[str, Any], path: Path) -> str:
    """Write what `torch.load(path, weights_only=True)` reads, whole or not at all; gives the file's checksum.

    Python writes the file: an error of the disk then has its errno, which torch's own writer does not tell.
    """
    packed = io.BytesIO()
    torch.save(content, packed)
    write_whole(path, packed.getvalue())
    return checksum_of(packed.getvalue())


def load_checkpoint(design: DesignPoint, path: Path) -> nn.Module:
    """The network of a checkpoint, with its ranges, ready for `accuracy_under_variation`.

    Raises:
        ValueError: If the file cannot be read, or holds the weights of another network; names it.
    """
    network = build_network(design)
    weights = read_weights(path)
    try:
        network.load_state_dict(weights)
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ValueError(f"{path} does not fit the design, or is damaged: {reason}") from error
    return network.to(compute_device()).eval()
