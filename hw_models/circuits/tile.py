"""A tile of processing elements (PEs), and a PE of crossbars, with the adder trees, memories and buses that join them.

Source: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019); docs/cost_model.md, "PE, tile and chip".
"""

import dataclasses
import math
from collections.abc import Mapping

from hw_models.accelerator import Accelerator
from hw_models.circuits.crossbar import Crossbar
from hw_models.circuits.digital import AdderTree, HTree, Route, ceil_log2
from hw_models.circuits.gates import register_column_m2, register_row_m2
from hw_models.circuits.periphery import column_bits, sums_per_weight
from hw_models.circuits.technology import Technology, technology

TILE_CORE_SIDE = 32  # the register files of a tile consist of cores of 32 x 32 bits
TILE_FOLDING = 16  # rows of repeaters along a tile's bus


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ProcessingElement:
    """One PE, with the adder trees over its crossbars' partial sums; its area is by component."""

    crossbars_per_side: int
    tree: AdderTree
    input_register_bits: int
    output_register_bits: int
    input_bus_m: float
    output_bus_m: float
    area_m2: Mapping[str, float]


def build_pe(accelerator: Accelerator, unit: Crossbar, pe_size: int) -> ProcessingElement:
    """Size a PE of `pe_size` cells along a side, made of the crossbar `unit`."""
    tech, rows, columns = (
        technology(accelerator.tech_node_nm, accelerator.supply_v),
        accelerator.crossbar_size,
        accelerator.columns,
    )
    per_side = pe_size // rows
    tree = AdderTree(
        tech=tech,
        inputs=per_side,
        width=sum_bits(accelerator),
        trees=math.ceil(per_side * columns / accelerator.cols_per_adc),
    )
    input_register = accelerator.input_bits * rows
    output_register = columns // accelerator.cols_per_adc * (sum_bits(accelerator) - 1 + ceil_log2(per_side))
    area = {name: per_side**2 * value for name, value in unit.area_m2.items()}
    area["adder_trees"] += tree.area_m2()
    area["registers"] = register_column_m2(tech, input_register, per_side * unit.box_height_m) + register_row_m2(
        tech, output_register, per_side * unit.box_width_m
    )
    return ProcessingElement(
        crossbars_per_side=per_side,
        tree=tree,
        input_register_bits=input_register,
        output_register_bits=output_register,
        input_bus_m=unit.box_width_m * (per_side - 1),
        output_bus_m=unit.box_height_m * (per_side - 1),
        area_m2=area,
    )


def sum_bits(accelerator: Accelerator) -> int:
    """Bits of a crossbar's sum over a weight's columns (quirk: one more bit each), input bits and reads."""
    sums = sums_per_weight(accelerator) + 1 + ceil_log2(accelerator.reads)
    return column_bits(accelerator) + accelerator.input_bits + sums


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Buffer:
    """A register file of a tile, made of equal cores side by side.

    Attributes:
        core_share: Size of each core relative to a full one. A buffer smaller than a full core is one small core.
        words_per_bit: Words of a core over bits of a word; 1 for a full, square core.
        bits_per_cycle: Bits that the buffer reads or writes in one cycle.
    """

    cores: int
    core_share: float
    words_per_bit: float
    bits_per_cycle: int

    @classmethod
    def of_bits(cls, bits: int, *, narrow: int, wide: int, cores: int | None = None) -> "Buffer":
        """The buffer that holds `bits`, in as many cores as it needs if `cores` is None.

        A word has `narrow` bits if the buffer is smaller than a full core; else the bus to the buffer has `wide` bits.
        """
        full = TILE_CORE_SIDE**2
        if bits < full:
            return cls(cores=1, core_share=bits / full, words_per_bit=bits / narrow**2, bits_per_cycle=narrow)
        cores = cores or math.ceil(bits / full)
        side_by_side = min(cores, math.ceil(wide / TILE_CORE_SIDE))
        return cls(cores=cores, core_share=1.0, words_per_bit=1.0, bits_per_cycle=TILE_CORE_SIDE * side_by_side)

    def bit_j(self, tech: Technology) -> float:
        """Energy of writing and reading a bit: of its register, and its share of selecting the word.

        Selecting costs energy in proportion to the number of words; the bits of a word share it (assumed for small
        cores).
        """
        selecting_j = tech.tile_core_read_j + tech.tile_core_write_j - tech.register_access_j
        return tech.register_access_j + selecting_j * self.words_per_bit

    def area_m2(self, tech: Technology) -> float:
        """Area of all cores."""
        return self.cores * self.core_share * tech.tile_core_m2


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """A tile, conventional or novel, with what joins its `pes` PEs; its area is by component.

    `side`, the PEs along a side, sizes adder trees (inputs) and H-tree (leaves). Quirk: in a novel tile it is all PEs.
    """

    pe: ProcessingElement
    pes: int
    side: int
    tree: AdderTree
    input_buffer: Buffer
    output_buffer: Buffer
    route: Route
    area_m2: Mapping[str, float]


def build_tile(
    accelerator: Accelerator, unit: Crossbar, *, pe_size: int, pes: int, side: int, sibling: Tile | None = None
) -> Tile:
    """Size a tile of `pes` PEs of `pe_size` cells along a side; `side` as in `Tile`.

    Quirk: a novel tile has as many buffer cores as `sibling`, the conventional tile of the same chip.
    """
    tech, pe = technology(accelerator.tech_node_nm, accelerator.supply_v), build_pe(accelerator, unit, pe_size)
    bus_bits, columns = side * accelerator.crossbar_size, side * accelerator.columns
    tree = AdderTree(
        tech=tech,
        inputs=side,
        width=sum_bits(accelerator) + ceil_log2(pe.crossbars_per_side),
        trees=math.ceil(columns / accelerator.cols_per_adc),
    )
    input_bits, output_bits = accelerator.input_bits * bus_bits, tree.width * (columns // accelerator.cols_per_adc)
    cores = (sibling.input_buffer.cores, sibling.output_buffer.cores) if sibling else (None, None)
    input_buffer = Buffer.of_bits(input_bits, narrow=bus_bits, wide=bus_bits, cores=cores[0])
    output_buffer = Buffer.of_bits(output_bits, narrow=tree.width * side, wide=bus_bits, cores=cores[1])
    leaf_m = math.sqrt(sum(pe.area_m2.values()))  # each PE is taken as a square
    htree = HTree(tech=tech, grid=(side, side), leaf_m=leaf_m, bus_bits=bus_bits, folding=TILE_FOLDING)
    area = {name: pes * value for name, value in pe.area_m2.items()}
    area["adder_trees"] += tree.area_m2()
    area["buffers"] = input_buffer.area_m2(tech) + output_buffer.area_m2(tech)
    area["interconnect"] = htree.area_m2()
    return Tile(
        pe=pe,
        pes=pes,
        side=side,
        tree=tree,
        input_buffer=input_buffer,
        output_buffer=output_buffer,
        route=htree.route(),
        area_m2=area,
    )
