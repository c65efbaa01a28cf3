"""The chip around the crossbars: processing elements, tiles, buffers and what all tiles share.

Source: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019); docs/cost_model.md, "PE, tile and chip".
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from hw_models.accelerator import Accelerator
from hw_models.crossbar import Crossbar, crossbar
from hw_models.digital import AdderTree, HTree, ceil_log2
from hw_models.gates import register_column_m2, register_row_m2
from hw_models.layers import MvmLayer
from hw_models.mapping import Floorplan, NetworkMapping
from hw_models.technology import Technology, linear_curve, technology

TILE_CORE_SIDE = 32  # register files of a tile are built from cores of 32 x 32 bits
GLOBAL_CORE_SIDE = 128
MAX_BUS_BITS = 2048
TILE_FOLDING, CHIP_FOLDING = 16, 4


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Buffer:
    """A register file of a tile, made of equal cores.

    Attributes:
        cores: Cores side by side.
        core_share: Size of each, relative to a full core; a buffer of less than a core is one small core.
        bits_per_cycle: Bits that it reads or writes in one cycle.
    """

    cores: int
    core_share: float
    bits_per_cycle: int

    @classmethod
    def of_bits(cls, bits: int, *, narrow: int, wide: int, cores: int | None = None) -> "Buffer":
        """The buffer that holds `bits`.

        Args:
            bits: Its size.
            narrow: Width of its only port if it is smaller than a core.
            wide: Width of the bus that reaches it otherwise.
            cores: Fixes the number of cores.
        """
        full = TILE_CORE_SIDE**2
        if bits < full:
            return cls(cores=1, core_share=bits / full, bits_per_cycle=narrow)
        cores = cores or math.ceil(bits / full)
        return cls(cores=cores, core_share=1.0, bits_per_cycle=TILE_CORE_SIDE * min(cores, math.ceil(wide / TILE_CORE_SIDE)))

    def area_m2(self, tech: Technology) -> float:
        """Area of all cores."""
        return self.cores * self.core_share * tech.tile_core_m2


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """A tile, conventional or novel, with its PEs.

    Attributes:
        pes: Processing elements; `side` of them (all, in a novel tile) feed the tile's adder trees.
        side: Inputs of those trees, and leaves along a side of the tile's H-tree (quirk: all PEs of a novel tile).
        crossbars_per_side: Crossbars along a side of a PE.
        pe_tree, tree: Adder trees of a PE and of the tile.
        input_register_bits, output_register_bits: Registers of a PE.
        input_bus_m, output_bus_m: Length of the buses of a PE.
        input_buffer, output_buffer: Of the tile.
        htree: Between the PEs of the tile.
        area_m2: By component, of the whole tile.
    """

    pes: int
    side: int
    crossbars_per_side: int
    pe_tree: AdderTree
    tree: AdderTree
    input_register_bits: int
    output_register_bits: int
    input_bus_m: float
    output_bus_m: float
    input_buffer: Buffer
    output_buffer: Buffer
    htree: HTree
    area_m2: Mapping[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Chip:
    """A whole chip.

    Attributes:
        accelerator, mapping: What it is made for.
        tech: Its node.
        crossbar: One crossbar.
        tile, novel_tile: The kinds of tiles; None if the network needs no novel ones.
        global_cores: Cores of the global buffer.
        bus_bits: Width of the bus between tiles.
        tree: Adder trees that join tiles.
        activation_units, pooling_units: Of the chip.
        area_m2: By component.
    """

    accelerator: Accelerator
    mapping: NetworkMapping
    tech: Technology
    crossbar: Crossbar
    tile: Tile
    novel_tile: Tile | None
    global_cores: int
    bus_bits: float
    tree: AdderTree
    activation_units: int
    pooling_units: int
    area_m2: Mapping[str, float]

    def htree(self, tile_m2: float) -> HTree:
        """The bus between tiles of an area."""
        rows, columns = self.mapping.grid
        side = math.sqrt(tile_m2)
        return HTree(
            tech=self.tech,
            rows=rows,
            columns=columns,
            leaf_height_m=side,
            leaf_width_m=side,
            bus_bits=self.bus_bits,
            folding=CHIP_FOLDING,
        )


def build_chip(accelerator: Accelerator, mapping: NetworkMapping) -> Chip:
    """Size everything that a mapped network needs."""
    tech, plan = technology(accelerator.tech_node_nm), mapping.floorplan
    unit = crossbar(accelerator)
    tile = _tile(accelerator, unit, pe_size=plan.pe_size, pes=plan.pes_per_tile_side**2, side=plan.pes_per_tile_side)
    novel = None
    if plan.novel_pe_size is not None:
        pes = plan.pes_per_novel_tile
        novel = _tile(accelerator, unit, pe_size=plan.novel_pe_size, pes=pes, side=pes, sibling=tile)
    layers = [mapped.layer for mapped in mapping.layers]
    throughput = max(plan.tile_size, (plan.novel_kernel or 0) * (plan.novel_pe_size or 0))
    chip = Chip(
        accelerator=accelerator,
        mapping=mapping,
        tech=tech,
        crossbar=unit,
        tile=tile,
        novel_tile=novel,
        global_cores=_global_cores(accelerator, layers),
        bus_bits=_bus_bits(accelerator, mapping),
        tree=AdderTree(
            tech=tech,
            inputs=max(mapped.row_tiles for mapped in mapping.layers),
            width=_sum_bits(accelerator) + _levels_below_chip(plan),
            trees=math.ceil(throughput / accelerator.cols_per_adc),
        ),
        activation_units=math.ceil(throughput / accelerator.cols_per_adc),
        pooling_units=plan.tile_size,
        area_m2={},
    )
    return dataclasses.replace(chip, area_m2=_chip_area_m2(chip))


def _sum_bits(accelerator: Accelerator) -> int:
    """Bits of a crossbar's sum over the slices of a weight and the bits of an input."""
    assert accelerator.adc_bits is not None
    return accelerator.adc_bits + accelerator.input_cycles + accelerator.cells_per_weight + 1


def _levels_below_chip(plan: Floorplan) -> int:
    widest_pe = max(plan.pe_size, plan.novel_pe_size or 0) // plan.crossbar_size
    return ceil_log2(widest_pe * max(plan.pes_per_tile_side, plan.novel_kernel or 0))


def _bus_bits(accelerator: Accelerator, mapping: NetworkMapping) -> float:
    per_layer = (
        mapped.tile_size * (mapped.layer.kernel if mapped.mapped_as == "novel" else 1) for mapped in mapping.layers
    )
    bits = sum(per_layer) * (1 + 1 / accelerator.cols_per_adc)
    while bits > MAX_BUS_BITS:
        bits /= 2
    return bits


def _global_cores(accelerator: Accelerator, layers: Sequence[MvmLayer]) -> int:
    largest = max(layer.in_height * layer.in_width * layer.in_channels for layer in layers)
    return math.ceil(accelerator.input_cycles * largest / GLOBAL_CORE_SIDE**2)


def _tile(accelerator: Accelerator, unit: Crossbar, *, pe_size: int, pes: int, side: int, sibling: Tile | None = None) -> Tile:
    """A tile; `sibling` is the conventional tile, whose number of buffer cores a novel one takes over (quirk)."""
    tech, size = technology(accelerator.tech_node_nm), accelerator.crossbar_size
    per_side, adcs = pe_size // size, size // accelerator.cols_per_adc
    pe_tree = AdderTree(
        tech=tech,
        inputs=per_side,
        width=_sum_bits(accelerator),
        trees=math.ceil(per_side * size / accelerator.cols_per_adc),
    )
    tree = AdderTree(
        tech=tech,
        inputs=side,
        width=_sum_bits(accelerator) + ceil_log2(per_side),
        trees=math.ceil(side * size / accelerator.cols_per_adc),
    )
    input_register = accelerator.input_cycles * size
    output_register = adcs * (_sum_bits(accelerator) - 1 + ceil_log2(per_side))
    bus_bits = side * size
    input_buffer = Buffer.of_bits(
        accelerator.input_cycles * bus_bits,
        narrow=bus_bits,
        wide=bus_bits,
        cores=sibling.input_buffer.cores if sibling else None,
    )
    output_buffer = Buffer.of_bits(
        tree.width * side * adcs,
        narrow=tree.width * side,
        wide=bus_bits,
        cores=sibling.output_buffer.cores if sibling else None,
    )
    pe_area = {name: per_side**2 * area for name, area in unit.area_m2.items()}
    pe_area["adder_trees"] = pe_tree.area_m2()
    pe_area["registers"] = register_column_m2(tech, input_register, per_side * unit.box_height_m) + register_row_m2(
        tech, output_register, per_side * unit.box_width_m
    )
    pe_side = math.sqrt(sum(pe_area.values()))
    htree = HTree(
        tech=tech,
        rows=side,
        columns=side,
        leaf_height_m=pe_side,
        leaf_width_m=pe_side,
        bus_bits=bus_bits,
        folding=TILE_FOLDING,
    )
    area = {name: pes * value for name, value in pe_area.items()}
    area["adder_trees"] += tree.area_m2()
    area["buffers"] = input_buffer.area_m2(tech) + output_buffer.area_m2(tech)
    area["interconnect"] = htree.area_m2()
    return Tile(
        pes=pes,
        side=side,
        crossbars_per_side=per_side,
        pe_tree=pe_tree,
        tree=tree,
        input_register_bits=input_register,
        output_register_bits=output_register,
        input_bus_m=unit.box_width_m * (per_side - 1),
        output_bus_m=unit.box_height_m * (per_side - 1),
        input_buffer=input_buffer,
        output_buffer=output_buffer,
        htree=htree,
        area_m2=area,
    )


def _chip_area_m2(chip: Chip) -> dict[str, float]:
    tech, bits = chip.tech, chip.accelerator.input_cycles
    tiles = [(chip.tile, sum(mapped.tiles for mapped in chip.mapping.layers if mapped.mapped_as == "conventional"))]
    if chip.novel_tile is not None:
        tiles.append((chip.novel_tile, chip.mapping.tiles - tiles[0][1]))
    area = {name: sum(count * tile.area_m2[name] for tile, count in tiles) for name in chip.tile.area_m2}
    widest = max(sum(tile.area_m2.values()) for tile, count in tiles if count)
    area["adder_trees"] += chip.tree.area_m2()
    area["buffers"] += chip.global_cores * tech.global_core_m2
    area["interconnect"] += chip.htree(widest).area_m2()
    area["activation"] = chip.activation_units * bits * tech.flipflop_width_m * tech.cell_height_m
    area["pooling"] = chip.pooling_units * linear_curve(tech.pool_m2, bits)
    return area
