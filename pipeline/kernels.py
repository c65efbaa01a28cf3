"""Compiled loops for crossbar layers on a CPU: Numba, so that users need no compiler.

`whole_inputs` multiplies windows with cells straight from the image: the column sums of twelve windows stay in
registers until their block is converted.

`bit_serial` is the whole of a bit-serial crossbar. With one-bit inputs a column sum is a sum over a subset of the rows.
Rows are taken in groups of four, the 16 subset sums of a group are tabulated once, and each column sum is then a sum of
one table row per group: a quarter of the additions, no multiplication. The sums of all cycles stay in registers until
they are converted.

`pipeline.crossbars` holds the same arithmetic in plain torch, which defines it and which GPUs use.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from pipeline.vector_code import (
    COPY,
    GROUP,
    LANES,
    RUN,
    RUNS,
    SHIFT,
    SUBSETS,
    add_noise,
    add_scaled,
    address,
    copy,
    look_up,
    multiply_narrow,
    multiply_wide,
)

VECTOR_CODE = "00000000"  # of pipeline/vector_code.py, tested: so that this file changes with that one
_WINDOWS_AT_ONCE = 512  # between two rebuilds of the tables; their column sums stay in cache
_ROWS_OF_A_COUNT = 128  # active inputs that are counted in a byte


class Layer(NamedTuple):
    """One pass of a layer. Arrays are contiguous and float32 unless said otherwise.

    Attributes:
        pixels: Input codes as whole numbers, zero padding included, (images, n), with RUN - 1 steps of room behind.
        offsets: Where each row of the cells reads, counted from a window's first value, (rows,), int64.
        channels: Values of a pixel.
        places: Pixels of a window, counted from its first, (pixels,), int64.
        copies: How a window's values are collected: (from, to row) of copies of COPY values each, in order; a copy may
            write beyond its own rows, into those that the next one writes, (copies, 2), int64.
        first_copy: Where each block's copies begin and, last, the end, (blocks + 1,), int64.
        grid: Windows of an image and steps between their first values: (down, right, step down, step right), a tuple.
        cells: Levels with their baseline, packed in tiles of columns, (tiles, rows, columns of a tile).
        blocks: Row blocks, half-open, (blocks, 2), int64.
        codes_per_level: Inverse of the ADC's step in levels.
        top: Largest ADC code.
        value: What a code of each column of a weight counts in the output, (columns of a weight,).
        per_input: What is taken off for each unit of the sum of input codes.
        bias: (outputs,), with LANES values of room behind.
        out: The result, (images x windows, outputs), with LANES values of room behind.
    """

    pixels: np.ndarray
    offsets: np.ndarray
    channels: int
    places: np.ndarray
    copies: np.ndarray
    first_copy: np.ndarray
    grid: tuple[int, int, int, int]
    cells: np.ndarray
    blocks: np.ndarray
    codes_per_level: np.float32
    top: np.float32
    value: np.ndarray
    per_input: float
    bias: np.ndarray
    out: np.ndarray


@njit(cache=True, fastmath={"reassoc"})  # type: ignore[untyped-decorator]
def _pixel_sums(values: np.ndarray, start: int, channels: int, sums: np.ndarray) -> None:
    """Sums of the values of each pixel from `values[start]` on, whole numbers, exact below 2**24."""
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


@njit(cache=True)  # type: ignore[untyped-decorator]
def _window_sums(pixels: np.ndarray, channels: int, places: np.ndarray, grid: Any, factor: float) -> np.ndarray:
    """`factor` times the sum of each window's values, (images x windows + LANES,); arguments as in `Layer`."""
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
    return out


@njit(forceinline=True)  # type: ignore[untyped-decorator]
def _finish(layer: Layer, window: int, known: np.float32, totals: np.ndarray, at: int, ones: np.ndarray) -> None:
    """The digital end: sum over a weight's columns, minus the known part, plus bias.

    Writes up to LANES values beyond the window's own; windows are finished in order.
    """
    outputs = layer.out.shape[1]
    for o in range(0, outputs, LANES):
        out = address(layer.out, window * outputs + o)
        add_scaled(out, address(layer.bias, o), address(ones, 0), -known)
        for column in range(len(layer.value)):
            add_scaled(out, out, address(totals, at + column * outputs + o), layer.value[column])


@njit(forceinline=True)  # type: ignore[untyped-decorator]
def _multiply(layer: Layer, first: np.ndarray, totals: np.ndarray) -> None:
    """Codes of some runs of windows, summed over blocks, (windows, columns); `first` is where the runs begin."""
    tiles, rows, tile = layer.cells.shape
    for t in range(tiles):
        for block in range(len(layer.blocks)):
            start, stop = layer.blocks[block]
            cells = address(layer.cells, (t * rows + start) * tile), stop - start, address(layer.offsets, start)
            runs = address(layer.pixels, first[0]), address(layer.pixels, first[1]), address(layer.pixels, first[2])
            adc = layer.grid[3], layer.codes_per_level, layer.top, np.float32(block > 0)
            target = address(totals, t * tile), totals.shape[1]
            if tile == LANES:
                multiply_narrow(*cells, *runs, *adc, *target)
            else:
                multiply_wide(*cells, *runs, *adc, *target)


@njit(cache=True)  # type: ignore[untyped-decorator]
def whole_inputs(layer: Layer) -> None:
    """A layer whose inputs are applied at once, without read noise."""
    images, length = layer.pixels.shape
    height, width, down, right = layer.grid
    totals = np.zeros((RUNS * RUN, layer.cells.shape[0] * layer.cells.shape[2] + LANES), np.float32)
    known = _window_sums(layer.pixels, layer.channels, layer.places, layer.grid, layer.per_input)
    ones = np.ones(LANES, np.float32)
    first, window, count = np.zeros(RUNS, np.int64), np.zeros(RUNS, np.int64), np.zeros(RUNS, np.int64)
    pending, lines = 0, images * height
    for line in range(lines):
        start = line // height * length + line % height * down
        for x in range(0, width, RUN):
            first[pending], window[pending] = start + x * right, line * width + x
            count[pending] = min(RUN, width - x)
            pending += 1
            if pending == RUNS or (line == lines - 1 and x + RUN >= width):
                _multiply(layer, first, totals)
                for r in range(pending):
                    for i in range(count[r]):
                        v = window[r] + i
                        _finish(layer, v, known[v], totals, (r * RUN + i) * totals.shape[1], ones)
                pending = 0


@njit(cache=True)  # type: ignore[untyped-decorator]
def _bytes_of_bits(planes: int) -> np.ndarray:
    """For each number the word whose bytes are its bits."""
    words = np.zeros(1 << planes, np.uint64)
    for number in range(1 << planes):
        for plane in range(planes):
            words[number] |= np.uint64((number >> plane) & 1) << np.uint64(8 * plane)
    return words


@njit(forceinline=True)  # type: ignore[untyped-decorator]
def _collect(layer: Layer, block: int, words: np.ndarray, first: int, collected: np.ndarray) -> int:
    """Write the words of a window's rows in a block, and zeros up to whole groups; returns the number of groups."""
    for i in range(layer.first_copy[block], layer.first_copy[block + 1]):
        copy(address(words, first + layer.copies[i, 0]), address(collected, layer.copies[i, 1]))
    rows = layer.blocks[block, 1] - layer.blocks[block, 0]
    groups = (rows + GROUP - 1) // GROUP
    collected[rows : groups * GROUP] = 0
    return groups


@njit(forceinline=True)  # type: ignore[untyped-decorator]
def _amplitudes(collected: np.ndarray, rows: int, sigma: np.float32, planes: int, out: np.ndarray, at: int) -> None:
    """Read noise of each cycle: `sigma` times the root of the number of active rows."""
    out[at : at + planes] = 0
    for start in range(0, rows, _ROWS_OF_A_COUNT):
        active = np.uint64(0)
        for row in range(start, min(start + _ROWS_OF_A_COUNT, rows)):
            active += collected[row]
        for plane in range(planes):
            out[at + plane] += np.float32((active >> np.uint64(8 * plane)) & np.uint64(255))
    for plane in range(planes):
        out[at + plane] = sigma * np.sqrt(out[at + plane])


@njit(forceinline=True)  # type: ignore[untyped-decorator]
def _index(collected: np.ndarray, groups: int, index: np.ndarray, at: int) -> None:
    """One word a group: which subset of its rows is active in each cycle. Row r is bit r // groups of its group."""
    for g in range(groups):
        low = collected[g] | collected[g + groups] << np.uint64(1)
        high = collected[g + 2 * groups] | collected[g + 3 * groups] << np.uint64(1)
        index[at + g] = (low | high << np.uint64(2)) << np.uint64(SHIFT)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _tabulate(layer: Layer, block: int, tile: int, table: np.ndarray) -> None:
    """Subset sums of every group of rows, (groups, subsets, columns of a tile)."""
    start, stop = layer.blocks[block]
    groups = (stop - start + GROUP - 1) // GROUP
    rows, width = layer.cells.shape[1:]
    zeros = np.zeros(LANES, np.float32)
    for k in range(0, width, LANES):
        for g in range(groups):
            first = g * SUBSETS * width + k
            add_scaled(address(table, first), address(zeros, 0), address(zeros, 0), np.float32(0))
            for bit in range(GROUP):
                row, half = start + g + bit * groups, 1 << bit
                cells = address(layer.cells, (tile * rows + min(row, rows - 1)) * width + k)
                factor = np.float32(row < stop)
                for subset in range(half):
                    low = first + subset * width
                    add_scaled(address(table, low + half * width), address(table, low), cells, factor)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _aligned(size: int) -> np.ndarray:
    """Room for float32 values that begins with a cache line, so that no register is loaded from two of them."""
    room = np.empty(size + 16, np.float32)
    start = (-room.ctypes.data % 64) // 4
    return room[start : start + size]


@njit(cache=True)  # type: ignore[untyped-decorator]
def bit_serial(layer: Layer, values: Any, read_sigma: Any, pool: np.ndarray, pool_starts: np.ndarray) -> None:
    """A bit-serial layer: every column sum of every cycle through its converter, then the digital sum.

    Args:
        layer: Negative inputs are in two's complement.
        values: What a bit of each cycle counts: a tuple of equally long tuples, each of at most PLANES cycles.
        read_sigma: Of one cell's read, in levels; None reads without noise.
        pool: Standard normal numbers, with a tile's columns of room behind.
        pool_starts: Where each image begins in it, (images, blocks), int64; one image's noise is ordered as
            (cycles, its windows, columns).
    """
    images, length = layer.pixels.shape
    height, width, down, right = layer.grid
    tiles, rows, tile = layer.cells.shape
    parts, planes, blocks = len(values), len(values[0]), len(layer.blocks)
    windows, columns = height * width, len(layer.value) * layer.out.shape[1]
    at_once = min(images, max(1, _WINDOWS_AT_ONCE // windows))
    most = 0
    for block in range(blocks):
        most = max(most, (layer.blocks[block, 1] - layer.blocks[block, 0] + GROUP - 1) // GROUP)
    words = np.zeros(length + COPY, np.uint64)
    collected = np.zeros(GROUP * most + COPY, np.uint64)
    index = np.empty(blocks * parts * at_once * windows * most, np.uint64)
    amplitudes = np.empty(blocks * parts * at_once * windows * planes, np.float32)
    table = _aligned(most * SUBSETS * tile)
    totals = np.empty((at_once * windows, tiles * tile + LANES), np.float32)
    known = _window_sums(layer.pixels, layer.channels, layer.places, layer.grid, layer.per_input)
    ones = np.ones(LANES, np.float32)
    spread, mask = _bytes_of_bits(planes), (1 << planes) - 1
    for image in range(0, images, at_once):
        some = min(at_once, images - image)
        for part in range(parts):
            for i in range(some):
                for j in range(length):
                    words[j] = spread[(np.int32(layer.pixels[image + i, j]) >> (planes * part)) & mask]
                for window in range(windows):
                    first, v = window // width * down + window % width * right, i * windows + window
                    for block in range(blocks):
                        groups = _collect(layer, block, words, first, collected)
                        place = (block * parts + part) * at_once * windows + v
                        _index(collected, groups, index, place * most)
                        if read_sigma is not None:
                            count = layer.blocks[block, 1] - layer.blocks[block, 0]
                            _amplitudes(collected, count, read_sigma, planes, amplitudes, place * planes)
        totals[:] = 0
        for block in range(blocks):
            groups = (layer.blocks[block, 1] - layer.blocks[block, 0] + GROUP - 1) // GROUP
            for t in range(tiles):
                _tabulate(layer, block, t, table)
                for part in range(parts):
                    for v in range(some * windows):
                        place = (block * parts + part) * at_once * windows + v
                        rows_read = address(table, 0), address(index, place * most), groups
                        target = layer.codes_per_level, layer.top, address(totals, v * totals.shape[1] + t * tile)
                        if read_sigma is None:
                            look_up(values[part], *rows_read, *target, None, address(pool, 0), 0)
                        else:
                            draw = pool_starts[image + v // windows, block] + t * tile
                            draw += (part * planes * windows + v % windows) * columns
                            reach = address(amplitudes, place * planes)
                            look_up(values[part], *rows_read, *target, reach, address(pool, draw), windows * columns)
        for v in range(some * windows):
            window = image * windows + v
            _finish(layer, window, known[window], totals, v * totals.shape[1], ones)


@njit(cache=True)  # type: ignore[untyped-decorator]
def window_powers(
    pixels: np.ndarray, table: np.ndarray, channels: int, places: np.ndarray, grid: Any, factor: float
) -> np.ndarray:
    """`factor` times the sum of `table[code]` over each window, (images x windows + LANES,).

    Args:
        pixels, channels, places, grid: As in `Layer`.
        table: A power of two entries; negative codes are in two's complement.
        factor: A scale.
    """
    powers = np.empty_like(pixels)
    for i in range(pixels.shape[0]):
        for j in range(pixels.shape[1]):
            powers[i, j] = table[np.int32(pixels[i, j]) & (len(table) - 1)]
    return _window_sums(powers, channels, places, grid, factor)


@njit(cache=True)  # type: ignore[untyped-decorator]
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
    """Add to each output, in place, its mean error, what its window shares, and noise of its own.

    Args:
        y: (images x windows, outputs).
        variance: Of an output, (outputs,).
        powers: What each window adds to that, (images x windows,).
        noise, starts: Standard normal numbers, and where each image's (windows, outputs) begin.
        mean: (outputs,).
        common, common_starts: Standard normal numbers, and where each image's (windows,) begin, for
        common_std: The deviation of the error that a window's outputs share.
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
