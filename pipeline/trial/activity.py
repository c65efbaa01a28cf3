"""Statistics of a trained network for the cost model: densities of its input bits, shares of its cells' levels."""

import contextlib
import math

import torch
from torch import Tensor, nn

from hw_models.cost.activity import Activity, LayerActivity
from pipeline.analog.base import NoisyLayer
from pipeline.analog.model import noisy_layers


@torch.no_grad()
def measured_activity(network: nn.Module, images: Tensor) -> Activity:
    """Bit-plane densities and level shares of every crossbar layer on some images; zero padding counts.

    Args:
        network: A calibrated network, programmed on the nominal chip.
        images: (n, channels, height, width); a few dozen are enough.
    """
    layers = noisy_layers(network)
    planes: dict[NoisyLayer, list[tuple[float, ...]]] = {layer: [] for layer in layers}

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, NoisyLayer)
        planes[layer].append(_plane_densities(layer, inputs[0]))

    with contextlib.ExitStack() as hooks:
        for layer in layers:
            hooks.enter_context(layer.register_forward_pre_hook(look))
        network.eval()(images)
    uses = {
        layer: tuple(math.fsum(plane) / len(plane) for plane in zip(*planes[layer], strict=True)) for layer in layers
    }
    measured = (LayerActivity(plane_densities=uses[layer], level_shares=_level_shares(layer)) for layer in layers)
    return Activity(layers=tuple(measured))


def _plane_densities(layer: NoisyLayer, x: Tensor) -> tuple[float, ...]:
    """Share of ones in each bit-plane of the layer's input vectors, most significant first (two's complement)."""
    parts = layer.parts(layer.programmed[0], layer.input_codes(x))
    vectors = [layer.input_vectors(codes) for _, codes, _ in parts]
    codes = torch.stack([each.vectors(0, len(each)).int() for each in vectors])
    bits = reversed(range(layer.accelerator.input_bits))
    return tuple(float(((codes >> bit) & 1).float().mean()) for bit in bits)


def _level_shares(layer: NoisyLayer) -> tuple[float, ...]:
    digits = layer.code.digits(layer.weight_codes().cpu()).long()
    counts = torch.bincount(digits.flatten(), minlength=2**layer.accelerator.cell_bits).double()
    return tuple((counts / counts.sum()).tolist())
