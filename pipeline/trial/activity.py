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
    """Statistics of the inputs and level shares of every crossbar layer on some images; zero padding counts.

    Args:
        network: A calibrated network, programmed on the nominal chip.
        images: (n, channels, height, width); a few dozen are enough.
    """
    layers = noisy_layers(network)
    inputs_of: dict[NoisyLayer, list[Tensor]] = {layer: [] for layer in layers}

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, NoisyLayer)
        inputs_of[layer].append(_cycle_statistics(layer, inputs[0]))

    with contextlib.ExitStack() as hooks:
        for layer in layers:
            hooks.enter_context(layer.register_forward_pre_hook(look))
        network.eval()(images)
    return Activity(layers=tuple(_record(layer, inputs_of[layer]) for layer in layers))


def _record(layer: NoisyLayer, uses: list[Tensor]) -> LayerActivity:
    """The mean over all uses of a layer."""
    active, means, squares = (
        tuple(math.fsum(values) / len(values) for values in zip(*each, strict=True))
        for each in zip(*[use.tolist() for use in uses], strict=True)
    )
    several = {"mean_inputs": means, "mean_squares": squares} if layer.accelerator.dac_bits > 1 else {}
    return LayerActivity(plane_densities=active, level_shares=_level_shares(layer), **several)


def _cycle_statistics(layer: NoisyLayer, x: Tensor) -> Tensor:
    """Share above 0, mean and mean square of the inputs in each cycle, most significant first (3, cycles).

    Means are relative to the largest input of a cycle. Negative codes are in two's complement.
    """
    parts = layer.parts(layer.programmed[0], layer.input_codes(x))
    vectors = [layer.input_vectors(codes) for _, codes, _ in parts]
    codes = torch.stack([each.vectors(0, len(each)).int() for each in vectors])
    bits, full = layer.accelerator.dac_bits, 2**layer.accelerator.dac_bits - 1
    cycles = [(codes >> bits * place) & full for place in reversed(range(layer.accelerator.input_cycles))]
    statistics = [((each > 0).float().mean(), (each / full).mean(), (each / full).square().mean()) for each in cycles]
    return torch.tensor(statistics).T


def _level_shares(layer: NoisyLayer) -> tuple[float, ...]:
    digits = layer.code.digits(layer.weight_codes().cpu()).long()
    counts = torch.bincount(digits.flatten(), minlength=2**layer.accelerator.cell_bits).double()
    return tuple((counts / counts.sum()).tolist())
