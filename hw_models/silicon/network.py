"""What silicon would reach with a design of the search: an `Accelerator` and its network, as macros of its family."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from hw_models.accelerator import Accelerator
from hw_models.cost import estimate_cost
from hw_models.layers import MvmLayer
from hw_models.silicon.estimate import (
    ALL,
    EFFICIENCY,
    WITHIN_CHIP,
    Bars,
    Figure,
    Share,
    calibration,
    extrapolations,
    uncalibrated,
)
from hw_models.silicon.formulas import PROCESSOR, conversion_energy_j
from hw_models.silicon.macro import Family, Macro
from hw_models.silicon.of_accelerator import assumptions_of, conversions_of, unlike_measured_cells
from hw_models.silicon.tables import constants


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NetworkEstimate:
    """What silicon would reach with a network, at the design's own bits.

    Attributes:
        energy_j: Of all conversions of one inference, in a processor.
        tops_per_watt: Of a processor: with buffers, control and digital units, as far as those of measured ones.
        macro_tops_per_watt: Of the macros alone.
        between_designs: Factors for the ratio of two designs of this family, as variants of one macro.
        calibrated_by: Number of measured macros that scale the estimate; see `silicon_estimate`.
        assumptions: What each field of the macro was taken from, in words.
        reasons: Where the macros lie outside the chips of their family, in words.
    """

    family: Family
    energy_j: float
    tops_per_watt: Figure
    macro_tops_per_watt: Figure
    between_designs: Bars
    calibrated_by: int
    assumptions: tuple[str, ...]
    reasons: tuple[str, ...]

    @property
    def tops_per_watt_silicon(self) -> float:
        """`tops_per_watt`, as a number."""
        return self.tops_per_watt.value

    @property
    def tops_per_watt_silicon_low(self) -> float:
        """Lower end of its 80 % bar."""
        return self.tops_per_watt.low(80)

    @property
    def range(self) -> str:
        """Estimate and 80 % bar in TOPS/W, such as `9.2 (2.1 to 40)`."""
        value, low, high = _two_digits(self.tops_per_watt)
        return f"{value} ({low} to {high})"

    @property
    def source(self) -> str:
        """What the bar comes from, in words."""
        if self.calibrated_by:
            return f"scaled by your own measured {self.family} macro; the bar is that between figures of one chip"
        bars = self.tops_per_watt.bars
        return f"from {bars.chips} {self.family} chips; {bars.median_factor:.2g}x off (median) where not fitted"

    @property
    def sentence(self) -> str:
        """What silicon would reach, in words."""
        (value, low, high), narrow = _two_digits(self.tops_per_watt), self.between_designs.factor(80)
        return (
            f"silicon: about {value} TOPS/W (80 %: {low} to {high}; {self.source}). "
            f"Two variants of one macro: ratio within {narrow:.2g}x (80 %)."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "NetworkEstimate":
        """The inverse of `to_dict`."""
        figures = {
            name: Figure(value=values[name]["value"], bars=Bars(**values[name]["bars"]))
            for name in ("tops_per_watt", "macro_tops_per_watt")
        }
        words = {name: tuple(values[name]) for name in ("assumptions", "reasons")}
        return cls(**{**values, **figures, **words, "between_designs": Bars(**values["between_designs"])})


def _two_digits(figure: Figure) -> list[str]:
    """Value and ends of the 80 % bar, each with two significant digits."""
    return [f"{float(f'{each:.2g}'):.10g}" for each in (figure.value, figure.low(80), figure.high(80))]


def told_apart(one: NetworkEstimate, other: NetworkEstimate, share: Share = 80) -> bool:
    """Whether silicon would order two designs by TOPS/W as their estimates do; if not, they are tied."""
    ratio = one.tops_per_watt.value / other.tops_per_watt.value
    return abs(math.log(ratio)) > math.log(ratio_told_apart(one, other, share))


def ratio_told_apart(one: NetworkEstimate, other: NetworkEstimate, share: Share = 80) -> float:
    """Ratio of two designs' figures beyond which silicon would order them as their estimates do.

    Designs of one family, whose errors are largely common, are told apart if their ratio is beyond the bar between
    designs. The errors of two families are taken as independent: the logarithms of their bars add up in squares.
    """
    if one.family == other.family:
        return one.between_designs.factor(share)
    return math.exp(math.hypot(*(math.log(each.tops_per_watt.bars.factor(share)) for each in (one, other))))


def silicon_estimate_of(
    accelerator: Accelerator,
    layers: Sequence[MvmLayer],
    *,
    clock_s: float | None = None,
    calibrated_by: Mapping[Macro, float] | None = None,
) -> NetworkEstimate:
    """Estimate what silicon would reach with an accelerator and a network.

    Each conversion that the cost model charges is one conversion of a macro. Digital operations beside the layers are
    not in it.

    Args:
        accelerator: The hardware.
        layers: The network, first layer first.
        clock_s: Time to read and convert one column; None takes that of the cost model (`CostReport.clock_s`).
        calibrated_by: Measured macros of one's own; see `silicon_estimate`.

    Raises:
        ValueError: If the accelerator has no cost model and `clock_s` is None, or a measured figure is not above 0.
    """
    if clock_s is None:
        clock_s = estimate_cost(accelerator, layers).clock_s
    conversions = conversions_of(accelerator, layers, clock_s)
    ops = 2 * sum(layer.macs for layer in layers)
    return _estimate(accelerator, conversions, ops, calibrated_by or {})


def _estimate(
    accelerator: Accelerator, conversions: Mapping[Macro, int], ops: int, calibrated_by: Mapping[Macro, float]
) -> NetworkEstimate:
    macro = next(iter(conversions))
    scale, points = calibration(macro, calibrated_by)
    energy_j = math.fsum(count * conversion_energy_j(each) for each, count in conversions.items()) / scale
    processor_j = energy_j * constants()[PROCESSOR]
    narrow = Bars.of(WITHIN_CHIP, ALL)
    bars = narrow if points else Bars.of(EFFICIENCY, macro.family)
    beyond = dict.fromkeys(reason for each in conversions for reason in extrapolations(each))
    reasons = (*unlike_measured_cells(accelerator), *beyond)
    return NetworkEstimate(
        family=macro.family,
        energy_j=processor_j,
        tops_per_watt=Figure(value=ops / processor_j / 1e12, bars=bars),
        macro_tops_per_watt=Figure(value=ops / energy_j / 1e12, bars=bars),
        between_designs=narrow,
        calibrated_by=points,
        assumptions=assumptions_of(accelerator, macro),
        reasons=(*reasons, *uncalibrated(macro, calibrated_by)),
    )
