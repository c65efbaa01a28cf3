"""Constraints of a study: limits on cost. A design that breaks one is not trained.

A constraint is written `area_mm2 <= 2.5`: a quantity with its unit in the name, `<=` or `>=`, and a limit above 0.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

from hw_models.errors import shown
from pipeline.design.metrics import METRICS
from pipeline.files import did_you_mean, listed


@dataclasses.dataclass(frozen=True, slots=True)
class Quantity:
    """What a constraint may limit.

    Attributes:
        attribute: Of the report that `source` names, as `Metric.source`.
        unit: Unit at the end of the name; empty if it has none.
        scale: The report's value times this is in `unit`.
    """

    attribute: str
    unit: str = ""
    scale: float = 1.0
    source: str = "cost"


_COSTS = [metric for metric in METRICS.values() if not metric.needs_training]
QUANTITIES = {  # name in a constraint: each cost metric in each of its units; numbers of cells and crossbars
    f"{metric.attribute.rsplit('_', 1)[0]}_{written}": Quantity(metric.attribute, written, scale, metric.source)
    for metric in _COSTS
    if metric.stored_unit
    for written, scale in ((unit.lower().replace(" ", ""), scale) for unit, scale in metric.units.items())
} | {metric.attribute: Quantity(metric.attribute, source=metric.source) for metric in _COSTS if not metric.stored_unit}
QUANTITIES |= {name: Quantity(name) for name in ("cells", "crossbars")}
MEASURED = {  # the same, known only after training
    name: Quantity(name, source="accuracy") for name, metric in METRICS.items() if metric.is_accuracy
}
_LARGEST = {"area_m2": 0.07, "latency_s": 3600.0, "energy_j": 3600.0, "power_w": 1e4}  # assumed; area: a 300 mm wafer
_FORM = re.compile(r"\s*(\w+)\s*(<=|>=)\s*(\S+)\s*")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Constraint:
    """One limit: `quantity` is a name of `QUANTITIES` or `MEASURED`, `limit` a number above 0 in its unit."""

    quantity: str
    is_upper: bool
    limit: float

    @classmethod
    def parse(cls, text: str) -> "Constraint":
        """Read a constraint of a study file.

        Raises:
            ValueError: If it cannot be read; the message says what is allowed.
        """
        found = _FORM.fullmatch(text)
        if not found:
            raise ValueError(
                f"{shown(text)} is no constraint; write QUANTITY <= NUMBER or >=, such as 'area_mm2 <= 2.5'"
            )
        quantity, sense, number = found.groups()
        allowed = QUANTITIES | MEASURED
        if quantity not in allowed:
            way_out = f"{did_you_mean(quantity, allowed)}; choose from {listed(allowed)}"
            raise ValueError(f"{shown(quantity)} is neither known before training nor an accuracy{way_out}")
        try:
            limit = float(number)
        except ValueError:
            raise ValueError(f"{shown(text)}: the limit must be a number, got {shown(number)}") from None
        if quantity == "ir_drop" and limit > 1:
            raise ValueError(f"{text!r}: ir_drop is a share of the current, 0 to 1; write 0.05 for 5 %")
        if not 0 < limit < math.inf:
            raise ValueError(f"{shown(text)}: the limit must be a finite number above 0, got {shown(number)}")
        if quantity in MEASURED and not (sense == ">=" and limit <= 1):
            raise ValueError(f"{shown(text)}: an accuracy is limited by >= and a fraction, such as {quantity} >= 0.9")
        largest = _LARGEST.get(allowed[quantity].attribute, math.inf) * allowed[quantity].scale
        if sense == "<=" and limit > largest:
            raise ValueError(f"{shown(text)} limits nothing: no chip comes near {largest:.3g}; see to the unit")
        return cls(quantity=quantity, is_upper=sense == "<=", limit=limit)

    @property
    def needs_training(self) -> bool:
        """Whether it limits what is known only after training."""
        return self.quantity in MEASURED

    def __str__(self) -> str:
        return f"{self.quantity} {'<=' if self.is_upper else '>='} {self.limit:.12g}"

    def violation(self, cost: Mapping[str, float]) -> float:
        """Excess over the limit as a share of it, so that all constraints count alike; 0 or less if none.

        `cost` holds the quantity's attribute: `cost_before_training`, or the measured accuracies by name.
        """
        excess = self._value(cost) / self.limit - 1
        return excess if self.is_upper else -excess

    def show(self, cost: Mapping[str, float]) -> str:
        """How a design breaks the constraint: `area 3.1 mm2 > 2.5 mm2`."""
        unit = (QUANTITIES | MEASURED)[self.quantity].unit
        stem = self.quantity.removesuffix(f"_{unit}").replace("_", " ")
        value, limit = (f"{number} {unit}".strip() for number in (f"{self._value(cost):.4g}", f"{self.limit:.12g}"))
        return f"{stem} {value} {'>' if self.is_upper else '<'} {limit}"

    def _value(self, cost: Mapping[str, float]) -> float:
        quantity = (QUANTITIES | MEASURED)[self.quantity]
        return cost[quantity.attribute] * quantity.scale


def before_training(texts: Sequence[str]) -> list[Constraint]:
    """Those of a study's constraints that are known before training."""
    return [each for each in map(Constraint.parse, texts) if not each.needs_training]


def measured_violations(texts: Sequence[str], measured: Mapping[str, float]) -> dict[str, float]:
    """The other constraints, by their text, and by how much a measured design breaks each; 0 or less if it does not."""
    return {text: each.violation(measured) for text, each in measured_limits(texts).items()}


def measured_limits(texts: Sequence[str]) -> dict[str, Constraint]:
    """Those of a study's constraints that are known only after training, by their text."""
    return {str(each): each for each in map(Constraint.parse, texts) if each.needs_training}


def untrained_values(objectives: Sequence[str], cost: Mapping[str, float]) -> list[float]:
    """Objective values of an untrained design: accuracies 0; costs, even those of own data, at assumed activity."""
    metrics = [METRICS[name] for name in objectives]
    return [0.0 if metric.is_accuracy else cost[metric.attribute] for metric in metrics]
