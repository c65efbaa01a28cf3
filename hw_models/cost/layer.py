"""Energy, clock cycles and leakage of each layer on the chip.

Source: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019); docs/cost_model.md, "Layer".
"""

import math
from collections import defaultdict
from collections.abc import Mapping

from hw_models.circuits.chip import GLOBAL_CORE_SIDE, Chip
from hw_models.circuits.technology import linear_curve
from hw_models.cost.activity import Activity, LayerActivity
from hw_models.cost.column_energy import ConversionEnergy
from hw_models.cost.layer_uses import LayerUses, Piece, pes_of
from hw_models.cost.report import LayerCost

POOL_CYCLES = 3  # of one use of a pooling unit


def costs_of_layers(chip: Chip, activity: Activity, conversions: ConversionEnergy) -> list[LayerCost]:
    """The costs of all layers of a chip, in order.

    Quirk: of a PE's adder trees, only the adders that their last use needed leak. If a layer does not use them, the
    last use is by an earlier layer on tiles of the same kind, or by the last such layer of the inference before.
    """
    layers = [LayerUses(chip, mapped) for mapped in chip.mapping.layers]
    tree_inputs = {}
    for uses in layers:
        if inputs := uses.last_pe_tree_inputs():
            tree_inputs[uses.mapped.mapped_as] = inputs
    costs = []
    for uses, data in zip(layers, activity.layers, strict=True):
        kind = uses.mapped.mapped_as
        inputs = uses.last_pe_tree_inputs() or tree_inputs.get(kind) or uses.tile.pe.crossbars_per_side
        tree_inputs[kind] = inputs
        energy_j = _dynamic_energy_j(uses, data, conversions)
        costs.append(_layer_cost(uses, energy_j, _cycles(uses), _tile_leakage_w(uses, inputs)))
    return costs


def _layer_cost(
    uses: LayerUses, energy_j: Mapping[str, float], cycles: Mapping[str, float], tile_leakage_w: float
) -> LayerCost:
    chip, mapped, clock_s = uses.chip, uses.mapped, uses.chip.crossbar.sensing_s
    cycle_count = math.fsum(cycles.values())
    return LayerCost(
        name=mapped.layer.name,
        mapped_as=mapped.mapped_as,
        tiles=mapped.tiles,
        speedup=mapped.speedup,
        utilisation=mapped.utilisation,
        conversions=mapped.conversions,
        area_m2=mapped.tiles * sum(uses.tile.area_m2.values()),
        latency_s=cycle_count * clock_s,
        dynamic_energy_j=math.fsum(energy_j.values()),
        area_by_component_m2={name: mapped.tiles * value for name, value in uses.tile.area_m2.items()},
        latency_by_component_s={name: value * clock_s for name, value in cycles.items()},
        energy_by_component_j=energy_j,
        leakage_power_w=mapped.tiles * tile_leakage_w,
        # quirk: while a layer runs, only the tiles of other layers leak, each as much as a tile of this layer
        leakage_energy_j=(chip.mapping.tiles - mapped.tiles) * tile_leakage_w * cycle_count * clock_s,
    )


def _dynamic_energy_j(uses: LayerUses, activity: LayerActivity, conversions: ConversionEnergy) -> dict[str, float]:
    energy: defaultdict[str, float] = defaultdict(float)
    for tile in uses.tiles:
        _add(energy, _tile_j(uses, tile, activity, conversions), tile.count)
    _add(energy, _chip_j(uses), 1)
    return dict(energy)


def _add(total: defaultdict[str, float], parts: Mapping[str, float], count: int) -> None:
    for name, value in parts.items():
        total[name] += count * value


def _tile_j(uses: LayerUses, tile: Piece, data: LayerActivity, conversions: ConversionEnergy) -> Mapping[str, float]:
    tech, blocks = uses.chip.tech, uses.tile
    total: defaultdict[str, float] = defaultdict(float)
    for pe in pes_of(uses.mapped, tile, blocks.side):
        _add(total, _pe_j(uses, pe, data, conversions), pe.count * tile.packs)
    tree_uses = uses.tile_tree_uses() * uses.pack_rows_of(tile)
    total["adder_trees"] += tree_uses * blocks.tree.use_j(uses.tile_tree_inputs(tile))
    bits_in, bits_out = uses.tile_traffic_bits(tile)
    total["buffers"] += bits_in * blocks.input_buffer.bit_j(tech)
    total["buffers"] += bits_out * blocks.output_buffer.bit_j(tech)
    total["interconnect"] += (bits_in + bits_out) * blocks.route.bit_j
    return total


def _pe_j(uses: LayerUses, pe: Piece, activity: LayerActivity, conversions: ConversionEnergy) -> Mapping[str, float]:
    tech, unit, blocks, mapped = uses.chip.tech, uses.chip.crossbar, uses.tile.pe, uses.mapped
    row_blocks = math.ceil(pe.rows / mapped.crossbar_size)
    column_blocks = math.ceil(pe.columns / mapped.crossbar_columns)
    occupied = row_blocks * column_blocks
    reads = uses.planes * math.ceil(pe.rows / mapped.rows_read) * column_blocks
    energy = defaultdict(float, {name: reads * value for name, value in uses.read_j.items()})
    for name, value in unit.reading.active_row_j.items():
        driven = pe.rows * _drive_share(uses, activity, name) * column_blocks
        energy[name] += uses.planes * driven * (uses.drives * value)
    energy["drivers"] += uses.planes * pe.rows * column_blocks * (unit.drive.cycle_j + uses.drives * unit.drive.drive_j)
    if uses.has_cell_energies:
        _add(energy, _cells_j(uses, pe, activity), 1)
    energy["adc"] += uses.windows * conversions.block_j(unit, activity, mapped, pe.rows, pe.columns)
    energy["adder_trees"] += uses.pe_tree_charges(occupied) * blocks.tree.use_j(row_blocks)
    inputs, outputs = uses.register_accesses(pe)
    register_bits = inputs * blocks.input_register_bits + outputs * blocks.output_register_bits
    energy["registers"] = register_bits * tech.register_access_j
    weights = pe.columns // mapped.columns_per_weight
    energy["interconnect"] = tech.bus_j_per_m * (
        blocks.input_bus_m * pe.rows * uses.input_bits
        + blocks.output_bus_m * weights * conversions.column_bits * uses.windows
    )
    return energy


def _drive_share(uses: LayerUses, activity: LayerActivity, component: str) -> float:
    """Energy of the rows over that of all rows at full input: a line is charged to the square of its voltage."""
    if component == "array" and uses.chip.accelerator.input_drive == "voltage":
        return sum(activity.squares) / len(activity.squares)
    return activity.bit_density


def _cells_j(uses: LayerUses, pe: Piece, activity: LayerActivity) -> Mapping[str, float]:
    """Energy of the used cells and columns of a PE (`Reading`)."""
    reading, cells = uses.chip.crossbar.reading, pe.rows * pe.columns
    energy: defaultdict[str, float] = defaultdict(float)
    inputs = activity.squares if uses.chip.accelerator.input_drive == "voltage" else activity.means
    ones = uses.windows * cells * activity.mean_level * sum(inputs)
    columns = uses.planes * math.ceil(pe.rows / uses.mapped.rows_read) * pe.columns
    for values, times in ((reading.one_j, ones), (reading.cell_j, uses.planes * cells), (reading.column_j, columns)):
        for name, value in values.items():
            energy[name] += times * value
    return energy


def _chip_j(uses: LayerUses) -> dict[str, float]:
    chip, tech, mapped = uses.chip, uses.chip.tech, uses.mapped
    bits_read, bits_written = uses.chip_traffic_bits()
    input_bits = chip.accelerator.input_bits
    activation_bits = uses.activation_uses() * chip.activation_units * input_bits
    return {
        "activation": activation_bits * tech.register_access_j,
        "adder_trees": uses.chip_tree_uses() * chip.tree.use_j(mapped.row_tiles),
        "pooling": uses.pool_uses() * chip.pooling_units * linear_curve(tech.pool_j, input_bits),
        "buffers": bits_read * tech.global_core_read_j + bits_written * tech.global_core_write_j,
        "interconnect": uses.chip_transfers() * uses.route.bus_bits * uses.route.bit_j,
    }


def _cycles(uses: LayerUses) -> dict[str, float]:
    """Clock cycles by component. Components and bit-planes take turns; the largest piece sets the time.

    Copies share work, which gives fractions.
    """
    largest, blocks, chip = uses.tiles[0], uses.tile, uses.chip
    cycles = _pe_cycles(uses, largest)
    tile_tree = blocks.tree.use_cycles(uses.tile_tree_inputs(largest))
    chip_tree = chip.tree.use_cycles(uses.mapped.row_tiles)
    cycles["adder_trees"] += uses.tile_tree_uses() * tile_tree + uses.chip_tree_uses() * chip_tree
    bits_in, bits_out = uses.tile_traffic_bits(largest)
    tile_buffers = 2 * bits_in / blocks.input_buffer.bits_per_cycle + 2 * bits_out / blocks.output_buffer.bits_per_cycle
    cycles["buffers"] = tile_buffers + _global_buffer_cycles(uses)
    tile_cycles = (bits_in + bits_out) / blocks.route.bus_bits * blocks.route.transfer_cycles
    cycles["interconnect"] = tile_cycles + uses.chip_transfers() * uses.route.transfer_cycles
    cycles["activation"] = uses.activation_uses()
    cycles["pooling"] = POOL_CYCLES * uses.pool_uses()
    return cycles


def _pe_cycles(uses: LayerUses, tile: Piece) -> dict[str, float]:
    mapped, unit = uses.mapped, uses.chip.crossbar
    rows, columns = min(tile.rows, mapped.pe_size), min(tile.columns, mapped.pe_columns)
    reads = uses.planes * math.ceil(min(rows, mapped.crossbar_size) / mapped.rows_read)
    inputs, outputs = uses.register_accesses(Piece(rows, columns, 1))
    tree_uses, copies = uses.windows * uses.weights_per_scan, mapped.speedup
    registers = math.prod(mapped.pe_places) if uses.is_copied_on_every_pe else mapped.places
    return {
        "adc": reads * uses.steps / copies,
        "shift_add": reads * (uses.weight_steps + unit.accumulations) / copies,
        "adder_trees": tree_uses * uses.tile.pe.tree.use_cycles(math.ceil(rows / mapped.crossbar_size)) / copies,
        "registers": tile.packs * (inputs + outputs) / min(registers, tile.packs * copies),
    }


def _global_buffer_cycles(uses: LayerUses) -> float:
    side_by_side = min(uses.chip.global_cores, math.ceil(uses.route.bus_bits / GLOBAL_CORE_SIDE))
    sharers = math.ceil(uses.chip.mapping.tiles / uses.mapped.tiles)  # the buffer's time is shared by all tiles
    return sum(uses.chip_traffic_bits()) / GLOBAL_CORE_SIDE / side_by_side * sharers


def _tile_leakage_w(uses: LayerUses, pe_tree_inputs: int) -> float:
    tile, pe, tech = uses.tile, uses.tile.pe, uses.chip.tech
    registers = (pe.input_register_bits + pe.output_register_bits) * tech.flipflop_leak_w
    pe_w = pe.crossbars_per_side**2 * uses.chip.crossbar.leakage_w + pe.tree.leakage_w(pe_tree_inputs) + registers
    tree = tile.tree.leakage_w(uses.tile_tree_inputs(uses.tiles[-1]))
    cores = (tile.input_buffer.core_share + tile.output_buffer.core_share) * tech.tile_core_leak_w
    return tile.pes * pe_w + tree + cores
