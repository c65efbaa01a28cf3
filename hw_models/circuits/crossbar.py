"""One crossbar with its periphery: area, energy of one read, leakage and sensing time.

One bit-plane of the input drives the rows that are read together. Then `cols_per_adc` columns take turns at each
converter, so that a read takes `cols_per_adc` steps, or fewer if columns are combined before they are converted.

Source: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019); docs/cost_model.md, "Crossbar".
"""

import dataclasses
import functools
import math
from collections.abc import Mapping

from hw_models.accelerator import Accelerator
from hw_models.circuits.cell import Cell
from hw_models.circuits.converters import Converters
from hw_models.circuits.gates import addition_j
from hw_models.circuits.periphery import Periphery, ShiftAdder
from hw_models.circuits.sensing import sensing_s
from hw_models.circuits.technology import Points, linear_curve

REGISTER_ACTIVITY = 0.5  # share of the shift-adders' register bits that toggle (NeuroSim's factor gamma)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Crossbar:
    """A crossbar and its periphery.

    Attributes:
        area_m2: By component (`hw_models.cost.COMPONENTS`).
        box_width_m, box_height_m: Bounding box, which sets the length of the wires between crossbars.
        read_j: Energy of one read that depends on neither data nor used columns, by component.
        step_j: Energy that each step adds to `read_j`, by component.
        active_row_step_j: Energy that each active row (input bit 1) adds to each step, by component.
        sensing_s: Time from switching a wordline until a column is converted.
        accumulations: Clock cycles of a read to accumulate its sums over the input's bits and over reads.
    """

    area_m2: Mapping[str, float]
    box_width_m: float
    box_height_m: float
    cell: Cell
    converters: Converters
    read_j: Mapping[str, float]
    step_j: Mapping[str, float]
    active_row_step_j: Mapping[str, float]
    leakage_w: float
    sensing_s: float
    accumulations: int


@functools.lru_cache(maxsize=512)
def crossbar(accelerator: Accelerator, accumulate_wide_weights: bool = True) -> Crossbar:
    """Size the crossbar of an accelerator, whose `adc_bits` must be a number."""
    p = Periphery(accelerator, accumulate_wide_weights)
    area, on_rows = p.area_m2()
    columns_m2 = sum(area.values()) - area["array"] - on_rows - math.prod(p.decoder_m)
    return Crossbar(
        area_m2=area,
        box_width_m=p.width_m + max(on_rows / p.height_m, p.decoder_m[1]),
        box_height_m=p.height_m + columns_m2 / p.width_m,
        cell=p.cell,
        converters=p.converters,
        read_j=_read_j(p),
        step_j=_step_j(p),
        active_row_step_j=_active_row_step_j(p),
        leakage_w=_leakage_w(p),
        sensing_s=sensing_s(p),
        accumulations=p.accumulations,
    )


def _read_j(p: Periphery) -> dict[str, float]:
    return {
        "array": 0.0 if p.is_sram else p.columns * p.bitline_f * p.read_v2,
        "shift_add": p.adcs * p.accumulations * _addition_j(p, p.over_input),
        "drivers": 0.0 if p.reads == 1 else _of_decoder(p.reads, p.tech.decoder_j),
    }


def _step_j(p: Periphery) -> dict[str, float]:
    return {
        "adc": p.adcs * (p.converters.encoder_j + p.combiner.conversion_j),
        "precharge": 2 * p.columns * p.bitline_f * p.tech.supply_v**2 if p.is_sram else 0.0,
        "shift_add": p.adcs * _addition_j(p, p.over_weight),
        "drivers": p.rows_read * p.tech.register_access_j,
        "multiplexers": _mux_j(p),
    }


def _active_row_step_j(p: Periphery) -> dict[str, float]:
    if p.is_sram:
        gate, _, folds = p.sram_row_gate()
        row_j = 3 * gate.drain_f(p.tech, folds) * p.read_v2 + sum(gate.gates_f(p.tech)) * p.tech.supply_v**2
        return {"array": 0.0, "drivers": row_j}
    return {
        "array": p.wordline_f * p.tech.supply_v**2,
        "drivers": p.tech.row_switch_j,
    }


def _mux_j(p: Periphery) -> float:
    """Quirk: the energy is divided by the bits of an input, as if multiplexers switched once per input vector."""
    if p.cols_per_adc == 1:
        return 0.0
    n_gate, _ = p.mux_gate.gates_f(p.tech)
    switch = n_gate * p.tech.supply_v**2 + 2 * p.mux_gate.drain_f(p.tech) * p.read_v2
    return (p.adcs * p.slices * switch + _of_decoder(p.cols_per_adc, p.tech.decoder_j)) / p.input_bits


def _of_decoder(ways: int, curve: Points) -> float:
    return linear_curve(curve, max(4, ways)) * min(1, ways / 4)


def _addition_j(p: Periphery, adder: ShiftAdder | None) -> float:
    if adder is None:
        return 0.0
    return addition_j(p.tech, adder.bits) + REGISTER_ACTIVITY * adder.register_bits * p.tech.register_access_j


def _leakage_w(p: Periphery) -> float:
    tech = p.tech
    shift_add = p.adcs * sum(
        adder.bits * tech.adder_leak_w + adder.register_bits * tech.flipflop_leak_w for adder in p.shift_adders
    )
    if not p.is_sram:
        decoders = sum(_of_decoder(ways, tech.decoder_leak_w) for ways in (p.cols_per_adc, p.reads) if ways > 1)
        return (p.rows + p.columns) * tech.flipflop_leak_w + decoders + shift_add + p.converters.leakage_w
    column = tech.precharger_leak_w + tech.write_driver_leak_w + tech.flipflop_leak_w
    groups = 0.0 if p.reads == 1 else _of_decoder(p.reads, tech.decoder_leak_w)
    cells_w = p.rows * p.columns * _sram_cell_leak_w(p)
    return cells_w + p.columns * column + shift_add + groups + p.converters.leakage_w


def _sram_cell_leak_w(p: Periphery) -> float:
    """Leakage of two inverters whose NMOS is twice as wide as the PMOS."""
    n_m, p_m = 2 * p.tech.unit_width_m, p.tech.unit_width_m
    inverter_a = (p.tech.ioff_n_a_per_m * n_m + p.tech.ioff_p_a_per_m * p_m) / 2
    return 2 * inverter_a * p.tech.supply_v
