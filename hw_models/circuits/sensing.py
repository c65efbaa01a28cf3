"""How long a crossbar takes to read and convert one column. This time is the clock period of the whole chip.

Source: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019); docs/cost_model.md, "Crossbar".
"""

import math
from collections.abc import Iterable

from hw_models.circuits.cell import ACCESS_SHARE
from hw_models.circuits.digital import ceil_log2
from hw_models.circuits.gates import (
    LINEAR_REGION,
    NEUROSIM_CLOCK_HZ,
    carry_s,
    drain_f,
    gate_delay_s,
    gate_f,
    n_ohm,
    p_ohm,
)
from hw_models.circuits.periphery import Periphery
from hw_models.circuits.technology import SINGLE_TYPE_MARGIN_F
from hw_models.read_errors import DISCHARGE_SWING

SENSING_FACTOR = 1.4  # post-layout sensing time over that of the formulas (factor beta of NeuroSim's validation)
SHORTEST_PULSE_S = 1e-10  # assumed: shortest pulse of a wordline that can be controlled
SHORTEST_SENSED_S = 1e-9  # assumed: shortest pulse whose current is sensed, as for a bit of a SAR conversion
SRAM_SWING_V = 0.05  # swing of one bitline at sensing: half of the smallest difference that is sensed
STANDARD_GATE_F = 20.9  # NMOS plus PMOS width of a standard gate on planar nodes: 28 F less gap and margins


def sensing_s(p: Periphery) -> float:
    """Time from switching a wordline until a column is converted, or until the tree of a digital macro has added."""
    row = _row_s(p)
    if p.readout == "digital":
        return max(SENSING_FACTOR * (row + _tree_s(p)), max(1.0, p.tech.slowdown) / NEUROSIM_CLOCK_HZ)
    settled = max(row, _mux_s(p)) + _columns_s(p, row) + pulses_s(p)
    return SENSING_FACTOR * (settled + p.converters.slowest_s + p.converters.delay_s + p.combiner.settling_s)


def pulses_s(p: Periphery) -> float:
    """Time of all unit pulses of a cycle, in each of which a column settles. A discharge is such a pulse itself."""
    if not p.pulses or p.readout == "discharge":
        return 0.0
    row = _row_s(p)
    return p.pulses * max(row + _columns_s(p, row), SHORTEST_SENSED_S)


def _columns_s(p: Periphery, row_s: float) -> float:
    """Time until the columns have settled; those with lines to charge are charged first."""
    if p.readout == "charge":
        return _share_s(p) + _precharge_s(p, p.bitline_f + _capacitors_f(p))
    if p.readout == "discharge":
        return _discharge_s(p) + _precharge_s(p, p.cells_of_column_f)
    return _sram_column_s(p, row_s) + _precharge_s(p, p.bitline_f) if p.is_sram else _column_s(p)


def _row_s(p: Periphery) -> float:
    if p.is_sram:
        gate, _, folds = p.sram_row_gate()
        load = 3 * gate.drain_f(p.tech, folds) + p.wordline_f
        return math.log(2) * (ACCESS_SHARE * p.wordline_ohm * load + p.wordline_ohm * load / 2)
    return math.log(2) * (p.tech.passgate_ohm * p.wordline_f + p.wordline_ohm * p.wordline_f / 2)


def _column_s(p: Periphery) -> float:
    """RC delay of a column with half of its rows active, in the linear region."""
    load = p.bitline_f + p.rows * p.cell.access_drain_f
    return LINEAR_REGION * load * p.column_ohm() / (p.rows_read / 2)


def _sram_column_s(p: Periphery, row_s: float) -> float:
    pulldown = p.tech.r_n_ohm / 2
    charge = (p.tech.r_n_ohm + pulldown) * (p.cell.access_drain_f + p.bitline_f) + p.bitline_ohm * p.bitline_f / 2
    swing = math.log(p.tech.supply_v / (p.tech.supply_v - SRAM_SWING_V))
    return gate_delay_s(charge * swing, 0.5 / row_s)


def _capacitors_f(p: Periphery) -> float:
    assert p.device.capacitor_f is not None
    return p.rows * p.device.capacitor_f


def _share_s(p: Periphery) -> float:
    """Time in which capacitors share their charge to half a level of the converter, through a cell and the column."""
    assert p.device.capacitor_f is not None
    rc_s = p.tech.r_n_ohm * p.device.capacitor_f + p.bitline_ohm * (p.bitline_f + _capacitors_f(p)) / 2
    return math.log(2) * (p.column_bits + 1) * rc_s


def _discharge_s(p: Periphery) -> float:
    """Pulses in which all cells take the largest swing from a bitline, through two transistors each."""
    swing_s = p.cells_of_column_f * DISCHARGE_SWING * 2 * p.tech.r_n_ohm / p.rows_read
    return max(swing_s, max(1, p.pulses) * SHORTEST_PULSE_S)


def _tree_s(p: Periphery) -> float:
    """Carries through an adder tree: each stage waits for one, and the last one adds all bits."""
    return (ceil_log2(p.rows_read) + p.column_bits) * carry_s(p.tech)


def _precharge_s(p: Periphery, line_f: float) -> float:
    widest_f = p.tech.inverter_p_f if p.tech.is_finfet else 28 - SINGLE_TYPE_MARGIN_F
    ohm = p_ohm(p.tech, widest_f)
    return math.log(2) * (ohm * (line_f + p.tech.precharger_out_f) + p.bitline_ohm * line_f / 2)


def _mux_s(p: Periphery) -> float:
    if p.cols_per_adc == 1:
        return 0.0
    gate = p.mux_gate
    load = gate.drain_f(p.tech) + sum(gate.gates_f(p.tech)) / 2
    return 2.3 * 2 * gate.ohm(p.tech) * load + _decoder_s(p)


def _decoder_s(p: Periphery) -> float:
    """Delay of the gates from an address to all selected multiplexers; the last two gates have a small fixed size."""
    tech, bits = p.tech, max(2, round(math.log2(p.cols_per_adc)))
    n_load, p_load = (p.adcs * gate for gate in p.mux_gate.gates_f(tech))
    driver_n_f, driver_p_f = 4.0, 4 * tech.pn_ratio
    driver_in = gate_f(tech, driver_n_f) + gate_f(tech, driver_p_f)
    driver_out = drain_f(tech, driver_n_f) + drain_f(tech, driver_p_f)
    nor_p_f = tech.nand_n_f if tech.is_finfet else STANDARD_GATE_F * 2 * tech.pn_ratio / (2 * tech.pn_ratio + 1)
    stages = [
        (n_ohm(tech, tech.inverter_n_f), tech.inverter_out_f + 2 * tech.nand_in_f),
        (2 * n_ohm(tech, tech.nand_n_f), tech.nand_out_f + (n_load if bits == 2 else 2**bits / 4 * tech.nand_in_f)),
        (2 * p_ohm(tech, nor_p_f), tech.nand_out_f + tech.nand_in_f),
        (n_ohm(tech, tech.nand_n_f), tech.nand_out_f + tech.inverter_in_f),
        (p_ohm(tech, driver_p_f), driver_out + driver_in + n_load),
        (n_ohm(tech, driver_n_f), driver_out + p_load),
    ]
    if bits > 2:
        return _chain_s(stages)
    # two address bits need one gate less; quirk: the next gate then sees a step
    return _chain_s(stages[:2]) + _chain_s(stages[3:])


def _chain_s(stages: Iterable[tuple[float, float]]) -> float:
    """Delay of a chain of gates (ohm, farad). The first one sees a step."""
    total, ramp = 0.0, math.inf
    for ohm, farad in stages:
        delay = gate_delay_s(ohm * farad, ramp)
        total, ramp = total + delay, 0.5 / delay
    return total
