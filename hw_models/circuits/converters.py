"""Analog-to-digital converters of a crossbar: area, power and conversion time.

Source of the circuits: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019); of `survey_bound_j`: B. Murmann, "ADC Performance
Survey 1997-2023"; docs/cost_model.md, "Converters".
"""

import dataclasses
import functools
import math

from hw_models.accelerator import AdcType
from hw_models.circuits.technology import Technology, linear_curve, rows_needed, technology

SURVEY_FOM_DB = 180.1  # Schreier figure of merit that bounds the survey's converters below 174 MS/s
SLOW_COMPARATOR_NM = 32  # from this node up, the time of a current-mode comparator depends on the column's current
EMPTY_COLUMN_W = 1e-6  # quirk: the only power charged for converting a column without an active cell
_SAR_BIT_S = 1e-9  # each bit of a SAR conversion; sampling takes as long as one bit
_COMPARATOR_S = 1e-9  # quirk: a comparator decides in this time at any current (22 nm and below, and voltage mode)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CurrentDecision:
    """Decision time of current-mode comparators at 32 and 45 nm, where it depends on the column's current.

    NeuroSim fits transistor-level simulations by a curve in x: the resistance of the comparator's reference over that
    of the column. The slowest comparator of a column sets its time.

    `levels` are the converter's, `rows` the crossbar's, the resistances a cell's, and `slowdown` the node's.
    """

    levels: int
    rows: int
    r_on_ohm: float
    r_off_ohm: float
    slowdown: float = 1.0

    @property
    def top_reference_ohm(self) -> float:
        """Resistance of the highest reference."""
        return (self.r_on_ohm + (self.levels - 1) * self.r_off_ohm / self.levels) / self.rows

    def seconds(self, column_ohm: float) -> float:
        """Decision time of a column. References are assumed so dense that one lies at the curve's local maximum."""
        crest = max(_decision(x) for x in (min(self.top_reference_ohm / column_ohm, x) for x in _CRESTS))
        settled = (0.0714 * math.log(column_ohm / 1e3) + 0.7651) * 1e-9 * crest
        return self.slowdown * min(max(settled, _COMPARATOR_S), _LONGEST_DECISION_S)

    def slowest_s(self, lowest_ohm: float = 0.0, highest_ohm: float = math.inf) -> float:
        """Decision time of the slowest column whose resistance may lie anywhere between two limits.

        A column is slowest if its top reference lies at the end of the curve; otherwise the limit nearer to that
        resistance counts.
        """
        return self.seconds(min(max(self.top_reference_ohm / _CRESTS[-1], lowest_ohm), highest_ohm))


_CRESTS = (0.37, 0.9)  # x at the curve's local maximum, and at its end
_LONGEST_DECISION_S = 10e-9


def _decision(x: float) -> float:
    """The fitted curve, valid to x = 0.9; it decreases beyond. Below x = 0.05 a comparator is assumed to be fast."""
    return 3.7949 * x**3 - 5.6685 * x**2 + 2.6492 * x + 0.4807 if x > 0.05 else 0.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Converters:
    """The converters of one crossbar; the area is that of all of them, encoders included.

    Attributes:
        constant_w: Power of one converter without the column's current.
        kappa, exponent: The column's current adds `kappa * G**exponent` watt for a column of G siemens.
        conversion_s: Time of a conversion, during which both powers are drawn; `slowest_s` is the longest.
        decision: Gives the time in place of `conversion_s` where it depends on the column; None elsewhere.
        delay_s, encoder_j: Delay and energy of one flash converter's encoder per conversion.
        leakage_w: Of all encoders; the converters themselves do not leak.
    """

    area_m2: float
    constant_w: float
    kappa: float
    exponent: float
    conversion_s: float
    decision: CurrentDecision | None
    slowest_s: float
    delay_s: float
    encoder_j: float
    leakage_w: float


NO_CONVERTERS = Converters(
    area_m2=0.0,
    constant_w=0.0,
    kappa=0.0,
    exponent=1.0,
    conversion_s=0.0,
    decision=None,
    slowest_s=0.0,
    delay_s=0.0,
    encoder_j=0.0,
    leakage_w=0.0,
)


@functools.lru_cache(maxsize=256)
def converters(
    node_nm: int,
    adc_type: AdcType,
    adc_bits: int,
    count: int,
    width_m: float,
    decision: CurrentDecision | None = None,
    supply_v: float | None = None,
) -> Converters:
    """The `count` converters below a crossbar of `width_m`; `decision` is as in `Converters`.

    Their figures hold at the node's own supply. At a lower one a conversion takes longer, as gates do, and no less
    energy; at a higher one it takes more energy, with the square of the supply, and no less time (assumed).
    """
    tech, levels, current_mode = technology(node_nm, supply_v), 2**adc_bits, adc_type == "flash"
    slower, dearer = max(1.0, tech.slowdown), max(1.0, (tech.supply_v / technology(node_nm).supply_v) ** 2)
    if adc_type == "sar":
        return _sar(tech, adc_bits, count, slower, dearer)
    gates = 57 + 49 if current_mode else 52 + 60
    return Converters(
        area_m2=(levels - 1) * count * gates * _gate_m2(tech) + _encoders_m2(tech, levels, count, width_m),
        constant_w=(levels - 1) * (tech.csa_w_per_level if current_mode else tech.vsa_w_per_level) * dearer / slower,
        kappa=tech.csa_kappa if current_mode else tech.vsa_kappa,
        exponent=tech.column_exponent,
        conversion_s=_COMPARATOR_S * slower,
        decision=decision,
        slowest_s=decision.slowest_s() if decision else _COMPARATOR_S * slower,
        delay_s=linear_curve(tech.encoder_s, levels),
        encoder_j=linear_curve(tech.encoder_j, levels),
        leakage_w=count * linear_curve(tech.encoder_leak_w, levels),
    )


def _sar(tech: Technology, adc_bits: int, count: int, slower: float, dearer: float) -> Converters:
    conversion_s = (adc_bits + 1) * _SAR_BIT_S * slower
    return Converters(
        area_m2=count * (269 + 109 * (adc_bits - 1) + 209 + 73 * (adc_bits - 1)) * _gate_m2(tech),
        constant_w=(tech.sar_w_per_bit * adc_bits + tech.sar_w) * dearer / slower,
        kappa=tech.sar_kappa,
        exponent=tech.column_exponent,
        conversion_s=conversion_s,
        decision=None,
        slowest_s=conversion_s,
        delay_s=0.0,
        encoder_j=0.0,
        leakage_w=0.0,
    )


def _gate_m2(tech: Technology) -> float:
    return 2 * tech.gate_pitch_m * tech.cell_height_m


def _encoders_m2(tech: Technology, levels: int, count: int, width_m: float) -> float:
    """Thermometer-to-binary encoders: one row of gates per comparator, so that the area grows with levels squared."""
    one_width, one_height = (8 + levels / 2) * tech.gate_pitch_m, (levels - 1) * tech.cell_height_m
    per_row = min(math.ceil(width_m / one_width), count)
    return rows_needed(count, per_row) * one_height * max(width_m, one_width)


def survey_bound_j(adc_bits: int) -> float:
    """Lower bound of the energy of one conversion, over published converters below 174 MS/s, in joule.

    E = 1 / (2 * 10**((FOMS - SNDR) / 10)) with SNDR = 6.02 b + 1.76 dB and FOMS = `SURVEY_FOM_DB`.
    """
    return 0.5 * math.pow(10, (6.02 * adc_bits + 1.76 - SURVEY_FOM_DB) / 10)
