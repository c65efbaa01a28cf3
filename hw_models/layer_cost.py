"""Energy, clock cycles and leakage of one layer on the chip.

Every quantity is a mapping from component to value. The layer is cut as its mapping says into tiles, these into
processing elements (PEs), and each distinct kind of piece is worked out once.

Source: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019); docs/cost_model.md, "Layer". Its quirks are functions of their own.
"""

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Literal

from hw_models.activity import LayerActivity
from hw_models.chip import GLOBAL_CORE_SIDE, Buffer, Chip, Tile
from hw_models.converters import EMPTY_COLUMN_W, survey_bound_j
from hw_models.crossbar import Cell
from hw_models.devices import CellDevice
from hw_models.mapping import LayerMapping
from hw_models.technology import linear_curve

AdcModel = Literal["reference", "survey"]
SURVEY_FACTOR = 15.0  # 8-bit converters of a 28 nm macro model (0.70 pJ) over the survey's bound (0.048 pJ)
POOL_WINDOW, POOL_CYCLES = 4, 3


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LayerFigures:
    """What one layer costs.

    Attributes:
        dynamic_energy_j: By component.
        cycles: Clock cycles by component, one after the other (fractions come from work shared by copies).
        tile_leakage_w: Leakage of one of its tiles.
        pe_tree_inputs: Numbers that the adder trees of its PEs added last.
    """

    dynamic_energy_j: Mapping[str, float]
    cycles: Mapping[str, float]
    tile_leakage_w: float
    pe_tree_inputs: int


def layer_figures(
    chip: Chip,
    mapped: LayerMapping,
    activity: LayerActivity,
    adc_model: AdcModel,
    survey_factor: float = SURVEY_FACTOR,
    tree_inputs_before: int | None = None,
) -> LayerFigures:
    """Work out one layer.

    Args:
        chip: The chip it runs on.
        mapped: Its place on the chip.
        activity: Its data.
        adc_model: Energy of a conversion: the reference's fit, or the survey's bound times `survey_factor`.
        survey_factor: See above.
        tree_inputs_before: `pe_tree_inputs` of the layer before on tiles of the same kind; None for the first.
    """
    return _Layer(chip, mapped, activity, adc_model, survey_factor).figures(tree_inputs_before)


@dataclasses.dataclass(frozen=True, slots=True)
class _Piece:
    """A part of the weight matrix on one tile or PE, and how many alike there are."""

    rows: int
    columns: int
    count: int


def _cut(length: int, size: int) -> list[tuple[int, int]]:
    """Lengths and counts of the pieces when `length` is cut at multiples of `size`: whole ones first."""
    whole, rest = divmod(length, size)
    return ([(size, whole)] if whole else []) + ([(rest, 1)] if rest else [])


def _pieces(rows: int, columns: int, size: int) -> list[_Piece]:
    return [_Piece(r, c, n * m) for r, n in _cut(rows, size) for c, m in _cut(columns, size)]


class _Layer:
    def __init__(self, chip: Chip, mapped: LayerMapping, activity: LayerActivity, adc_model: AdcModel, survey_factor: float) -> None:
        self.chip, self.mapped, self.activity = chip, mapped, activity
        self.tech, self.unit = chip.tech, chip.crossbar
        tile = chip.novel_tile if mapped.mapped_as == "novel" else chip.tile
        assert tile is not None, "the chip has the tiles of its layers"
        self.tile: Tile = tile
        self.is_novel = mapped.mapped_as == "novel"
        self.size = mapped.crossbar_size
        self.windows = mapped.layer.windows
        self.planes = self.windows * mapped.input_cycles
        self.adc_bits = chip.accelerator.adc_bits or 0
        self.adc_model, self.survey_factor = adc_model, survey_factor
        self.weights_per_scan = chip.accelerator.cols_per_adc // mapped.columns_per_weight
        self.tiles = _pieces(mapped.rows_per_position, mapped.columns, mapped.tile_size)

    def figures(self, tree_inputs_before: int | None) -> LayerFigures:
        energy: Counter[str] = Counter()
        for piece in self.tiles:
            for name, value in self._tile_j(piece).items():
                energy[name] += piece.count * value
        for name, value in self._chip_j().items():
            energy[name] += value
        # quirk: of a PE's adder trees only what their last use needed leaks, be it that of a layer before
        tree_inputs = self.last_pe_tree_inputs() or tree_inputs_before or self.tile.crossbars_per_side
        return LayerFigures(
            dynamic_energy_j=energy,
            cycles=self._cycles(),
            tile_leakage_w=self._tile_leakage_w(tree_inputs),
            pe_tree_inputs=tree_inputs,
        )

    # Energy

    def _tile_j(self, tile: _Piece) -> Counter[str]:
        total: Counter[str] = Counter()
        for pe in self._pes(tile):
            for name, value in self._pe_j(pe).items():
                total[name] += pe.count * value
        total["adder_trees"] += self._tile_tree_uses() * self.tile.tree.use_j(self._tile_tree_inputs(tile))
        bits_in, bits_out = self._tile_traffic_bits(tile)
        total["buffers"] += (bits_in + bits_out) * (self.tech.tile_core_read_j + self.tech.tile_core_write_j)
        htree = self.tile.htree
        total["interconnect"] += self._tile_transfers(tile) * htree.bus_bits * htree.bit_j
        return total

    def _pes(self, tile: _Piece) -> list[_Piece]:
        if self.is_novel:
            return [_Piece(tile.rows, tile.columns, self.mapped.kernel_positions)]
        pieces = _pieces(tile.rows, tile.columns, self.mapped.pe_size)
        return pieces + self._phantom_pes(tile) if self.mapped.speedup == 1 else pieces

    def _phantom_pes(self, tile: _Piece) -> list[_Piece]:
        """Quirk: without copies, a PE that holds no weights costs the energy of the last one before it that does."""
        rows, columns = _cut(tile.rows, self.mapped.pe_size), _cut(tile.columns, self.mapped.pe_size)
        used_rows, used_columns = (sum(count for _, count in cut) for cut in (rows, columns))
        beside = [_Piece(r, columns[-1][0], n * (self.tile.side - used_columns)) for r, n in rows]
        below = _Piece(rows[-1][0], columns[-1][0], (self.tile.side - used_rows) * self.tile.side)
        return [piece for piece in (*beside, below) if piece.count]

    def _pe_j(self, pe: _Piece) -> dict[str, float]:
        unit, register_j = self.unit, self.tech.register_access_j
        row_blocks, column_blocks = math.ceil(pe.rows / self.size), math.ceil(pe.columns / self.size)
        occupied, driven = row_blocks * column_blocks, pe.rows * self.activity.bit_density * column_blocks
        energy = {name: self.planes * occupied * value for name, value in unit.plane_j.items()}
        for name, value in unit.active_row_j.items():
            energy[name] += self.planes * driven * value
        energy["adc"] += self.windows * self._conversions_j(pe)
        energy["adder_trees"] = self._pe_tree_charges(occupied) * self.tile.pe_tree.use_j(row_blocks)
        inputs, outputs = self._register_accesses(pe)
        energy["registers"] = (inputs * self.tile.input_register_bits + outputs * self.tile.output_register_bits) * register_j
        energy["interconnect"] = self.tech.bus_j_per_m * (
            self.tile.input_bus_m * pe.rows * self.planes
            + self.tile.output_bus_m * (pe.columns // self.mapped.columns_per_weight) * self.adc_bits * self.windows
        )
        return energy

    def _pe_tree_charges(self, occupied: int) -> int:
        """Uses of a PE's adder trees. Quirk: a matrix copied within every PE charges them once per occupied crossbar."""
        uses = self.windows * self.weights_per_scan
        copied = self._is_copied_on_every_pe() and math.prod(self.mapped.crossbar_copies) > 1
        return uses * occupied if copied else uses

    def _conversions_j(self, pe: _Piece) -> float:
        """Energy of all conversions of a PE for one window."""
        densities = self.activity.plane_densities
        total = 0.0
        for rows, row_count in _cut(pe.rows, self.size):
            empty = [(1 - density) ** rows for density in densities]
            for columns, column_count in _cut(pe.columns, self.size):
                cell_siemens = _mean_conductance(
                    self.unit.cell, self.chip.accelerator.device, self.activity.level_shares, rows, columns
                )
                energy_j = self._column_j(rows * cell_siemens, empty)
                total += row_count * column_count * columns * energy_j
        return total

    def _column_j(self, siemens: float, empty: list[float]) -> float:
        """Conversions of one column over all bit-planes.

        Args:
            siemens: Conductance of the column if every row were active.
            empty: Probability of each bit-plane that no row of the column is.
        """
        adc, densities = self.unit.converters, self.activity.plane_densities
        if self.adc_model == "survey":
            read_j = self.chip.accelerator.device.read_voltage_v**2 * siemens * sum(densities) * adc.conversion_s
            return read_j + len(densities) * self.survey_factor * survey_bound_j(self.adc_bits)
        if adc.decision is None:
            current_w = adc.kappa * siemens**adc.exponent * sum([density**adc.exponent for density in densities])
            idle = sum(empty)
            return ((len(densities) - idle) * adc.constant_w + idle * EMPTY_COLUMN_W + current_w) * adc.conversion_s
        return sum(
            ((1 - idle) * adc.constant_w + idle * EMPTY_COLUMN_W + adc.kappa * (density * siemens) ** adc.exponent)
            * (adc.decision.seconds(1 / (density * siemens)) if density else adc.conversion_s)
            for density, idle in zip(densities, empty, strict=True)
        )

    def _chip_j(self) -> dict[str, float]:
        tech, chip, layer = self.tech, self.chip, self.mapped.layer
        bits_out, bits_in = self._chip_traffic_bits()
        htree = self.chip.htree(sum(self.tile.area_m2.values()))
        return {
            "activation": self._activation_uses() * chip.activation_units * self.mapped.input_cycles * tech.register_access_j,
            "adder_trees": self._chip_tree_uses() * chip.tree.use_j(self.mapped.row_tiles),
            "pooling": self._pool_uses() * chip.pooling_units * linear_curve(tech.pool_j, self.mapped.input_cycles) if layer.pooled else 0.0,
            "buffers": bits_out * tech.global_core_read_j + bits_in * tech.global_core_write_j,
            "interconnect": self._chip_transfers() * chip.bus_bits * htree.bit_j,
        }

    # How often each block is used

    def _register_accesses(self, pe: _Piece) -> tuple[int, int]:
        inputs = pe.rows * self.planes // self.tile.input_register_bits
        outputs = pe.columns // self.mapped.columns_per_weight * self.tile.pe_tree.width * self.windows
        return inputs, outputs // self.tile.output_register_bits

    def _tile_tree_inputs(self, tile: _Piece) -> int:
        if self.is_novel or self.mapped.speedup == 1:
            return self.tile.side
        return math.ceil(tile.rows / self.mapped.pe_size)

    def _tile_tree_uses(self) -> int:
        if self.is_novel:
            return self.windows * self.weights_per_scan
        if self._is_copied_on_every_pe():
            return 0
        return self.windows * math.ceil(self.chip.accelerator.cols_per_adc / self.mapped.columns_per_weight)

    def _is_copied_on_every_pe(self) -> bool:
        return min(self.mapped.pe_copies) >= self.tile.side and not self.is_novel

    def _tile_traffic_bits(self, tile: _Piece) -> tuple[float, float]:
        """Bits into and out of a tile; a novel tile reuses inputs between neighbouring windows."""
        kernel = self.mapped.layer.kernel if self.is_novel else 1
        bits_in = tile.rows * self.mapped.kernel_positions * self.planes / kernel
        bits_out = tile.columns // self.mapped.columns_per_weight * (1 + self.tile.tree.width) * self.windows / kernel**2
        return bits_in, bits_out

    def _tile_transfers(self, tile: _Piece) -> float:
        return sum(self._tile_traffic_bits(tile)) / self.tile.htree.bus_bits

    def _chip_traffic_bits(self) -> tuple[float, float]:
        """Bits read from and written to the global buffer."""
        bits_out = self.mapped.layer.rows * self.planes / (self.mapped.layer.kernel if self.is_novel else 1)
        bits_in = self.mapped.layer.out_channels * self.planes / (POOL_WINDOW if self.mapped.layer.pooled else 1)
        return bits_out, bits_in

    def _chip_transfers(self) -> int:
        return math.ceil(sum(self._chip_traffic_bits()) / self.chip.bus_bits)

    def _activation_uses(self) -> int:
        return math.ceil(self.windows * self.mapped.layer.out_channels / self.chip.activation_units)

    def _chip_tree_uses(self) -> int:
        return math.ceil(self.mapped.columns * self.windows / self.chip.tree.trees) if self.mapped.row_tiles > 1 else 0

    def _pool_uses(self) -> int:
        per_unit = self.windows / POOL_WINDOW / self.mapped.tile_size
        return math.ceil(per_unit * self.mapped.layer.kernel if self.is_novel else per_unit)

    # Clock cycles: all bit-planes one after the other, the largest piece decides

    def _cycles(self) -> dict[str, float]:
        tile = self.tiles[0]
        cycles = self._pe_cycles(tile)
        tree = self.tile.tree.use_cycles(self._tile_tree_inputs(tile))
        cycles["adder_trees"] += self._tile_tree_uses() * tree + self._chip_tree_uses() * self.chip.tree.use_cycles(self.mapped.row_tiles)
        cycles["buffers"] = self._tile_buffer_cycles(tile) + self._global_buffer_cycles()
        htree = self.chip.htree(sum(self.tile.area_m2.values()))
        cycles["interconnect"] = (
            self._tile_transfers(tile) * self.tile.htree.transfer_cycles + self._chip_transfers() * htree.transfer_cycles
        )
        cycles["activation"] = self._activation_uses()
        cycles["pooling"] = POOL_CYCLES * self._pool_uses() if self.mapped.layer.pooled else 0
        return cycles

    def _pe_cycles(self, tile: _Piece) -> dict[str, float]:
        rows, columns = min(tile.rows, self.mapped.pe_size), min(tile.columns, self.mapped.pe_size)
        inputs, outputs = self._register_accesses(_Piece(rows, columns, 1))
        tree_uses = self.windows * self.weights_per_scan
        copies = self.mapped.speedup
        register_copies = math.prod(self.mapped.pe_copies) if self._is_copied_on_every_pe() else copies
        return {
            "adc": self.planes * self.unit.steps / copies,
            "shift_add": self.planes * self.unit.accumulation_steps / copies,
            "adder_trees": tree_uses * self.tile.pe_tree.use_cycles(math.ceil(rows / self.size)) / copies,
            "registers": (inputs + outputs) / register_copies,
        }

    def _tile_buffer_cycles(self, tile: _Piece) -> float:
        return sum(
            2 * bits / buffer.bits_per_cycle
            for bits, buffer in zip(self._tile_traffic_bits(tile), (self.tile.input_buffer, self.tile.output_buffer), strict=True)
        )

    def _global_buffer_cycles(self) -> float:
        chip = self.chip
        side_by_side = min(chip.global_cores, math.ceil(chip.bus_bits / GLOBAL_CORE_SIDE))
        share = math.ceil(chip.mapping.tiles / self.mapped.tiles)
        return sum(self._chip_traffic_bits()) / GLOBAL_CORE_SIDE / side_by_side * share

    # Leakage

    def _tile_leakage_w(self, pe_tree_inputs: int) -> float:
        tile, tech = self.tile, self.tech
        registers = (tile.input_register_bits + tile.output_register_bits) * tech.flipflop_leak_w
        pe_tree = tile.pe_tree.leakage_w(pe_tree_inputs)
        pe = tile.crossbars_per_side**2 * self.unit.leakage_w + pe_tree + registers
        tree = tile.tree.leakage_w(self._tile_tree_inputs(self.tiles[-1]))
        cores = (tile.input_buffer.core_share + tile.output_buffer.core_share) * tech.tile_core_leak_w
        return tile.pes * pe + tree + cores

    def last_pe_tree_inputs(self) -> int | None:
        """Numbers that a PE's adder trees added last; None if each copy fits one crossbar and they stay idle."""
        last = self._pes(self.tiles[-1])[-1]
        if self._is_copied_on_every_pe() and max(last.rows, last.columns) <= self.size:
            return None
        return math.ceil(last.rows / self.size)


@functools.lru_cache(maxsize=4096)
def _mean_conductance(cell: Cell, device: CellDevice, level_shares: tuple[float, ...], rows: int, columns: int) -> float:
    """Conductance of an average cell of a block with its access device and its wires, in siemens.

    The mean over the block is taken at two points per direction, one standard deviation beside the middle, which is
    exact up to the third order in the wires' resistance.
    """
    if device.cell == "sram":  # quirk: every active cell conducts alike, whatever it holds
        return 1 / (cell.access_ohm + cell.column_wire_ohm)
    series = [
        cell.access_ohm + along_row * cell.row_wire_ohm + along_column * cell.column_wire_ohm
        for along_row in _two_points(columns)
        for along_column in _two_points(rows)
    ]
    assert device.g_on_siemens is not None
    cell_bits = len(level_shares).bit_length() - 1
    total = 0.0
    for level, share in enumerate(level_shares):
        ohm = 1 / (device.g_on_siemens * device.relative_conductance(level, cell_bits))
        total += share * sum(1 / (ohm + extra) for extra in series)
    return total / len(series)


def _two_points(count: int) -> Iterator[float]:
    spread = math.sqrt((count**2 - 1) / 12)
    yield (count + 1) / 2 - spread
    yield (count + 1) / 2 + spread
