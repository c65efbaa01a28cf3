"""Operators that compute each value for itself, and those that are one torch call."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.networks.onnx_graph.node import Node, Operator, values


def _plain(function: Callable[..., Any]) -> Operator:
    return lambda node, *inputs: function(*inputs)


def _scaled(function: Callable[..., Any], **settings: tuple[str, float]) -> Operator:
    """A function of one value with attributes: name in torch -> name in ONNX and default."""
    return lambda node, x: function(x, **{name: node.get(*source) for name, source in settings.items()})


def _divide(node: Node, a: Tensor, b: Tensor) -> Tensor:
    if not a.is_floating_point():
        return torch.div(a, b, rounding_mode="trunc")
    return torch.div(a, b.reshape(()) if b.numel() == 1 and node.static[1] and a.dim() >= b.dim() else b)


def _power(node: Node, x: Tensor, exponent: Tensor) -> Tensor:
    by_number = exponent.numel() == 1 and exponent.device.type != "meta"
    return torch.pow(x, exponent.item() if by_number else exponent.to(x.device))


def _remainder(node: Node, a: Tensor, b: Tensor) -> Tensor:
    return torch.fmod(a, b) if node.get("fmod", 0) else torch.remainder(a, b)


def _of_several(node: Node, *inputs: Tensor) -> Tensor:
    joined = {"Max": torch.maximum, "Min": torch.minimum}.get(node.kind, torch.add)
    result = inputs[0]
    for each in inputs[1:]:
        result = joined(result, each)
    return result / len(inputs) if node.kind == "Mean" else result


def _prelu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    return F.prelu(x, slope.flatten()) if slope.numel() in (1, x.shape[1]) else torch.where(x < 0, x * slope, x)


def _clip(node: Node, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    ends = [node.get("min"), node.get("max")]
    for place, bound in enumerate((low, high)):
        if bound is not None:
            ends[place] = (values(bound) or [None])[0]
    return x if ends == [None, None] else torch.clamp(x, *ends)


def _dropout(node: Node, x: Tensor, *_: Tensor) -> Any:
    return (x, torch.ones_like(x, dtype=torch.bool)) if node.outputs > 1 else x


def _cast(node: Node, x: Tensor, like: Tensor | None = None) -> Tensor:
    return x.to(node.get("to") if like is None else like.dtype)


_IN_TORCH: dict[str, Callable[..., Any]] = {  # operators that are one torch call on the same inputs
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "And": torch.logical_and,
    "Or": torch.logical_or,
    "Xor": torch.logical_xor,
    "Not": torch.logical_not,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Where": torch.where,
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "Exp": torch.exp,
    "Log": torch.log,
    "Sqrt": torch.sqrt,
    "Reciprocal": torch.reciprocal,
    "Abs": torch.abs,
    "Neg": torch.neg,
    "Floor": torch.floor,
    "Ceil": torch.ceil,
    "Round": torch.round,
    "Sign": torch.sign,
    "Erf": torch.erf,
    "Sin": torch.sin,
    "Cos": torch.cos,
    "Asin": torch.asin,
    "Acos": torch.acos,
    "Sinh": torch.sinh,
    "Cosh": torch.cosh,
    "IsNaN": torch.isnan,
    "IsInf": torch.isinf,
    "Softplus": F.softplus,
    "Mish": F.mish,
    "HardSigmoid": F.hardsigmoid,
    "HardSwish": F.hardswish,
    "Selu": F.selu,
}
OPERATORS: dict[str, Operator] = {
    **{name: _plain(function) for name, function in _IN_TORCH.items()},
    "Elu": _scaled(F.elu, alpha=("alpha", 1.0)),
    "Celu": _scaled(F.celu, alpha=("alpha", 1.0)),
    "LeakyRelu": _scaled(F.leaky_relu, negative_slope=("alpha", 0.01)),
    "Gelu": _scaled(F.gelu, approximate=("approximate", "none")),  # type: ignore[arg-type]
    "LogSoftmax": lambda node, x: torch.log_softmax(x, node.get("axis", -1 if node.opset >= 13 else 1)),
    "Softmax": lambda node, x: torch.softmax(x, node.get("axis", -1 if node.opset >= 13 else 1)),
    "Identity": _plain(lambda x: x),
    "Shape": lambda node, x: torch.tensor(list(x.shape)[node.get("start", 0) : node.get("end")], dtype=torch.long),
    "Size": _plain(lambda x: torch.tensor(x.numel(), dtype=torch.long)),
    "Transpose": lambda node, x: x.permute(node.get("perm") or list(reversed(range(x.dim())))),
    "Concat": lambda node, *parts: torch.cat(parts, node.get("axis")),
    "GatherElements": lambda node, x, index: torch.gather(x, node.get("axis", 0), index % x.shape[node.get("axis", 0)]),
    "ScatterElements": lambda node, x, index, new: torch.scatter(x, node.get("axis", 0), index, new),
    "Einsum": lambda node, *operands: torch.einsum(node.get("equation"), *operands),
    "MatMulInteger": _plain(lambda a, b, *_: torch.matmul(a.float(), b.float())),
    "QLinearMatMul": _plain(lambda a, a_scale, a_zero, b, *_: torch.matmul(a.float(), b.float())),
    "QuantizeLinear": _plain(lambda x, *_: x),  # the crossbars' converters do it
    "DequantizeLinear": _plain(lambda x, *_: x.float()),
    "DynamicQuantizeLinear": _plain(lambda x: (x, x.new_ones(()), x.new_zeros(()))),
    "LRN": lambda node, x: F.local_response_norm(x, node.get("size"), node.get("alpha", 1e-4), node.get("beta", 0.75)),
    "GlobalAveragePool": _plain(lambda x: x.mean(tuple(range(2, x.dim())), keepdim=True)),
    "GlobalMaxPool": _plain(lambda x: x.amax(tuple(range(2, x.dim())), keepdim=True)),
    "DepthToSpace": lambda node, x: F.pixel_shuffle(x, node.get("blocksize")),
    "SpaceToDepth": lambda node, x: F.pixel_unshuffle(x, node.get("blocksize")),
    "Div": _divide,
    "Pow": _power,
    "Mod": _remainder,
    "Max": _of_several,
    "Min": _of_several,
    "Sum": _of_several,
    "Mean": _of_several,
    "PRelu": _prelu,
    "Clip": _clip,
    "Dropout": _dropout,
    "Cast": _cast,
    "CastLike": _cast,
}
