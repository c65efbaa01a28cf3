"""Dynamic energy of one layer, by component: its processing elements (PEs), its tiles, and its share of the chip.

Source: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019); docs/cost_model.md, "Layer".
"""

import math
from collections import defaultdict
from collections.abc import Mapping

from hw_models.circuits.technology import linear_curve
from hw_models.cost.activity import LayerActivity
from hw_models.cost.column_energy import ConversionEnergy
from hw_models.cost.layer_uses import LayerUses
from hw_models.cost.pieces import Piece, pes_of


def dynamic_energy_j(uses: LayerUses, activity: LayerActivity, conversions: ConversionEnergy) -> dict[str, float]:
    """Dynamic energy of one inference through a layer, by component."""
    energy: defaultdict[str, float] = defaultdict(float)
    for tile in uses.tiles:
        _add(energy, _tile_j(uses, tile, activity, conversions), tile.count)
    _add(energy, _chip_j(uses), 1)
    return dict(energy)


def _add(total: defaultdict[str, float], parts: Mapping[str, float], count: int) -> None:
    for name, value in parts.items():
        total[name] += count * value


def _tile_j(
    uses: LayerUses, tile: Piece, activity: LayerActivity, conversions: ConversionEnergy
) -> Mapping[str, float]:
    tech, blocks = uses.chip.tech, uses.tile
    total: defaultdict[str, float] = defaultdict(float)
    for pe in pes_of(uses.mapped, tile, blocks.side):
        _add(total, _pe_j(uses, pe, activity, conversions), pe.count)
    total["adder_trees"] += uses.tile_tree_uses() * blocks.tree.use_j(uses.tile_tree_inputs(tile))
    bits_in, bits_out = uses.tile_traffic_bits(tile)
    total["buffers"] += bits_in * blocks.input_buffer.bit_j(tech)
    total["buffers"] += bits_out * blocks.output_buffer.bit_j(tech)
    total["interconnect"] += (bits_in + bits_out) * blocks.route.bit_j
    return total


def _pe_j(uses: LayerUses, pe: Piece, activity: LayerActivity, conversions: ConversionEnergy) -> dict[str, float]:
    tech, unit, blocks, mapped = uses.chip.tech, uses.chip.crossbar, uses.tile.pe, uses.mapped
    size = mapped.crossbar_size
    row_blocks, column_blocks = math.ceil(pe.rows / size), math.ceil(pe.columns / size)
    occupied, driven = row_blocks * column_blocks, pe.rows * activity.bit_density * column_blocks
    energy = {name: uses.planes * occupied * value for name, value in unit.plane_j.items()}
    for name, value in unit.active_row_j.items():
        energy[name] += uses.planes * driven * value
    energy["adc"] += uses.windows * conversions.block_j(unit, activity, size, pe.rows, pe.columns)
    energy["adder_trees"] = uses.pe_tree_charges(occupied) * blocks.tree.use_j(row_blocks)
    inputs, outputs = uses.register_accesses(pe)
    register_bits = inputs * blocks.input_register_bits + outputs * blocks.output_register_bits
    energy["registers"] = register_bits * tech.register_access_j
    weights = pe.columns // mapped.columns_per_weight
    energy["interconnect"] = tech.bus_j_per_m * (
        blocks.input_bus_m * pe.rows * uses.planes + blocks.output_bus_m * weights * conversions.adc_bits * uses.windows
    )
    return energy


def _chip_j(uses: LayerUses) -> dict[str, float]:
    chip, tech, mapped = uses.chip, uses.chip.tech, uses.mapped
    bits_read, bits_written = uses.chip_traffic_bits()
    activation_bits = uses.activation_uses() * chip.activation_units * mapped.input_cycles
    return {
        "activation": activation_bits * tech.register_access_j,
        "adder_trees": uses.chip_tree_uses() * chip.tree.use_j(mapped.row_tiles),
        "pooling": uses.pool_uses() * chip.pooling_units * linear_curve(tech.pool_j, mapped.input_cycles),
        "buffers": bits_read * tech.global_core_read_j + bits_written * tech.global_core_write_j,
        "interconnect": uses.chip_transfers() * uses.route.bus_bits * uses.route.bit_j,
    }
