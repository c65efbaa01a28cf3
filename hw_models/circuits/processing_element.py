"""A processing element (PE): a square of crossbars with the adder trees, registers and buses that join them.

Source: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019); docs/cost_model.md, "PE, tile and chip".
"""

import dataclasses
import math
from collections.abc import Mapping

from hw_models.accelerator import Accelerator
from hw_models.circuits.crossbar import Crossbar
from hw_models.circuits.digital import AdderTree, ceil_log2
from hw_models.circuits.gates import register_column_m2, register_row_m2
from hw_models.circuits.technology import technology


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ProcessingElement:
    """One PE.

    Attributes:
        crossbars_per_side: Crossbars along a side.
        tree: Adder trees that join crossbars.
        input_register_bits, output_register_bits: Size of its registers.
        input_bus_m, output_bus_m: Length of its buses.
        area_m2: By component.
    """

    crossbars_per_side: int
    tree: AdderTree
    input_register_bits: int
    output_register_bits: int
    input_bus_m: float
    output_bus_m: float
    area_m2: Mapping[str, float]


def build_pe(accelerator: Accelerator, unit: Crossbar, pe_size: int) -> ProcessingElement:
    """Size a PE of `pe_size` cells along a side, made of the crossbar `unit`."""
    tech, size = technology(accelerator.tech_node_nm), accelerator.crossbar_size
    per_side = pe_size // size
    tree = AdderTree(
        tech=tech,
        inputs=per_side,
        width=sum_bits(accelerator),
        trees=math.ceil(per_side * size / accelerator.cols_per_adc),
    )
    input_register = accelerator.input_cycles * size
    output_register = size // accelerator.cols_per_adc * (sum_bits(accelerator) - 1 + ceil_log2(per_side))
    area = {name: per_side**2 * value for name, value in unit.area_m2.items()}
    area["adder_trees"] = tree.area_m2()
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
    """Bits of a crossbar's sum over the cells of a weight and the bits of an input."""
    assert accelerator.adc_bits is not None
    return accelerator.adc_bits + accelerator.input_cycles + accelerator.cells_per_weight + 1
