"""Compiled loops for crossbar layers on a CPU: Numba, so that users need no compiler.

`bit_serial` is the whole of a bit-serial crossbar in one pass. With one-bit inputs a column sum is a sum over a subset
of the rows. Rows are taken in groups of four, the 16 subset sums of a group are tabulated once, and each column sum is
then a sum of one table row per group: a quarter of the additions, no multiplication. The converter works on the sums
while they are in registers. `pipeline.analog_layers` holds the same arithmetic in plain torch, which GPUs use.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_LANES, _VECTORS = 16, 4
TILE = _LANES * _VECTORS  # columns that are summed at once; arrays of columns are padded to a multiple of it
COPY = _LANES  # values that are copied at once when inputs are collected
_GROUP = 4  # rows of a table
_SUBSETS = 2**_GROUP
_VECTORS_AT_ONCE = 512  # input vectors between two rebuilds of the tables; their column sums stay in cache

_FLOATS = ir.VectorType(ir.FloatType(), _LANES)
_LONG = ir.IntType(64)


class Layer(NamedTuple):
    """One pass of a layer. Arrays are contiguous and float32 unless said otherwise.

    Attributes:
        pixels: Input codes as whole numbers, zero padding included, (images, n), with COPY values behind the last.
        copies: How a window's input codes are collected: (from, to) of copies of COPY values each, in order, from a
            place counted from the window's first value to a row; a copy may write beyond its own rows, into those that
            the next one writes, (copies, 2), int64.
        first_copy: Where each block's copies begin and, last, the end, (blocks + 1,), int64.
        grid: Windows of an image and steps between their first values: (down, right, step down, step right), int64.
        cells: Levels with their baseline, (rows, columns).
        blocks: Row blocks, half-open, (blocks, 2), int64.
        codes_per_level: Inverse of the ADC's step in levels.
        top: Largest ADC code.
        value: What a code of each column of a weight counts in the output, (columns of a weight,).
        per_input: What is taken off for each unit of the sum of input codes.
        bias: (outputs,).
        out: The result, (images x windows, outputs).
    """

    pixels: np.ndarray
    copies: np.ndarray
    first_copy: np.ndarray
    grid: np.ndarray
    cells: np.ndarray
    blocks: np.ndarray
    codes_per_level: np.float32
    top: np.float32
    value: np.ndarray
    per_input: float
    bias: np.ndarray
    out: np.ndarray


def _splat(builder: ir.IRBuilder, scalar: ir.Value) -> ir.Value:
    undefined = ir.Constant(_FLOATS, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES))


def _vector_function(builder: ir.IRBuilder, name: str, arguments: int) -> ir.Function:
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * arguments)
    return cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{_LANES}f32")


def _vector_pointers(builder: ir.IRBuilder, start: ir.Value) -> list[ir.Value]:
    places = [builder.gep(start, [ir.Constant(_LONG, j * _LANES)]) for j in range(_VECTORS)]
    return [builder.bitcast(place, _FLOATS.as_pointer()) for place in places]


def _load(builder: ir.IRBuilder, start: ir.Value) -> list[ir.Value]:
    return [builder.load(place, align=4) for place in _vector_pointers(builder, start)]


@intrinsic  # type: ignore[untyped-decorator]
def _address(typing_context: Any, array: Any, offset: Any) -> Any:
    """Pointer to element `offset` of a contiguous array."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        data = cgutils.create_struct_proxy(array)(context, builder, value=arguments[0]).data
        return builder.gep(data, [arguments[1]])

    return types.CPointer(array.dtype)(array, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def _copy(typing_context: Any, source: Any, target: Any) -> Any:
    """Copy COPY values between two float32 pointers."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        source, target = (builder.bitcast(pointer, _FLOATS.as_pointer()) for pointer in arguments)
        builder.store(builder.load(source, align=4), target, align=4)
        return context.get_dummy_value()

    floats = types.CPointer(types.float32)
    return types.void(floats, floats), generate


def _converter(noisy: bool) -> Any:
    """Column sums of one input vector, all cycles, one tile of columns: add what their converters give to `out`.

    Arguments: table (groups x 16, TILE), index (groups, cycles) of its rows, cycles, groups, value (cycles,) of each
    cycle, codes per level, top code, out (TILE,), and for noisy reads noise, the distance of two cycles in it, and the
    noise's amplitude (cycles,) in levels.
    """

    @intrinsic  # type: ignore[untyped-decorator]
    def convert(
        typing_context: Any,
        table: Any,
        index: Any,
        cycles: Any,
        groups: Any,
        values: Any,
        codes_per_level: Any,
        top: Any,
        out: Any,
        noise: Any,
        noise_stride: Any,
        amplitude: Any,
    ) -> Any:
        floats, shorts = types.CPointer(types.float32), types.CPointer(types.int16)
        f4, size = types.float32, types.intp
        signature = types.void(floats, shorts, size, size, floats, f4, f4, floats, floats, size, floats)

        def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            table, index, cycles, groups, values, codes_per_level, top, out, noise, noise_stride, amplitude = arguments
            zero = ir.Constant(_FLOATS, [0.0] * _LANES)
            scale, ceiling = _splat(b, codes_per_level), _splat(b, top)
            rint, fma = _vector_function(b, "rint", 1), _vector_function(b, "fmuladd", 3)
            least, most = _vector_function(b, "minnum", 2), _vector_function(b, "maxnum", 2)

            def subset_sums(position: ir.Value) -> list[ir.Value]:
                row = b.sext(b.load(b.gep(index, [position])), _LONG)
                return _load(b, b.gep(table, [b.mul(row, ir.Constant(_LONG, TILE))]))

            totals = [cgutils.alloca_once_value(b, value) for value in _load(b, out)]
            with cgutils.for_range(b, cycles) as cycle:
                sums = [cgutils.alloca_once(b, _FLOATS) for _ in range(_VECTORS)]
                for place in sums:
                    b.store(zero, place)
                with cgutils.for_range(b, b.sdiv(groups, ir.Constant(_LONG, 2))) as pair:
                    position = b.add(b.mul(pair.index, b.mul(cycles, ir.Constant(_LONG, 2))), cycle.index)
                    even, odd = subset_sums(position), subset_sums(b.add(position, cycles))
                    for place, left, right in zip(sums, even, odd, strict=True):
                        b.store(b.fadd(b.load(place), b.fadd(left, right)), place)
                value = _splat(b, b.load(b.gep(values, [cycle.index])))
                column_sums = [b.load(place) for place in sums]
                if noisy:
                    reach = _splat(b, b.load(b.gep(amplitude, [cycle.index])))
                    draws = _load(b, b.gep(noise, [b.mul(cycle.index, noise_stride)]))
                    column_sums = [b.call(fma, [reach, draw, x]) for draw, x in zip(draws, column_sums, strict=True)]
                for place, column_sum in zip(totals, column_sums, strict=True):
                    code = b.call(rint, [b.fmul(column_sum, scale)])
                    code = b.call(least, [b.call(most, [code, zero]), ceiling])
                    b.store(b.call(fma, [value, code, b.load(place)]), place)
            for place, target in zip(totals, _vector_pointers(b, out), strict=True):
                b.store(b.load(place), target, align=4)
            return context.get_dummy_value()

        return signature, generate

    return convert


_convert_quiet, _convert_noisy = _converter(noisy=False), _converter(noisy=True)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _tabulate(cells: np.ndarray, start: int, stop: int, first_column: int, groups: int, table: np.ndarray) -> None:
    """Subset sums of every group of rows; row r of the block is bit r // groups of group r % groups."""
    for g in range(groups):
        table[g * _SUBSETS] = 0
        for bit in range(_GROUP):
            row, half = start + g + bit * groups, 1 << bit
            for subset in range(half):
                for k in range(TILE):
                    cell = cells[row, first_column + k] if row < stop else np.float32(0)
                    table[g * _SUBSETS + half + subset, k] = table[g * _SUBSETS + subset, k] + cell


@njit(cache=True)  # type: ignore[untyped-decorator]
def _collect(pixels: np.ndarray, first: int, copies: np.ndarray, out: np.ndarray, at: int) -> None:
    """Write a window's input codes from `out[at]` on, and COPY values beyond at most."""
    for i in range(len(copies)):
        _copy(_address(pixels, first + copies[i, 0]), _address(out, at + copies[i, 1]))


@njit(cache=True, fastmath={"reassoc"})  # type: ignore[untyped-decorator]
def _sum(values: np.ndarray, start: int, stop: int) -> Any:
    """Sum of whole numbers, exact below 2**24."""
    total = np.float32(0)
    for i in range(start, stop):
        total += values[i]
    return total


@njit(cache=True)  # type: ignore[untyped-decorator]
def _index_subsets(codes: np.ndarray, cycles: int, groups: int, index: np.ndarray, at: int) -> None:
    """Write the table rows that a vector of input codes reads, (groups, cycles), from `index[at]` on."""
    for g in range(groups):
        a, b, c, d = codes[g], codes[g + groups], codes[g + 2 * groups], codes[g + 3 * groups]
        for cycle in range(cycles):
            subset = ((a >> cycle) & 1) | ((b >> cycle) & 1) << 1 | ((c >> cycle) & 1) << 2 | ((d >> cycle) & 1) << 3
            index[at + g * cycles + cycle] = g * _SUBSETS + subset


@njit(cache=True)  # type: ignore[untyped-decorator]
def _finish(
    totals: np.ndarray, sums: np.ndarray, value: np.ndarray, per_input: float, bias: np.ndarray, out: np.ndarray
) -> None:
    """The digital end: sum over a weight's columns, minus what the sum of each vector's input codes adds, plus bias."""
    outputs = out.shape[1]
    for v in range(out.shape[0]):
        known = np.float32(per_input * sums[v])
        for o in range(outputs):
            out[v, o] = value[0] * totals[v, o] + (bias[o] - known)
        for column in range(1, len(value)):
            for o in range(outputs):
                out[v, o] += value[column] * totals[v, column * outputs + o]


@njit(cache=True)  # type: ignore[untyped-decorator]
def bit_serial(
    layer: Layer, cycle_values: np.ndarray, read_sigma: np.float32, pool: np.ndarray, pool_starts: np.ndarray
) -> None:
    """A bit-serial layer: every column sum of every cycle through its converter, then the digital sum.

    Args:
        layer: Its cells padded to a multiple of TILE columns; negative inputs are in two's complement.
        cycle_values: What a bit of each cycle counts, (cycles,).
        read_sigma: Of one cell's read, in levels; 0 reads without noise.
        pool: Standard normal numbers, at least TILE beyond the last one used.
        pool_starts: Where each image begins in it, (images, blocks), int64; one image's noise is ordered as
            (cycles, its windows, columns).
    """
    pixels, copies, first_copy, grid, cells, blocks, codes_per_level, top, value, per_input, bias, out = layer
    images, cycles, columns = len(pixels), len(cycle_values), len(value) * out.shape[1]
    height, width, step_down, step_right = grid
    windows = height * width
    longest = 0
    for block in range(len(blocks)):
        longest = max(longest, blocks[block, 1] - blocks[block, 0])
    most_groups = 2 * ((longest + 2 * _GROUP - 1) // (2 * _GROUP))
    at_once = min(images, max(1, _VECTORS_AT_ONCE // windows))
    table = np.empty((most_groups * _SUBSETS, TILE), np.float32)
    index = np.empty(at_once * windows * cycles * most_groups, np.int16)
    amplitude = np.zeros(at_once * windows * cycles, np.float32)
    codes = np.empty(_GROUP * most_groups, np.int32)
    inputs = np.empty(longest + COPY, np.float32)
    totals = np.empty((at_once * windows, cells.shape[1]), np.float32)
    sums = np.empty(at_once * windows, np.float64)
    for image in range(0, images, at_once):
        vectors = min(at_once, images - image) * windows
        totals[:] = 0
        sums[:] = 0
        for block in range(len(blocks)):
            start, stop = blocks[block]
            groups = 2 * ((stop - start + 2 * _GROUP - 1) // (2 * _GROUP))
            codes[:] = 0
            rows = stop - start
            block_copies = copies[first_copy[block] : first_copy[block + 1]]
            v = 0
            for i in range(image, min(image + at_once, images)):
                for y in range(height):
                    for x in range(width):
                        first = i * pixels.shape[1] + y * step_down + x * step_right
                        _collect(pixels, first, block_copies, inputs, 0)
                        sums[v] += _sum(inputs, 0, rows)
                        for row in range(rows):
                            codes[row] = np.int32(inputs[row])
                        _index_subsets(codes, cycles, groups, index, v * cycles * groups)
                        if read_sigma > 0:
                            for cycle in range(cycles):
                                active = 0
                                for row in range(rows):
                                    active += (codes[row] >> cycle) & 1
                                amplitude[v * cycles + cycle] = read_sigma * np.sqrt(np.float32(active))
                        v += 1
            for column in range(0, cells.shape[1], TILE):
                _tabulate(cells, start, stop, column, groups, table)
                for v in range(vectors):
                    at = _address(table, 0), _address(index, v * cycles * groups), cycles, groups
                    adc = _address(cycle_values, 0), codes_per_level, top
                    target = _address(totals, v * cells.shape[1] + column)
                    if read_sigma > 0:
                        noise = pool_starts[image + v // windows, block] + (v % windows) * columns + column
                        draws = _address(pool, noise), windows * columns, _address(amplitude, v * cycles)
                        _convert_noisy(*at, *adc, target, *draws)
                    else:
                        _convert_quiet(*at, *adc, target, _address(pool, 0), 0, _address(amplitude, 0))
        _finish(totals, sums, value, per_input, bias, out[image * windows : image * windows + vectors])


@njit(cache=True)  # type: ignore[untyped-decorator]
def whole_inputs(layer: Layer) -> None:
    """A layer whose inputs are applied at once, without read noise."""
    pixels, copies, first_copy, grid, cells, blocks, codes_per_level, top, value, per_input, bias, out = layer
    images, (height, width, step_down, step_right) = len(pixels), grid
    windows = height * width
    at_once = min(images, max(1, _VECTORS_AT_ONCE // windows))
    panel = np.empty(at_once * windows * cells.shape[0] + COPY, np.float32)
    column_sums = np.empty((at_once * windows, cells.shape[1]), np.float32)
    totals = np.empty((at_once * windows, cells.shape[1]), np.float32)
    sums = np.empty(at_once * windows, np.float64)
    for image in range(0, images, at_once):
        vectors = min(at_once, images - image) * windows
        totals[:] = 0
        sums[:] = 0
        for block in range(len(blocks)):
            start, stop = blocks[block]
            inputs = panel[: vectors * (stop - start)].reshape((vectors, stop - start))
            block_copies = copies[first_copy[block] : first_copy[block + 1]]
            v = 0
            for i in range(image, min(image + at_once, images)):
                for y in range(height):
                    for x in range(width):
                        first = i * pixels.shape[1] + y * step_down + x * step_right
                        _collect(pixels, first, block_copies, panel, v * (stop - start))
                        sums[v] += _sum(panel, v * (stop - start), (v + 1) * (stop - start))
                        v += 1
            np.dot(inputs, cells[start:stop], column_sums[:vectors])
            _convert(column_sums, codes_per_level, top, totals)
        _finish(totals, sums, value, per_input, bias, out[image * windows : image * windows + vectors])


@njit(cache=True)  # type: ignore[untyped-decorator]
def _convert(column_sums: np.ndarray, codes_per_level: np.float32, top: np.float32, totals: np.ndarray) -> None:
    for v in range(len(totals)):
        for k in range(totals.shape[1]):
            totals[v, k] += min(max(np.rint(column_sums[v, k] * codes_per_level), np.float32(0)), top)
