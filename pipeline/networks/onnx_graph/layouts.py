"""Operators that move, select or make values."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.networks.onnx_graph.node import Node, OnnxError, Operator, axes_of, values

_LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}  # dimensions -> mode of F.interpolate


def _reshape(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    sizes = values(shape) or []
    keep = not node.get("allowzero", 0)
    return x.reshape([x.shape[place] if size == 0 and keep else size for place, size in enumerate(sizes)])


def _flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.get("axis", 1) % (x.dim() + 1)
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _squeeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    gone = axes_of(node, axes)
    gone = [place for place, size in enumerate(x.shape) if size == 1] if gone is None else gone
    gone = [axis % max(1, x.dim()) for axis in gone]
    return x.reshape([size for place, size in enumerate(x.shape) if place not in gone])


def _unsqueeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    new = axes_of(node, axes) or []
    sides = x.dim() + len(new)
    for axis in sorted(axis % sides for axis in new):
        x = x.unsqueeze(axis)
    return x


def _split(node: Node, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = node.get("axis", 0)
    parts = node.get("split") if sizes is None else values(sizes)
    count = node.get("num_outputs", node.outputs)
    return torch.split(x, [int(part) for part in parts] if parts else -(-x.shape[axis] // count), axis)


def _slice(
    node: Node, x: Tensor, starts: Tensor | None = None, ends: Tensor | None = None, *more: Tensor | None
) -> Tensor:
    first = list(node.get("starts", ()) if starts is None else values(starts) or ())
    last = list(node.get("ends", ()) if ends is None else values(ends) or ())
    axes, steps = (values(more[place]) if len(more) > place else None for place in (0, 1))
    axes = axes or node.get("axes") or list(range(len(first)))
    for axis, start, end, step in zip(axes, first, last, steps or [1] * len(first), strict=True):
        places = range(x.shape[axis])[slice(int(start), int(end), int(step))]
        if step > 0:
            x = x[(slice(None),) * (axis % x.dim()) + (slice(places.start, places.stop, places.step),)]
        else:
            x = x.index_select(axis, torch.tensor(list(places), device=x.device))
    return x


def _gather(node: Node, x: Tensor, index: Tensor) -> Tensor:
    axis = node.get("axis", 0) % x.dim()
    if index.device.type != "meta":
        index = torch.where(index < 0, index + x.shape[axis], index)
    found = x.index_select(axis, index.flatten().long())
    return found.reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])


def _gather_nd(node: Node, x: Tensor, index: Tensor) -> Tensor:
    if node.get("batch_dims", 0):
        raise OnnxError("batch_dims above 0 is not known here")
    return x[tuple(index.long().unbind(-1))]


def _scatter_nd(node: Node, x: Tensor, index: Tensor, new: Tensor) -> Tensor:
    return torch.index_put(x, tuple(index.long().unbind(-1)), new)


def _expand(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(torch.broadcast_shapes(tuple(x.shape), tuple(int(size) for size in values(shape) or ())))


def _tile(node: Node, x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat([int(count) for count in values(repeats) or ()])


def _pad(node: Node, x: Tensor, pads: Tensor | None = None, value: Any = None, axes: Tensor | None = None) -> Tensor:
    around = [int(size) for size in (node.get("pads") if pads is None else values(pads)) or ()]
    chosen = [axis % x.dim() for axis in values(axes) or range(x.dim())]
    before = dict(zip(chosen, around, strict=False))
    after = dict(zip(chosen, around[len(chosen) :], strict=True))
    first = min([axis for axis in chosen if before[axis] or after[axis]], default=x.dim())
    sides = [size for axis in reversed(range(first, x.dim())) for size in (before.get(axis, 0), after.get(axis, 0))]
    mode = {"edge": "replicate", "wrap": "circular"}.get(node.get("mode", "constant"), node.get("mode", "constant"))
    if not sides:
        return x
    filled = (values(value) or [0.0])[0] if value is not None else node.get("value", 0.0)
    return F.pad(x, sides, mode, filled) if mode == "constant" else F.pad(x, sides, mode)


def _constant_of_shape(node: Node, shape: Tensor) -> Tensor:
    value = node.get("value")
    sizes = [int(size) for size in values(shape) or ()]
    return torch.zeros(sizes) if value is None else torch.full(sizes, value.item(), dtype=value.dtype)


def _range(node: Node, start: Tensor, end: Tensor, step: Tensor) -> Tensor:
    first, last, by = ((values(each) or [0])[0] for each in (start, end, step))
    return torch.arange(first, last, by, dtype=start.dtype)


def _one_hot(node: Node, index: Tensor, depth: Tensor, ends: Tensor) -> Tensor:
    classes = F.one_hot(index.long(), int((values(depth) or [0])[0]))
    return classes.to(ends.dtype).movedim(-1, node.get("axis", -1))


def _triangle(node: Node, x: Tensor, diagonal: Tensor | None = None) -> Tensor:
    start = int((values(diagonal) or [0])[0])
    return torch.triu(x, start) if node.get("upper", 1) else torch.tril(x, start)


def _resize(node: Node, x: Tensor, *more: Tensor | None) -> Tensor:
    lists = [values(each) or None for each in more]
    scales, sizes = (lists[0] if node.kind == "Upsample" else lists[1] if lists[1:] else None), (lists[2:] or [None])[0]
    scales = scales or node.get("scales")
    if scales is not None:
        sizes = [math.floor(size * scale) for size, scale in zip(x.shape, scales, strict=True)]
    new = [int(size) for size in sizes or x.shape]
    if new[:2] != list(x.shape[:2]) or x.dim() not in _LINEAR or node.get("axes"):
        raise OnnxError(f"it resizes {tuple(x.shape)} to {tuple(new)}; only height, width and depth may change")
    mode = node.get("mode", "nearest")
    if mode == "nearest":
        return F.interpolate(x, new[2:])
    corners = node.get("coordinate_transformation_mode") == "align_corners"
    return F.interpolate(x, new[2:], mode="bicubic" if mode == "cubic" else _LINEAR[x.dim()], align_corners=corners)


def _grid_sample(node: Node, x: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(x, grid, align_corners=bool(node.get("align_corners", 0)))


OPERATORS: dict[str, Operator] = {
    "NonZero": lambda node, x: torch.nonzero(x).t(),
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "ScatterND": _scatter_nd,
    "Expand": _expand,
    "Tile": _tile,
    "Pad": _pad,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "OneHot": _one_hot,
    "Trilu": _triangle,
    "Resize": _resize,
    "Upsample": _resize,
    "GridSample": _grid_sample,
}
