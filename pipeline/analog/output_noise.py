"""What `fast` adds at a layer's output: noise of reads, and noise that models the converters' error."""

import numpy as np
import torch
from torch import Tensor

from pipeline.analog import adc
from pipeline.analog.input_vectors import InputVectors
from pipeline.analog.kernels import windows as window_kernels
from pipeline.analog.programmed_cells import ProgrammedCells


def torch_noise(
    cells: ProgrammedCells, y: Tensor, power: Tensor | None, scale: float, mean: Tensor, std: Tensor, shared: Tensor
) -> Tensor:
    """One chip's outputs with noise: the reference implementation of the kernels.

    Args:
        cells: The layer's cells on that chip.
        y: Outputs without this noise, (images, windows, out_channels).
        power: Sum of `adc.cycle_power` over each input vector, (images, windows, 1); None: no read noise.
        scale: Value of one unit of the digital sum.
        mean, std: Mean and standard deviation of each output's own converter error, in codes, (out_channels,).
        shared: Standard deviation of the error that all outputs of a window share, in codes, scalar.
    """
    variance = std.square() + cells.noise.thermal_variance
    if power is not None:
        variance = variance + cells.noise.read_variance * power
    images = cells.chip.numbers_of(len(y))
    noise = cells.chip.read_noise(y, images, *cells.place, 0)
    common = shared * cells.chip.read_noise(y[..., :1], images, *cells.place, 1)
    y = torch.addcmul(y, noise, variance.sqrt_().mul_(scale))
    return y.add_((mean + common).mul_(scale))


def compiled_noise(
    cells: ProgrammedCells, y: Tensor, inputs: InputVectors, scale: float, mean: Tensor, std: Tensor, shared: Tensor
) -> Tensor:
    """`torch_noise` on a CPU, in place; `y` is contiguous."""
    powers = np.zeros(len(inputs) * inputs.windows, np.float32)
    if cells.noise.read_sigma:
        table = adc.cycle_powers(cells.code.accelerator).numpy()
        powers = window_kernels.window_powers(table, *inputs.windows_of_pixels(), cells.noise.read_variance * scale**2)
    images = cells.chip.numbers_of(len(inputs))
    noise, starts = cells.chip.read_stream(inputs.windows * y.shape[-1], images, *cells.place, 0)
    common, common_starts = cells.chip.read_stream(inputs.windows, images, *cells.place, 1)
    variance = (std * scale).square() + cells.noise.thermal_variance * scale**2
    own = variance.numpy(), powers, noise.numpy(), starts.numpy(), (mean * scale).numpy()
    of_windows = common.numpy(), common_starts.numpy(), float(shared) * scale
    window_kernels.add_output_noise(y.flatten(0, 1).numpy(), *own, *of_windows)
    return y
