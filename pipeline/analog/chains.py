"""Torch calls that compute several products, or a product and more, in separate calls, so that each can be followed."""

import functools
import string
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_CONVOLUTIONS: tuple[Callable[..., Tensor], ...] = (F.conv1d, F.conv2d, F.conv3d)
_TRANSPOSED: tuple[Callable[..., Tensor], ...] = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


def _in_turn(*matrices: Any, out: None = None) -> Tensor:
    """The product of several matrices, from left to right."""
    given: Sequence[Tensor] = matrices[0] if len(matrices) == 1 else matrices
    return functools.reduce(torch.matmul, given)


def _in_place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda input, *args, **kwargs: input.copy_(function(input, *args, **kwargs))


def _addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return beta * input + alpha * torch.bmm(batch1, batch2).sum(0)


def _convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    *_: bool,
) -> Tensor:
    place = input.dim() - 3
    if transposed:
        return _TRANSPOSED[place](input, weight, bias, stride, padding, output_padding, groups, dilation)
    return _CONVOLUTIONS[place](input, weight, bias, stride, padding, dilation, groups)


def has_many_operands(args: Sequence[Any]) -> bool:
    """Whether these are the arguments of an einsum of more than two operands."""
    operands = args[1] if len(args) == 2 and isinstance(args[1], list | tuple) else args[1:]
    return isinstance(args[0], str) and len(operands) > 2


def _einsum(equation: str, *operands: Any) -> Tensor:
    """An einsum of many operands, two at a time from the left, as torch computes it."""
    given = list(operands[0]) if isinstance(operands[0], list | tuple) else list(operands)
    inputs, arrow, out = equation.replace(" ", "").partition("->")
    labels = inputs.split(",")
    if not arrow:
        ellipsis = "..." if "..." in inputs else ""
        out = ellipsis + "".join(each for each in string.ascii_letters if inputs.count(each) == 1)
    while len(given) > 2:
        later = "".join(labels[2:]) + out
        kept = "".join(dict.fromkeys(each for each in labels[0] + labels[1] if each in later and each != "."))
        kept = ("..." if "..." in labels[0] + labels[1] else "") + kept
        given[:2] = [torch.einsum(f"{labels[0]},{labels[1]}->{kept}", given[0], given[1])]
        labels[:2] = [kept]
    return torch.einsum(f"{','.join(labels)}->{out}", *given)


CALLS: dict[str, Callable[..., Any]] = {
    "einsum": _einsum,
    "multi_dot": _in_turn,
    "linalg_multi_dot": _in_turn,
    "chain_matmul": _in_turn,
    "addbmm": _addbmm,
    "addbmm_": _in_place(_addbmm),
    "addmm_": _in_place(torch.addmm),
    "addmv_": _in_place(torch.addmv),
    "baddbmm_": _in_place(torch.baddbmm),
    "convolution": _convolution,
}
