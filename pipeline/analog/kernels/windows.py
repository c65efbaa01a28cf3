"""Compiled sums over windows, and the noise that the `fast` fidelity adds at a layer's output.

`pipeline.analog.output_noise` holds the same arithmetic in plain torch, which defines it and which GPUs use.
"""

from typing import Any

import numpy as np

from pipeline.analog.kernels.vector_code import LANES, add_noise, add_scaled, address, compiled


@compiled(fastmath={"reassoc"})
def _pixel_sums(values: np.ndarray, start: int, channels: int, sums: np.ndarray) -> None:
    """Sums of the values of each pixel, from `values[start]` on; exact for whole numbers below 2**24."""
    for pixel in range(len(sums)):
        sums[pixel] = values[start + pixel * channels]
    for channel in range(1, channels % LANES):
        for pixel in range(len(sums)):
            sums[pixel] += values[start + pixel * channels + channel]
    for lanes in range(channels % LANES, channels, LANES):
        for pixel in range(len(sums)):
            total = np.float32(0)
            for lane in range(LANES):
                total += values[start + pixel * channels + lanes + lane]
            sums[pixel] = total + (sums[pixel] if lanes else np.float32(0))


@compiled()
def window_sums(pixels: np.ndarray, channels: int, places: np.ndarray, grid: Any, factor: float) -> np.ndarray:
    """`factor` times the sum of each window's values, (images x windows,).

    Args:
        pixels: (images, n).
        channels: Values per pixel.
        places: Positions of a window's pixels, counted from its first pixel, (pixels,), int64.
        grid: (windows down, windows right, step down, step right) of an image; a step is between first values.
        factor: Scales the sums.
    """
    images, length = pixels.shape
    height, width, down, right = grid
    down, right, one, values = down // channels, right // channels, np.float32(1), pixels.reshape(-1)
    sums, zeros = np.zeros(length // channels + LANES, np.float32), np.zeros(LANES, np.float32)
    out = np.zeros(images * height * width + LANES, np.float32)
    for line in range(images * height):
        if line % height == 0:
            _pixel_sums(values, line // height * length, channels, sums[:-LANES])
        for x in range(0, width, LANES):
            window, start = line * width + x, line % height * down + x * right
            add_scaled(address(out, window), address(zeros, 0), address(zeros, 0), one)
            for place in places:
                if right == 1:
                    add_scaled(address(out, window), address(out, window), address(sums, start + place), one)
                else:
                    for v in range(min(LANES, width - x)):
                        out[window + v] += sums[start + place + v * right]
    for window in range(len(out)):
        out[window] *= np.float32(factor)
    return out[:-LANES]


@compiled()
def window_powers(
    table: np.ndarray, pixels: np.ndarray, channels: int, places: np.ndarray, grid: Any, factor: float
) -> np.ndarray:
    """`factor` times the sum of `table[code]` over each window, (images x windows,).

    Args:
        table: One entry per code, in total a power of two; negative codes are in two's complement.
        pixels, channels, places, grid, factor: As in `window_sums`.
    """
    powers = np.empty_like(pixels)
    for i in range(pixels.shape[0]):
        for j in range(pixels.shape[1]):
            powers[i, j] = table[np.int32(pixels[i, j]) & (len(table) - 1)]
    sums: np.ndarray = window_sums(powers, channels, places, grid, factor)
    return sums


@compiled()
def add_output_noise(
    y: np.ndarray,
    variance: np.ndarray,
    powers: np.ndarray,
    noise: np.ndarray,
    starts: np.ndarray,
    mean: np.ndarray,
    common: np.ndarray,
    common_starts: np.ndarray,
    common_std: float,
) -> None:
    """Add to each output, in place, its mean error, an error shared by its window, and noise of its own.

    Args:
        y: (images x windows, outputs).
        variance: Variance of an output's own noise, (outputs,).
        powers: What each window adds to this variance, (images x windows,).
        noise, starts: Standard normal numbers, and where each image's (windows, outputs) begin.
        mean: Mean error of each output, (outputs,).
        common, common_starts: Standard normal numbers, and where each image's (windows,) begin.
        common_std: Standard deviation of the error that a window's outputs share.
    """
    outputs, windows = y.shape[1], len(y) // len(starts)
    whole = outputs // LANES * LANES
    for v in range(len(y)):
        first = starts[v // windows] + v % windows * outputs
        shift = np.float32(common_std * common[common_starts[v // windows] + v % windows])
        for o in range(0, whole, LANES):
            row = address(y, v * outputs + o), address(mean, o), address(variance, o), address(noise, first + o)
            add_noise(*row, shift, powers[v])
        for o in range(whole, outputs):
            y[v, o] += mean[o] + shift + np.sqrt(variance[o] + powers[v]) * noise[first + o]
