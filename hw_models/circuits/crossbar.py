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
from hw_models.circuits.gates import REGISTER_ACTIVITY, addition_j
from hw_models.circuits.input_drive import InputDrive
from hw_models.circuits.periphery import Periphery, ShiftAdder
from hw_models.circuits.readouts import Reading, reading
from hw_models.circuits.sensing import pulses_s, sensing_s
from hw_models.circuits.technology import Points, linear_curve


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Crossbar:
    """A crossbar and its periphery.

    Attributes:
        area_m2: By component (`hw_models.cost.COMPONENTS`).
        box_width_m, box_height_m: Bounding box, which sets the length of the wires between crossbars.
        reading: Energies that depend on the data and the used cells.
        drive: What each row has for inputs of several bits.
        read_j: Energy of one read that depends on neither, by component.
        step_j: Energy that each step adds to `read_j`, by component.
        sensing_s: Time from switching a wordline until a column is converted.
        pulses_s: Time of the pulses of the largest input in one cycle; 0 without pulses.
        accumulations: Clock cycles of a read to accumulate its sums over the input's bits and over reads.
    """

    area_m2: Mapping[str, float]
    box_width_m: float
    box_height_m: float
    cell: Cell
    converters: Converters
    reading: Reading
    drive: InputDrive
    read_j: Mapping[str, float]
    step_j: Mapping[str, float]
    leakage_w: float
    sensing_s: float
    pulses_s: float
    accumulations: int


@functools.lru_cache(maxsize=512)
def crossbar(accelerator: Accelerator, accumulate_wide_weights: bool = True) -> Crossbar:
    """Size the crossbar of an accelerator, whose `adc_bits` must be a number."""
    p = Periphery(accelerator, accumulate_wide_weights)
    area, on_rows = p.area_m2()
    among_cells = reading(p)
    columns_m2 = sum(area.values()) - area["array"] - on_rows - math.prod(p.decoder_m)
    return Crossbar(
        area_m2=area,
        box_width_m=p.width_m + max(on_rows / p.height_m, p.decoder_m[1]),
        box_height_m=p.height_m + columns_m2 / p.width_m,
        cell=p.cell,
        converters=p.converters,
        reading=among_cells,
        drive=p.drive,
        read_j=_joined(_read_j(p, among_cells), among_cells.read_j),
        step_j=_joined(_step_j(p, among_cells), among_cells.step_j),
        leakage_w=_leakage_w(p),
        sensing_s=sensing_s(p),
        pulses_s=pulses_s(p),
        accumulations=p.accumulations,
    )


def _joined(ours: dict[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    assert not set(ours) & set(theirs), "each part of the energy has one place"
    return {**ours, **theirs}


def _read_j(p: Periphery, among_cells: Reading) -> dict[str, float]:
    return {
        "shift_add": p.adcs * p.accumulations * _addition_j(p, p.over_input),
        "drivers": (0.0 if p.reads == 1 else _of_decoder(p.reads, p.tech.decoder_j))
        + (0.0 if among_cells.drives_each_step else _row_registers_j(p)),
    }


def _step_j(p: Periphery, among_cells: Reading) -> dict[str, float]:
    return {
        "adc": p.adcs * (p.converters.encoder_j + p.combiner.conversion_j),
        "shift_add": p.adcs * _addition_j(p, p.over_weight),
        "drivers": _row_registers_j(p) if among_cells.drives_each_step else 0.0,
        "multiplexers": _mux_j(p),
    }


def _row_registers_j(p: Periphery) -> float:
    """Registers of the rows, clocked each time that the rows are driven."""
    return p.rows_read * p.dac_bits * p.tech.register_access_j


def _mux_j(p: Periphery) -> float:
    """Quirk: the energy is divided by the bits of an input, as if multiplexers switched once per input vector."""
    if p.cols_per_adc == 1:
        return 0.0
    n_gate, _ = p.mux_gate.gates_f(p.tech)
    passed_v2 = p.read_v2 if p.readout == "current" else p.tech.supply_v**2
    switch = 0.0 if p.readout == "digital" else n_gate * p.tech.supply_v**2 + 2 * p.mux_gate.drain_f(p.tech) * passed_v2
    return (p.adcs * p.columns_at_once * switch + _of_decoder(p.cols_per_adc, p.tech.decoder_j)) / p.input_cycles


def _of_decoder(ways: int, curve: Points) -> float:
    return linear_curve(curve, max(4, ways)) * min(1, ways / 4)


def _addition_j(p: Periphery, adder: ShiftAdder | None) -> float:
    if adder is None:
        return 0.0
    return addition_j(p.tech, adder.bits) + REGISTER_ACTIVITY * adder.register_bits * p.tech.register_access_j


def _leakage_w(p: Periphery) -> float:
    return _leakage_without_drives_w(p) + p.rows * p.drive.leakage_w


def _leakage_without_drives_w(p: Periphery) -> float:
    tech = p.tech
    shift_add = p.adcs * sum(
        adder.bits * tech.adder_leak_w + adder.register_bits * tech.flipflop_leak_w for adder in p.shift_adders
    )
    if not p.is_sram:
        decoders = sum(_of_decoder(ways, tech.decoder_leak_w) for ways in (p.cols_per_adc, p.reads) if ways > 1)
        return (p.rows + p.columns) * tech.flipflop_leak_w + decoders + shift_add + p.converters.leakage_w
    trees_w = p.tree.leakage_w(p.rows_read) + p.tree.trees * p.column_bits * tech.flipflop_leak_w
    column = tech.precharger_leak_w + tech.write_driver_leak_w + tech.flipflop_leak_w
    groups = 0.0 if p.reads == 1 else _of_decoder(p.reads, tech.decoder_leak_w)
    cells_w = p.rows * p.columns * _sram_cell_leak_w(p)
    return cells_w + p.columns * column + shift_add + groups + p.converters.leakage_w + trees_w


def _sram_cell_leak_w(p: Periphery) -> float:
    """Leakage of two inverters whose NMOS is twice as wide as the PMOS."""
    n_m, p_m = 2 * p.tech.unit_width_m, p.tech.unit_width_m
    inverter_a = (p.tech.ioff_n_a_per_m * n_m + p.tech.ioff_p_a_per_m * p_m) / 2
    return 2 * inverter_a * p.tech.supply_v
