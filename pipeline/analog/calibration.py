"""Calibration: input ranges, converter ranges and converter errors of a model, fixed once for all chips."""

import contextlib
import math

import torch
from torch import Tensor, nn

from pipeline.analog import adc
from pipeline.analog.base import NoisyLayer
from pipeline.analog.model import find_matrices, noisy_layers, program_chip
from pipeline.analog.simulated_chip import SimulatedChip

CALIBRATION_IMAGES = 128  # assumed: training images that fix input and ADC ranges
_CHIPS = 4  # assumed: chips on which the converters' error is measured, each with its share of the images
_PRODUCTS = 2**23  # assumed: multiplications spent on the column sums from which a full scale is chosen
_VECTORS = 256  # assumed: least number of input vectors for these sums
_SUMS = 2**17  # assumed: sums per layer drawn from them


@torch.no_grad()
def calibrate(model: nn.Module, images: Tensor) -> None:
    """Fix each layer's ADC full scale, once, on training images and ideal cells; all chips keep it.

    Of 39 full scales from 5 % to 100 % of a layer's largest column sum, it takes the one with the least squared error
    of the layer's digital output. The remaining converter error, which the `fast` fidelity adds at the output, is
    measured on four chips simulated for this alone, each with a quarter of the images. Input ranges that training has
    not set (a converted digital model) are set here: to the smaller of the largest input and four times the rms,
    signed if any input is negative.

    Args:
        model: A model with crossbar layers.
        images: Training images, (n, channels, height, width); 64 to 256 are enough.

    Raises:
        ValueError: If there are fewer than 2 images, from which no deviation can be taken.
    """
    if len(images) < 2:
        raise ValueError(f"calibration needs 2 images or more, better 64 to 256, got {len(images)}")
    model.eval()
    find_matrices(model, images)
    hardware = [layer.accelerator for layer in noisy_layers(model)]
    with contextlib.ExitStack() as hooks:
        for layer in noisy_layers(model):
            hooks.enter_context(layer.register_forward_pre_hook(_set_ranges))
        _measure_errors(model, [SimulatedChip.nominal()], images)
    if any(each.device.is_noisy and each.adc_bits is not None for each in hardware):
        _measure_errors(model, [SimulatedChip.for_calibration(index) for index in range(_CHIPS)], images)
    program_chip(model, SimulatedChip.nominal(), "exact")


def _set_ranges(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Set a layer's ranges just before it runs, on inputs that carry the converter errors of the layers before it."""
    assert isinstance(layer, NoisyLayer)
    if not layer.input_range:
        layer.observe_range(inputs[0].detach(), 1.0)
    if layer.accelerator.adc_bits is not None:
        layer.adc_full_scale.copy_(_full_scale(layer, layer.input_codes(inputs[0]), layer.accelerator.adc_bits))


def _full_scale(layer: NoisyLayer, codes: Tensor, adc_bits: int) -> Tensor:
    """The best full scale for column sums of random input vectors, each weighed by its slice and cycle."""
    value = layer.code.significance().square()
    chance, share = torch.Generator().manual_seed(0), math.ceil(_SUMS / len(layer.mapping.row_blocks))
    cycles = adc.cycle_values(layer.accelerator, bool(layer.signed_inputs)).square()
    samples, weights = [], []
    for cells, inputs, _ in layer.parts(layer.programmed[0], codes):
        vectors = layer.input_vectors(inputs).sample(max(_VECTORS, _PRODUCTS // layer.weight.numel()), chance)
        for _, sums in cells.column_sums(vectors):
            weight = (cycles[:, None, None, None] * value[:, None]).to(sums).expand(sums.shape)
            picks = torch.randint(sums.numel(), (share,), generator=chance).to(sums.device)
            samples.append(sums.flatten()[picks])
            weights.append(weight.flatten()[picks])
    return adc.best_full_scale(torch.cat(samples), torch.cat(weights), adc_bits)


def _measure_errors(model: nn.Module, chips: list[SimulatedChip], images: Tensor) -> None:
    """Measure the layers' converter errors on such chips and store them; each chip sees its share of the images."""
    errors = [(layer, ErrorSums()) for layer in noisy_layers(model)]
    with contextlib.ExitStack() as hooks:
        for layer, sums in errors:
            hooks.enter_context(layer.register_forward_hook(sums.compare))
        for chip, part in zip(chips, images.chunk(len(chips)), strict=False):  # fewer images than chips are enough
            program_chip(model, chip, "exact")
            model(part)
    for layer, sums in errors:
        if sums.count:  # the model uses the layer
            entry = layer.error_entry
            ratio, bias, std, common_std = sums.statistics()
            layer.adc_error_ratio[entry], layer.adc_common_std[entry] = ratio, common_std
            layer.adc_bias[entry], layer.adc_std[entry] = bias, std


class ErrorSums:
    """Sums over the converters' errors at a layer's outputs; the errors themselves would not fit into memory."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: Tensor | float = 0.0

    def compare(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Add the errors of an exact pass, as a forward hook of the layer."""
        assert isinstance(layer, NoisyLayer)
        scale, codes = layer.output_step, layer.input_codes(inputs[0])
        bias = None if layer.bias is None else layer.bias.detach().float()
        ideal = layer.to_windows(layer.product(codes, layer.programmed[0].folded * scale, bias))
        self.add((layer.to_windows(output) - ideal).flatten(0, -2) / scale, ideal.flatten(0, -2) / scale)

    def add(self, error: Tensor, ideal: Tensor) -> None:
        """Add errors, and outputs without them, both in codes, (windows, out_channels)."""
        error, ideal = error.double(), ideal.double()
        common = error.mean(1, keepdim=True).expand_as(error)
        parts = (error, ideal, common, error.square(), ideal.square(), common.square(), error * common)
        self.count += len(error)
        self._sums = self._sums + torch.stack([part.sum(0) for part in parts])

    def statistics(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`NoisyLayer.adc_error_ratio`, `adc_bias`, `adc_std` and `adc_common_std` from the sums."""
        assert isinstance(self._sums, Tensor)
        error, ideal, common = self._sums[:3] / self.count
        squares = self._sums[3:] / self.count
        var, ideal_var, common_var = squares[:3] - torch.stack([error, ideal, common]).square()
        rest = var + common_var - 2 * (squares[3] - error * common)
        ratio = (var.mean() / ideal_var.mean().clamp(1e-18)).clamp(0).sqrt()
        return ratio, error, rest.clamp(0).sqrt(), common_var[0].clamp(0).sqrt()
