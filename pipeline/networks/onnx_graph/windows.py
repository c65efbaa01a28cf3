"""Operators with matrices and windows: products, convolutions, pooling, attention."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.networks.onnx_graph.node import Node, OnnxError, Operator

_CONVOLUTIONS: tuple[Callable[..., Tensor], ...] = (F.conv1d, F.conv2d, F.conv3d)
_TRANSPOSED: tuple[Callable[..., Tensor], ...] = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
_MAXIMA: tuple[Callable[..., Any], ...] = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
_MEANS: tuple[Callable[..., Tensor], ...] = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)


def _matmul(node: Node, a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    is_linear = bias is not None and node.static[1] and not node.static[0] and bias.shape == b.shape[1:]
    if is_linear:
        return F.linear(a, b.t(), bias)
    y = torch.matmul(a, b)
    return y if bias is None else y + bias


def _gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.t() if node.get("transA", 0) else a
    scale, shift = node.get("alpha", 1.0), node.get("beta", 1.0)
    rows = b if node.get("transB", 0) else b.t()  # (outputs, inputs), as torch's linear layers have them
    is_bias = c is not None and c.shape == rows.shape[:1] and scale == shift == 1
    if node.static[1] and not node.static[0]:
        y = F.linear(a, rows, c if is_bias else None)
    else:
        y, is_bias = torch.matmul(a, rows.t()), False
    y = y if scale == 1 else y * scale
    return y if c is None or is_bias else y + (c if shift == 1 else c * shift)


def _per_side(node: Node, name: str, sides: int) -> list[int]:
    return list(node.get(name) or [1] * sides)


def _around(node: Node, size: Sequence[int], kernel: Sequence[int]) -> tuple[list[int], list[int]]:
    """Padding before and after each side, explicit or by `auto_pad`."""
    sides = len(kernel)
    auto = node.get("auto_pad", "NOTSET")
    if auto in ("NOTSET", "", "VALID"):
        pads = list(node.get("pads") or [0] * 2 * sides) if auto != "VALID" else [0] * 2 * sides
        return pads[:sides], pads[sides:]
    steps, far = _per_side(node, "strides", sides), _per_side(node, "dilations", sides)
    missing = [
        max(0, (-(-length // step) - 1) * step + dilation * (window - 1) + 1 - length)
        for length, window, step, dilation in zip(size, kernel, steps, far, strict=True)
    ]
    small, large = [total // 2 for total in missing], [total - total // 2 for total in missing]
    return (small, large) if auto == "SAME_UPPER" else (large, small)


def _symmetric(x: Tensor, before: list[int], after: list[int], value: float = 0.0) -> tuple[Tensor, list[int]]:
    """The input and its padding, which is done at once where its two sides differ."""
    if before == after:
        return x, before
    around = [size for pair in reversed(list(zip(before, after, strict=True))) for size in pair]
    return F.pad(x, around, value=value), [0] * len(before)


def _conv(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    kernel = weight.shape[2:]
    sides = len(kernel)
    if not 1 <= sides <= len(_CONVOLUTIONS):
        raise OnnxError(f"a convolution has 1 to 3 sides here, got {sides}")
    x, pads = _symmetric(x, *_around(node, x.shape[2:], kernel))
    steps, far = _per_side(node, "strides", sides), _per_side(node, "dilations", sides)
    return _CONVOLUTIONS[sides - 1](x, weight, bias, steps, pads, far, node.get("group", 1))


def _conv_integer(node: Node, x: Tensor, weight: Tensor, *_: Tensor) -> Tensor:
    return _conv(node, x.float(), weight.float())


def _conv_quantised(node: Node, *inputs: Tensor) -> Tensor:
    return _conv(node, inputs[0].float(), inputs[3].float(), inputs[8].float() if len(inputs) > 8 else None)


def _conv_transpose(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    kernel = weight.shape[2:]
    sides = len(kernel)
    steps, far = _per_side(node, "strides", sides), _per_side(node, "dilations", sides)
    extra = list(node.get("output_padding") or [0] * sides)
    before, after = _around(node, x.shape[2:], kernel)
    wanted, auto = node.get("output_shape"), node.get("auto_pad", "NOTSET")
    if wanted or auto.startswith("SAME"):
        sizes = list(wanted)[-sides:] if wanted else [n * s for n, s in zip(x.shape[2:], steps, strict=True)]
        whole = [
            step * (size - 1) + dilation * (window - 1) + 1 + more
            for step, size, dilation, window, more in zip(steps, x.shape[2:], far, kernel, extra, strict=True)
        ]
        cut = [max(0, full - size) for full, size in zip(whole, sizes, strict=True)]
        small, large = [total // 2 for total in cut], [total - total // 2 for total in cut]
        before, after = (small, large) if auto == "SAME_UPPER" else (large, small)
    equal = before == after
    pads = before if equal else [0] * sides
    y = _TRANSPOSED[sides - 1](x, weight, bias, steps, pads, extra, node.get("group", 1), far)
    if equal:
        return y
    ends = [size - end for size, end in zip(y.shape[2:], after, strict=True)]
    return y[(slice(None), slice(None), *(slice(*pair) for pair in zip(before, ends, strict=True)))]


def _max_pool(node: Node, x: Tensor) -> Any:
    kernel = list(node.get("kernel_shape"))
    sides = len(kernel)
    x, pads = _symmetric(x, *_around(node, x.shape[2:], kernel), value=-math.inf)
    steps, far = _per_side(node, "strides", sides), _per_side(node, "dilations", sides)
    ceil = bool(node.get("ceil_mode", 0))
    return _MAXIMA[sides - 1](x, kernel, steps, pads, far, ceil_mode=ceil, return_indices=node.outputs > 1)


def _average_pool(node: Node, x: Tensor) -> Tensor:
    kernel = list(node.get("kernel_shape"))
    x, pads = _symmetric(x, *_around(node, x.shape[2:], kernel))
    ceil, counts = bool(node.get("ceil_mode", 0)), bool(node.get("count_include_pad", 0))
    return _MEANS[len(kernel) - 1](x, kernel, _per_side(node, "strides", len(kernel)), pads, ceil, counts)


def _attention(node: Node, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    if query.dim() != 4 or node.outputs > 1:
        raise OnnxError("only queries, keys and values (batch, heads, length, size) are known here")
    causal = bool(node.get("is_causal", 0))
    many = key.shape[1] != query.shape[1]
    return F.scaled_dot_product_attention(
        query, key, value, mask, is_causal=causal, scale=node.get("scale"), enable_gqa=many
    )


OPERATORS: dict[str, Operator] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Conv": _conv,
    "ConvInteger": _conv_integer,
    "QLinearConv": _conv_quantised,
    "ConvTranspose": _conv_transpose,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "Attention": _attention,
}
