"""Networks in ONNX files: read without their large weights, and traced as torch models are."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from pipeline.analog.tracing import Traced, UntraceableModel, trace
from pipeline.networks.onnx_graph.graph import Graph, GraphInput, read_graph
from pipeline.networks.onnx_graph.network import KNOWN, OnnxNetwork, zeros_of
from pipeline.networks.onnx_graph.node import OnnxError

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnnxTrace:
    """What is known of a file's network.

    Attributes:
        traced: Its matrices and digital operations; `uncounted` also names operators of ONNX.
        inputs: Name -> shape, with the batch, for which it was traced.
        batches: Inputs whose first size is fixed above 1: the cost may be that of a whole batch.
    """

    traced: Traced
    inputs: Mapping[str, Shape]
    batches: tuple[str, ...]


def trace_onnx(path: Path, sizes: Mapping[str, Shape] | None = None, allow_digital: Sequence[str] = ()) -> OnnxTrace:
    """The matrices and digital operations of one inference of an ONNX file.

    A tensor that no input changes is a weight, also if operators compute it: they count as run once, before the
    inference. Quantising and dequantising are the converters' work and cost nothing more.

    Args:
        path: The file.
        sizes: Shapes of inputs by name, with or without the batch; the name may be empty for a lone input. An open
            first size is 1 unless given.
        allow_digital: As in `pipeline.analog.tracing.trace`.

    Raises:
        OnnxError: If the package onnx or the file is missing, an input's size is open, or an operator with weights is
            not known; names it and the way out.
        UntraceableModel: If a matrix cannot be put on crossbars, or there is none.
    """
    try:
        graph = read_graph(path, KNOWN)
        shapes, network = _shapes(graph, sizes or {}), OnnxNetwork(graph)
        with torch.no_grad():
            traced = trace(network, *zeros_of(graph, shapes), allow_digital=allow_digital)
    except (OnnxError, UntraceableModel) as error:
        raise type(error)(f"{path}: {error}") from error
    uncounted = tuple(sorted({*traced.uncounted, *network.uncounted}))
    batches = [
        name
        for name, shape in shapes.items()
        if len(shape) > 1 and shape[0] > 1 and graph.inputs[name].sizes == shape and not sizes
    ]
    return OnnxTrace(traced=dataclasses.replace(traced, uncounted=uncounted), inputs=shapes, batches=tuple(batches))


def _shapes(graph: Graph, sizes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Shapes of all inputs: those given, else those of the file."""
    names = list(graph.inputs)
    if "" in sizes and len(names) != 1:
        raise OnnxError(f"it has the inputs {', '.join(names)}; say which one, such as --input {names[0]}=3x32x32")
    given = {name or names[0]: size for name, size in sizes.items()}
    if unknown := [name for name in given if name not in names]:
        raise OnnxError(f"it has no input {unknown[0]!r}; its inputs are {', '.join(names)}")
    return {name: _shape(name, each, given.get(name)) for name, each in graph.inputs.items()}


def _shape(name: str, declared: GraphInput, given: Shape | None) -> Shape:
    sizes = declared.sizes
    if given is None:
        if sizes is None or not all(isinstance(size, int) for size in sizes[1:]):
            open_ones = ", ".join(str(size) for size in sizes or ("all",) if not isinstance(size, int))
            raise OnnxError(
                f"the sizes of input {name!r} are open ({open_ones}); say them without the batch, such as "
                f"--input {name}=3x32x32"
            )
        return tuple(size if isinstance(size, int) else 1 for size in sizes)
    if sizes is None:
        return given
    whole = given if len(given) == len(sizes) else (1 if isinstance(sizes[0], str) else sizes[0], *given)
    if len(whole) != len(sizes) or any(isinstance(a, int) and a != b for a, b in zip(sizes, whole, strict=True)):
        raise OnnxError(f"input {name!r} is {'x'.join(map(str, sizes))} in the file, got {'x'.join(map(str, given))}")
    return whole
