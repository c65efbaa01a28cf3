"""An ONNX graph that runs as torch calls, one operator after the other."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.analog.tracing import UntraceableModel
from pipeline.networks.onnx_graph import elementwise, layouts, recurrent, sums, windows
from pipeline.networks.onnx_graph.graph import Graph, Step
from pipeline.networks.onnx_graph.labels import Labels
from pipeline.networks.onnx_graph.node import VALUES, Node, OnnxError, Operator, values

OPERATORS: dict[str, Operator] = {
    name: call for module in (elementwise, layouts, sums, windows, recurrent) for name, call in module.OPERATORS.items()
}
KNOWN = frozenset([*OPERATORS, "Constant", "If"])


class OnnxNetwork(nn.Module):
    """A graph as a torch module. Each operator runs in a module that is named like its weight, or like itself.

    Attributes:
        uncounted: Kinds of operators that have run without being known here.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._graph, self._labels = graph, Labels(graph)
        self._places: dict[str, _Place] = {}
        self.uncounted: set[str] = set()

    def named_buffers(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, Tensor]]:
        """The weights; torch's own buffers may have no dots in their names."""
        return ((self._labels.of_weight(name), each) for name, each in self._graph.constants.items())

    def named_modules(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Module]]:
        """The network and the places where its operators run."""
        yield "", self
        for step in self._graph.steps:
            yield self._labels.of_step(step), self._place(step)

    def _place(self, step: Step) -> "_Place":
        label = self._labels.of_step(step)
        if label not in self._places:
            self._places[label] = _Place()
        return self._places[label]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The graph's outputs for its inputs, in order."""
        known = {**self._graph.constants, **dict(zip(self._graph.inputs, inputs, strict=True))}
        return self._run(self._graph, known, set(self._graph.constants))

    def _run(self, graph: Graph, known: dict[str, Tensor], static: set[str]) -> tuple[Tensor, ...]:
        for step in graph.steps:
            try:
                results = self._results(step, known, static)
            except (OnnxError, UntraceableModel) as error:
                raise type(error)(error if str(error).startswith("node ") else f"{step}: {error}") from error
            except NotImplementedError as error:
                raise OnnxError(f"{step}: the size of its result depends on the data") from error
            except (RuntimeError, IndexError, TypeError, ValueError) as error:
                raise OnnxError(f"{step}: {' '.join(str(error).split())}") from error
            known |= {name: each for name, each in zip(step.outputs, results, strict=False) if name}
            if all(not name or name in static for name in step.inputs) and step.kind != "If":
                static |= set(step.outputs)
        return tuple(known[name] for name in graph.outputs)

    def _results(self, step: Step, known: dict[str, Tensor], static: set[str]) -> tuple[Tensor, ...]:
        inputs = [known[name] if name else None for name in step.inputs]
        fixed = tuple(not name or name in static for name in step.inputs)
        if step.kind == "If":
            branch = step.attributes["then_branch" if (values(inputs[0]) or [False])[0] else "else_branch"]
            return self._run(branch, {**known, **branch.constants}, static | set(branch.constants))
        operator = OPERATORS.get(step.kind) if not step.domain else None
        if operator is None:
            return self._unknown(step, inputs, fixed)
        node = Node(
            kind=step.kind,
            attributes=step.attributes,
            static=fixed,
            outputs=len(step.outputs),
            opset=self._graph.opset,
        )
        found = self._place(step)(operator, node, *_together(inputs, VALUES.get(step.kind, ())))
        return found if isinstance(found, tuple) else (found,)

    def _unknown(self, step: Step, inputs: Sequence[Tensor | None], fixed: Sequence[bool]) -> tuple[Tensor, ...]:
        """Results of an operator that is not known here, in the shapes that onnx infers."""
        there = [(each, is_fixed) for each, is_fixed in zip(inputs, fixed, strict=True) if each is not None]
        weights = [
            name
            for name, each, is_fixed in zip(step.inputs, inputs, fixed, strict=True)
            if each is not None and is_fixed and each.dim() > 1
        ]
        if weights or any(isinstance(each, Graph) for each in step.attributes.values()):
            held = f"it holds the weights {', '.join(weights)}" if weights else "it runs a graph of its own"
            raise OnnxError(
                f"the operator is not known here, and {held}; export the network without it, or give the "
                "torch model as FILE.py:FUNCTION"
            )
        shapes = [_sizes(self._graph.shapes, name) for name in step.outputs if name]
        if not there or None in shapes:
            raise OnnxError("neither the operator is known here, nor the shape of its result; export without it")
        source = next((each for each, is_fixed in there if not is_fixed), there[0][0])
        self.uncounted.add(step.kind)
        return tuple(source.new_empty(shape) for shape in shapes if shape is not None)


class _Place(nn.Module):
    """Where operators run: the trace names matrices and digital operations after it."""

    def forward(self, operator: Operator, *arguments: Any) -> Any:
        return operator(*arguments)


def _sizes(shapes: Mapping[str, tuple[int | str, ...]], name: str) -> tuple[int, ...] | None:
    """A tensor's inferred shape, an open first size as 1; None if it is not known."""
    found = shapes.get(name)
    if found is None:
        return None
    first = [1 if isinstance(size, str) else size for size in found[:1]]
    rest = [size for size in found[1:] if isinstance(size, int)]
    return (*first, *rest) if len(rest) == len(found[1:]) else None


def _together(inputs: Sequence[Tensor | None], read: Sequence[int]) -> list[Tensor | None]:
    """The inputs on one device, but for those whose values are read."""
    others = [each for place, each in enumerate(inputs) if place not in read and each is not None]
    if not any(each.device.type == "meta" for each in others):
        return list(inputs)
    return [
        each if each is None or place in read or each.device.type == "meta" else each.to("meta")
        for place, each in enumerate(inputs)
    ]


def zeros_of(graph: Graph, shapes: Mapping[str, tuple[int, ...]], device: str = "meta") -> list[Tensor]:
    """Inputs of these shapes, in the types of the graph's inputs."""
    return [torch.zeros(shape, dtype=graph.inputs[name].dtype, device=device) for name, shape in shapes.items()]
