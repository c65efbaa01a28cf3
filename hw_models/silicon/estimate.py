"""TOPS/W and TOPS/mm2 that silicon would reach, with bars.

A bar is a factor: 80 of 100 chips are expected within value / factor to value x factor. Bars against silicon are wide.
They come from chips that the fit had not seen (one chip left out after the other), by family. Most of that error is
common to a chip's figures: variants of one macro compare with each other far better, and the narrow bar says how well.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from hw_models.silicon.formulas import area_m2, conversion_energy_j
from hw_models.silicon.macro import Macro
from hw_models.silicon.tables import bars, covered

Share = Literal[50, 80, 90]
EFFICIENCY, DENSITY, WITHIN_CHIP = "tops_per_watt", "tops_per_mm2", "tops_per_watt_within_a_chip"
REACHED = "tops_per_watt_1bit"  # normalised to 1-bit operands; of chips that are not flagged
ALL = "all"  # the family of bars that are not told apart by family
_UNITS = {
    "node_nm": ("node", "nm", 1.0),
    "supply_v": ("supply", "V", 1.0),
    "inputs": ("inputs of a dot product", "", 1.0),
    "input_bits": ("input bits of a conversion", "", 1.0),
    "weight_bits": ("weight bits of a conversion", "", 1.0),
    "adc_bits": ("converter bits", "", 1.0),
    "use_s": ("time of one use", "ns", 1e9),
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Bars:
    """Factors within which 50, 80 and 90 % of chips are expected, up and down.

    Attributes:
        chips: How many there are behind the bars.
        median_factor: Between estimate and measured figure, over figures of chips that the fit had not seen.
    """

    factor_50: float
    factor_80: float
    factor_90: float
    chips: int
    median_factor: float

    def factor(self, share: Share) -> float:
        """The factor of a share, 50, 80 or 90 %."""
        return {50: self.factor_50, 80: self.factor_80, 90: self.factor_90}[share]

    @classmethod
    def of(cls, quantity: str, family: str) -> "Bars":
        """The bars of the table."""
        return cls(**bars()[quantity, family])


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A value and its bars."""

    value: float
    bars: Bars

    def low(self, share: Share) -> float:
        """Lower end of the bar that holds `share` % of chips."""
        return self.value / self.bars.factor(share)

    def high(self, share: Share) -> float:
        """Upper end of the bar that holds `share` % of chips."""
        return self.value * self.bars.factor(share)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SiliconEstimate:
    """What silicon would reach, at the bits of one conversion of the macro.

    Attributes:
        energy_per_conversion_j: With everything that the macro (or processor) needs for it.
        tops_per_watt: Operations at the bits of one conversion; inputs applied in n steps reach 1 / n of it.
        tops_per_watt_1bit: `tops_per_watt` x input bits x weight bits.
        tops_per_mm2: At the bits of one conversion; None if the size, the converters or the time of one use are not
            known. Its bar is much wider.
        between_designs: Factors for the ratio of two designs of this family, as variants of one macro: measured between
            figures of one chip. Two chips of different teams differ by more.
        calibrated_by: Number of measured macros of this family that scale the estimate. Above 0, the bars are
            `between_designs`.
        reasons: Where the macro lies outside the chips of its family, in words; empty if it does not.
    """

    macro: Macro
    energy_per_conversion_j: float
    tops_per_watt: Figure
    tops_per_watt_1bit: Figure
    tops_per_mm2: Figure | None
    between_designs: Bars
    calibrated_by: int
    reasons: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


def silicon_estimate(macro: Macro, *, calibrated_by: Mapping[Macro, float] | None = None) -> SiliconEstimate:
    """Estimate what silicon would reach.

    Args:
        macro: The macro, or processor.
        calibrated_by: TOPS/W measured on macros of one's own, at the bits of one conversion. Those of the same family
            scale the estimate by the geometric mean of measured / estimated, and the narrow bar remains. That bar is
            what one point of a chip leaves for its other points; another chip of one's own may be farther.

    Raises:
        ValueError: If a measured figure is not above 0.
    """
    scale, points = calibration(macro, calibrated_by or {})
    energy_j = conversion_energy_j(macro) / scale
    value = macro.operations / energy_j / 1e12
    narrow = Bars.of(WITHIN_CHIP, ALL)
    wide = narrow if points else Bars.of(EFFICIENCY, macro.family)
    return SiliconEstimate(
        macro=macro,
        energy_per_conversion_j=energy_j,
        tops_per_watt=Figure(value=value, bars=wide),
        tops_per_watt_1bit=Figure(value=value * macro.input_bits * macro.weight_bits, bars=wide),
        tops_per_mm2=_density(macro),
        between_designs=narrow,
        calibrated_by=points,
        reasons=(*extrapolations(macro), *uncalibrated(macro, calibrated_by or {})),
    )


def calibration(macro: Macro, measured: Mapping[Macro, float]) -> tuple[float, int]:
    """(factor on TOPS/W, number of measured macros of the same family)."""
    ratios = []
    for own, tops_per_watt in measured.items():
        if not tops_per_watt > 0:
            raise ValueError(f"the measured TOPS/W of a macro must be above 0, got {tops_per_watt!r}")
        if own.family == macro.family:
            ratios.append(math.log(tops_per_watt * conversion_energy_j(own) * 1e12 / own.operations))
    return (math.exp(math.fsum(ratios) / len(ratios)), len(ratios)) if ratios else (1.0, 0)


def uncalibrated(macro: Macro, measured: Mapping[Macro, float]) -> tuple[str, ...]:
    """Why measured macros do not scale an estimate, in words; empty if they do or if there are none."""
    if not measured or any(own.family == macro.family for own in measured):
        return ()
    families = ", ".join(sorted({own.family for own in measured}))
    return (f"your measured macro is {families}, this design {macro.family}: it is not calibrated",)


def _density(macro: Macro) -> Figure | None:
    if macro.stored_bits is None or macro.converters is None or macro.use_s is None:
        return None
    tops = macro.operations * macro.converters * macro.cores / macro.use_s / 1e12
    return Figure(value=tops / (area_m2(macro) * 1e6), bars=Bars.of(DENSITY, macro.family))


def extrapolations(macro: Macro) -> tuple[str, ...]:
    """Where a macro lies outside the chips of its family, in words: in a field, or better than the best of them."""
    reasons = []
    for name, (words, unit, scale) in _UNITS.items():
        value, known = getattr(macro, name), covered().get((macro.family, name))
        if value is None or known is None or known[0] * 0.99 <= value <= known[2] * 1.01:
            continue
        low, high = (f"{end * scale:.4g}" for end in (known[0], known[2]))
        reasons.append(
            f"{words} {value * scale:.4g} {unit}".rstrip() + f": measured {macro.family} chips have {low} to {high}"
        )
    reached, best = macro.one_bit_operations / conversion_energy_j(macro) / 1e12, covered()[macro.family, REACHED][2]
    if reached > best * 1.01:
        reasons.append(f"{reached:.3g} TOPS/W at 1 bit: measured {macro.family} chips reach {best:.3g}")
    return tuple(reasons)
