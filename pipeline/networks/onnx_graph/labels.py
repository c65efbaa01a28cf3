"""Names of an ONNX graph's operators and weights, as the torch model has them where the file tells."""

import re
from collections import Counter

from pipeline.networks.onnx_graph.graph import Graph, Step

_MADE_UP = re.compile(r"onnx::.*|val_\d+|\d+|.*_folded_?\d*")  # names of tensors that exporters make up
_LAYOUTS = ("Identity", "Transpose", "Reshape", "Cast", "DequantizeLinear", "QuantizeLinear", "Squeeze", "Unsqueeze")


class Labels:
    """Names for people.

    Args:
        graph: Without branches, whose operators have the names in the file.
    """

    def __init__(self, graph: Graph) -> None:
        self._makers = {name: step for step in graph.steps for name in step.outputs}
        self._sides = {name: each.dim() for name, each in graph.constants.items()}
        self._of_weight: dict[str, str] = {}
        self._of_step: dict[int, str] = {}  # by the step's id: the graph keeps it alive
        count: Counter[str] = Counter()
        uses = ((step, place, name) for step in graph.steps for place, name in enumerate(step.inputs))
        for step, place, name in uses:
            if name in self._sides and name not in self._of_weight and _MADE_UP.fullmatch(name):
                label = f"{self.of_step(step)}.{step.roles[place] if place < len(step.roles) else place}"
                count[label] += 1
                self._of_weight[name] = label if count[label] == 1 else f"{label}#{count[label]}"

    def of_weight(self, name: str) -> str:
        """A weight's own name; for one that an exporter made up, that of its operator and role."""
        return self._of_weight.get(name, name)

    def of_step(self, step: Step) -> str:
        """The name of the operator's matrix without `.weight`, else of its module, else its own."""
        label = self._of_step.get(id(step))
        if label is None:
            label = self._of_step[id(step)] = self._label(step)
        return label

    def _label(self, step: Step) -> str:
        for name in step.inputs:
            weight = self._weight(name)
            if weight is not None and self._sides[weight] > 1 and not _MADE_UP.fullmatch(weight):
                return weight.removesuffix(".weight")
        return step.module or _shortened(step.name, step.kind) or step.outputs[0]

    def _weight(self, name: str) -> str | None:
        """The weight behind a tensor, through operators that change its layout or type alone."""
        while name not in self._sides:
            maker = self._makers.get(name)
            if maker is None or maker.kind not in _LAYOUTS:
                return None
            name = maker.inputs[0]
        return name


def _shortened(name: str, kind: str) -> str:
    """`/stages.0/stages.0.0/conv1/Conv` is `stages.0.0.conv1`: torch's exporter repeats the outer modules' names."""
    *scopes, last = name.strip("/").split("/")
    if not scopes or not last.startswith(kind):
        return name
    own = [scope for scope, after in zip(scopes, [*scopes[1:], ""], strict=True) if not after.startswith(f"{scope}.")]
    return ".".join(own) + (f".{last}" if last != kind else "")
