"""A tile: processing elements (PEs) of crossbars, with the adder trees, registers, buffers and buses between them.

Source: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019); docs/cost_model.md, "PE, tile and chip".
"""

import dataclasses
import math
from collections.abc import Mapping

from hw_models.accelerator import Accelerator
from hw_models.circuits.crossbar import Crossbar
from hw_models.circuits.digital import AdderTree, HTree, Route, ceil_log2
from hw_models.circuits.gates import register_column_m2, register_row_m2
from hw_models.circuits.technology import Technology, technology

TILE_CORE_SIDE = 32  # register files of a tile are built from cores of 32 x 32 bits
TILE_FOLDING = 16  # rows in which the repeaters of a tile's bus stand


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Buffer:
    """A register file of a tile, made of equal cores.

    Attributes:
        cores: Cores side by side.
        core_share: Size of each, relative to a full core; a buffer of less than a core is one small core.
        words_per_bit: Words of a core over bits of a word; 1 for a full, square core.
        bits_per_cycle: Bits that it reads or writes in one cycle.
    """

    cores: int
    core_share: float
    words_per_bit: float
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
            return cls(cores=1, core_share=bits / full, words_per_bit=bits / narrow**2, bits_per_cycle=narrow)
        cores = cores or math.ceil(bits / full)
        side_by_side = min(cores, math.ceil(wide / TILE_CORE_SIDE))
        return cls(cores=cores, core_share=1.0, words_per_bit=1.0, bits_per_cycle=TILE_CORE_SIDE * side_by_side)

    def bit_j(self, tech: Technology) -> float:
        """Energy of writing and reading a bit: its register, and its share of selecting the word.

        Selecting a word goes with the words there are and is shared by the bits of a word (assumed for small cores).
        """
        selecting_j = tech.tile_core_read_j + tech.tile_core_write_j - tech.register_access_j
        return tech.register_access_j + selecting_j * self.words_per_bit

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
        route: Between the PEs of the tile.
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
    route: Route
    area_m2: Mapping[str, float]


def sum_bits(accelerator: Accelerator) -> int:
    """Bits of a crossbar's sum over the slices of a weight and the bits of an input."""
    assert accelerator.adc_bits is not None
    return accelerator.adc_bits + accelerator.input_cycles + accelerator.cells_per_weight + 1


def build_tile(
    accelerator: Accelerator, unit: Crossbar, *, pe_size: int, pes: int, side: int, sibling: Tile | None = None
) -> Tile:
    """A tile; `sibling` is the conventional tile, whose number of buffer cores a novel one takes over (quirk)."""
    tech, size = technology(accelerator.tech_node_nm), accelerator.crossbar_size
    per_side, adcs = pe_size // size, size // accelerator.cols_per_adc
    pe_tree = AdderTree(
        tech=tech,
        inputs=per_side,
        width=sum_bits(accelerator),
        trees=math.ceil(per_side * size / accelerator.cols_per_adc),
    )
    tree = AdderTree(
        tech=tech,
        inputs=side,
        width=sum_bits(accelerator) + ceil_log2(per_side),
        trees=math.ceil(side * size / accelerator.cols_per_adc),
    )
    input_register = accelerator.input_cycles * size
    output_register = adcs * (sum_bits(accelerator) - 1 + ceil_log2(per_side))
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
        route=htree.route(),
        area_m2=area,
    )
