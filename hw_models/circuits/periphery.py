"""The circuits around the cells of a crossbar: their number, sizes, loads and areas.

Source: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019); docs/cost_model.md, "Crossbar".
"""

import dataclasses
import math

from hw_models.accelerator import Accelerator
from hw_models.circuits.cell import ACCESS_SHARE, cell_in_crossbar
from hw_models.circuits.combiner import combiner
from hw_models.circuits.converters import NO_CONVERTERS, SLOW_COMPARATOR_NM, Converters, CurrentDecision, converters
from hw_models.circuits.digital import AND_PITCHES, AdderTree, ceil_log2
from hw_models.circuits.gates import PassGate, register_column_m2, register_row_m2
from hw_models.circuits.input_drive import input_drive
from hw_models.circuits.technology import WIRE_F_PER_M, Technology, rows_needed, technology
from hw_models.read_errors import bitline_f


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ShiftAdder:
    """An adder of `bits` bits, and the register of its sum."""

    bits: int
    register_bits: int


def column_bits(accelerator: Accelerator) -> int:
    """Bits of what is read at once: those of a converter, or of an adder tree's sum over the rows read together.

    Raises:
        ValueError: If the converter is ideal.
    """
    if accelerator.readout == "digital":
        largest = accelerator.rows_read * ((1 << accelerator.columns_at_once()) - 1)
        return largest.bit_length()
    if accelerator.adc_bits is None:
        raise ValueError("adc_bits None is an ideal converter, which has no cost; give 1 to 14 bits to estimate one")
    return accelerator.adc_bits


def sums_per_weight(accelerator: Accelerator) -> int:
    """Sums that shift-adders join to a weight's: its conversions, or the sums of a digital macro's adder trees."""
    if accelerator.readout != "digital":
        return accelerator.conversions_per_weight()
    polarities = accelerator.cells_per_weight // accelerator.slices()
    return polarities * math.ceil(accelerator.slices() / accelerator.columns_at_once())


def _pulses(accelerator: Accelerator) -> int:
    """Unit pulses of the largest input in one cycle; 0 if its voltage tells the input."""
    return 2**accelerator.dac_bits - 1 if accelerator.input_drive == "pulse_width" else 0


def _tree(accelerator: Accelerator, tech: Technology) -> AdderTree:
    """The adder trees of a digital macro, over products of an input bit and a weight; none in other macros."""
    trees = accelerator.columns // accelerator.cols_per_adc if accelerator.readout == "digital" else 0
    return AdderTree(tech=tech, inputs=accelerator.rows_read, width=accelerator.columns_at_once(), trees=trees)


def _shift_adders(accelerator: Accelerator) -> tuple[ShiftAdder | None, ShiftAdder | None]:
    """The adders of a converter over a weight's sums, and over the input's bits and the reads of a crossbar."""
    bits, sums = column_bits(accelerator), sums_per_weight(accelerator)
    joined = bits + sums
    summed = joined + ceil_log2(accelerator.reads)
    over_weight = ShiftAdder(bits=bits, register_bits=joined)
    over_input = ShiftAdder(bits=summed, register_bits=summed + accelerator.input_bits)
    return (
        over_weight if sums > 1 else None,
        over_input if accelerator.input_cycles * accelerator.reads > 1 else None,
    )


class Periphery:
    """The circuits around the cells of one crossbar.

    The attributes are what areas (here), energies (`crossbar`) and times (`sensing`) have in common: counts, side
    lengths, loads and resistances of the lines, converters and transmission gates.
    """

    def __init__(self, accelerator: Accelerator, accumulate_wide_weights: bool) -> None:
        self.tech: Technology = technology(accelerator.tech_node_nm, accelerator.supply_v)
        self.device = accelerator.device
        self.is_sram = accelerator.device.cell == "sram"
        self.rows, self.columns = accelerator.crossbar_size, accelerator.columns
        self.rows_read, self.reads = accelerator.rows_read, accelerator.reads
        self.cols_per_adc = accelerator.cols_per_adc
        self.adcs = self.columns // self.cols_per_adc
        self.readout, self.input_cycles = accelerator.readout, accelerator.input_cycles
        self.column_bits = column_bits(accelerator)
        self.columns_at_once = accelerator.columns_at_once()
        self.over_weight, self.over_input = _shift_adders(accelerator)
        self.accumulations = (
            weights_per_scan(self.cols_per_adc, accelerator.cells_per_weight, accumulate_wide_weights)
            if self.over_input
            else 0
        )
        self.cell = cell_in_crossbar(accelerator)
        self.width_m, self.height_m = self.columns * self.cell.width_m, self.rows * self.cell.height_m
        self.wordline_f = self.width_m * WIRE_F_PER_M + self.columns * self.cell.access_gate_f
        self.bitline_f = self.height_m * WIRE_F_PER_M
        self.cells_of_column_f = bitline_f(accelerator)
        self.wordline_ohm = self.tech.wire_ohm_per_m * self.width_m
        self.bitline_ohm = self.tech.wire_ohm_per_m * self.height_m
        self.read_v2 = accelerator.device.read_voltage_v**2
        self.converters = self._converters(accelerator)
        self.combiner = combiner(accelerator, self.tech)
        self.dac_bits, self.pulses = accelerator.dac_bits, _pulses(accelerator)
        self.drive = input_drive(accelerator, self.tech)
        self.tree = _tree(accelerator, self.tech)
        self.mux_gate = PassGate.of_resistance(self.tech, ACCESS_SHARE * self.column_ohm() / self._cells_in_parallel())
        self.decoder_m = _decoder_m(self.tech, self.cols_per_adc)
        self.group_decoder_m = _decoder_m(self.tech, self.reads)

    def _converters(self, accelerator: Accelerator) -> Converters:
        if accelerator.readout == "digital":
            return NO_CONVERTERS
        decision = None
        if accelerator.adc_type == "flash" and accelerator.tech_node_nm >= SLOW_COMPARATOR_NM and not self.is_sram:
            decision = CurrentDecision(
                levels=2**self.column_bits,
                rows=self.rows_read,
                r_on_ohm=self.device.r_on_ohm,
                r_off_ohm=self.device.r_off_ohm,
                slowdown=max(1.0, self.tech.slowdown),
            )
        adc = converters(
            accelerator.tech_node_nm,
            accelerator.adc_type,
            self.column_bits,
            self.adcs,
            self.width_m,
            decision,
            accelerator.supply_v,
        )
        return adc if accelerator.readout == "current" else dataclasses.replace(adc, kappa=0.0)

    def _cells_in_parallel(self) -> int:
        """Cells that conduct through a column's switch; where a voltage is held, one cell sets its size (assumed)."""
        return self.rows_read if self.readout == "current" else 1

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
            rows = self._row_switch_m2() + 2 * self.rows * self.tech.level_shifter_m2
            columns = self._source_line_switch_m2() + self.columns * self.tech.level_shifter_m2
            precharge = 0.0
        rows += math.prod(self.group_decoder_m) + self.rows * self.drive.area_m2
        return {
            "array": self.width_m * self.height_m,
            "adc": self.converters.area_m2 + self.adcs * self.combiner.area_m2,
            "precharge": precharge,
            "shift_add": self._shift_add_m2(),
            "drivers": rows + columns,
            "multiplexers": self._mux_m2() + math.prod(self.decoder_m),
            "adder_trees": _tree_m2(self.tree, self.column_bits),
        }, rows

    def _shift_add_m2(self) -> float:
        return sum(
            self.adcs * adder.bits * self.tech.full_adder_m2
            + self.tech.cell_height_m * self.width_m
            + register_row_m2(self.tech, self.adcs * adder.register_bits, self.width_m)
            for adder in self.shift_adders
        )

    @property
    def shift_adders(self) -> list[ShiftAdder]:
        """Those of `over_weight` and `over_input` that there are."""
        return [adder for adder in (self.over_weight, self.over_input) if adder]

    def _row_switch_m2(self) -> float:
        columns = rows_needed(self.rows, self.height_m / self.tech.cell_height_m)
        gates = self.height_m * 4 * 2 * self.tech.gate_pitch_m * columns  # four transmission gates a row
        return gates + register_column_m2(self.tech, self.rows, self.height_m)

    def _sram_row_switch_m2(self) -> float:
        _, columns, folds = self.sram_row_gate()
        gates = self.height_m * 2 * (folds + 1) * self.tech.gate_pitch_m * columns
        return gates + register_column_m2(self.tech, self.rows, self.height_m)

    def sram_row_gate(self) -> tuple[PassGate, int, int]:
        """(gate of an SRAM row, number of columns into which all rows' gates are laid out, folds of a gate)."""
        columns = rows_needed(self.rows, self.height_m / self.tech.cell_height_m)
        gate = PassGate.of_resistance(self.tech, ACCESS_SHARE * self.wordline_ohm)
        return gate, columns, gate.folds_within(self.tech, self.height_m / math.ceil(self.rows / columns))

    def _column_drivers_m2(self) -> float:
        """Area of the prechargers of all columns, or of the write drivers: one inverter wide, three cells high."""
        rows = rows_needed(self.columns, self.width_m / (2 * self.tech.gate_pitch_m))
        return rows * 3 * self.tech.cell_height_m * self.width_m

    def _source_line_switch_m2(self) -> float:
        gate = PassGate.of_resistance(self.tech, ACCESS_SHARE * self.column_ohm())
        return self._gate_rows_m(gate, 2) * self.width_m + register_row_m2(self.tech, self.columns, self.width_m)

    def _mux_m2(self) -> float:
        if self.cols_per_adc == 1 or self.readout == "digital":
            return 0.0
        return max(self._gate_rows_m(self.mux_gate, 1), self.decoder_m[0]) * self.width_m

    def _gate_rows_m(self, gate: PassGate, gates_per_column: int) -> float:
        """Height of the rows of transmission gates below the columns. Quirk: every node has the planar gate pitch."""
        pitch = 3.8 * self.tech.node_m
        rows = rows_needed(self.columns, self.width_m / (2 * pitch * gates_per_column))
        per_row = math.ceil(self.columns / rows)
        folds = math.floor(self.width_m / per_row / gates_per_column / pitch + 1e-9) - 1
        return rows * gate.height_m(self.tech, max(1, folds))


def _decoder_m(tech: Technology, ways: int) -> tuple[float, float]:
    """Height and width of a decoder: of the column multiplexers, and of the groups of rows that are read."""
    if ways == 1:
        return 0.0, 0.0
    bits, pitch = math.log2(ways), tech.gate_pitch_m
    width = 14 * pitch if bits <= 2 else (15 if bits <= 4 else 16) * pitch + 5.6 * tech.node_m * bits
    return ways * tech.cell_height_m, width


def _tree_m2(tree: AdderTree, column_bits: int) -> float:
    """Area of the trees of a digital macro, with a NAND gate and an inverter for each product, and registers."""
    tech = tree.tech
    gate_m2 = AND_PITCHES * tech.gate_pitch_m * tech.cell_height_m
    register_m2 = column_bits * tech.flipflop_width_m * tech.cell_height_m
    return tree.area_m2() + tree.trees * (tree.inputs * tree.width * gate_m2 + register_m2)


def weights_per_scan(cols_per_adc: int, columns_per_weight: int, accumulate_wide_weights: bool) -> int:
    """Weights that one scan of a converter's columns completes; each is then accumulated over the input's bits.

    Quirk of NeuroSim (`accumulate_wide_weights` False): a weight with more columns than share a converter is never
    completed, so its accumulation costs nothing. A search would exploit that; True charges one weight per scan.
    """
    return max(cols_per_adc // columns_per_weight, 1 if accumulate_wide_weights else 0)
