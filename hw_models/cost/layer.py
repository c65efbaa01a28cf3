"""Energy, clock cycles and leakage of one layer on the chip.

Every quantity is a mapping from component to value. The layer is cut as its mapping says into tiles, these into
processing elements (PEs), and each distinct kind of piece is worked out once.

Source: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019); docs/cost_model.md, "Layer". Its quirks are functions of their own.
"""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Mapping

from hw_models.circuits.chip import GLOBAL_CORE_SIDE, Chip
from hw_models.circuits.periphery import weights_per_scan
from hw_models.circuits.technology import linear_curve
from hw_models.cost.activity import LayerActivity
from hw_models.cost.column_energy import ConversionEnergy
from hw_models.cost.pieces import Piece, pes_of, tiles_of
from hw_models.mapping import LayerMapping

POOL_WINDOW, POOL_CYCLES = 4, 3


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LayerWork:
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


def layer_work(
    chip: Chip,
    mapped: LayerMapping,
    activity: LayerActivity,
    conversions: ConversionEnergy,
    tree_inputs_before: int | None = None,
) -> LayerWork:
    """Work out one layer.

    Args:
        chip: The chip it runs on.
        mapped: Its place on the chip.
        activity: Its data.
        conversions: Energy of its conversions.
        tree_inputs_before: `pe_tree_inputs` of the layer before on tiles of the same kind; None for the first.
    """
    return _Layer(chip, mapped, activity, conversions).figures(tree_inputs_before)


def is_copied_on_every_pe(chip: Chip, mapped: LayerMapping) -> bool:
    """Whether each PE of a conventional tile holds a copy of the whole matrix."""
    return mapped.mapped_as == "conventional" and min(mapped.pe_copies) >= chip.tile.side


def pe_tree_inputs_after(chip: Chip) -> dict[str, int]:
    """Numbers that the PEs' adder trees added last, per kind of tile, after one pass over all layers."""
    last = {}
    for mapped in chip.mapping.layers:
        if inputs := _last_pe_tree_inputs(chip, mapped):
            last[str(mapped.mapped_as)] = inputs
    return last


def _last_pe_tree_inputs(chip: Chip, mapped: LayerMapping) -> int | None:
    """Numbers that the last PE's adder trees add; None if each copy fits one crossbar and they stay idle."""
    rest = (mapped.rows_per_position - 1) % mapped.pe_size + 1
    if is_copied_on_every_pe(chip, mapped) and max(mapped.rows_per_position, mapped.columns) <= mapped.crossbar_size:
        return None
    return math.ceil(rest / mapped.crossbar_size)


class _Layer:
    def __init__(
        self, chip: Chip, mapped: LayerMapping, activity: LayerActivity, conversions: ConversionEnergy
    ) -> None:
        self.chip, self.mapped, self.activity, self.conversions = chip, mapped, activity, conversions
        self.tech, self.unit = chip.tech, chip.crossbar
        self.tile, self.route = chip.tile_of(mapped), chip.route_to(mapped)
        self.is_novel = mapped.mapped_as == "novel"
        self.size = mapped.crossbar_size
        self.windows = mapped.layer.windows
        self.planes = self.windows * mapped.input_cycles
        self.weights_per_scan = weights_per_scan(
            chip.accelerator.cols_per_adc, mapped.columns_per_weight, chip.accumulate_wide_weights
        )
        self.tiles = tiles_of(mapped)

    def figures(self, tree_inputs_before: int | None) -> LayerWork:
        energy: defaultdict[str, float] = defaultdict(float)
        for piece in self.tiles:
            for name, value in self._tile_j(piece).items():
                energy[name] += piece.count * value
        for name, value in self._chip_j().items():
            energy[name] += value
        # quirk: of a PE's adder trees only what their last use needed leaks, be it that of a layer before
        tree_inputs = _last_pe_tree_inputs(self.chip, self.mapped) or tree_inputs_before or self.tile.crossbars_per_side
        return LayerWork(
            dynamic_energy_j=dict(energy),
            cycles=self._cycles(),
            tile_leakage_w=self._tile_leakage_w(tree_inputs),
            pe_tree_inputs=tree_inputs,
        )

    # Energy

    def _tile_j(self, tile: Piece) -> Mapping[str, float]:
        total: defaultdict[str, float] = defaultdict(float)
        for pe in pes_of(self.mapped, tile, self.tile.side):
            for name, value in self._pe_j(pe).items():
                total[name] += pe.count * value
        total["adder_trees"] += self._tile_tree_uses() * self.tile.tree.use_j(self._tile_tree_inputs(tile))
        bits_in, bits_out = self._tile_traffic_bits(tile)
        total["buffers"] += bits_in * self.tile.input_buffer.bit_j(self.tech)
        total["buffers"] += bits_out * self.tile.output_buffer.bit_j(self.tech)
        total["interconnect"] += (bits_in + bits_out) * self.tile.route.bit_j
        return total

    def _pe_j(self, pe: Piece) -> dict[str, float]:
        unit, register_j = self.unit, self.tech.register_access_j
        row_blocks, column_blocks = math.ceil(pe.rows / self.size), math.ceil(pe.columns / self.size)
        occupied, driven = row_blocks * column_blocks, pe.rows * self.activity.bit_density * column_blocks
        energy = {name: self.planes * occupied * value for name, value in unit.plane_j.items()}
        for name, value in unit.active_row_j.items():
            energy[name] += self.planes * driven * value
        energy["adc"] += self.windows * self.conversions.block_j(unit, self.activity, self.size, pe.rows, pe.columns)
        energy["adder_trees"] = self._pe_tree_charges(occupied) * self.tile.pe_tree.use_j(row_blocks)
        inputs, outputs = self._register_accesses(pe)
        energy["registers"] = (
            inputs * self.tile.input_register_bits + outputs * self.tile.output_register_bits
        ) * register_j
        energy["interconnect"] = self.tech.bus_j_per_m * (
            self.tile.input_bus_m * pe.rows * self.planes
            + self.tile.output_bus_m
            * (pe.columns // self.mapped.columns_per_weight)
            * self.conversions.adc_bits
            * self.windows
        )
        return energy

    def _pe_tree_charges(self, occupied: int) -> int:
        """Uses of a PE's adder trees. Quirk: a matrix copied within every PE charges them per occupied crossbar."""
        uses = self.windows * self.weights_per_scan
        copied = is_copied_on_every_pe(self.chip, self.mapped) and math.prod(self.mapped.crossbar_copies) > 1
        return uses * occupied if copied else uses

    def _chip_j(self) -> dict[str, float]:
        tech, chip, layer = self.tech, self.chip, self.mapped.layer
        bits_out, bits_in = self._chip_traffic_bits()
        return {
            "activation": self._activation_uses()
            * chip.activation_units
            * self.mapped.input_cycles
            * tech.register_access_j,
            "adder_trees": self._chip_tree_uses() * chip.tree.use_j(self.mapped.row_tiles),
            "pooling": self._pool_uses() * chip.pooling_units * linear_curve(tech.pool_j, self.mapped.input_cycles)
            if layer.pooled
            else 0.0,
            "buffers": bits_out * tech.global_core_read_j + bits_in * tech.global_core_write_j,
            "interconnect": self._chip_transfers() * self.route.bus_bits * self.route.bit_j,
        }

    # How often each block is used

    def _register_accesses(self, pe: Piece) -> tuple[int, int]:
        inputs = pe.rows * self.planes // self.tile.input_register_bits
        outputs = pe.columns // self.mapped.columns_per_weight * self.tile.pe_tree.width * self.windows
        return inputs, outputs // self.tile.output_register_bits

    def _tile_tree_inputs(self, tile: Piece) -> int:
        if self.is_novel or self.mapped.speedup == 1:
            return self.tile.side
        return math.ceil(tile.rows / self.mapped.pe_size)

    def _tile_tree_uses(self) -> int:
        if self.is_novel:
            return self.windows * self.weights_per_scan
        if is_copied_on_every_pe(self.chip, self.mapped):
            return 0
        return self.windows * math.ceil(self.chip.accelerator.cols_per_adc / self.mapped.columns_per_weight)

    def _tile_traffic_bits(self, tile: Piece) -> tuple[float, float]:
        """Bits into and out of a tile; a novel tile reuses inputs between neighbouring windows."""
        kernel = self.mapped.layer.kernel if self.is_novel else 1
        bits_in = tile.rows * self.mapped.kernel_positions * self.planes / kernel
        bits_out = (
            tile.columns // self.mapped.columns_per_weight * (1 + self.tile.tree.width) * self.windows / kernel**2
        )
        return bits_in, bits_out

    def _tile_transfers(self, tile: Piece) -> float:
        return sum(self._tile_traffic_bits(tile)) / self.tile.route.bus_bits

    def _chip_traffic_bits(self) -> tuple[float, float]:
        """Bits read from and written to the global buffer."""
        bits_out = self.mapped.layer.rows * self.planes / (self.mapped.layer.kernel if self.is_novel else 1)
        bits_in = self.mapped.layer.out_channels * self.planes / (POOL_WINDOW if self.mapped.layer.pooled else 1)
        return bits_out, bits_in

    def _chip_transfers(self) -> int:
        return math.ceil(sum(self._chip_traffic_bits()) / self.route.bus_bits)

    def _activation_uses(self) -> int:
        if not self.mapped.layer.relu:
            return 0
        return math.ceil(self.windows * self.mapped.layer.out_channels / self.chip.activation_units)

    def _chip_tree_uses(self) -> int:
        return math.ceil(self.mapped.columns * self.windows / self.chip.tree.trees)  # of one input they cost nothing

    def _pool_uses(self) -> int:
        per_unit = self.windows / POOL_WINDOW / self.mapped.tile_size
        return math.ceil(per_unit * self.mapped.layer.kernel if self.is_novel else per_unit)

    # Clock cycles: all bit-planes one after the other, the largest piece decides

    def _cycles(self) -> dict[str, float]:
        tile = self.tiles[0]
        cycles = self._pe_cycles(tile)
        tree = self.tile.tree.use_cycles(self._tile_tree_inputs(tile))
        cycles["adder_trees"] += self._tile_tree_uses() * tree + self._chip_tree_uses() * self.chip.tree.use_cycles(
            self.mapped.row_tiles
        )
        cycles["buffers"] = self._tile_buffer_cycles(tile) + self._global_buffer_cycles()
        cycles["interconnect"] = (
            self._tile_transfers(tile) * self.tile.route.transfer_cycles
            + self._chip_transfers() * self.route.transfer_cycles
        )
        cycles["activation"] = self._activation_uses()
        cycles["pooling"] = POOL_CYCLES * self._pool_uses() if self.mapped.layer.pooled else 0
        return cycles

    def _pe_cycles(self, tile: Piece) -> dict[str, float]:
        rows, columns = min(tile.rows, self.mapped.pe_size), min(tile.columns, self.mapped.pe_size)
        inputs, outputs = self._register_accesses(Piece(rows, columns, 1))
        tree_uses = self.windows * self.weights_per_scan
        copies = self.mapped.speedup
        register_copies = math.prod(self.mapped.pe_copies) if is_copied_on_every_pe(self.chip, self.mapped) else copies
        return {
            "adc": self.planes * self.unit.steps / copies,
            "shift_add": self.planes * self.unit.accumulation_steps / copies,
            "adder_trees": tree_uses * self.tile.pe_tree.use_cycles(math.ceil(rows / self.size)) / copies,
            "registers": (inputs + outputs) / register_copies,
        }

    def _tile_buffer_cycles(self, tile: Piece) -> float:
        return sum(
            2 * bits / buffer.bits_per_cycle
            for bits, buffer in zip(
                self._tile_traffic_bits(tile), (self.tile.input_buffer, self.tile.output_buffer), strict=True
            )
        )

    def _global_buffer_cycles(self) -> float:
        chip = self.chip
        side_by_side = min(chip.global_cores, math.ceil(self.route.bus_bits / GLOBAL_CORE_SIDE))
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
