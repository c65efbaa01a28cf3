"""What one inference asks of the chip: matrices on crossbars, and the operations of digital units beside them."""

import dataclasses
from typing import Literal, get_args

from hw_models.layers import MvmLayer

OperationKind = Literal[
    "add", "multiply", "multiply_accumulate", "compare", "divide", "square_root", "lookup"
]  # lookup: a function of one value, such as exp, from a table


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DigitalOperation:
    """Equal operations of digital units on single values.

    Attributes:
        kind: `lookup` is a nonlinear function of one value (exp, GELU, sigmoid, ...).
        count: How many of them one inference has.
        name: Label, such as `encoder.0.softmax`.

    Raises:
        ValueError: If `kind` is unknown, or `count` is not a whole number of 0 or more.
    """

    kind: OperationKind
    count: int
    name: str

    def __post_init__(self) -> None:
        if self.kind not in get_args(OperationKind):
            raise ValueError(
                f"kind of operation {self.name!r} must be one of {', '.join(get_args(OperationKind))}, "
                f"got {self.kind!r}"
            )
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 0:
            raise ValueError(f"count of operation {self.name!r} must be a whole number of 0 or more, got {self.count}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """One inference of a network.

    Attributes:
        layers: Matrices on crossbars, in the order of their first use.
        digital: What digital units compute beside them. The additions of partial sums, and the ReLU and 2 x 2 max
            pooling that a layer names itself (`MvmLayer.relu`, `pooled`), belong to the layers and are not repeated.
    """

    layers: tuple[MvmLayer, ...]
    digital: tuple[DigitalOperation, ...] = ()

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations on crossbars."""
        return sum(layer.macs for layer in self.layers)
