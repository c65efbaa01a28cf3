"""Calibration: the input ranges, converter ranges and converter errors of a model, fixed once for all chips."""

import torch
from torch import Tensor, nn

from pipeline.analog.converter_errors import ErrorSums
from pipeline.analog.model import noisy_layers, program_chip
from pipeline.analog.simulated_chip import SimulatedChip

_CALIBRATION_CHIPS = 4  # assumed: on which the converters' error is measured, each on its share of the images


@torch.no_grad()
def calibrate(model: nn.Module, images: Tensor) -> None:
    """Fix each layer's ADC full scale, once, on training images and ideal cells; all chips keep it.

    The rule: of 39 full scales from 5 % to 100 % of a layer's largest column sum, the one with the least squared error
    of the layer's digital output, each sum weighed by its slice and cycle. The error that converters then leave, which
    the `fast` fidelity adds at the output, is measured on four simulated chips of its own, each on a quarter of the
    images. Input ranges that training has not set (a converted digital model) are set here: the smaller of the largest
    input and four times the rms, signed if any input is negative.

    Args:
        model: A model with crossbar layers.
        images: Training images, (n, channels, height, width); 64 to 256 are enough.

    Raises:
        ValueError: If there are fewer than 2 images, from which no deviation can be taken.
    """
    if len(images) < 2:
        raise ValueError(f"calibration needs 2 images or more, better 64 to 256, got {len(images)}")
    model.eval()
    layers = noisy_layers(model)
    chips = [SimulatedChip.for_calibration(index) for index in range(_CALIBRATION_CHIPS)]
    try:
        for layer in layers:
            layer._ranging = True
        _measure_errors(model, [SimulatedChip.nominal()], images)
        for layer in layers:
            layer._ranging = False
        if any(layer.accelerator.device.is_noisy and layer.accelerator.adc_bits is not None for layer in layers):
            _measure_errors(model, chips, images)
    finally:
        for layer in layers:
            layer._ranging, layer._errors = False, None
    program_chip(model, SimulatedChip.nominal(), "exact")


def _measure_errors(model: nn.Module, chips: list[SimulatedChip], images: Tensor) -> None:
    """What converters add, on chips each of which sees its share of the images."""
    for layer in noisy_layers(model):
        layer._errors = ErrorSums()
    for chip, part in zip(chips, images.chunk(len(chips)), strict=False):  # fewer images than chips are enough
        program_chip(model, chip, "exact")
        model(part)
    for layer in noisy_layers(model):
        layer._set_errors()


CALIBRATION_IMAGES = 128  # assumed: training images that fix input and ADC ranges
