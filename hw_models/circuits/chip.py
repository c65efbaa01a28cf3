"""The chip: its tiles, and what they share (global buffer, bus, adder trees, ReLU units, pooling units).

Source: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019); docs/cost_model.md, "PE, tile and chip".
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from hw_models.accelerator import Accelerator
from hw_models.circuits.crossbar import Crossbar, crossbar
from hw_models.circuits.digital import AdderTree, HTree, Route, ceil_log2
from hw_models.circuits.technology import Technology, linear_curve, technology
from hw_models.circuits.tile import Tile, build_tile, sum_bits
from hw_models.floorplan import Floorplan
from hw_models.layers import MvmLayer
from hw_models.mapping import NetworkMapping

GLOBAL_CORE_SIDE = 128  # the global buffer consists of register files (cores) of 128 x 128 bits
MAX_BUS_BITS = 2048
CHIP_FOLDING = 4  # rows of repeaters along the bus between tiles


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Chip:
    """A whole chip for a mapped network.

    Attributes:
        accumulate_wide_weights: See `periphery.weights_per_scan`.
        tiles, routes: One tile, and the bus to it from the global buffer, of each kind: `conventional`, and `novel` if
            there are novel layers.
        global_cores: Cores of the global buffer.
        tree: Adder trees over the partial sums of tiles.
        area_m2: Of the whole chip, by component.
    """

    accelerator: Accelerator
    mapping: NetworkMapping
    accumulate_wide_weights: bool
    tech: Technology
    crossbar: Crossbar
    tiles: Mapping[str, Tile]
    routes: Mapping[str, Route]
    global_cores: int
    tree: AdderTree
    activation_units: int
    pooling_units: int
    area_m2: Mapping[str, float]


def build_chip(accelerator: Accelerator, mapping: NetworkMapping, accumulate_wide_weights: bool) -> Chip:
    """Size the chip for a mapped network."""
    tech, plan = technology(accelerator.tech_node_nm, accelerator.supply_v), mapping.floorplan
    unit = crossbar(accelerator, accumulate_wide_weights)
    side, pes = plan.pes_per_tile_side, plan.pes_per_novel_tile
    tile = build_tile(accelerator, unit, pe_size=plan.pe_size, pes=side**2, side=side)
    tiles = {"conventional": tile}
    if plan.novel_pe_size is not None:
        tiles["novel"] = build_tile(accelerator, unit, pe_size=plan.novel_pe_size, pes=pes, side=pes, sibling=tile)
    layers = [mapped.layer for mapped in mapping.layers]
    widest = max(plan.tile_size, (plan.novel_kernel or 0) * (plan.novel_pe_size or 0))
    converters = math.ceil(widest * accelerator.columns // accelerator.crossbar_size / accelerator.cols_per_adc)
    chip = Chip(
        accelerator=accelerator,
        accumulate_wide_weights=accumulate_wide_weights,
        mapping=mapping,
        tech=tech,
        crossbar=unit,
        tiles=tiles,
        routes={kind: _chip_htree(accelerator, mapping, tile).route() for kind, tile in tiles.items()},
        global_cores=_global_cores(accelerator, layers),
        tree=AdderTree(
            tech=tech,
            inputs=max(mapped.row_tiles for mapped in mapping.layers),
            width=sum_bits(accelerator) + _levels_below_chip(plan),
            trees=converters,
        ),
        activation_units=converters,
        pooling_units=plan.tile_size,
        area_m2={},
    )
    return dataclasses.replace(chip, area_m2=_chip_area_m2(chip))


def _levels_below_chip(plan: Floorplan) -> int:
    widest_pe = max(plan.pe_size, plan.novel_pe_size or 0) // plan.crossbar_size
    return ceil_log2(widest_pe * max(plan.pes_per_tile_side, plan.novel_kernel or 0))


def _chip_htree(accelerator: Accelerator, mapping: NetworkMapping, tile: Tile) -> HTree:
    """The bus between tiles, as if all tiles were of this kind."""
    return HTree(
        tech=technology(accelerator.tech_node_nm, accelerator.supply_v),
        grid=mapping.grid,
        leaf_m=math.sqrt(sum(tile.area_m2.values())),
        bus_bits=_bus_bits(accelerator, mapping),
        folding=CHIP_FOLDING,
    )


def _bus_bits(accelerator: Accelerator, mapping: NetworkMapping) -> float:
    per_layer = (
        mapped.tile_size * (mapped.layer.square_kernel if mapped.mapped_as == "novel" else 1)
        for mapped in mapping.layers
    )
    bits = sum(per_layer) * (1 + 1 / accelerator.cols_per_adc)
    while bits > MAX_BUS_BITS:
        bits /= 2
    return bits


def _global_cores(accelerator: Accelerator, layers: Sequence[MvmLayer]) -> int:
    largest = max(layer.in_height * layer.in_width * layer.in_channels for layer in layers)
    return math.ceil(accelerator.input_bits * largest / GLOBAL_CORE_SIDE**2)


def _chip_area_m2(chip: Chip) -> dict[str, float]:
    tech, bits = chip.tech, chip.accelerator.input_bits
    layers = chip.mapping.layers
    tiles = [
        (tile, sum(mapped.tiles for mapped in layers if mapped.mapped_as == kind)) for kind, tile in chip.tiles.items()
    ]
    area = {name: sum(count * tile.area_m2[name] for tile, count in tiles) for name in tiles[0][0].area_m2}
    widest = max((tile for tile, count in tiles if count), key=lambda tile: sum(tile.area_m2.values()))
    area["adder_trees"] += chip.tree.area_m2()
    area["buffers"] += chip.global_cores * tech.global_core_m2
    area["interconnect"] += _chip_htree(chip.accelerator, chip.mapping, widest).area_m2()
    area["activation"] = chip.activation_units * bits * tech.flipflop_width_m * tech.cell_height_m
    area["pooling"] = chip.pooling_units * linear_curve(tech.pool_m2, bits)
    return area
