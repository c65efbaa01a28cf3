"""Calibration: input ranges, converter ranges and converter errors of a model, fixed once for all chips."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from hw_models.read_errors import is_noisy
from pipeline.analog.base import NoisyLayer
from pipeline.analog.converter_errors import ErrorSums, SampledErrorSums
from pipeline.analog.following import batch_size, part_of_batch, tensors_in
from pipeline.analog.full_scale import FullScaleInputs, best_full_scale
from pipeline.analog.model import find_matrices, noisy_layers, number_layers, program_chip
from pipeline.analog.simulated_chip import SimulatedChip
from pipeline.analog.step_search import cut_energy, spread

CALIBRATION_IMAGES = 128  # assumed: training images that fix input and ADC ranges
CUT_ENERGY_LIMIT = 0.01  # assumed: share of the energy beyond the last codes of which `calibrate` warns
_CHIPS = 4  # assumed: chips on which the converters' error is measured, each with its share of the images
_LARGE = {"rms": 2**42, "error": 2**37}  # assumed: products in a layer's exact pass above which errors are sampled
_MANY_CELLS = 2**27  # assumed: cells of a layer above which errors are sampled
_VALUES_OF_USE = 2**13  # assumed: inputs of each use from which the range of a reused layer is chosen


@torch.no_grad()
def calibrate(model: nn.Module, *inputs: Any, **named: Any) -> None:
    """Fix each layer's input range and ADC full scale, once, on training images and ideal cells; all chips keep them.

    An input range that training set stays; all others (of a converted digital model) are set by the layer's
    `range_rule`, signed if any input is negative, and so is the full scale (docs/noise_model.md). The remaining
    converter error, which the `fast` fidelity adds at the output, is measured on four chips simulated for this alone,
    each with a quarter of the images. A layer that runs several times in one pass has ranges for all its uses together.
    Layers too large for exact passes are measured on samples of their outputs and input vectors.

    Layers with the rule `error` warn where more than 1 % of the energy of weights or inputs is cut, and where the
    images reach less than half or more than twice a range that training set.

    Args:
        model: A model with crossbar layers.
        inputs, named: What its forward pass takes: training images (n, channels, height, width), 64 to 256 are enough,
            or inputs of any kind. If all tensors have the same first side, it is taken for the batch.

    Raises:
        ValueError: If there are fewer than 2 images, from which no deviation can be taken.
    """
    batch = Batch(inputs, named)
    if batch.size == 1 or batch.device is None:
        raise ValueError(f"calibration needs 2 images or more, better 64 to 256, got {batch.size}")
    model.eval()
    find_matrices(model, *inputs, **named)
    with torch.autocast(batch.device.type, enabled=False):  # codes and column sums need float32
        _fix_ranges(model, batch)
    program_chip(model, SimulatedChip.nominal(), "exact")


class Batch:
    """What a model's forward pass takes.

    Attributes:
        size: Length of the first side of all tensors; 0 if it is not one for all.
        device: That of the tensors; None if there are none.
    """

    def __init__(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._inputs, self._named = inputs, named
        self.size = batch_size(inputs, named)
        self.device = next((each.device for each in tensors_in(inputs, named)), None)

    def run(self, model: nn.Module, part: slice = slice(None)) -> None:
        """Run a model on a part of the batch; on all of it if the parts cannot be told."""
        if not self.size:
            part = slice(None)
        model(*part_of_batch(self._inputs, part), **part_of_batch(self._named, part))

    def parts(self, count: int) -> list[slice]:
        """At most `count` equal parts, the last one may be smaller."""
        length = -(-self.size // count) or 1
        return [slice(first, first + length) for first in range(0, self.size, length)] or [slice(None)] * count


def _fix_ranges(model: nn.Module, batch: Batch) -> None:
    """Set the ranges and converter errors of all layers."""
    number_layers(model)
    uses = _uses(model, batch)
    layers = [layer for layer in uses if uses[layer]]
    for layer in layers:
        if layer.calibrated_range:
            layer.input_range.zero_()
            layer.signed_inputs.fill_(False)
    reused = [layer for layer in layers if len(uses[layer]) > 1]
    if reused:
        _set_ranges_of_all_uses(model, reused, batch)
    sampled = {layer for layer in layers if _is_large(layer, sum(uses[layer]))}
    with _before_each([layer for layer in layers if layer not in reused], _set_ranges):
        _measure_errors(model, [SimulatedChip.nominal()], batch, sampled)
    if any(is_noisy(layer.accelerator) and layer.accelerator.adc_bits is not None for layer in layers):
        chips = [SimulatedChip.for_calibration(index) for index in range(_CHIPS)]
        _measure_errors(model, chips, batch, sampled)
    for layer in layers:
        _warn_of_cut(layer, "weights", layer.weight, layer.weight_step, layer.weight_bounds)


def _uses(model: nn.Module, batch: Batch) -> dict[NoisyLayer, list[int]]:
    """For each layer the products of an exact pass over all images, use by use."""
    uses: dict[NoisyLayer, list[int]] = {layer: [] for layer in noisy_layers(model)}

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, NoisyLayer)
        products = output.numel() * layer.weight[0].numel() * layer.code.sums * layer.accelerator.input_cycles
        uses[layer].append(products)

    with contextlib.ExitStack() as hooks:
        for layer in uses:
            layer.fidelity = "float"
            hooks.enter_context(layer.register_forward_hook(count))
        batch.run(model)
    return uses


def _is_large(layer: NoisyLayer, products: int) -> bool:
    return products > _LARGE[layer.range_rule] or layer.weight.numel() * layer.code.columns > _MANY_CELLS


def _set_ranges_of_all_uses(model: nn.Module, reused: list[NoisyLayer], batch: Batch) -> None:
    """Set the ranges of layers that run several times, from two passes in plain torch: input ranges, then full scales.

    Their inputs carry no converter errors, unlike those of other layers.
    """
    inputs: dict[NoisyLayer, list[Tensor]] = {layer: [] for layer in reused}

    def look(layer: NoisyLayer, x: Tensor) -> None:
        inputs[layer] += [spread(x, _VALUES_OF_USE), torch.stack(torch.aminmax(x.detach())).float()]

    with _before_each(reused, look):
        batch.run(model)
    for layer in reused:
        _set_input_range(layer, torch.cat(inputs[layer]))
    vectors = {layer: FullScaleInputs(layer) for layer in reused if layer.accelerator.adc_bits is not None}
    with _before_each(list(vectors), lambda layer, x: vectors[layer].add(layer.input_codes(x))):
        batch.run(model)
    for layer, drawn in vectors.items():
        assert layer.accelerator.adc_bits is not None
        layer.set_full_scale(drawn.best_full_scale(layer.accelerator.adc_bits))


def _set_ranges(layer: NoisyLayer, x: Tensor) -> None:
    """Set a layer's ranges just before it runs, on inputs that carry the converter errors of the layers before it."""
    _set_input_range(layer, x)
    if layer.accelerator.adc_bits is not None:
        layer.set_full_scale(best_full_scale(layer, layer.input_codes(x), layer.accelerator.adc_bits))


def _set_input_range(layer: NoisyLayer, x: Tensor) -> None:
    """Set the input range for `x`, unless training did, and warn where it does not suit."""
    layer.note_calibration()
    if not layer.input_range:
        layer.observe_range(x.detach(), 1.0)
        layer.calibrated_range.fill_(True)
    elif layer.range_rule == "error":
        reach = float(layer.range_of(x.detach()) / layer.input_range)
        if not 0.5 <= reach <= 2:
            warnings.warn(
                f"{layer.label}: calibration inputs reach {reach:.2g} times the input range that training set, which "
                "stays; are they scaled as in training?",
                stacklevel=2,
            )
    _warn_of_cut(layer, "inputs", x, layer.input_step, layer.input_bounds)


def _warn_of_cut(layer: NoisyLayer, what: str, x: Tensor, step: Tensor, bounds: tuple[int, int]) -> None:
    if layer.range_rule == "error" and (cut := cut_energy(x, step, bounds)) > CUT_ENERGY_LIMIT:
        warnings.warn(
            f"{layer.label}: {cut:.1%} of the energy of its {what} lies beyond the largest code and is cut, "
            "which loses least on this hardware; more bits, or cells that err less, would keep it",
            stacklevel=2,
        )


@contextlib.contextmanager
def _before_each(layers: list[NoisyLayer], look: Callable[[NoisyLayer, Tensor], None]) -> Iterator[None]:
    """Within the block, `look` sees each input of these layers before they run."""

    def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, NoisyLayer)
        look(layer, inputs[0])

    with contextlib.ExitStack() as hooks:
        for layer in layers:
            hooks.enter_context(layer.register_forward_pre_hook(hook))
        yield


def _measure_errors(model: nn.Module, chips: list[SimulatedChip], batch: Batch, sampled: set[NoisyLayer]) -> None:
    """Measure the layers' converter errors on such chips and store them; each chip sees its share of the images."""
    errors = [(SampledErrorSums if layer in sampled else ErrorSums)(layer) for layer in noisy_layers(model)]
    with contextlib.ExitStack() as all_listen:
        for each in errors:
            all_listen.enter_context(each.listening())
        for chip, part in zip(chips, batch.parts(len(chips)), strict=False):  # fewer images than chips are enough
            for each in errors:
                each.program(chip)
            batch.run(model, part)
    for each in errors:
        if each.count:  # the model uses the layer
            each.store(0 if chips[0].ideal_cells else 1)
