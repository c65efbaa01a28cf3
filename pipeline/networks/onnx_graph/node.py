"""One operator of an ONNX graph, and the numbers that its result's shape depends on."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor


class OnnxError(ValueError):
    """An ONNX file, or one of its operators, that cannot be read here."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """One operator of a graph.

    Attributes:
        kind: Name of the operator, such as `Conv`.
        attributes: By name, as plain values.
        static: For each input, whether it does not depend on the graph's input.
        outputs: Number of results.
        opset: Version of the operators.
    """

    kind: str
    attributes: Mapping[str, Any]
    static: tuple[bool, ...]
    outputs: int
    opset: int

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or `default`."""
        return self.attributes.get(name, default)


Operator = Callable[..., Any]  # of a node and its inputs, None for those left out
VALUES = {  # operator -> places of inputs whose values are read, mostly because the result's shape depends on them
    **dict.fromkeys(
        ("Reshape", "Expand", "Tile", "TopK", "Split", "Squeeze", "Unsqueeze", "CumSum", "Trilu", "Pow"), (1,)
    ),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2"), (1,)),
    **dict.fromkeys(("ReduceLogSumExp", "ReduceSumSquare", "ReduceLogSum"), (1,)),
    **dict.fromkeys(("Clip", "Upsample", "OneHot"), (1, 2)),
    **dict.fromkeys(("Slice", "Resize"), (1, 2, 3, 4)),
    "Pad": (1, 2, 3),
    "Range": (0, 1, 2),
    "ConstantOfShape": (0,),
    "If": (0,),
}


def values(x: Tensor | None) -> list[Any] | None:
    """The numbers of an input that must be known.

    Raises:
        OnnxError: If they depend on the graph's input, or on a large weight.
    """
    if x is None:
        return None
    if x.device.type == "meta":
        raise OnnxError("the shape of its result depends on values that only an input has")
    return list(x.flatten().tolist())


def axes_of(node: Node, given: Tensor | None) -> list[int] | None:
    """The axes of an operator, which older versions have as an attribute and newer ones as an input."""
    found = node.get("axes") if given is None else values(given)
    return None if found is None else [int(axis) for axis in found]
