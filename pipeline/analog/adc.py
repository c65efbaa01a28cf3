"""Analog-to-digital converters, and the bit planes in which inputs reach the crossbar."""

import functools

import torch
from torch import Tensor

from hw_models.accelerator import Accelerator

_FULL_SCALE_STEPS = 39  # full scales tried, from 5 % to 100 % of the largest sum


def convert(sums: Tensor, full_scale: Tensor, adc_bits: int) -> Tensor:
    """ADC codes of column sums: 0 to 2**adc_bits - 1 for 0 to `full_scale`, rounded half to even, saturating."""
    top_code = (1 << adc_bits) - 1
    return (sums * (top_code / full_scale)).round_().clamp_(0, top_code)


def adc_step(full_scale: Tensor, adc_bits: int) -> Tensor:
    """Value of one ADC code, in levels."""
    return full_scale / ((1 << adc_bits) - 1)


def best_full_scale(sums: Tensor, weights: Tensor, adc_bits: int) -> Tensor:
    """The full scale with the least squared error of the digital sum: too large has coarse steps, too small saturates.

    `sums` are column sums in levels, (n,). `weights` are the squares of the factors with which they enter the digital
    sum, (n,).
    """
    candidates = whole_steps(sums.max() * torch.linspace(0.05, 1, _FULL_SCALE_STEPS, device=sums.device), adc_bits)
    losses = [
        (weights * (convert(sums, top, adc_bits) * adc_step(top, adc_bits) - sums).square()).sum() for top in candidates
    ]
    return candidates[int(torch.stack(losses).argmin())]


def whole_steps(full_scale: Tensor, adc_bits: int) -> Tensor:
    """`full_scale`, widened where a level exceeds an ADC step until it is whole steps: ideal sums then stay exact."""
    lsb = adc_step(full_scale, adc_bits).clamp(min=1e-6)
    return torch.where(lsb < 1, 1 / torch.floor(1 / lsb), lsb) * ((1 << adc_bits) - 1)


def input_cycles(codes: Tensor, accelerator: Accelerator) -> Tensor:
    """Slices of input codes by cycle: (images, windows, rows) -> (images, cycles, windows, rows), lowest bits first.

    Negative codes are in two's complement; `cycle_values` gives the last plane its sign.
    """
    whole, bits = codes.int(), accelerator.dac_bits
    return torch.stack([(whole >> (bits * i)) & (2**bits - 1) for i in range(accelerator.input_cycles)], 1).float()


def cycle_values(accelerator: Accelerator, signed: bool) -> Tensor:
    """Value of one input unit in each cycle, (cycles,): 2**(dac_bits i), negative for the sign plane."""
    values = 2.0 ** (accelerator.dac_bits * torch.arange(accelerator.input_cycles))
    if signed:
        values[-1] = -values[-1]
    return values


@functools.lru_cache(maxsize=256)
def cycle_powers(accelerator: Accelerator) -> Tensor:
    """Contribution of each input code to the read noise's variance, (2**input_bits,).

    It is the sum over cycles of 4**(dac_bits i) * digit**2. Negative codes are in two's complement.
    """
    every = torch.arange(2**accelerator.input_bits)[None, None]
    weights = cycle_values(accelerator, signed=False).square()
    return torch.einsum("nicr,i->r", input_cycles(every, accelerator).square(), weights)


def cycle_power(codes: Tensor, accelerator: Accelerator) -> Tensor:
    """The entry of `cycle_powers` for each of `codes`."""
    table = cycle_powers(accelerator).to(codes)
    return table[codes.long() & (len(table) - 1)]
