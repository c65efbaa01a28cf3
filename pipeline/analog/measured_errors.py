"""Programming errors drawn from measured error curves (`hw_models.measured_cells`)."""

import functools

import torch
from torch import Tensor

from hw_models.devices import CellDevice
from hw_models.measured_cells import SCORES, curve_at


@functools.lru_cache(maxsize=64)
def _curves_of_levels(device: CellDevice, cell_bits: int) -> Tensor:
    """Errors over g_on of each level at each of `SCORES`, (levels, scores)."""
    assert device.error_curves is not None, "measured errors need a device with error curves"
    wanted = [device.relative_conductance(level, cell_bits) for level in range(2**cell_bits)]
    return torch.tensor([curve_at(device.error_curves, u) for u in wanted])


def measured_errors(device: CellDevice, cell_bits: int, digits: Tensor, normal: Tensor) -> Tensor:
    """Errors over g_on of cells of `digits`, for standard normal numbers: quantiles of what was measured."""
    curves = _curves_of_levels(device, cell_bits)
    place = ((normal - SCORES[0]) / (SCORES[1] - SCORES[0])).clamp(0, len(SCORES) - 1)
    low = place.floor().clamp(max=len(SCORES) - 2)
    first = digits.long() * len(SCORES) + low.long()
    below, above = curves.flatten()[first], curves.flatten()[first + 1]
    return torch.lerp(below, above, place - low)


def measured_sigmas(device: CellDevice, cell_bits: int) -> Tensor:
    """Root mean square error of each level over g_on, (levels,)."""
    levels = range(2**cell_bits)
    return torch.tensor([device.sigma_at(device.relative_conductance(level, cell_bits)) for level in levels])
