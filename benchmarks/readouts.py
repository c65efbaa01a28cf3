"""The cost model's own figure for measured macros of the readouts charge, discharge and digital; nothing is fitted.

    python benchmarks/readouts.py FOLDER

Each macro of `Benchmarking_Data.csv` becomes the nearest accelerator: as many rows as it reads at once, rounded up to a
power of two, 128 columns, one conversion for all bits of an input and a weight. Only the macro counts: cells, drivers,
converters, adders. Half of all input bits and of all cells are 1. Supplies outside the model's are scaled by V^2.
"""

import argparse
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from hw_models.accelerator import SUPPLY_RANGE, TECH_NODES_NM, Accelerator
from hw_models.circuits.technology import technology
from hw_models.cost import POST_LAYOUT_ENERGY, estimate_cost
from hw_models.cost.activity import Activity, LayerActivity
from hw_models.devices import load_card
from hw_models.errors import InfeasibleDesign
from hw_models.layers import MvmLayer
from hw_models.silicon.measured import BENCHMARK, MeasuredMacro, benchmark_macros
from hw_models.validation.neurosim_input import read_rows
from hw_models.validation.silicon import MACRO, NODE_TOLERANCE

CARDS = {"charge": "sram_charge", "discharge": "sram_discharge", "digital": "sram"}
COLUMNS = 128


def power_of_two(value: float) -> int:
    return int(2 ** math.ceil(math.log2(value)))


def accelerator_of(chip: MeasuredMacro, node_nm: int) -> Accelerator:
    macro, own_v = chip.macro, technology(node_nm).supply_v
    weight_bits, input_bits = max(2, math.ceil(macro.weight_bits)), math.ceil(macro.input_bits)
    hardware = {
        "device": load_card(CARDS[macro.family]).device,
        "readout": macro.family,
        "tech_node_nm": node_nm,
        "crossbar_size": power_of_two(min(1024, max(16, macro.inputs))),
        "crossbar_columns": COLUMNS,
        "cell_bits": 1,
        "weight_bits": weight_bits,
        "input_bits": input_bits,
        "cols_per_adc": max(8, power_of_two(weight_bits)),
        "supply_v": min(max(macro.supply_v, SUPPLY_RANGE[0] * own_v), SUPPLY_RANGE[1] * own_v),
        "mapping": "conventional",
        "adc_bits": None,
    }
    if macro.family != "digital":
        drive = "pulse_width" if macro.family == "discharge" and input_bits > 1 else "voltage"
        hardware |= {"adc_bits": min(14, max(1, round(macro.converted_bits))), "combine_columns": True}
        hardware |= {"dac_bits": input_bits, "input_drive": drive}
    return Accelerator(**hardware)


def ratio(chip: MeasuredMacro) -> float | None:
    """TOPS/W of the model over that of the chip; None if its node is not one of the model's."""
    node_nm = min(TECH_NODES_NM, key=lambda node: abs(math.log(node / chip.macro.node_nm)))
    if abs(node_nm / chip.macro.node_nm - 1) > NODE_TOLERANCE or chip.macro.weight_bits > 8:
        return None
    accelerator = accelerator_of(chip, node_nm)
    rows = min(accelerator.crossbar_size, max(1, round(chip.macro.inputs)))
    outputs = COLUMNS // accelerator.cells_per_weight
    layer = MvmLayer(name="macro", in_height=1, in_width=1, in_channels=rows, kernel=1, out_channels=outputs, windows=1)
    record = LayerActivity.of_planes((0.5,) * accelerator.input_bits, accelerator.dac_bits, (0.5, 0.5))
    report = estimate_cost(accelerator, [layer], activity=Activity(layers=(record,)))
    parts = (*MACRO, "adder_trees")
    energy_j = POST_LAYOUT_ENERGY * math.fsum(report.energy_by_component_j[name] for name in parts)
    energy_j *= (chip.macro.supply_v / (accelerator.supply_v or accelerator.node_supply_v)) ** 2
    one_bit = report.ops * accelerator.input_bits * accelerator.weight_bits / energy_j / 1e12
    return one_bit / chip.tops_per_watt_1bit


def compared(folder: Path) -> Iterator[tuple[MeasuredMacro, float]]:
    for chip in benchmark_macros(read_rows(folder / BENCHMARK)):
        if chip is None or chip.flags or chip.macro.is_processor or chip.macro.family not in CARDS:
            continue
        try:
            found = ratio(chip)
        except InfeasibleDesign:
            continue
        if found is not None:
            yield chip, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help=f"folder of {BENCHMARK}")
    by_family: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for chip, found in compared(parser.parse_args().folder):
        macro = chip.macro
        bits = f"N {macro.inputs:.0f}, {macro.input_bits:g} x {macro.weight_bits:g} b"
        described = f"{chip.title[:44]:46}{macro.node_nm:3.0f} nm {macro.supply_v:.2f} V"
        print(f"{macro.family:10}{described}  {bits:22}{found:7.2f}")
        by_family[macro.family][chip.chip].append(math.log(found))
    for family, chips in by_family.items():
        logs = [statistics.fmean(each) for each in chips.values()]
        factor = math.exp(statistics.median(abs(each) for each in logs))
        within = statistics.fmean(abs(each) < math.log(3) for each in logs)
        mean = math.exp(statistics.fmean(logs))
        print(f"{family}: {len(logs)} chips, ratio {mean:.2f} (geometric), median {factor:.2f}x, 3x {within:.0%}")


if __name__ == "__main__":
    main()
