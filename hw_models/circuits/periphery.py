"""The circuits around the cells of a crossbar: their number, sizes, loads and areas.

Source: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019); docs/cost_model.md, "Crossbar".
"""

import math

from hw_models.accelerator import Accelerator
from hw_models.circuits.cell import ACCESS_SHARE, cell_in_crossbar
from hw_models.circuits.converters import SLOW_COMPARATOR_NM, Converters, CurrentDecision, converters
from hw_models.circuits.gates import PassGate, register_column_m2, register_row_m2
from hw_models.circuits.technology import WIRE_F_PER_M, Technology, rows_needed, technology


class Periphery:
    """The circuits around the cells of one crossbar.

    The attributes are what areas (here), energies (`crossbar`) and times (`sensing`) have in common: counts, side
    lengths, loads and resistances of the lines, converters and transmission gates.
    """

    def __init__(self, accelerator: Accelerator, accumulate_wide_weights: bool) -> None:
        assert accelerator.adc_bits is not None, "an ideal converter has no cost"
        self.tech: Technology = technology(accelerator.tech_node_nm)
        self.device = accelerator.device
        self.is_sram = accelerator.device.cell == "sram"
        self.size = accelerator.crossbar_size
        self.cols_per_adc = accelerator.cols_per_adc
        self.adcs = self.size // self.cols_per_adc
        self.adc_bits = accelerator.adc_bits
        self.columns_per_weight = accelerator.cells_per_weight
        self.accumulate_wide_weights = accumulate_wide_weights
        self.input_bits = accelerator.input_cycles
        self.cell = cell_in_crossbar(accelerator)
        self.width_m, self.height_m = self.size * self.cell.width_m, self.size * self.cell.height_m
        self.wordline_f = self.width_m * WIRE_F_PER_M + self.size * self.cell.access_gate_f
        self.bitline_f = self.height_m * WIRE_F_PER_M
        self.wordline_ohm = self.tech.wire_ohm_per_m * self.width_m
        self.bitline_ohm = self.tech.wire_ohm_per_m * self.height_m
        self.read_v2 = accelerator.device.read_voltage_v**2
        self.converters = self._converters(accelerator)
        self.mux_gate = PassGate.of_resistance(self.tech, ACCESS_SHARE * self.column_ohm() / self.size)
        self.decoder_m = self._decoder_m()

    def _converters(self, accelerator: Accelerator) -> Converters:
        decision = None
        if accelerator.adc_type == "flash" and accelerator.tech_node_nm >= SLOW_COMPARATOR_NM and not self.is_sram:
            decision = CurrentDecision(
                levels=2**self.adc_bits, rows=self.size, r_on_ohm=self.device.r_on_ohm, r_off_ohm=self.device.r_off_ohm
            )
        return converters(
            accelerator.tech_node_nm, accelerator.adc_type, self.adc_bits, self.adcs, self.width_m, decision
        )

    def column_ohm(self) -> float:
        """Resistance that sizes a column's switches: of an SRAM cell's read path, or of a mean cell."""
        if self.is_sram:
            return self.tech.r_n_ohm / 2
        return ACCESS_SHARE * self.device.r_on_ohm + (self.device.r_on_ohm + self.device.r_off_ohm) / 2

    def area_m2(self) -> tuple[dict[str, float], float]:
        """(area by component, total area of the circuits beside the rows); the others stand below the columns."""
        if self.is_sram:
            rows = self._sram_row_switch_m2()
            columns = precharge = self._column_drivers_m2()
        else:
            shifters = self.size * self.tech.level_shifter_m2
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
            for bits, registers, _ in self.shift_adders()
        )

    def shift_adders(self) -> list[tuple[int, int, int]]:
        """(adder bits, register bits, uses per bit-plane) of the adders over a weight's columns and over input bits."""
        joined, q = self.adc_bits + self.columns_per_weight, self.columns_per_weight
        uses = weights_per_scan(self.cols_per_adc, q, self.accumulate_wide_weights)
        over_weight = [(self.adc_bits, joined, self.cols_per_adc)] if q > 1 else []
        over_input = [(joined, joined + self.input_bits, uses)] if self.input_bits > 1 else []
        return over_weight + over_input

    def _row_switch_m2(self) -> float:
        columns = rows_needed(self.size, self.height_m / self.tech.cell_height_m)
        gates = self.height_m * 4 * 2 * self.tech.gate_pitch_m * columns  # four transmission gates a row
        return gates + register_column_m2(self.tech, self.size, self.height_m)

    def _sram_row_switch_m2(self) -> float:
        _, columns, folds = self.sram_row_gate()
        gates = self.height_m * 2 * (folds + 1) * self.tech.gate_pitch_m * columns
        return gates + register_column_m2(self.tech, self.size, self.height_m)

    def sram_row_gate(self) -> tuple[PassGate, int, int]:
        """(gate of an SRAM row, number of columns into which all rows' gates are laid out, folds of a gate)."""
        columns = rows_needed(self.size, self.height_m / self.tech.cell_height_m)
        gate = PassGate.of_resistance(self.tech, ACCESS_SHARE * self.wordline_ohm)
        return gate, columns, gate.folds_within(self.tech, self.height_m / math.ceil(self.size / columns))

    def _column_drivers_m2(self) -> float:
        """Area of the prechargers of all columns, or of the write drivers: one inverter wide, three cells high."""
        rows = rows_needed(self.size, self.width_m / (2 * self.tech.gate_pitch_m))
        return rows * 3 * self.tech.cell_height_m * self.width_m

    def _source_line_switch_m2(self) -> float:
        gate = PassGate.of_resistance(self.tech, ACCESS_SHARE * self.column_ohm())
        return self._gate_rows_m(gate, 2) * self.width_m + register_row_m2(self.tech, self.size, self.width_m)

    def _mux_m2(self) -> float:
        if self.cols_per_adc == 1:
            return 0.0
        return max(self._gate_rows_m(self.mux_gate, 1), self.decoder_m[0]) * self.width_m

    def _gate_rows_m(self, gate: PassGate, gates_per_column: int) -> float:
        """Height of the rows of transmission gates below the columns. Quirk: every node has the planar gate pitch."""
        pitch = 3.8 * self.tech.node_m
        rows = rows_needed(self.size, self.width_m / (2 * pitch * gates_per_column))
        per_row = math.ceil(self.size / rows)
        folds = math.floor(self.width_m / per_row / gates_per_column / pitch + 1e-9) - 1
        return rows * gate.height_m(self.tech, max(1, folds))

    def _decoder_m(self) -> tuple[float, float]:
        """Height and width of the decoder of the column multiplexers."""
        if self.cols_per_adc == 1:
            return 0.0, 0.0
        bits, pitch = math.log2(self.cols_per_adc), self.tech.gate_pitch_m
        width = 14 * pitch if bits <= 2 else (15 if bits <= 4 else 16) * pitch + 5.6 * self.tech.node_m * bits
        return self.cols_per_adc * self.tech.cell_height_m, width


def weights_per_scan(cols_per_adc: int, columns_per_weight: int, accumulate_wide_weights: bool) -> int:
    """Weights that one scan of a converter's columns completes; each is then accumulated over the input's bits.

    Quirk of NeuroSim (`accumulate_wide_weights` False): a weight with more columns than share a converter is never
    completed, so its accumulation costs nothing. A search would exploit that; True charges one weight per scan.
    """
    return max(cols_per_adc // columns_per_weight, 1 if accumulate_wide_weights else 0)
