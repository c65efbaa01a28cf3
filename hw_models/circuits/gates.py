"""Layout, load and delay of gates: transmission gates, transistors, register blocks, adders.

Source: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019); docs/cost_model.md, "Gates".
"""

import dataclasses
import functools
import math

from hw_models.circuits.technology import PASSGATE_GAP_F, Technology, rows_needed

LINEAR_REGION = 0.2  # resistance of a transmission gate over the transistors' on-resistance (NeuroSim's default)
_LOG_HALF_SQUARED = math.log(0.5) ** 2


def gate_delay_s(rc_s: float, input_ramp_hz: float = math.inf) -> float:
    """Horowitz delay of a gate with the time constant `rc_s` whose input ramps at `input_ramp_hz` (1/s)."""
    return rc_s * math.sqrt(_LOG_HALF_SQUARED + (0.5 / (input_ramp_hz * rc_s) if rc_s else 0.0))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PassGate:
    """A transmission gate, given by the widths of its two transistors in units of the node."""

    n_width_f: float
    p_width_f: float

    @classmethod
    def of_resistance(cls, tech: Technology, ohm: float) -> "PassGate":
        """The gate with an on-resistance of `ohm`; its transistors are at least those of a standard inverter."""
        n, p = tech.r_n_ohm * LINEAR_REGION / (2 * ohm), tech.r_p_ohm * LINEAR_REGION / (2 * ohm)
        return cls(n_width_f=max(n, tech.inverter_n_f), p_width_f=max(p, tech.inverter_p_f))

    def height_m(self, tech: Technology, folds: int) -> float:
        """Height of the gate if each transistor has `folds` folds."""
        gap = PASSGATE_GAP_F * tech.node_m
        if tech.fin_pitch_m is None or tech.fin_width_m is None:
            return (self.n_width_f + self.p_width_f) * tech.node_m / folds + gap
        height = gap
        for width_f in (self.n_width_f, self.p_width_f):
            # quirk: the layout counts fins differently from the capacitances (`fins`)
            drawn = math.ceil(width_f / 2 * tech.fin_pitch_m / tech.unit_width_m)
            height += (math.ceil(drawn / folds) - 1) * tech.fin_pitch_m + tech.fin_width_m
        return height

    def gates_f(self, tech: Technology) -> tuple[float, float]:
        """Gate capacitances of its NMOS and its PMOS."""
        return gate_f(tech, self.n_width_f), gate_f(tech, self.p_width_f)

    def drain_f(self, tech: Technology, folds: int = 1) -> float:
        """Drain capacitance on each side of the gate."""
        return drain_f(tech, self.n_width_f, folds) + drain_f(tech, self.p_width_f, folds)

    def folds_within(self, tech: Technology, cell_height_m: float) -> int:
        """Folds that its transistors need to fit the height of a cell."""
        usable = cell_height_m / tech.node_m - PASSGATE_GAP_F
        return max(1, math.ceil((self.n_width_f + self.p_width_f) / usable - 1e-9))

    def ohm(self, tech: Technology) -> float:
        """On-resistance of both transistors in parallel, in the linear region."""
        n, p = n_ohm(tech, self.n_width_f), p_ohm(tech, self.p_width_f)
        return LINEAR_REGION * n * p / (n + p)


def fins(tech: Technology, width_f: float) -> float:
    """Number of fins of a transistor whose width is in units of the node; on planar nodes the width itself.

    A fin takes 2 F of the drawn width. Quirk: the 6 F of a standard gate at 14 nm count as 4 fins.
    """
    if not tech.is_finfet:
        return width_f
    if abs(width_f - tech.inverter_n_f) < 1e-6:
        return tech.standard_fins
    return math.ceil(width_f / 2 - 1e-9)


def n_ohm(tech: Technology, width_f: float) -> float:
    """On-resistance of an NMOS."""
    return tech.r_n_ohm / fins(tech, width_f)


def p_ohm(tech: Technology, width_f: float) -> float:
    """On-resistance of a PMOS."""
    return tech.r_p_ohm / fins(tech, width_f)


def gate_f(tech: Technology, width_f: float) -> float:
    """Gate capacitance of a transistor whose width is in units of the node."""
    return tech.gate_cap_f_per_m * fins(tech, width_f) * tech.unit_width_m


def drain_f(tech: Technology, width_f: float, folds: int = 1) -> float:
    """Drain capacitance of a transistor: bottom, sidewall and overlap. Neighbouring folds share a drain."""
    if tech.is_finfet:
        return fin_drain_f(tech, fins(tech, width_f), folds)
    return _drain_f(tech, 2.8 * tech.node_m, width_f * tech.node_m, folds)


def fin_drain_f(tech: Technology, count: float, folds: int = 1) -> float:
    """Drain capacitance of a transistor of `count` fins."""
    assert tech.fin_pitch_m is not None
    assert tech.fin_width_m is not None
    return _drain_f(tech, 3.9 * tech.node_m, (count - 1) * tech.fin_pitch_m + tech.fin_width_m, folds)


def _drain_f(tech: Technology, length_m: float, width_m: float, folds: int) -> float:
    drains, at_the_ends = math.ceil((folds + 1) / 2), 2 - folds % 2
    return (
        tech.junction_cap_f_per_m2 * length_m * drains * width_m / folds
        + tech.sidewall_cap_f_per_m * (2 * length_m * drains + at_the_ends * width_m / folds)
        + tech.contact_cap_f_per_m * width_m
    )


def register_row_m2(tech: Technology, bits: int, width_m: float) -> float:
    """Area of register bits in rows of `width_m`."""
    return rows_needed(bits, width_m / tech.flipflop_width_m) * tech.cell_height_m * width_m


def register_column_m2(tech: Technology, bits: int, height_m: float) -> float:
    """Area of register bits in columns of `height_m`."""
    return rows_needed(bits, height_m / tech.cell_height_m) * tech.flipflop_width_m * height_m


REGISTER_ACTIVITY = 0.5  # share of the register bits of adders that toggle (NeuroSim's factor gamma)


def addition_j(tech: Technology, bits: int) -> float:
    """Mean energy of adding two numbers of `bits` bits in a ripple-carry adder."""
    return tech.adder_first_j + (bits - 1) * tech.adder_next_j


def carry_s(tech: Technology) -> float:
    """Delay of the carry through one full adder: through two NAND gates that drive three and two inputs.

    These are the delays within a long chain, where each gate sees the ramp of the gate before.
    """
    ohm = (2 * n_ohm(tech, tech.nand_n_f) + p_ohm(tech, tech.nand_p_f)) / 2
    first, second = ohm * (tech.nand_out_f + 3 * tech.nand_in_f), ohm * (tech.nand_out_f + 2 * tech.nand_in_f)
    delay = second
    for _ in range(8):  # converges to four digits in five rounds
        into_second = gate_delay_s(first, 0.5 / delay)
        delay = gate_delay_s(second, 0.5 / into_second)
    return into_second + delay


NEUROSIM_CLOCK_HZ = 1e9  # quirk: digital circuits count their cycles at 1 GHz, whatever the chip's clock
_FIRST_BIT = 1.125  # carry delays that the first bit saves: no carry in (1), and gates that see a step (assumed 1/8)


@functools.lru_cache(maxsize=1024)
def addition_cycles(tech: Technology, bits: int) -> int:
    """Clock cycles of an addition of `bits` bits."""
    return max(1, math.ceil((bits - _FIRST_BIT) * carry_s(tech) * NEUROSIM_CLOCK_HZ))
