"""Compiled loops of crossbar layers on a CPU: every column sum and its conversion.

`whole_inputs` multiplies windows with cells straight from the image: the column sums of twelve windows stay in
registers until their block is converted.

`bit_serial` computes a bit-serial crossbar. With one-bit inputs a column sum is a sum over a subset of the rows.
Rows are taken in groups of four, the 16 subset sums of a group are tabulated once, and each column sum is then a sum of
one table row per group: a quarter of the additions, no multiplication. The sums of all cycles stay in registers until
they are converted.

`pipeline.analog.programmed_cells` holds the same arithmetic in plain torch, which defines it and which GPUs use.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from pipeline.analog.kernels.vector_code import (
    COPY,
    GROUP,
    LANES,
    RUN,
    RUNS,
    SHIFT,
    SUBSETS,
    add_scaled,
    address,
    compiled,
    copy,
    look_up,
    multiply_narrow,
    multiply_wide,
)

_WINDOWS_AT_ONCE = 512  # windows per build of the tables; their column sums stay in cache
_ROWS_OF_A_COUNT = 128  # rows counted at a time, so that a count fits into a byte


class Layer(NamedTuple):
    """One pass of a layer. Arrays are contiguous and float32 unless said otherwise.

    Attributes:
        pixels: Input codes as whole numbers, zero padding included, (images, n), with RUN - 1 steps of room behind.
        offsets: Where each row of the cells reads, counted from a window's first value, (rows,), int64.
        copies: How a window's values are collected, (copies, 2), int64: the first value read and the first row written
            of copies of COPY values each, in order. The next copy may write over rows of the one before.
        first_copy: Where each block's copies begin, and where the last one's end, (blocks + 1,), int64.
        grid: (windows down, windows right, step down, step right) of an image; a step is between first values.
        cells: Levels with their baseline, packed in tiles of columns, (tiles, rows, columns of a tile).
        blocks: Row blocks, half-open, (blocks, 2), int64.
        codes_per_level: Inverse of the ADC's step in levels.
        top: Largest ADC code.
        value: Value in the output of one ADC code of each column sum of a weight, (column sums of a weight,).
        removed: What is subtracted from each window's outputs, (images x windows,).
        bias: (outputs,), with LANES values of room behind.
        out: The result, (images x windows, outputs), with LANES values of room behind.
    """

    pixels: np.ndarray
    offsets: np.ndarray
    copies: np.ndarray
    first_copy: np.ndarray
    grid: tuple[int, int, int, int]
    cells: np.ndarray
    blocks: np.ndarray
    codes_per_level: np.float32
    top: np.float32
    value: np.ndarray
    removed: np.ndarray
    bias: np.ndarray
    out: np.ndarray


@njit(forceinline=True)  # type: ignore[untyped-decorator]
def _finish(layer: Layer, window: int, totals: np.ndarray, at: int, ones: np.ndarray) -> None:
    """The digital part: the sum over a weight's columns, minus what is removed, plus bias.

    Writes up to LANES values beyond the window's own; windows are finished in order.
    """
    outputs = layer.out.shape[1]
    for o in range(0, outputs, LANES):
        out = address(layer.out, window * outputs + o)
        add_scaled(out, address(layer.bias, o), address(ones, 0), -layer.removed[window])
        for column in range(len(layer.value)):
            add_scaled(out, out, address(totals, at + column * outputs + o), layer.value[column])


@njit(forceinline=True)  # type: ignore[untyped-decorator]
def _multiply(layer: Layer, first: np.ndarray, totals: np.ndarray) -> None:
    """Fill `totals` (windows, columns) with ADC codes, summed over blocks, of the window runs beginning at `first`."""
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


@compiled()
def whole_inputs(layer: Layer) -> None:
    """A layer whose inputs are applied in a single cycle, without read noise."""
    images, length = layer.pixels.shape
    height, width, down, right = layer.grid
    totals = np.zeros((RUNS * RUN, layer.cells.shape[0] * layer.cells.shape[2] + LANES), np.float32)
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
                        _finish(layer, v, totals, (r * RUN + i) * totals.shape[1], ones)
                pending = 0


@compiled()
def _bytes_of_bits(planes: int) -> np.ndarray:
    """For each number of `planes` bits, a word with one byte per bit."""
    words = np.zeros(1 << planes, np.uint64)
    for number in range(1 << planes):
        for plane in range(planes):
            words[number] |= np.uint64((number >> plane) & 1) << np.uint64(8 * plane)
    return words


@njit(forceinline=True)  # type: ignore[untyped-decorator]
def _groups(layer: Layer, block: int) -> int:
    """Number of row groups in a block; each has a table."""
    rows: int = layer.blocks[block, 1] - layer.blocks[block, 0]
    return (rows + GROUP - 1) // GROUP


@njit(forceinline=True)  # type: ignore[untyped-decorator]
def _collect(layer: Layer, block: int, words: np.ndarray, first: int, collected: np.ndarray) -> None:
    """Gather the words that a block's rows read in a window; zeros fill the last group."""
    for i in range(layer.first_copy[block], layer.first_copy[block + 1]):
        copy(address(words, first + layer.copies[i, 0]), address(collected, layer.copies[i, 1]))
    collected[layer.blocks[block, 1] - layer.blocks[block, 0] : _groups(layer, block) * GROUP] = 0


@njit(forceinline=True)  # type: ignore[untyped-decorator]
def _amplitudes(collected: np.ndarray, rows: int, sigmas: Any, out: np.ndarray, place: int) -> None:
    """Standard deviation of each cycle's noise: `sigmas` are those of an active row and of a conversion."""
    read, thermal = sigmas
    planes = out.shape[1]
    for plane in range(planes):
        out[place, plane] = 0
    for start in range(0, rows, _ROWS_OF_A_COUNT):
        active = np.uint64(0)
        for row in range(start, min(start + _ROWS_OF_A_COUNT, rows)):
            active += collected[row]
        for plane in range(planes):
            out[place, plane] += np.float32((active >> np.uint64(8 * plane)) & np.uint64(255))
    for plane in range(planes):
        if thermal:
            out[place, plane] = np.sqrt(read * read * out[place, plane] + thermal * thermal)
        else:
            out[place, plane] = read * np.sqrt(out[place, plane])


@njit(forceinline=True)  # type: ignore[untyped-decorator]
def _index(collected: np.ndarray, groups: int, index: np.ndarray, place: int) -> None:
    """One word a group: which subset of its rows is active in each cycle. Row r is bit r // groups of its group."""
    for g in range(groups):
        low = collected[g] | collected[g + groups] << np.uint64(1)
        high = collected[g + 2 * groups] | collected[g + 3 * groups] << np.uint64(1)
        index[place, g] = (low | high << np.uint64(2)) << np.uint64(SHIFT)


@compiled()
def _index_image(
    layer: Layer,
    words: np.ndarray,
    noise_sigmas: Any,
    collected: np.ndarray,
    index: np.ndarray,
    amplitudes: np.ndarray,
    first_place: int,
) -> None:
    """Index words (places, groups) and amplitudes (places, cycles) of an image's windows and their blocks, in order."""
    height, width, down, right = layer.grid
    place = first_place
    for window in range(height * width):
        first = window // width * down + window % width * right
        for block in range(len(layer.blocks)):
            _collect(layer, block, words, first, collected)
            _index(collected, _groups(layer, block), index, place)
            if noise_sigmas is not None:
                rows = layer.blocks[block, 1] - layer.blocks[block, 0]
                _amplitudes(collected, rows, noise_sigmas, amplitudes, place)
            place += 1


@compiled()
def _tabulate(layer: Layer, block: int, tile: int, table: np.ndarray) -> None:
    """Subset sums of every group of rows, (groups, subsets, columns of a tile)."""
    start, stop = layer.blocks[block]
    groups = _groups(layer, block)
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


@compiled()
def _aligned(size: int) -> np.ndarray:
    """Memory for float32 values, aligned to cache lines, so that no vector load crosses two of them."""
    room = np.empty(size + 16, np.float32)
    start = (-room.ctypes.data % 64) // 4
    return room[start : start + size]


@compiled()
def bit_serial(layer: Layer, values: Any, noise_sigmas: Any, pool: np.ndarray, pool_starts: np.ndarray) -> None:
    """A bit-serial layer: every column sum of every cycle goes through its converter, then into the digital sum.

    (Long because a helper would need almost all of these arrays as arguments.)

    Args:
        layer: Negative inputs are in two's complement.
        values: Value of a bit of each cycle: a tuple of equally long tuples, each of at most PLANES cycles.
        noise_sigmas: Standard deviations of a column sum's noise, in levels: of each active row, and of each conversion
            however many rows are active. None: no noise.
        pool: Standard normal numbers, with a tile's columns of room behind.
        pool_starts: Where each image's noise begins in `pool`, (images, blocks), int64; it is ordered as (cycles,
            windows of the image, columns).
    """
    images, length = layer.pixels.shape
    tiles, _, tile = layer.cells.shape
    parts, planes, blocks = len(values), len(values[0]), len(layer.blocks)
    windows, columns = layer.grid[0] * layer.grid[1], len(layer.value) * layer.out.shape[1]
    at_once = min(images, max(1, _WINDOWS_AT_ONCE // windows))
    most = max([_groups(layer, block) for block in range(blocks)])
    words, collected = np.zeros(length + COPY, np.uint64), np.zeros(GROUP * most + COPY, np.uint64)
    index = np.empty((parts * at_once * windows * blocks, most), np.uint64)
    amplitudes = np.empty((len(index), planes), np.float32)
    table, spread = _aligned(most * SUBSETS * tile), _bytes_of_bits(planes)
    totals, ones = np.empty((at_once * windows, tiles * tile + LANES), np.float32), np.ones(LANES, np.float32)
    for image in range(0, images, at_once):
        some = min(at_once, images - image)
        for part in range(parts):
            for i in range(some):
                for j in range(length):
                    words[j] = spread[(np.int32(layer.pixels[image + i, j]) >> (planes * part)) & (len(spread) - 1)]
                place = (part * at_once + i) * windows * blocks
                _index_image(layer, words, noise_sigmas, collected, index, amplitudes, place)
        totals[:] = 0
        for block in range(blocks):
            for t in range(tiles):
                _tabulate(layer, block, t, table)
                for part in range(parts):
                    for v in range(some * windows):
                        place = (part * at_once * windows + v) * blocks + block
                        rows = address(table, 0), address(index, place * most), _groups(layer, block)
                        target = layer.codes_per_level, layer.top, address(totals, v * totals.shape[1] + t * tile)
                        if noise_sigmas is None:
                            look_up(values[part], *rows, *target, None, address(pool, 0), 0)
                        else:
                            draw = (part * planes * windows + v % windows) * columns + t * tile
                            draw += pool_starts[image + v // windows, block]
                            noise = address(amplitudes, place * planes), address(pool, draw), windows * columns
                            look_up(values[part], *rows, *target, *noise)
        for v in range(some * windows):
            _finish(layer, image * windows + v, totals, v * totals.shape[1], ones)
