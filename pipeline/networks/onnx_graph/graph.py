"""ONNX files read into records: operators, constants, inputs. The package onnx is used here alone."""

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.networks.onnx_graph.node import OnnxError

_KEPT = 2**16  # assumed: tensors with more values are weights, on whose values no shape depends
_LISTS = ("value_int", "value_ints", "value_float", "value_floats")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """One operator of a graph; names of inputs are empty for those left out.

    Attributes:
        kind, domain, name: Of the operator; the domain is empty for ONNX's own operators.
        module: Of torch, in which the operator was, as far as the exporter tells; else empty.
        inputs, outputs: Names of tensors.
        roles: What the operator calls its inputs, as far as ONNX knows it.
        attributes: Plain values, tensors and, for branches, `Graph`.
    """

    kind: str
    domain: str
    name: str
    module: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    roles: tuple[str, ...]
    attributes: Mapping[str, Any]

    def __str__(self) -> str:
        return f"node {self.name or self.outputs[0]} ({self.kind})"


@dataclasses.dataclass(frozen=True, kw_only=True)
class GraphInput:
    """An input: its type, and its sizes as the file has them, a label for those that it leaves open; None: no shape."""

    dtype: torch.dtype
    sizes: tuple[int | str, ...] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Graph:
    """A graph of operators in the order in which they run.

    Attributes:
        inputs: By name, without those that are constants.
        constants: Weights and other fixed tensors by name; the large ones without values on the device `meta`.
        shapes: Tensor -> sizes that onnx infers, if the graph has operators that `known` did not name.
        opset: Version of ONNX's operators.
    """

    inputs: Mapping[str, GraphInput]
    constants: Mapping[str, Tensor]
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]
    shapes: Mapping[str, tuple[int | str, ...]]
    opset: int


def read_graph(path: Path, known: frozenset[str], device: str = "meta") -> Graph:
    """Read a file.

    Args:
        path: The file; external weights lie beside it, and need not be there if they are large.
        known: Kinds of operators whose result needs no inferred shape.
        device: `meta` leaves out the values of large weights.

    Raises:
        OnnxError: If the package onnx or the file is missing, or the file cannot be read; says which.
    """
    try:
        import onnx.inliner
    except ModuleNotFoundError as error:
        raise OnnxError("reading ONNX needs the package onnx; pip install 'nacim[onnx]'") from error
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise OnnxError(f"the file cannot be read: {error.strerror or error}") from error
    except Exception as error:  # protobuf's own, which has no base here
        raise OnnxError(f"not an ONNX file ({' '.join(str(error).split())})") from error
    if not model.graph.node:
        raise OnnxError("not an ONNX file, or one without operators")
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    shapes = _inferred(model) if any(each.op_type not in known for each in model.graph.node) else {}
    opset = max([each.version for each in model.opset_import if each.domain in ("", "ai.onnx")], default=1)
    return _graph(model.graph, path.parent, device, shapes, opset)


def _inferred(model: Any) -> dict[str, tuple[int | str, ...]]:
    """Sizes of tensors as onnx infers them; none if it cannot read the graph, such as one with unknown domains."""
    import onnx.shape_inference

    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # its own, which has no base here
        return {}
    found = ((each.name, _sizes(each.type.tensor_type)) for each in (*graph.value_info, *graph.output))
    return {name: sizes for name, sizes in found if sizes is not None}


def _graph(graph: Any, folder: Path, device: str, shapes: Mapping[str, tuple[int | str, ...]], opset: int) -> Graph:
    if graph.sparse_initializer:
        raise OnnxError("sparse weights are not known here; write them dense")
    steps = [_step(each, folder, device, opset) for each in graph.node]
    constants = {each.name: _tensor(each, folder, device) for each in graph.initializer}
    constants |= {each.outputs[0]: each.attributes["value"] for each in steps if each.kind == "Constant"}
    steps = [each for each in steps if each.kind != "Constant"]
    for each in steps:  # the exporter writes equal weights once, and copies them
        if each.kind == "Identity" and each.inputs[0] in constants:
            constants[each.outputs[0]] = constants[each.inputs[0]]
    outputs = tuple(each.name for each in graph.output)
    return Graph(
        inputs={
            each.name: GraphInput(
                dtype=_dtype(each.type.tensor_type.elem_type or 1), sizes=_sizes(each.type.tensor_type)
            )
            for each in graph.input
            if each.name not in constants
        },
        constants=constants,
        steps=_with_biases([each for each in steps if each.outputs[0] not in constants], constants, outputs),
        outputs=outputs,
        shapes=shapes,
        opset=opset,
    )


def _with_biases(steps: list[Step], constants: Mapping[str, Tensor], outputs: tuple[str, ...]) -> tuple[Step, ...]:
    """The steps, in which a product and the bias that follows it are one step: `MatMul` with a third input."""
    uses = Counter(name for each in steps for name in each.inputs) + Counter(outputs)
    products = {each.outputs[0]: each for each in steps if each.kind == "MatMul" and uses[each.outputs[0]] == 1}
    merged: dict[str, Step] = {}  # output of a product -> it with its bias
    gone = set()
    for step in steps:
        if step.kind != "Add":
            continue
        for name, bias in (step.inputs, step.inputs[::-1]):
            if name in products and bias in constants and constants[bias].dim() == 1:
                product = products[name]
                inputs = (*product.inputs, bias)
                merged[name] = dataclasses.replace(product, inputs=inputs, outputs=step.outputs)
                gone.add(step.outputs[0])
    return tuple(merged.get(each.outputs[0], each) for each in steps if each.outputs[0] not in gone)


def _sizes(declared: Any) -> tuple[int | str, ...] | None:
    if not declared.HasField("shape"):
        return None
    return tuple(each.dim_value if each.HasField("dim_value") else each.dim_param or "?" for each in declared.shape.dim)


def _step(node: Any, folder: Path, device: str, opset: int) -> Step:
    domain = "" if node.domain == "ai.onnx" else node.domain
    attributes = {each.name: _attribute(each, folder, device, opset) for each in node.attribute}
    if node.op_type == "Constant":
        ((kind, value),) = attributes.items()
        if kind not in (*_LISTS, "value"):
            raise OnnxError(f"constant {node.output[0]} of the kind {kind} is not known here")
        attributes = {"value": torch.tensor(value) if kind in _LISTS else value}
    return Step(
        kind=node.op_type,
        domain=domain,
        name=node.name,
        module=_module(node),
        inputs=tuple(node.input),
        outputs=tuple(node.output),
        roles=_roles(node.op_type, domain),
        attributes=attributes,
    )


@functools.cache
def _roles(kind: str, domain: str) -> tuple[str, ...]:
    import onnx.defs

    if not onnx.defs.has(kind, domain):
        return ()
    return tuple(each.name for each in onnx.defs.get_schema(kind, domain).inputs)


def _module(node: Any) -> str:
    scopes = next((each.value for each in node.metadata_props if each.key == "pkg.torch.onnx.name_scopes"), "")
    names = re.findall(r"'([^']*)'", scopes)  # "['', 'blocks.0', 'blocks.0.qkv', 'linear']"
    return names[-2] if len(names) > 1 else ""


def _attribute(stored: Any, folder: Path, device: str, opset: int) -> Any:
    """An attribute as a plain value, a tensor or a graph; types as torch's."""
    import onnx

    value = onnx.helper.get_attribute_value(stored)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, onnx.TensorProto):
        return _tensor(value, folder, device)
    if isinstance(value, onnx.GraphProto):
        return _graph(value, folder, device, {}, opset)
    if stored.name == "to":
        return _dtype(value)
    if stored.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS):
        return list(value)
    return (
        [each.decode(errors="replace") if isinstance(each, bytes) else each for each in value]
        if (stored.type == onnx.AttributeProto.STRINGS)
        else value
    )


def _dtype(kind: int) -> torch.dtype:
    import onnx

    array = np.zeros(0, onnx.helper.tensor_dtype_to_np_dtype(kind))
    try:
        return torch.from_numpy(array).dtype
    except TypeError:  # narrow formats, which NumPy does not know
        return torch.float32 if "float" in array.dtype.name else torch.int8


def _tensor(stored: Any, folder: Path, device: str) -> Tensor:
    from onnx import numpy_helper

    kind = _dtype(stored.data_type)
    if device == "meta" and int(np.prod(stored.dims, dtype=np.int64)) > _KEPT:
        return torch.empty(tuple(stored.dims), dtype=kind, device=device)
    try:
        array = numpy_helper.to_array(stored, str(folder))
    except (OSError, ValueError) as error:
        raise OnnxError(f"the values of {stored.name!r} cannot be read ({' '.join(str(error).split())})") from error
    if array.dtype == object:  # texts
        raise OnnxError(f"{stored.name!r} holds texts; only numbers are known here")
    return torch.from_numpy(np.array(array, dtype=None if array.dtype.kind in "biufc" else np.float32)).to(kind)
