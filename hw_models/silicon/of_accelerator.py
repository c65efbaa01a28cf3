"""An `Accelerator` as macros of the silicon estimate: its family, and what one conversion of it serves.

A new kind of readout is described here alone.
"""

from collections import Counter
from collections.abc import Sequence

from hw_models.accelerator import Accelerator
from hw_models.circuits.technology import technology
from hw_models.cost import estimate_cost
from hw_models.layers import MvmLayer
from hw_models.mapping import map_network
from hw_models.silicon.macro import Family, Macro


def family_of(accelerator: Accelerator) -> Family:
    """The family of chips that resembles an accelerator read by current."""
    return "divider" if accelerator.device.cell == "sram" else "conducting"


def macro_of(accelerator: Accelerator, rows: int, clock_s: float) -> Macro:
    """A macro that converts as the accelerator does.

    Args:
        accelerator: The hardware.
        rows: Rows that one conversion adds up.
        clock_s: Time to read and convert one column (`CostReport.clock_s`).
    """
    return Macro(
        family=family_of(accelerator),
        node_nm=accelerator.tech_node_nm,
        supply_v=technology(accelerator.tech_node_nm).supply_v,
        inputs=rows,
        input_bits=accelerator.dac_bits,
        weight_bits=accelerator.cell_bits,
        adc_bits=accelerator.adc_bits,
        use_s=clock_s,
    )


def conversions_of(accelerator: Accelerator, layers: Sequence[MvmLayer], clock_s: float) -> Counter[Macro]:
    """Conversions of one inference by the macro that makes them; as many as the cost model charges."""
    by_rows: Counter[int] = Counter()
    for mapped in map_network(accelerator, layers).layers:
        per_block = mapped.layer.windows * mapped.input_cycles * mapped.columns
        for first, end in mapped.row_blocks:
            by_rows[end - first] += per_block
    return Counter({macro_of(accelerator, rows, clock_s): count for rows, count in by_rows.items()})


def measured_macro(accelerator: Accelerator, tops_per_watt: float) -> tuple[Macro, float]:
    """A macro of one's own with all rows driven, and its TOPS/W at the bits of one conversion.

    Args:
        accelerator: The hardware.
        tops_per_watt: Measured on the macro, at the accelerator's own bits of inputs and weights.
    """
    rows = accelerator.crossbar_size
    layer = MvmLayer(name="macro", in_height=1, in_width=1, in_channels=rows, kernel=1, out_channels=1, windows=1)
    report = estimate_cost(accelerator, [layer])
    return macro_of(accelerator, rows, report.clock_s), tops_per_watt * report.conversions


def assumptions_of(accelerator: Accelerator, macro: Macro) -> tuple[str, ...]:
    """What each field of `macro_of` was taken from, in words."""
    cells = (
        "SRAM cells read by current count as the family divider: cells that pull a line against each other"
        if macro.family == "divider"
        else f"{accelerator.device.name} cells count as the family conducting; their resistance is not used, because "
        "it brings the estimate no closer to measured chips"
    )
    return (
        cells,
        f"supply {macro.supply_v:g} V: that of the {accelerator.tech_node_nm} nm node",
        "inputs of a dot product: the rows of each block, all read at once",
        f"a conversion serves {macro.input_bits:g} input bit(s) (dac_bits) and {macro.weight_bits:g} weight bit(s) "
        "(cell_bits)",
        "time of one use: the cost model's time to read and convert one column",
        "a processor takes as much more energy than its macros as measured processors do",
    )
