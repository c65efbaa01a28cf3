"""Energy, clock cycles and leakage of each layer on the chip.

Source: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019); docs/cost_model.md, "Layer".
"""

import dataclasses
import math
from collections.abc import Mapping

from hw_models.circuits.chip import GLOBAL_CORE_SIDE, Chip
from hw_models.cost.activity import Activity
from hw_models.cost.column_energy import ConversionEnergy
from hw_models.cost.layer_energy import dynamic_energy_j
from hw_models.cost.layer_uses import LayerUses
from hw_models.cost.pieces import Piece

POOL_CYCLES = 3  # of one use of a pooling unit


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LayerWork:
    """What one inference through a layer takes.

    Attributes:
        dynamic_energy_j: By component.
        cycles: Clock cycles by component, one after the other. Copies share work, which gives fractions.
        tile_leakage_w: Leakage of one of the layer's tiles.
    """

    dynamic_energy_j: Mapping[str, float]
    cycles: Mapping[str, float]
    tile_leakage_w: float


def work_of_layers(chip: Chip, activity: Activity, conversions: ConversionEnergy) -> list[LayerWork]:
    """Work out all layers of a chip, in order.

    Quirk: of a PE's adder trees, only the part that their last use needed leaks. If a layer does not use them, the
    last use is that of another layer on tiles of the same kind: one before it, or the last one of the inference before.
    """
    layers = [LayerUses(chip, mapped) for mapped in chip.mapping.layers]
    tree_inputs = {}
    for uses in layers:
        if inputs := uses.last_pe_tree_inputs():
            tree_inputs[uses.mapped.mapped_as] = inputs
    work = []
    for uses, data in zip(layers, activity.layers, strict=True):
        kind = uses.mapped.mapped_as
        inputs = uses.last_pe_tree_inputs() or tree_inputs.get(kind) or uses.tile.pe.crossbars_per_side
        tree_inputs[kind] = inputs
        energy = dynamic_energy_j(uses, data, conversions)
        leakage = _tile_leakage_w(uses, inputs)
        work.append(LayerWork(dynamic_energy_j=energy, cycles=_cycles(uses), tile_leakage_w=leakage))
    return work


def _cycles(uses: LayerUses) -> dict[str, float]:
    """Clock cycles by component: bit-plane after bit-plane, as long as the largest piece takes."""
    largest, blocks, chip = uses.tiles[0], uses.tile, uses.chip
    cycles = _pe_cycles(uses, largest)
    tile_tree = blocks.tree.use_cycles(uses.tile_tree_inputs(largest))
    chip_tree = chip.tree.use_cycles(uses.mapped.row_tiles)
    cycles["adder_trees"] += uses.tile_tree_uses() * tile_tree + uses.chip_tree_uses() * chip_tree
    cycles["buffers"] = _tile_buffer_cycles(uses, largest) + _global_buffer_cycles(uses)
    cycles["interconnect"] = (
        uses.tile_transfers(largest) * blocks.route.transfer_cycles + uses.chip_transfers() * uses.route.transfer_cycles
    )
    cycles["activation"] = uses.activation_uses()
    cycles["pooling"] = POOL_CYCLES * uses.pool_uses()
    return cycles


def _pe_cycles(uses: LayerUses, tile: Piece) -> dict[str, float]:
    mapped, unit = uses.mapped, uses.chip.crossbar
    rows, columns = min(tile.rows, mapped.pe_size), min(tile.columns, mapped.pe_size)
    inputs, outputs = uses.register_accesses(Piece(rows, columns, 1))
    tree_uses, copies = uses.windows * uses.weights_per_scan, mapped.speedup
    register_copies = math.prod(mapped.pe_copies) if uses.is_copied_on_every_pe else copies
    return {
        "adc": uses.planes * unit.steps / copies,
        "shift_add": uses.planes * unit.accumulation_steps / copies,
        "adder_trees": tree_uses * uses.tile.pe.tree.use_cycles(math.ceil(rows / mapped.crossbar_size)) / copies,
        "registers": (inputs + outputs) / register_copies,
    }


def _tile_buffer_cycles(uses: LayerUses, tile: Piece) -> float:
    bits_in, bits_out = uses.tile_traffic_bits(tile)
    input_buffer, output_buffer = uses.tile.input_buffer, uses.tile.output_buffer
    return 2 * bits_in / input_buffer.bits_per_cycle + 2 * bits_out / output_buffer.bits_per_cycle


def _global_buffer_cycles(uses: LayerUses) -> float:
    side_by_side = min(uses.chip.global_cores, math.ceil(uses.route.bus_bits / GLOBAL_CORE_SIDE))
    sharers = math.ceil(uses.chip.mapping.tiles / uses.mapped.tiles)  # the buffer's time is shared by all tiles
    return sum(uses.chip_traffic_bits()) / GLOBAL_CORE_SIDE / side_by_side * sharers


def _tile_leakage_w(uses: LayerUses, pe_tree_inputs: int) -> float:
    tile, pe, tech = uses.tile, uses.tile.pe, uses.chip.tech
    registers = (pe.input_register_bits + pe.output_register_bits) * tech.flipflop_leak_w
    pe_tree = pe.tree.leakage_w(pe_tree_inputs)
    pe_w = pe.crossbars_per_side**2 * uses.chip.crossbar.leakage_w + pe_tree + registers
    tree = tile.tree.leakage_w(uses.tile_tree_inputs(uses.tiles[-1]))
    cores = (tile.input_buffer.core_share + tile.output_buffer.core_share) * tech.tile_core_leak_w
    return tile.pes * pe_w + tree + cores
