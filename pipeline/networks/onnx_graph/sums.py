"""Operators that sum over values: means, norms, normalisation, the largest values."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.networks.onnx_graph.node import Node, Operator, axes_of, values

_REDUCTIONS: dict[str, Callable[..., Tensor]] = {
    "ReduceMean": torch.mean,
    "ReduceSum": torch.sum,
    "ReduceMax": torch.amax,
    "ReduceMin": torch.amin,
    "ReduceL1": lambda x, axes, keep: torch.linalg.vector_norm(x, 1, axes, keep),
    "ReduceL2": lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep),
    "ReduceSumSquare": lambda x, axes, keep: torch.sum(x * x, axes, keep),
    "ReduceLogSum": lambda x, axes, keep: torch.log(torch.sum(x, axes, keep)),
    "ReduceLogSumExp": lambda x, axes, keep: torch.logsumexp(x, axes, keep),
}


def _reduce(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    chosen = axes_of(node, axes)
    if not chosen and node.get("noop_with_empty_axes", 0):
        return x
    return _REDUCTIONS[node.kind](x, chosen or list(range(x.dim())), bool(node.get("keepdims", 1)))


def _product(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    for axis in sorted((a % x.dim() for a in axes_of(node, axes) or range(x.dim())), reverse=True):
        x = torch.prod(x, axis, keepdim=bool(node.get("keepdims", 1)))
    return x


def _argmax(node: Node, x: Tensor) -> Tensor:
    find = torch.argmax if node.kind == "ArgMax" else torch.argmin
    return find(x, node.get("axis", 0), bool(node.get("keepdims", 1)))


def _cumulative(node: Node, x: Tensor, axis: Tensor) -> Tensor:
    return torch.cumsum(x, int((values(axis) or [0])[0]))


def _topk(node: Node, x: Tensor, k: Tensor) -> tuple[Tensor, ...]:
    return tuple(torch.topk(x, int((values(k) or [1])[0]), node.get("axis", -1), bool(node.get("largest", 1))))


def _batch_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, node.get("epsilon", 1e-5))


def _instance_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=bias, eps=node.get("epsilon", 1e-5))


def _layer_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    sizes = list(x.shape[node.get("axis", -1) :])
    return F.layer_norm(x, sizes, scale.expand(sizes), bias, node.get("epsilon", 1e-5))


def _group_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    groups, channels = node.get("num_groups"), x.shape[1]
    scale, bias = (each.repeat_interleave(channels // each.numel()) for each in (scale, bias))
    return F.group_norm(x, groups, scale, bias, node.get("epsilon", 1e-5))


def _rms_norm(node: Node, x: Tensor, scale: Tensor) -> Tensor:
    return F.rms_norm(x, list(x.shape[node.get("axis", -1) :]), scale, node.get("epsilon", 1e-5))


OPERATORS: dict[str, Operator] = {
    **dict.fromkeys(_REDUCTIONS, _reduce),
    "ReduceProd": _product,
    "ArgMax": _argmax,
    "ArgMin": _argmax,
    "CumSum": _cumulative,
    "TopK": _topk,
    "BatchNormalization": _batch_norm,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "GroupNormalization": _group_norm,
    "RMSNormalization": _rms_norm,
}
