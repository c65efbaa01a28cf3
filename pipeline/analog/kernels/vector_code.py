"""The innermost steps of the loops in `bit_serial` and `windows`, written in LLVM IR (README.md beside says why)."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llvmlite import ir
from numba import config, njit, types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

STATE = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]  # of this file, in the names of compiled loops
LANES = 16 if "+avx512f" in (config.CPU_FEATURES or get_host_cpu_features()) else 8  # float32 values of a register
COPY = 8  # words that are copied at once
RUN, RUNS = 4, 3  # windows side by side, and runs of them, that are multiplied at once: their sums stay in registers
GROUP = 4  # rows of a table of subset sums
SUBSETS = 2**GROUP
SHIFT = LANES.bit_length() - 1  # a subset lies in its byte times LANES, so that the byte is a place in the table
PLANES = 8  # most input cycles that are looked up at once: one byte of a word each
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_WORDS = ir.VectorType(ir.IntType(64), COPY)
_LONG = ir.IntType(64)
_POINTER, _LONGS = types.CPointer(types.float32), types.CPointer(types.int64)


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a loop with Numba (`options` of `numba.njit`) and keep the machine code in Numba's cache, with `STATE` in
    its name, because Numba looks for changes in the loop's own file only."""

    def compile_loop(loop: Callable[..., Any]) -> Any:
        loop.__qualname__ += f"_{STATE}"
        return njit(cache=True, **options)(loop)

    return compile_loop


def whole_tile(columns: int) -> int:
    """Columns of a tile for `whole_inputs`: two registers of a large register file, where that wastes nothing."""
    return 2 * LANES if LANES == 16 and -columns % (2 * LANES) < LANES else LANES


def serial_tile(planes: int) -> int:
    """Columns of a tile for `bit_serial`: so many that about eight sums are under way at once."""
    return LANES * (1 if planes > 4 else 2 if planes > 2 else 4)


def planes_at_once(cycles: int) -> int:
    """Cycles of a word in `bit_serial`: the most that divide their number."""
    return max(planes for planes in range(1, PLANES + 1) if cycles % planes == 0)


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


@intrinsic  # type: ignore[untyped-decorator]
def address(typing_context: Any, array: Any, offset: Any) -> Any:
    """Pointer to element `offset` of a contiguous array."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        data = cgutils.create_struct_proxy(array)(context, builder, value=arguments[0]).data
        return builder.gep(data, [arguments[1]])

    return types.CPointer(array.dtype)(array, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def copy(typing_context: Any, source: Any, target: Any) -> Any:
    """Copy COPY words between two pointers."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        source, target = (builder.bitcast(pointer, _WORDS.as_pointer()) for pointer in arguments)
        builder.store(builder.load(source, align=8), target, align=8)
        return context.get_dummy_value()

    return types.void(source, target), generate


@intrinsic  # type: ignore[untyped-decorator]
def add_scaled(typing_context: Any, target: Any, base: Any, values: Any, factor: Any) -> Any:
    """target = base + factor * values, LANES values each."""

    def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        (place,), ((base,), (values,)) = _pointers(b, arguments[0], 1), (_load(b, p, 1) for p in arguments[1:3])
        fma = _vector_function(b, "fmuladd", 3)
        b.store(b.call(fma, [_splat(b, arguments[3]), values, base]), place, align=4)
        return context.get_dummy_value()

    return types.void(_POINTER, _POINTER, _POINTER, types.float32), generate


@intrinsic
def add_noise(typing, target, mean, variance, noise, shift, more):  # type: ignore[no-untyped-def]
    """target += mean + shift + sqrt(variance + more) * noise, LANES values each; shift and more are scalars."""

    def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        (y,), (mean,), (variance,), (noise,) = (_load(b, pointer, 1) for pointer in arguments[:4])
        shift, more = (_splat(b, scalar) for scalar in arguments[4:])
        deviation = b.call(_vector_function(b, "sqrt", 1), [b.fadd(variance, more)])
        shifted = b.fadd(y, b.fadd(mean, shift))
        total = b.call(_vector_function(b, "fmuladd", 3), [deviation, noise, shifted])
        b.store(total, _pointers(b, arguments[0], 1)[0], align=4)
        return context.get_dummy_value()

    return types.void(*[_POINTER] * 4, types.float32, types.float32), generate


def _multiplier(vectors: int) -> Any:
    """Column sums of three runs of windows in one block of rows, one tile of columns: totals = kept x totals + codes.

    Arguments: cells (rows, columns of a tile), rows, offsets (rows,) in an image, first value of each run's first
    window, step from one window to the next, codes per level, top code, kept, totals (windows, stride), stride.
    """

    @intrinsic
    def multiply(typing, cells, rows, offsets, first, second, third, step, codes_per_level, top, kept, totals, stride):  # type: ignore[no-untyped-def]
        f4, size = types.float32, types.intp
        runs = (_POINTER,) * RUNS
        signature = types.void(_POINTER, size, _LONGS, *runs, size, f4, f4, f4, _POINTER, size)

        def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            cells, rows, offsets, *runs, step, codes_per_level, top, kept, totals, stride = arguments
            sums = _column_sums(b, vectors, cells, rows, offsets, runs, step)
            fma = _vector_function(b, "fma", 3)
            scale, ceiling, kept = _splat(b, codes_per_level), _splat(b, top), _splat(b, kept)
            for v, window in enumerate(sums):
                targets = _pointers(b, b.gep(totals, [b.mul(stride, ir.Constant(_LONG, v))]), vectors)
                for column_sum, target in zip(window, targets, strict=True):
                    code = _code(b, b.load(column_sum), scale, ceiling)
                    b.store(b.call(fma, [kept, b.load(target, align=4), code]), target, align=4)
            return context.get_dummy_value()

        return signature, generate

    return multiply


def _column_sums(
    b: ir.IRBuilder, vectors: int, cells: ir.Value, rows: ir.Value, offsets: ir.Value, runs: list[ir.Value], step: Any
) -> list[list[ir.Value]]:
    """Registers with the column sums of each window of the runs; arguments as in `_multiplier`."""
    fma = _vector_function(b, "fma", 3)
    steps = [b.mul(step, ir.Constant(_LONG, i)) for i in range(RUN)]
    sums = [_sums(b, vectors) for _ in range(RUNS * RUN)]
    with cgutils.for_range(b, rows) as row:
        weights = _load(b, b.gep(cells, [b.mul(row.index, ir.Constant(_LONG, vectors * LANES))]), vectors)
        starts = [b.gep(run, [b.load(b.gep(offsets, [row.index]))]) for run in runs]
        places = [b.gep(start, [step]) for start in starts for step in steps]
        for window, place in zip(sums, places, strict=True):
            x = _splat(b, b.load(place))
            for total, weight in zip(window, weights, strict=True):
                b.store(b.call(fma, [x, weight, b.load(total)]), total)
    return sums


multiply_narrow, multiply_wide = _multiplier(1), _multiplier(2)


@intrinsic
def look_up(typing, values, table, index, groups, codes_per_level, top, total, amplitude, noise, noise_stride):  # type: ignore[no-untyped-def]
    """Column sums of one window in one block of rows, one tile of columns: add what their codes count to `total`.

    Args:
        values: What a code of each cycle counts; its length is the number of cycles.
        table: Subset sums, (groups, subsets, columns of a tile).
        index: For each group a word of one byte a cycle, which says where in the group's table its subset is.
        groups: Their number.
        codes_per_level, top: Of the converter.
        total: (columns of a tile,).
        amplitude: Noise of each cycle, in levels; None reads without noise.
        noise: Standard normal numbers, `noise_stride` from one cycle to the next.
    """
    planes, noisy = values.count, not isinstance(amplitude, types.NoneType)
    vectors = serial_tile(planes) // LANES
    f4, size, words = types.float32, types.intp, types.CPointer(types.uint64)
    signature = types.void(values, _POINTER, words, size, f4, f4, _POINTER, amplitude, noise, size)

    def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        values, table, index, groups, codes_per_level, top, total, amplitude, noise, noise_stride = arguments
        sums = _subset_sums(b, planes, vectors, table, index, groups)
        fma = _vector_function(b, "fmuladd", 3)
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


def _subset_sums(
    b: ir.IRBuilder, planes: int, vectors: int, table: ir.Value, index: ir.Value, groups: ir.Value
) -> list[list[ir.Value]]:
    """Registers with the column sums of each cycle; arguments as in `look_up`."""
    sums = [_sums(b, vectors) for _ in range(planes)]
    with cgutils.for_range(b, groups) as group:
        word = b.load(b.gep(index, [group.index]))
        start = b.gep(table, [b.mul(group.index, ir.Constant(_LONG, SUBSETS * vectors * LANES))])
        for plane, column_sums in enumerate(sums):
            byte = b.and_(b.lshr(word, ir.Constant(_LONG, 8 * plane)), ir.Constant(_LONG, 255))
            rows = _load(b, b.gep(start, [b.mul(byte, ir.Constant(_LONG, vectors))]), vectors)
            for place, row in zip(column_sums, rows, strict=True):
                b.store(b.fadd(b.load(place), row), place)
    return sums
