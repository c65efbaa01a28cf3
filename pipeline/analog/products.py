"""Products of an input with a weight: the torch calls that compute one, all brought into two forms.

A linear product has inputs (n, ..., in) and a weight (out, in). A convolution has inputs (n, in, *size) and a weight
(out, in / groups, *kernel). Matrix products of any layout, transposed convolutions and einsum are rewritten to these.
"""

import dataclasses
import math
import string
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.analog.einsum import as_matmul
from pipeline.analog.windows import Windows

Reshape = Callable[[Tensor], Tensor]
_TRANSPOSED: tuple[Callable[..., Tensor], ...] = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Product:
    """One product in its canonical form.

    Attributes:
        x: Inputs, which depend on the model's input.
        weight: Weights in the canonical form, computed from `source` by changes of the layout alone.
        source: The operand of the call that holds the weights.
        layout: Names the layout change, so that two uses of one matrix are found to be equal.
        bias: Added to the outputs, (out,), or None.
        windows: None: a linear product.
        groups: As in torch.nn.Conv2d.
        finish: From the canonical outputs to the call's.
    """

    x: Tensor
    weight: Tensor
    source: Tensor
    layout: str = ""
    bias: Tensor | None = None
    windows: Windows | None = None
    groups: int = 1
    finish: Reshape = lambda y: y


IsStatic = Callable[[Tensor], bool]


class UnknownProduct(ValueError):
    """A product with a static matrix that cannot be brought into a canonical form."""


def product_of(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], is_static: IsStatic) -> Product | None:
    """The product with a static matrix that a torch call computes; None: both operands are static, or none is.

    Raises:
        UnknownProduct: If there is such a product, but in a form that is not known here.
    """
    given = [
        part for each in (*args, *kwargs.values()) for part in (each if isinstance(each, list | tuple) else [each])
    ]
    operands = [each for each in given if isinstance(each, Tensor)]
    static = [is_static(each) for each in operands]
    if any(static) and not all(static):
        if name not in _FORMS:
            raise UnknownProduct(f"torch.{name}")
        for each in operands:
            if each.layout is not torch.strided:
                raise UnknownProduct(f"torch.{name} with a sparse matrix")
            if not each.is_floating_point():
                raise UnknownProduct(f"torch.{name} of {str(each.dtype).removeprefix('torch.')} numbers")
    return _FORMS[name](is_static, *args, **kwargs) if name in _FORMS else None


PRODUCT_NAMES: frozenset[str]  # of all torch calls that this module reads or refuses


def _linear(is_static: IsStatic, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Product | None:
    if is_static(input) or not is_static(weight):
        if is_static(input) and not is_static(weight):
            raise UnknownProduct("torch.nn.functional.linear of a fixed input with a computed weight")
        return None
    if weight.dim() == 1:
        return _with_bias(_linear_product(input, weight[None], weight, "row", finish=lambda y: y[..., 0]), bias)
    return _with_bias(_linear_product(input, weight, weight), bias)


def _linear_product(
    x: Tensor, weight: Tensor, source: Tensor, layout: str = "", finish: Reshape = lambda y: y
) -> Product:
    if x.dim() == 1:  # a single vector without a batch
        return Product(x=x[None], weight=weight, source=source, layout=layout, finish=lambda y: finish(y[0]))
    return Product(x=x, weight=weight, source=source, layout=layout, finish=finish)


def _with_bias(product: Product, bias: Tensor | None) -> Product:
    """A bias of one number per output joins the product; any other is added afterwards."""
    if bias is None:
        return product
    outputs = product.weight.shape[0]
    if bias.shape == (outputs,) and product.layout != "row":
        return dataclasses.replace(product, bias=bias)
    before = product.finish
    return dataclasses.replace(product, finish=lambda y: before(y) + bias)


def _conv(sides: int, is_static: IsStatic, input: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Product | None:
    if not _is_weight(is_static, input, weight, "convolution"):
        return None
    return _convolution(sides, input, weight, *args, **kwargs)


def _convolution(
    sides: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Product:
    x, finish = _batched(input, sides)
    stride, dilation = _sides(stride, sides), _sides(dilation, sides)
    x, around = _padded(x, padding, weight.shape[2:], dilation)
    windows = Windows(stride, around, dilation)
    return Product(x=x, weight=weight, source=weight, bias=bias, windows=windows, groups=groups, finish=finish)


def _is_weight(is_static: IsStatic, input: Tensor, weight: Tensor, what: str) -> bool:
    if is_static(input) and not is_static(weight):
        raise UnknownProduct(f"{what} of a fixed input with a computed weight")
    return is_static(weight) and not is_static(input)


def _batched(x: Tensor, sides: int) -> tuple[Tensor, Reshape]:
    """`x` with a batch dimension, and how to remove it again."""
    if x.dim() == sides + 2:
        return x, lambda y: y
    return x[None], lambda y: y[0]


def _sides(value: Any, sides: int) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(int(each) for each in value)
    return values * sides if len(values) == 1 else values


def _padded(
    x: Tensor, padding: Any, kernel: Sequence[int], dilation: tuple[int, ...]
) -> tuple[Tensor, tuple[int, ...]]:
    """Zero padding per side; sides that differ are padded at once."""
    if padding == "valid":
        return x, (0,) * len(kernel)
    if padding != "same":
        return x, _sides(padding, len(kernel))
    missing = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
    if all(total % 2 == 0 for total in missing):
        return x, tuple(total // 2 for total in missing)
    around = [side for total in reversed(missing) for side in (total // 2, total - total // 2)]
    return F.pad(x, around), (0,) * len(kernel)


def _transposed(
    sides: int,
    is_static: IsStatic,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Product | None:
    """Each input pixel is one vector of `in` rows; what it gives at all kernel positions is then added up digitally."""
    if not _is_weight(is_static, input, weight, "transposed convolution"):
        return None
    x, finish = _batched(input, sides)
    positions, outputs = math.prod(weight.shape[2:]), weight.shape[1] * groups
    # (groups, in / groups, out / groups, positions) -> (out x positions, in / groups)
    matrix = weight.reshape(groups, -1, weight.shape[1] * positions).transpose(1, 2).flatten(0, 1)
    one_each = torch.eye(positions, dtype=x.dtype, device=x.device).reshape(positions, 1, *weight.shape[2:])
    delta = one_each.repeat(outputs, *(1,) * (sides + 1))

    def add_up(y: Tensor) -> Tensor:
        y = _TRANSPOSED[sides - 1](y, delta.to(y.dtype), bias, stride, padding, output_padding, outputs, dilation)
        return finish(y)

    kernel = matrix.reshape(*matrix.shape, *(1,) * sides)
    one = Windows((1,) * sides, (0,) * sides, (1,) * sides)
    return Product(x=x, weight=kernel, source=weight, layout="transposed", windows=one, groups=groups, finish=add_up)


def _any_convolution(
    is_static: IsStatic,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Product | None:
    """torch.convolution, into which exported graphs turn all kinds."""
    sides = weight.dim() - 2
    if transposed:
        return _transposed(sides, is_static, input, weight, bias, stride, padding, output_padding, groups, dilation)
    return _conv(sides, is_static, input, weight, bias, stride, padding, dilation, groups)


def _matmul(is_static: IsStatic, input: Tensor, other: Tensor) -> Product | None:
    if is_static(input) == is_static(other):
        return None
    if is_static(other):
        return _times_matrix(input, other, other, "columns")
    if input.dim() == 1:
        across = _times_matrix(other.mT if other.dim() > 1 else other, input, input, "columns")
        return across
    if other.dim() == 1:
        return _times_matrix(other, input.mT, input, "")
    product = _times_matrix(other.mT, input.mT, input, "")
    before = product.finish
    return dataclasses.replace(product, finish=lambda y: before(y).mT)


def _times_matrix(x: Tensor, matrix: Tensor, source: Tensor, layout: str) -> Product:
    """`x @ matrix` for a static matrix (..., in, out) or vector (in,)."""
    matrix = _without_copies(matrix)
    if matrix.dim() == 1:
        return _linear_product(x, matrix[None], source, "row", finish=lambda y: y[..., 0])
    if math.prod(matrix.shape[:-2]) == 1:
        lead = max(0, matrix.dim() - max(x.dim(), 2))
        weight = matrix.reshape(matrix.shape[-2:]).t()
        return _linear_product(x, weight, source, layout, finish=lambda y: y.reshape((1,) * lead + y.shape))
    return _batch_of_matrices(x, matrix, source, layout)


def _without_copies(matrix: Tensor) -> Tensor:
    """The matrix with leading dimensions that only repeat it (`expand`) reduced to one."""
    for side in range(matrix.dim() - 2):
        if matrix.stride(side) == 0 and matrix.shape[side] > 1:
            matrix = matrix.narrow(side, 0, 1)
    return matrix


def _batch_of_matrices(x: Tensor, matrices: Tensor, source: Tensor, layout: str) -> Product:
    """`x @ matrices`, where each of a batch of matrices has its own inputs: as groups of a convolution."""
    if x.dim() == 1:
        batch = _batch_of_matrices(x[None], matrices, source, layout)
        before = batch.finish
        return dataclasses.replace(batch, finish=lambda y: before(y)[..., 0, :])
    lead, (inputs, outputs) = matrices.shape[:-2], matrices.shape[-2:]
    over = x.shape[: max(0, x.dim() - 2 - len(lead))]
    shared = torch.broadcast_shapes(x.shape[len(over) : -2], lead)
    if shared != lead:
        matrices = matrices.expand(*shared, inputs, outputs)
        if math.prod(shared) != math.prod(lead):
            raise UnknownProduct("matmul with a static batch of matrices that is itself repeated over a batch")
    groups, rows = math.prod(lead), x.shape[-2]
    x = x.expand(*over, *shared, rows, inputs).reshape(-1, groups, rows, inputs)
    vectors = x.transpose(1, 2).reshape(-1, groups * inputs, 1)
    kernel = matrices.reshape(groups, inputs, outputs).mT.reshape(groups * outputs, inputs, 1)

    def finish(y: Tensor) -> Tensor:
        return y.reshape(-1, rows, groups, outputs).transpose(1, 2).reshape(*over, *shared, rows, outputs)

    one = Windows((1,), (0,), (1,))
    return Product(
        x=vectors,
        weight=kernel,
        source=source,
        layout=f"{layout} of a batch",
        windows=one,
        groups=groups,
        finish=finish,
    )


def _added(is_static: IsStatic, *operands: Any, beta: float = 1, alpha: float = 1, **named: Any) -> Product | None:
    """`beta * input + alpha * first @ second`."""
    order = ("input", "mat1", "batch1", "mat", "mat2", "batch2", "vec")
    input, first, second = [*operands, *(named[name] for name in order if name in named)]
    product = _matmul(is_static, first, second)
    if product is None:
        return None
    if alpha == 1 and beta == 1:
        return _with_bias(product, input)
    before = product.finish
    return dataclasses.replace(product, finish=lambda y: alpha * before(y) + beta * input)


def _einsum(is_static: IsStatic, equation: str, *operands: Any) -> Product | None:
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    static = [is_static(each) for each in operands]
    if all(static) or not any(static):
        return None
    if len(operands) == 1 or len(operands) != 2 or not isinstance(equation, str):
        raise UnknownProduct(f"torch.einsum({equation!r}) of {len(operands)} operands")
    form = as_matmul(equation, operands[0], operands[1])
    if form is None:  # nothing is summed over both: a product of single numbers
        return None
    left, right, back = form
    product = _matmul(lambda each: static[0] if each is left else static[1], left, right)
    assert product is not None
    before, source = product.finish, operands[0] if static[0] else operands[1]
    return dataclasses.replace(
        product, source=source, layout=f"{equation} {product.layout}", finish=lambda y: back(before(y))
    )


def _tensordot(is_static: IsStatic, a: Tensor, b: Tensor, dims: Any = 2, out: None = None) -> Product | None:
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    left, right = dims if isinstance(dims, list | tuple) else (range(a.dim() - dims, a.dim()), range(dims))
    letters = string.ascii_letters
    in_a, in_b = list(letters[: a.dim()]), list(letters[a.dim() : a.dim() + b.dim()])
    for one, other in zip(left, right, strict=True):
        in_b[other] = in_a[one]
    result = [label for label in in_a + in_b if not (label in in_a and label in in_b)]
    return _einsum(is_static, f"{''.join(in_a)},{''.join(in_b)}->{''.join(result)}", a, b)


def _inner(is_static: IsStatic, input: Tensor, other: Tensor) -> Product | None:
    return _tensordot(is_static, input, other, ([-1], [-1]))


def _conv_form(sides: int) -> Callable[..., Product | None]:
    return lambda is_static, *args, **kwargs: _conv(sides, is_static, *args, **kwargs)


def _transposed_form(sides: int) -> Callable[..., Product | None]:
    return lambda is_static, *args, **kwargs: _transposed(sides, is_static, *args, **kwargs)


def _named(form: Callable[..., Product | None], first: str, second: str) -> Callable[..., Product | None]:
    """`form` for a call whose two operands have other names."""

    def read(is_static: IsStatic, *args: Any, **kwargs: Any) -> Product | None:
        operands = list(args)
        operands += [kwargs[name] for name in (first, second)[len(operands) :] if name in kwargs]
        return form(is_static, *operands[:2])

    return read


_FORMS: dict[str, Callable[..., Product | None]] = {
    "linear": _linear,
    **{f"conv{sides}d": _conv_form(sides) for sides in (1, 2, 3)},
    **{f"conv_transpose{sides}d": _transposed_form(sides) for sides in (1, 2, 3)},
    "convolution": _any_convolution,
    "matmul": _named(_matmul, "input", "other"),
    "__matmul__": _matmul,
    "__rmatmul__": lambda is_static, other, input: _matmul(is_static, input, other),
    "mm": _named(_matmul, "input", "mat2"),
    "bmm": _named(_matmul, "input", "mat2"),
    "mv": _named(_matmul, "input", "vec"),
    "dot": _named(_matmul, "input", "tensor"),
    "addmm": _added,
    "baddbmm": _added,
    "addmv": _added,
    "einsum": _einsum,
    "tensordot": _tensordot,
    "inner": _named(_inner, "input", "other"),
    "linalg_matmul": _named(_matmul, "input", "other"),
}
_REFUSED = (
    "conv_tbc",
    "_convolution",
    "cdist",
    "vdot",
    "linalg_vecdot",
    "sparse_mm",
    "hspmm",
    "_sparse_mm",
    "quantized_linear",
    "_addmm_activation",
)
PRODUCT_NAMES = frozenset([*_FORMS, *_REFUSED])
