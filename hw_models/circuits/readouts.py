"""What happens among the cells while a crossbar is read, by readout: energies, and the circuits that only it has.

* `current`: wordlines and column switches are driven anew at each step, because only columns that convert conduct.
* `charge`: a cell's capacitor is charged if its bit and its input are 1; then the capacitors of a column share their
  charge. All columns do so once a read and hold their voltage while converters take turns.
* `discharge`: as `charge`, but cells discharge bitlines, which are charged again before the next read.
* `digital`: gates multiply, and an adder tree for each group of `cols_per_adc` columns adds; it takes as many columns
  of a weight at once as there are in the group, and weights take turns. The bits of a weight are read once for all
  bits of an input.

Source of `current`: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019). The others are textbook circuits of the same gates,
transistors and wires (docs/cost_model.md, "Readouts").
"""

import dataclasses
from collections.abc import Mapping

from hw_models.circuits.gates import REGISTER_ACTIVITY
from hw_models.circuits.periphery import Periphery
from hw_models.read_errors import DISCHARGE_SWING


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """Energies of reading cells, in J by component (`hw_models.cost.COMPONENTS`).

    Attributes:
        drives_each_step: Whether rows are driven anew at each step of a read, or once.
        active_row_j: Of each active row (input above 0) each time it is driven.
        read_j, step_j: Of each read, and of each of its steps, whatever the data.
        one_j: Of each used cell that stores a 1, at full input.
        cell_j: Of each used cell in each cycle of the input, whatever the data.
        column_j: Of each used column at each read.
    """

    drives_each_step: bool
    active_row_j: Mapping[str, float]
    read_j: Mapping[str, float] = dataclasses.field(default_factory=dict)
    step_j: Mapping[str, float] = dataclasses.field(default_factory=dict)
    one_j: Mapping[str, float] = dataclasses.field(default_factory=dict)
    cell_j: Mapping[str, float] = dataclasses.field(default_factory=dict)
    column_j: Mapping[str, float] = dataclasses.field(default_factory=dict)


def reading(p: Periphery) -> Reading:
    """The energies of an accelerator's readout."""
    if p.readout == "current":
        return _sram_current(p) if p.is_sram else _resistive(p)
    return {"charge": _charge, "discharge": _discharge, "digital": _digital}[p.readout](p)


def _resistive(p: Periphery) -> Reading:
    return Reading(
        drives_each_step=True,
        active_row_j={"array": p.wordline_f * p.tech.supply_v**2, "drivers": p.tech.row_switch_j},
        read_j={"array": p.columns * p.bitline_f * p.read_v2},
        step_j={"precharge": 0.0},
    )


def _sram_current(p: Periphery) -> Reading:
    return Reading(
        drives_each_step=True,
        active_row_j={"array": 0.0, "drivers": _sram_row_j(p, p.read_v2)},
        step_j={"precharge": 2 * p.columns * p.bitline_f * p.tech.supply_v**2},
    )


def _sram_row_j(p: Periphery, drain_v2: float) -> float:
    gate, _, folds = p.sram_row_gate()
    return 3 * gate.drain_f(p.tech, folds) * drain_v2 + sum(gate.gates_f(p.tech)) * p.tech.supply_v**2


def _charge(p: Periphery) -> Reading:
    """Capacitors take C V^2 from the supply; the line that joins a column is reset at each read."""
    assert p.device.capacitor_f is not None
    square = p.tech.supply_v**2
    return Reading(
        drives_each_step=False,
        active_row_j={"array": p.wordline_f * square, "drivers": _sram_row_j(p, square)},
        read_j={"precharge": p.columns * p.bitline_f * square},
        one_j={"array": p.device.capacitor_f * square},
    )


def _discharge(p: Periphery) -> Reading:
    """Full inputs on rows that store 1 discharge a bitline by its largest swing; charging it again takes C V swing."""
    square = p.tech.supply_v**2
    return Reading(
        drives_each_step=False,
        active_row_j={"array": p.wordline_f * square, "drivers": _sram_row_j(p, square)},
        one_j={"precharge": p.cells_of_column_f * DISCHARGE_SWING * square / p.rows_read},
    )


def _digital(p: Periphery) -> Reading:
    """Lines of the inputs, gates of the products, adder trees, and the lines on which the bits of weights are read."""
    tech, square = p.tech, p.tech.supply_v**2
    at_once = p.adcs * p.columns_at_once
    lines_f = at_once * p.rows_read / p.rows * p.cells_of_column_f
    register_j = REGISTER_ACTIVITY * p.column_bits * tech.register_access_j
    return Reading(
        drives_each_step=True,
        active_row_j={
            "array": (p.wordline_f + at_once * tech.nand_in_f) * square,
            "drivers": _sram_row_j(p, square),
        },
        step_j={"precharge": lines_f * square / p.input_cycles},
        one_j={"array": (tech.nand_out_f + tech.inverter_in_f + tech.inverter_out_f) * square},
        cell_j={"adder_trees": p.tree.use_j(p.rows_read) / (at_once * p.rows_read)},
        column_j={"adder_trees": register_j / p.columns_at_once},
    )
