"""An `Accelerator` as macros of the silicon estimate: its family, and what one conversion of it serves.

A new kind of readout is described here alone.
"""

from collections import Counter
from collections.abc import Sequence

from hw_models.accelerator import Accelerator
from hw_models.cost import estimate_cost
from hw_models.layers import MvmLayer
from hw_models.mapping import LayerMapping, map_network
from hw_models.silicon.macro import Family, Macro


def family_of(accelerator: Accelerator) -> Family:
    """The family of chips that resembles an accelerator."""
    if accelerator.readout != "current":
        return accelerator.readout
    return "divider" if accelerator.device.cell == "sram" else "conducting"


def conversions_of(accelerator: Accelerator, layers: Sequence[MvmLayer], clock_s: float) -> Counter[Macro]:
    """Conversions of one inference by the macro that makes them; as many as the cost model charges.

    A digital macro converts nothing: its dot products are counted, one per window, input cycle, block of rows, weight
    and polarity.

    Args:
        accelerator: The hardware.
        layers: The network, first layer first.
        clock_s: Time to read and convert one column (`CostReport.clock_s`).
    """
    found: Counter[tuple[int, int]] = Counter()  # by rows and weight bits
    for mapped in map_network(accelerator, layers).layers:
        weight_bits, per_block = _of_one_block(accelerator, mapped)
        whole, rest = divmod(mapped.rows_per_position, mapped.rows_read)
        for rows, blocks in ((mapped.rows_read, whole), (rest, 1)):
            if rows and blocks:
                found[rows, weight_bits] += mapped.kernel_positions * blocks * per_block
    return Counter({_macro(accelerator, rows, bits, clock_s): count for (rows, bits), count in found.items()})


def _of_one_block(accelerator: Accelerator, mapped: LayerMapping) -> tuple[int, int]:
    """Weight bits of one conversion (digital: dot product), and how many of them a block of rows takes."""
    uses = mapped.layer.windows * mapped.input_cycles
    if not (accelerator.combine_columns or accelerator.readout == "digital"):
        return accelerator.cell_bits, uses * mapped.columns
    own = mapped.layer.weight_bits
    polarities = accelerator.columns_per_weight(own) // accelerator.slices(own)
    stored_bits = (own or accelerator.weight_bits) - (polarities - 1)  # without the sign, which the polarity tells
    return stored_bits, uses * mapped.columns // mapped.columns_per_weight * polarities


def _macro(accelerator: Accelerator, rows: int, weight_bits: int, clock_s: float) -> Macro:
    return Macro(
        family=family_of(accelerator),
        node_nm=accelerator.tech_node_nm,
        supply_v=accelerator.supply_v or accelerator.node_supply_v,
        inputs=rows,
        input_bits=accelerator.dac_bits,
        weight_bits=weight_bits,
        adc_bits=accelerator.adc_bits,
        use_s=clock_s,
    )


def measured_macro(accelerator: Accelerator, tops_per_watt: float) -> tuple[Macro, float]:
    """A macro of one's own, and its TOPS/W at the bits of one conversion.

    Args:
        accelerator: The hardware.
        tops_per_watt: Measured on the macro with all rows driven, at the accelerator's own bits of inputs and weights.
    """
    rows = accelerator.rows_read
    layer = MvmLayer(name="macro", in_height=1, in_width=1, in_channels=rows, kernel=1, out_channels=1, windows=1)
    clock_s = estimate_cost(accelerator, [layer]).clock_s
    ((macro, conversions),) = conversions_of(accelerator, [layer], clock_s).items()
    return macro, tops_per_watt * conversions


def unlike_measured_cells(accelerator: Accelerator) -> tuple[str, ...]:
    """Why no measured chip has the accelerator's cells, in words; empty if one has."""
    if accelerator.device.cell != "fefet":
        return ()
    return ("FeFET cells: the measured conducting chips have RRAM, PCM, MRAM, flash or SRAM",)


def assumptions_of(accelerator: Accelerator, macro: Macro) -> tuple[str, ...]:
    """What each field of a macro of `conversions_of` was taken from, in words."""
    supply = "given" if accelerator.supply_v else f"that of the {accelerator.tech_node_nm} nm node"
    served = "all bits of a weight" if macro.weight_bits > accelerator.cell_bits else "cell_bits"
    return (
        _cells(accelerator, macro),
        f"supply {macro.supply_v:g} V: {supply}",
        "inputs of a dot product: the rows of each block that are read at once",
        f"a conversion serves {macro.input_bits:g} input bit(s) (dac_bits) and {macro.weight_bits:g} weight bit(s) "
        f"({served})",
        "time of one use: the cost model's time to read and convert one column",
        "a processor takes as much more energy than its macros as measured processors do",
    )


def _cells(accelerator: Accelerator, macro: Macro) -> str:
    if macro.family == "divider":
        return "SRAM cells read by current count as the family divider: cells that pull a line against each other"
    if macro.family != "conducting":
        return f"the readout {accelerator.readout} counts as the family of that name"
    return (
        f"{accelerator.device.name} cells count as the family conducting; their resistance is not used, because it "
        "brings the estimate no closer to measured chips"
    )
