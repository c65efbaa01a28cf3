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
from llvmlite import ir
from numba import config, njit, types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

LANES = 16 if "+avx512f" in (config.CPU_FEATURES or get_host_cpu_features()) else 8  # values of a vector register
RUN = 4  # windows side by side that are multiplied at once
_RUNS = 3  # runs that are multiplied at once
COPY = 8  # words that are copied at once when the inputs of a window are collected
PLANES = 8  # cycles of a word: one byte each
_GROUP = 4  # rows of a table
_SUBSETS = 2**_GROUP
_WINDOWS_AT_ONCE = 512  # between two rebuilds of the tables; their column sums stay in cache
_SHIFT = LANES.bit_length() - 1  # a subset lies in its byte times LANES, so that the byte is a place in a table
_ROWS_OF_A_COUNT = 128  # active inputs that are counted in a byte

_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_WORDS = ir.VectorType(ir.IntType(64), COPY)
_LONG = ir.IntType(64)


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


def whole_tile(columns: int) -> int:
    """Columns of a tile for `whole_inputs`: two registers of a large register file, where that wastes nothing."""
    return 2 * LANES if LANES == 16 and -columns % (2 * LANES) < LANES else LANES


def serial_tile(planes: int) -> int:
    """Columns of a tile for `bit_serial`: so many that about eight sums are under way at once."""
    return LANES * (1 if planes > 4 else 2 if planes > 2 else 4)


def planes_at_once(cycles: int) -> int:
    """Cycles of a word in `bit_serial`: the most that divide their number."""
    return max(planes for planes in range(1, PLANES + 1) if cycles % planes == 0)


# Code for the vector unit.


def _splat(builder: ir.IRBuilder, scalar: ir.Value) -> ir.Value:
    undefined = ir.Constant(_FLOATS, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _vector_function(builder: ir.IRBuilder, name: str, arguments: int) -> ir.Function:
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * arguments)
    return cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f32")


def _pointers(builder: ir.IRBuilder, start: ir.Value, vectors: int) -> list[ir.Value]:
    places = [builder.gep(start, [ir.Constant(_LONG, j * LANES)]) for j in range(vectors)]
    return [builder.bitcast(place, _FLOATS.as_pointer()) for place in places]


def _load(builder: ir.IRBuilder, start: ir.Value, vectors: int) -> list[ir.Value]:
    return [builder.load(place, align=4) for place in _pointers(builder, start, vectors)]


def _sums(builder: ir.IRBuilder, count: int) -> list[ir.Value]:
    """Registers that start at zero."""
    return [cgutils.alloca_once_value(builder, ir.Constant(_FLOATS, [0.0] * LANES)) for _ in range(count)]


def _code(builder: ir.IRBuilder, column_sum: ir.Value, codes_per_level: ir.Value, top: ir.Value) -> ir.Value:
    """What the converter gives for a column sum."""
    rint, least, most = (_vector_function(builder, *f) for f in (("rint", 1), ("minnum", 2), ("maxnum", 2)))
    code = builder.call(rint, [builder.fmul(column_sum, codes_per_level)])
    return builder.call(least, [builder.call(most, [code, ir.Constant(_FLOATS, [0.0] * LANES)]), top])


_POINTER, _LONGS = types.CPointer(types.float32), types.CPointer(types.int64)


@intrinsic  # type: ignore[untyped-decorator]
def _address(typing_context: Any, array: Any, offset: Any) -> Any:
    """Pointer to element `offset` of a contiguous array."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        data = cgutils.create_struct_proxy(array)(context, builder, value=arguments[0]).data
        return builder.gep(data, [arguments[1]])

    return types.CPointer(array.dtype)(array, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def _copy(typing_context: Any, source: Any, target: Any) -> Any:
    """Copy COPY words between two pointers."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        source, target = (builder.bitcast(pointer, _WORDS.as_pointer()) for pointer in arguments)
        builder.store(builder.load(source, align=8), target, align=8)
        return context.get_dummy_value()

    return types.void(source, target), generate


@intrinsic  # type: ignore[untyped-decorator]
def _add_scaled(typing_context: Any, target: Any, base: Any, values: Any, factor: Any) -> Any:
    """target = base + factor * values, LANES values each."""

    def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        (place,), ((base,), (values,)) = _pointers(b, arguments[0], 1), (_load(b, p, 1) for p in arguments[1:3])
        fma = _vector_function(b, "fmuladd", 3)
        b.store(b.call(fma, [_splat(b, arguments[3]), values, base]), place, align=4)
        return context.get_dummy_value()

    return types.void(_POINTER, _POINTER, _POINTER, types.float32), generate


def _multiplier(vectors: int) -> Any:
    """Column sums of three runs of windows in one block of rows, one tile of columns: totals = kept x totals + codes.

    Arguments: cells (rows, columns of a tile), rows, offsets (rows,) in an image, first value of each run's first
    window, step from one window to the next, codes per level, top code, kept, totals (windows, stride), stride.
    """

    @intrinsic  # type: ignore[untyped-decorator]
    def multiply(
        typing_context: Any,
        cells: Any,
        rows: Any,
        offsets: Any,
        first: Any,
        second: Any,
        third: Any,
        step: Any,
        codes_per_level: Any,
        top: Any,
        kept: Any,
        totals: Any,
        stride: Any,
    ) -> Any:
        f4, size = types.float32, types.intp
        runs = (_POINTER,) * _RUNS
        signature = types.void(_POINTER, size, _LONGS, *runs, size, f4, f4, f4, _POINTER, size)

        def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            cells, rows, offsets, *runs, step, codes_per_level, top, kept, totals, stride = arguments
            fma = _vector_function(b, "fma", 3)
            steps = [b.mul(step, ir.Constant(_LONG, i)) for i in range(RUN)]
            sums = [_sums(b, vectors) for _ in range(_RUNS * RUN)]
            with cgutils.for_range(b, rows) as row:
                weights = _load(b, b.gep(cells, [b.mul(row.index, ir.Constant(_LONG, vectors * LANES))]), vectors)
                starts = [b.gep(run, [b.load(b.gep(offsets, [row.index]))]) for run in runs]
                places = [b.gep(start, [step]) for start in starts for step in steps]
                for window, place in zip(sums, places, strict=True):
                    x = _splat(b, b.load(place))
                    for total, weight in zip(window, weights, strict=True):
                        b.store(b.call(fma, [x, weight, b.load(total)]), total)
            scale, ceiling, kept = _splat(b, codes_per_level), _splat(b, top), _splat(b, kept)
            for v, window in enumerate(sums):
                targets = _pointers(b, b.gep(totals, [b.mul(stride, ir.Constant(_LONG, v))]), vectors)
                for column_sum, target in zip(window, targets, strict=True):
                    code = _code(b, b.load(column_sum), scale, ceiling)
                    b.store(b.call(fma, [kept, b.load(target, align=4), code]), target, align=4)
            return context.get_dummy_value()

        return signature, generate

    return multiply


_multiply_narrow, _multiply_wide = _multiplier(1), _multiplier(2)


@intrinsic  # type: ignore[untyped-decorator]
def _look_up(
    typing_context: Any,
    values: Any,
    table: Any,
    index: Any,
    groups: Any,
    codes_per_level: Any,
    top: Any,
    total: Any,
    amplitude: Any,
    noise: Any,
    noise_stride: Any,
) -> Any:
    """Column sums of one window in one block of rows, one tile of columns: add what their codes count to `total`.

    Args:
        values: What a code of each cycle counts; its length is the number of cycles.
        table: Subset sums, (groups, subsets, columns of a tile).
        index: For each group a word of one byte a cycle, which says where in the group's table its subset is.
        groups: Their number.
        codes_per_level, top: Of the converter.
        total: (columns of a tile,).
        amplitude: Read noise of each cycle, in levels; None reads without noise.
        noise: Standard normal numbers, `noise_stride` from one cycle to the next.
    """
    planes, noisy = values.count, not isinstance(amplitude, types.NoneType)
    vectors = serial_tile(planes) // LANES
    f4, size = types.float32, types.intp
    words = types.CPointer(types.uint64)
    signature = types.void(values, _POINTER, words, size, f4, f4, _POINTER, amplitude, noise, size)

    def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        values, table, index, groups, codes_per_level, top, total, amplitude, noise, noise_stride = arguments
        fma = _vector_function(b, "fmuladd", 3)
        sums = [_sums(b, vectors) for _ in range(planes)]
        with cgutils.for_range(b, groups) as group:
            word = b.load(b.gep(index, [group.index]))
            start = b.gep(table, [b.mul(group.index, ir.Constant(_LONG, _SUBSETS * vectors * LANES))])
            for plane, column_sums in enumerate(sums):
                byte = b.and_(b.lshr(word, ir.Constant(_LONG, 8 * plane)), ir.Constant(_LONG, 255))
                rows = _load(b, b.gep(start, [b.mul(byte, ir.Constant(_LONG, vectors))]), vectors)
                for place, row in zip(column_sums, rows, strict=True):
                    b.store(b.fadd(b.load(place), row), place)
        scale, ceiling = _splat(b, codes_per_level), _splat(b, top)
        totals = _load(b, total, vectors)
        for plane, column_sums in enumerate(sums):
            read = [b.load(place) for place in column_sums]
            if noisy:
                draws = _load(b, b.gep(noise, [b.mul(noise_stride, ir.Constant(_LONG, plane))]), vectors)
                reach = _splat(b, b.load(b.gep(amplitude, [ir.Constant(_LONG, plane)])))
                read = [b.call(fma, [reach, draw, x]) for draw, x in zip(draws, read, strict=True)]
            value = _splat(b, b.extract_value(values, plane))
            codes = [_code(b, x, scale, ceiling) for x in read]
            totals = [b.call(fma, [value, code, x]) for code, x in zip(codes, totals, strict=True)]
        for x, place in zip(totals, _pointers(b, total, vectors), strict=True):
            b.store(x, place, align=4)
        return context.get_dummy_value()

    return signature, generate


# Loops.


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
            _add_scaled(_address(out, window), _address(zeros, 0), _address(zeros, 0), one)
            for place in places:
                if right == 1:
                    _add_scaled(_address(out, window), _address(out, window), _address(sums, start + place), one)
                else:
                    for v in range(min(LANES, width - x)):
                        out[window + v] += sums[start + place + v * right]
    for window in range(len(out)):
        out[window] *= np.float32(factor)
    return out


@njit(forceinline=True)  # type: ignore[untyped-decorator]
def _finish(layer: Layer, window: int, known: np.float32, totals: np.ndarray, at: int, ones: np.ndarray) -> None:
    """The digital end: sum over a weight's columns, minus the known part, plus bias.

    Writes up to LANES values beyond the window's own: windows are finished in order.
    """
    outputs = layer.out.shape[1]
    for o in range(0, outputs, LANES):
        out = _address(layer.out, window * outputs + o)
        _add_scaled(out, _address(layer.bias, o), _address(ones, 0), -known)
        for column in range(len(layer.value)):
            _add_scaled(out, out, _address(totals, at + column * outputs + o), layer.value[column])


@njit(forceinline=True)  # type: ignore[untyped-decorator]
def _multiply(layer: Layer, first: np.ndarray, totals: np.ndarray) -> None:
    """Codes of some runs of windows, summed over blocks, (windows, columns); `first` is where the runs begin."""
    tiles, rows, tile = layer.cells.shape
    for t in range(tiles):
        for block in range(len(layer.blocks)):
            start, stop = layer.blocks[block]
            cells = _address(layer.cells, (t * rows + start) * tile), stop - start, _address(layer.offsets, start)
            runs = _address(layer.pixels, first[0]), _address(layer.pixels, first[1]), _address(layer.pixels, first[2])
            adc = layer.grid[3], layer.codes_per_level, layer.top, np.float32(block > 0)
            target = _address(totals, t * tile), totals.shape[1]
            if tile == LANES:
                _multiply_narrow(*cells, *runs, *adc, *target)
            else:
                _multiply_wide(*cells, *runs, *adc, *target)


@njit(cache=True)  # type: ignore[untyped-decorator]
def whole_inputs(layer: Layer) -> None:
    """A layer whose inputs are applied at once, without read noise."""
    images, length = layer.pixels.shape
    height, width, down, right = layer.grid
    totals = np.zeros((_RUNS * RUN, layer.cells.shape[0] * layer.cells.shape[2] + LANES), np.float32)
    known = _window_sums(layer.pixels, layer.channels, layer.places, layer.grid, layer.per_input)
    ones = np.ones(LANES, np.float32)
    first, window, count = np.zeros(_RUNS, np.int64), np.zeros(_RUNS, np.int64), np.zeros(_RUNS, np.int64)
    pending, lines = 0, images * height
    for line in range(lines):
        start = line // height * length + line % height * down
        for x in range(0, width, RUN):
            first[pending], window[pending] = start + x * right, line * width + x
            count[pending] = min(RUN, width - x)
            pending += 1
            if pending == _RUNS or (line == lines - 1 and x + RUN >= width):
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
        _copy(_address(words, first + layer.copies[i, 0]), _address(collected, layer.copies[i, 1]))
    rows = layer.blocks[block, 1] - layer.blocks[block, 0]
    groups = (rows + _GROUP - 1) // _GROUP
    collected[rows : groups * _GROUP] = 0
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
        index[at + g] = (low | high << np.uint64(2)) << np.uint64(_SHIFT)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _tabulate(layer: Layer, block: int, tile: int, table: np.ndarray) -> None:
    """Subset sums of every group of rows, (groups, subsets, columns of a tile)."""
    start, stop = layer.blocks[block]
    groups = (stop - start + _GROUP - 1) // _GROUP
    rows, width = layer.cells.shape[1:]
    zeros = np.zeros(LANES, np.float32)
    for k in range(0, width, LANES):
        for g in range(groups):
            first = g * _SUBSETS * width + k
            _add_scaled(_address(table, first), _address(zeros, 0), _address(zeros, 0), np.float32(0))
            for bit in range(_GROUP):
                row, half = start + g + bit * groups, 1 << bit
                cells = _address(layer.cells, (tile * rows + min(row, rows - 1)) * width + k)
                factor = np.float32(row < stop)
                for subset in range(half):
                    low = first + subset * width
                    _add_scaled(_address(table, low + half * width), _address(table, low), cells, factor)


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
    most = rows // _GROUP + 1
    words = np.zeros(length + COPY, np.uint64)
    collected = np.zeros(_GROUP * most + COPY, np.uint64)
    index = np.empty(blocks * parts * at_once * windows * most, np.uint64)
    amplitudes = np.empty(blocks * parts * at_once * windows * planes, np.float32)
    table = _aligned(most * _SUBSETS * tile)
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
            groups = (layer.blocks[block, 1] - layer.blocks[block, 0] + _GROUP - 1) // _GROUP
            for t in range(tiles):
                _tabulate(layer, block, t, table)
                for part in range(parts):
                    for v in range(some * windows):
                        place = (block * parts + part) * at_once * windows + v
                        rows_read = _address(table, 0), _address(index, place * most), groups
                        target = layer.codes_per_level, layer.top, _address(totals, v * totals.shape[1] + t * tile)
                        if read_sigma is None:
                            _look_up(values[part], *rows_read, *target, None, _address(pool, 0), 0)
                        else:
                            draw = pool_starts[image + v // windows, block] + t * tile
                            draw += (part * planes * windows + v % windows) * columns
                            reach = _address(amplitudes, place * planes)
                            _look_up(values[part], *rows_read, *target, reach, _address(pool, draw), windows * columns)
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
def add_noise(
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
        image, window = v // windows, v % windows
        first, power = starts[image] + window * outputs, powers[v]
        shift = np.float32(common_std * common[common_starts[image] + window])
        for lanes in range(0, whole, LANES):
            for o in range(lanes, lanes + LANES):
                y[v, o] += mean[o] + shift + np.sqrt(variance[o] + power) * noise[first + o]
        for o in range(whole, outputs):
            y[v, o] += mean[o] + shift + np.sqrt(variance[o] + power) * noise[first + o]
