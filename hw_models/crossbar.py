"""One crossbar with its periphery: area, energy of one bit-plane, leakage and sensing time.

A crossbar is square. All of its wordlines are driven at once by one bit-plane of the input; `cols_per_adc` columns
then take turns at each converter, so that a bit-plane takes `cols_per_adc` steps.

Source: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019); docs/cost_model.md, "Crossbar".
"""

import dataclasses
import functools
import math
from collections.abc import Mapping

from hw_models.accelerator import Accelerator
from hw_models.converters import SLOW_COMPARATOR_NM, Converters, CurrentDecision, converters
from hw_models.gates import (
    LINEAR_REGION,
    PassGate,
    addition_j,
    drain_f,
    fin_drain_f,
    gate_delay_s,
    gate_f,
    n_ohm,
    p_ohm,
    register_column_m2,
    register_row_m2,
)
from hw_models.technology import WIRE_F_PER_M, Technology, linear_curve, rows_needed, technology

SENSING_FACTOR = 1.4  # post-layout sensing time over the formulas' (factor beta of the reference's validation)
REGISTER_ACTIVITY = 0.5  # share of registers in shift-adders that toggle (factor gamma)
ACCESS_SHARE = 0.25  # resistance of an access device or a switch over what it is in series with
STANDARD_GATE_F = 20.9  # both widths of a standard gate on planar nodes: a cell of 28 F less gaps and margins
SINGLE_TYPE_MARGIN_F = 3.6  # of a cell's side that a transistor of one type cannot use
_SRAM_CELL_F = {45: (10, 28), 32: (10, 28), 22: (10, 28), 14: (10, 30), 10: (10, 40), 7: (10, 60)}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A memory cell in its crossbar.

    Attributes:
        height_m, width_m: Layout; a cell is widened if its access transistor would not fit (`is_widened`).
        access_ohm: Resistance in series with the memory element on the read path.
        access_gate_f, access_drain_f: Load of the access transistor on a wordline and on a bitline.
        row_wire_ohm, column_wire_ohm: Wire resistance that each step along a row and along a column adds.
    """

    height_m: float
    width_m: float
    is_widened: bool
    access_ohm: float
    access_gate_f: float
    access_drain_f: float
    row_wire_ohm: float
    column_wire_ohm: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Crossbar:
    """A crossbar and its periphery.

    Attributes:
        area_m2: Area by component (`hw_models.cost.COMPONENTS`).
        box_width_m, box_height_m: Bounding box, which sets the length of the wires between crossbars.
        cell: The memory cell.
        converters: The converters at its foot.
        plane_j: Energy by component of one bit-plane, whatever the data and however many columns are used.
        active_row_j: Energy by component that each row with a 1 adds.
        leakage_w: Leakage.
        sensing_s: Time from a switched wordline to a converted column.
        steps: Clock cycles of one bit-plane for reading and converting.
        accumulation_steps: Clock cycles of one bit-plane for shifting and adding.
    """

    area_m2: Mapping[str, float]
    box_width_m: float
    box_height_m: float
    cell: Cell
    converters: Converters
    plane_j: Mapping[str, float]
    active_row_j: Mapping[str, float]
    leakage_w: float
    sensing_s: float
    steps: int
    accumulation_steps: int


@functools.lru_cache(maxsize=512)
def cell_in_crossbar(accelerator: Accelerator) -> Cell:
    """The memory cell of an accelerator at its node."""
    tech, device = technology(accelerator.tech_node_nm), accelerator.device
    node, wire = tech.node_m, tech.wire_ohm_per_m * tech.wire_width_m
    if device.cell == "sram":
        sram_height_f, sram_width_f = _SRAM_CELL_F[accelerator.tech_node_nm]
        height_f, width_f = device.cell_height_f or sram_height_f, device.cell_width_f or sram_width_f
        needed_f, access_ohm, gate, drain = 0.0, tech.r_n_ohm, 0.0, drain_f(tech, 1)
    else:
        assert device.cell_height_f is not None and device.cell_width_f is not None
        height_f, width_f = device.cell_height_f, device.cell_width_f
        access_ohm = ACCESS_SHARE * device.r_on_ohm if device.cell == "1t1r" else 0.0
        strength = tech.r_n_ohm * LINEAR_REGION / (ACCESS_SHARE * device.r_on_ohm)
        needed_f, gate, drain = _access_transistor(tech, strength, width_f)
    return Cell(
        height_m=height_f * node,
        width_m=max(width_f, needed_f) * node,
        is_widened=needed_f > width_f,
        access_ohm=access_ohm,
        access_gate_f=gate,
        access_drain_f=drain,
        row_wire_ohm=wire * height_f,  # quirk: a step along a row counts the cell's height, and the other way round
        column_wire_ohm=wire * max(width_f, needed_f),
    )


def _access_transistor(tech: Technology, strength: float, cell_width_f: float) -> tuple[float, float, float]:
    """Width (units of the node), gate and drain capacitance of a transistor `strength` times one of 1 F, or of one fin."""
    if tech.fin_pitch_m is not None:
        fins = math.ceil(strength)
        return fins * tech.fin_pitch_m / tech.node_m, tech.gate_cap_f_per_m * fins * tech.unit_width_m, fin_drain_f(tech, fins)
    folds = math.ceil(strength / max(1.0, cell_width_f - SINGLE_TYPE_MARGIN_F))
    return strength, gate_f(tech, strength), drain_f(tech, strength, folds)


@functools.lru_cache(maxsize=512)
def crossbar(accelerator: Accelerator) -> Crossbar:
    """The crossbar of an accelerator (its `adc_bits` must be a number)."""
    return _Design(accelerator).crossbar()


class _Design:
    """Works out one `Crossbar`; the attributes are what its parts have in common."""

    def __init__(self, accelerator: Accelerator) -> None:
        assert accelerator.adc_bits is not None, "an ideal converter has no cost"
        self.tech: Technology = technology(accelerator.tech_node_nm)
        self.device = accelerator.device
        self.is_sram = accelerator.device.cell == "sram"
        self.size = accelerator.crossbar_size
        self.shared = accelerator.cols_per_adc
        self.adcs = self.size // self.shared
        self.adc_bits = accelerator.adc_bits
        self.columns_per_weight = accelerator.cells_per_weight
        self.input_bits = accelerator.input_cycles
        self.cell = cell_in_crossbar(accelerator)
        self.width_m, self.height_m = self.size * self.cell.width_m, self.size * self.cell.height_m
        self.wordline_f = self.width_m * WIRE_F_PER_M + self.size * self.cell.access_gate_f
        self.bitline_f = self.height_m * WIRE_F_PER_M
        self.wordline_ohm = self.tech.wire_ohm_per_m * self.width_m
        self.bitline_ohm = self.tech.wire_ohm_per_m * self.height_m
        self.read_v2 = accelerator.device.read_voltage_v**2
        self.converters = self._converters(accelerator)
        self.mux_gate = PassGate.of_resistance(self.tech, ACCESS_SHARE * self._column_ohm() / self.size)
        self.decoder_m = self._decoder_m()

    def crossbar(self) -> Crossbar:
        area, on_rows = self._area_m2()
        columns_m2 = sum(area.values()) - area["array"] - on_rows - math.prod(self.decoder_m)
        return Crossbar(
            area_m2=area,
            box_width_m=self.width_m + max(on_rows / self.height_m, self.decoder_m[1]),
            box_height_m=self.height_m + columns_m2 / self.width_m,
            cell=self.cell,
            converters=self.converters,
            plane_j=self._plane_j(),
            active_row_j=self._active_row_j(),
            leakage_w=self._leakage_w(),
            sensing_s=SENSING_FACTOR * self._sensing_s(),
            steps=self.shared,
            accumulation_steps=self._weight_steps() + self._input_steps(),
        )

    def _converters(self, accelerator: Accelerator) -> Converters:
        decision = None
        if accelerator.adc_type == "flash" and accelerator.tech_node_nm >= SLOW_COMPARATOR_NM and not self.is_sram:
            decision = CurrentDecision(
                levels=2**self.adc_bits, rows=self.size, r_on_ohm=self.device.r_on_ohm, r_off_ohm=self.device.r_off_ohm
            )
        return converters(accelerator.tech_node_nm, accelerator.adc_type, self.adc_bits, self.adcs, self.width_m, decision)

    def _column_ohm(self) -> float:
        """Resistance that sets the switches at the foot of a column: half that of the read path of SRAM, or a cell's mean."""
        if self.is_sram:
            return self.tech.r_n_ohm / 2
        return ACCESS_SHARE * self.device.r_on_ohm + (self.device.r_on_ohm + self.device.r_off_ohm) / 2

    # Area

    def _area_m2(self) -> tuple[dict[str, float], float]:
        """Area by component, and how much of it stands beside the rows instead of below the columns."""
        tech, side_drivers = self.tech, rows_needed(self.size, self.width_m / (2 * self.tech.gate_pitch_m)) * 3 * self.tech.cell_height_m * self.width_m
        if self.is_sram:
            rows, columns, precharge = self._sram_row_switch_m2(), side_drivers, side_drivers
        else:
            shifters = self.size * tech.level_shifter_m2
            rows = self._row_switch_m2() + 2 * shifters
            columns, precharge = self._source_line_switch_m2() + shifters, 0.0
        return {
            "array": self.width_m * self.height_m,
            "adc": self.converters.area_m2,
            "precharge": precharge,
            "shift_add": self._shift_add_m2(),
            "drivers": rows + columns,
            "multiplexers": self._mux_m2() + math.prod(self.decoder_m),
        }, rows

    def _shift_add_m2(self) -> float:
        return sum(
            self.adcs * bits * self.tech.full_adder_m2
            + self.tech.cell_height_m * self.width_m
            + register_row_m2(self.tech, self.adcs * registers, self.width_m)
            for bits, registers in self._shift_adders()
        )

    def _shift_adders(self) -> list[tuple[int, int]]:
        """Adder and register bits of the two stages: over the slices of a weight, over the bits of an input."""
        joined = self.adc_bits + self.columns_per_weight
        over_weight = [(self.adc_bits, joined)] if self.columns_per_weight > 1 else []
        over_input = [(joined, joined + self.input_bits)] if self.input_bits > 1 else []
        return over_weight + over_input

    def _row_switch_m2(self) -> float:
        columns = rows_needed(self.size, self.height_m / self.tech.cell_height_m)
        gates = self.height_m * 4 * 2 * self.tech.gate_pitch_m * columns
        return gates + register_column_m2(self.tech, self.size, self.height_m)

    def _sram_row_switch_m2(self) -> float:
        gate, columns, folds = self._sram_row_gate()
        gates = self.height_m * 2 * (folds + 1) * self.tech.gate_pitch_m * columns
        return gates + register_column_m2(self.tech, self.size, self.height_m)

    def _sram_row_gate(self) -> tuple[PassGate, int, int]:
        """Transmission gate of a row, the columns in which these gates stand, and their folds."""
        columns = rows_needed(self.size, self.height_m / self.tech.cell_height_m)
        gate = PassGate.of_resistance(self.tech, ACCESS_SHARE * self.wordline_ohm)
        return gate, columns, gate.folds_within(self.tech, self.height_m / math.ceil(self.size / columns))

    def _source_line_switch_m2(self) -> float:
        gate = PassGate.of_resistance(self.tech, ACCESS_SHARE * self._column_ohm())
        return self._gate_rows_m(gate, 2) * self.width_m + register_row_m2(self.tech, self.size, self.width_m)

    def _mux_m2(self) -> float:
        if self.shared == 1:
            return 0.0
        return max(self._gate_rows_m(self.mux_gate, 1), self.decoder_m[0]) * self.width_m

    def _gate_rows_m(self, gate: PassGate, gates_per_column: int) -> float:
        """Height of rows of transmission gates below the columns (quirk: sized by the planar pitch at every node)."""
        pitch = 3.8 * self.tech.node_m
        rows = rows_needed(self.size, self.width_m / (2 * pitch * gates_per_column))
        per_row = math.ceil(self.size / rows)
        folds = math.floor(self.width_m / per_row / gates_per_column / pitch + 1e-9) - 1
        return rows * gate.height_m(self.tech, max(1, folds))

    def _decoder_m(self) -> tuple[float, float]:
        """Height and width of the decoder of the column multiplexers."""
        if self.shared == 1:
            return 0.0, 0.0
        bits, pitch = math.log2(self.shared), self.tech.gate_pitch_m
        width = 14 * pitch if bits <= 2 else (15 if bits <= 4 else 16) * pitch + 5.6 * self.tech.node_m * bits
        return self.shared * self.tech.cell_height_m, width

    # Energy of one bit-plane

    def _plane_j(self) -> dict[str, float]:
        register_j = self.tech.register_access_j
        return {
            "array": 0.0 if self.is_sram else self.shared * self.adcs * self.bitline_f * self.read_v2,
            "adc": self.shared * self.adcs * self.converters.encoder_j,
            "precharge": self.shared * 2 * self.size * self.bitline_f * self.tech.supply_v**2 if self.is_sram else 0.0,
            "shift_add": self._shift_add_j(),
            "drivers": self.shared * self.size * register_j,
            "multiplexers": self._mux_j(),
        }

    def _active_row_j(self) -> dict[str, float]:
        if self.is_sram:
            return {"array": 0.0, "drivers": self.shared * self._sram_row_j()}
        return {"array": self.shared * self.wordline_f * self.tech.supply_v**2, "drivers": self.shared * self.tech.row_switch_j}

    def _sram_row_j(self) -> float:
        gate, _, folds = self._sram_row_gate()
        drains = 3 * gate.drain_f(self.tech, folds) * self.read_v2
        return drains + sum(gate.gates_f(self.tech)) * self.tech.supply_v**2

    def _mux_j(self) -> float:
        """Quirk: divided by the bits of an input, as if the multiplexers moved once per input vector."""
        if self.shared == 1:
            return 0.0
        n_gate, _ = self.mux_gate.gates_f(self.tech)
        switch = n_gate * self.tech.supply_v**2 + 2 * self.mux_gate.drain_f(self.tech) * self.read_v2
        return self.shared * (self.adcs * switch + self._decoder_j()) / self.input_bits

    def _decoder_j(self) -> float:
        return linear_curve(self.tech.decoder_j, max(4, self.shared)) * min(1, self.shared / 4)

    def _shift_add_j(self) -> float:
        steps = ([self._weight_steps()] if self.columns_per_weight > 1 else []) + ([self._input_steps()] if self.input_bits > 1 else [])
        return self.adcs * sum(
            uses * (addition_j(self.tech, bits) + REGISTER_ACTIVITY * registers * self.tech.register_access_j)
            for uses, (bits, registers) in zip(steps, self._shift_adders(), strict=True)
        )

    def _weight_steps(self) -> int:
        return self.shared if self.columns_per_weight > 1 else 0

    def _input_steps(self) -> int:
        return self.shared // self.columns_per_weight if self.input_bits > 1 else 0

    def _leakage_w(self) -> float:
        tech = self.tech
        shift_add = self.adcs * sum(bits * tech.adder_leak_w + registers * tech.flipflop_leak_w for bits, registers in self._shift_adders())
        if not self.is_sram:
            return 2 * self.size * tech.flipflop_leak_w + self._decoder_leak_w() + shift_add + self.converters.leakage_w
        column = tech.precharger_leak_w + tech.write_driver_leak_w + tech.flipflop_leak_w
        return self.size**2 * self._sram_cell_leak_w() + self.size * column + shift_add + self.converters.leakage_w

    def _decoder_leak_w(self) -> float:
        if self.shared == 1:
            return 0.0
        return linear_curve(self.tech.decoder_leak_w, max(4, self.shared)) * min(1, self.shared / 4)

    def _sram_cell_leak_w(self) -> float:
        n_m, p_m = 2 * self.tech.unit_width_m, self.tech.unit_width_m
        inverter_a = (self.tech.ioff_n_a_per_m * n_m + self.tech.ioff_p_a_per_m * p_m) / 2
        return 2 * inverter_a * self.tech.supply_v

    # Sensing time

    def _sensing_s(self) -> float:
        row = self._row_s()
        column = self._sram_column_s(row) + self._precharge_s() if self.is_sram else self._column_s()
        return max(row, self._mux_s()) + column + self.converters.slowest_s + self.converters.delay_s

    def _row_s(self) -> float:
        if self.is_sram:
            gate, _, folds = self._sram_row_gate()
            load = 3 * gate.drain_f(self.tech, folds) + self.width_m * WIRE_F_PER_M
            return math.log(2) * (ACCESS_SHARE * self.wordline_ohm * load + self.wordline_ohm * load / 2)
        return math.log(2) * (self.tech.passgate_ohm * self.wordline_f + self.wordline_ohm * self.wordline_f / 2)

    def _column_s(self) -> float:
        load = self.bitline_f + self.size * self.cell.access_drain_f
        return 0.2 * load * self._column_ohm() / (self.size / 2)

    def _sram_column_s(self, row_s: float) -> float:
        pulldown = self.tech.r_n_ohm / 2
        charge = (self.tech.r_n_ohm + pulldown) * (self.cell.access_drain_f + self.bitline_f) + self.bitline_ohm * self.bitline_f / 2
        swing = math.log(self.tech.supply_v / (self.tech.supply_v - 0.05))
        return gate_delay_s(charge * swing, 0.5 / row_s)

    def _precharge_s(self) -> float:
        widest_f = self.tech.inverter_p_f if self.tech.is_finfet else 28 - SINGLE_TYPE_MARGIN_F
        ohm = p_ohm(self.tech, widest_f)
        return math.log(2) * (ohm * (self.bitline_f + self.tech.precharger_out_f) + self.bitline_ohm * self.bitline_f / 2)

    def _mux_s(self) -> float:
        if self.shared == 1:
            return 0.0
        gate = self.mux_gate
        load = gate.drain_f(self.tech) + sum(gate.gates_f(self.tech)) / 2
        return 2.3 * 2 * gate.ohm(self.tech) * load + self._decoder_s()

    def _decoder_s(self) -> float:
        """A chain of gates from an address to the gates of all selected columns; the last two are of a fixed small size."""
        tech, bits = self.tech, max(2, round(math.log2(self.shared)))
        n_load, p_load = (self.adcs * gate for gate in self.mux_gate.gates_f(tech))
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
        second_level_ramp = None
        if bits == 2:  # one level of gates less; quirk: the gate after it sees a step
            del stages[2]
            second_level_ramp = math.inf
        total, ramp = 0.0, math.inf
        for index, (ohm, farad) in enumerate(stages):
            delay = gate_delay_s(ohm * farad, math.inf if index == 2 and second_level_ramp else ramp)
            total, ramp = total + delay, 0.5 / delay
        return total
