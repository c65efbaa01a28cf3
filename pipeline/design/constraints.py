"""Constraints of a study: limits on what is known before training. A design that breaks one is not trained.

A constraint is written `area_mm2 <= 2.5`: a quantity with its unit in the name, `<=` or `>=`, a limit above 0.
"""

import dataclasses
import difflib
import math
import re
from collections.abc import Mapping, Sequence

from hw_models.cost import estimate_cost
from pipeline.design.design_point import DesignPoint
from pipeline.design.topology import mvm_layers

_UNITS = {  # SI name -> written unit -> units in one SI unit
    "area_m2": {"m2": 1, "mm2": 1e6, "um2": 1e12},
    "latency_s": {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9},
    "energy_j": {"j": 1, "uj": 1e6, "nj": 1e9, "pj": 1e12},
    "edp_js": {"js": 1, "pjs": 1e12},
    "leakage_power_w": {"w": 1, "mw": 1e3, "uw": 1e6},
}
_COUNTS = ("tops_per_watt", "tops", "tops_per_mm2", "cells", "crossbars")  # without a unit of their own to choose
QUANTITIES: dict[str, tuple[str, float]] = {  # name as written -> (attribute of the cost report, scale)
    f"{si.rsplit('_', 1)[0]}_{unit}": (si, scale) for si, units in _UNITS.items() for unit, scale in units.items()
} | {name: (name, 1.0) for name in _COUNTS}
_FORM = re.compile(r"\s*(\w+)\s*(<=|>=)\s*(\S+)\s*")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Constraint:
    """One limit.

    Attributes:
        quantity: A name of `QUANTITIES`.
        is_upper: `<=`; else `>=`.
        limit: In the quantity's unit, above 0.
    """

    quantity: str
    is_upper: bool
    limit: float

    @classmethod
    def parse(cls, text: str) -> "Constraint":
        """Read a constraint as the study file writes it.

        Raises:
            ValueError: Saying what is allowed.
        """
        found = _FORM.fullmatch(text)
        if not found:
            raise ValueError(f"{text!r} is no constraint; write QUANTITY <= NUMBER or >=, such as 'area_mm2 <= 2.5'")
        quantity, sense, number = found.groups()
        if quantity not in QUANTITIES:
            nearest = difflib.get_close_matches(quantity, list(QUANTITIES), n=1)
            offer = f" (did you mean {nearest[0]!r}?)" if nearest else ""
            raise ValueError(
                f"{text!r}: {quantity!r} is not known before training{offer}; choose from {', '.join(QUANTITIES)}"
            )
        try:
            limit = float(number)
        except ValueError:
            raise ValueError(f"{text!r}: the limit must be a number, got {number!r}") from None
        if not 0 < limit < math.inf:
            raise ValueError(f"{text!r}: the limit must be a finite number above 0, got {number}")
        return cls(quantity=quantity, is_upper=sense == "<=", limit=limit)

    def __str__(self) -> str:
        return f"{self.quantity} {'<=' if self.is_upper else '>='} {self.limit:.12g}"

    def violation(self, known: Mapping[str, float]) -> float:
        """How far beyond the limit, relative to it, so that all constraints count alike; 0 or less if kept."""
        excess = self._value(known) / self.limit - 1
        return excess if self.is_upper else -excess

    def show(self, known: Mapping[str, float]) -> str:
        """A broken constraint for people: `area 3.1 mm2 > 2.5 mm2`."""
        stem, unit = self.quantity, ""
        if self.quantity not in _COUNTS:
            stem, unit = self.quantity.rsplit("_", 1)
        sign = ">" if self.is_upper else "<"
        value = f"{self._value(known):.4g} {unit}".strip()
        return f"{stem.replace('_', ' ')} {value} {sign} {f'{self.limit:.12g} {unit}'.strip()}"

    def _value(self, known: Mapping[str, float]) -> float:
        name, scale = QUANTITIES[self.quantity]
        return known[name] * scale


def known_figures(design: DesignPoint) -> dict[str, float]:
    """All that the cost model says of a design before it is trained: SI name -> value."""
    cost = estimate_cost(design.accelerator, mvm_layers(design))
    return {name: float(getattr(cost, name)) for name in dict.fromkeys(name for name, _ in QUANTITIES.values())}


def untrained_values(objectives: Sequence[str], known: Mapping[str, float]) -> list[float]:
    """Objectives of a design that is not trained: costs as known, accuracies 0.

    What depends on the trained network's own data takes the estimate from before training.
    """
    return [0.0 if name.startswith("accuracy") else known[name.replace("_own_data", "")] for name in objectives]
