"""What silicon would reach with a design of the search: an `Accelerator` and its network, as macros of its family."""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hw_models.accelerator import Accelerator
from hw_models.circuits.technology import technology
from hw_models.cost import estimate_cost
from hw_models.layers import MvmLayer
from hw_models.mapping import map_network
from hw_models.silicon.estimate import ALL, EFFICIENCY, WITHIN_CHIP, Bars, Figure, calibration, extrapolations
from hw_models.silicon.formulas import PROCESSOR, conversion_energy_j
from hw_models.silicon.macro import Family, Macro
from hw_models.silicon.tables import constants


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NetworkEstimate:
    """What silicon would reach with a network, at the design's own bits.

    Attributes:
        energy_j: Of all conversions of one inference, in a processor.
        tops_per_watt: Of a processor: with buffers, control and digital units, as far as those of measured ones.
        macro_tops_per_watt: Of the macros alone.
        between_designs: Factors for the ratio of two designs of this family, as variants of one macro.
        calibrated_by: Number of measured macros that scale the estimate; see `silicon_estimate`.
        assumptions: What each field of the macro was taken from, in words.
        reasons: Where the macros lie outside the chips of their family, in words.
    """

    family: Family
    energy_j: float
    tops_per_watt: Figure
    macro_tops_per_watt: Figure
    between_designs: Bars
    calibrated_by: int
    assumptions: tuple[str, ...]
    reasons: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What silicon would reach, in words."""
        reached, narrow = self.tops_per_watt, self.between_designs.factor(80)
        return (
            f"silicon: about {reached.value:.2g} TOPS/W (80 %: {reached.low(80):.2g} to {reached.high(80):.2g}; from "
            f"{reached.bars.chips} {self.family} chips), not fitted to this design. Two variants of one macro: "
            f"ratio within {narrow:.2g}x (80 %)."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


def silicon_estimate_of(
    accelerator: Accelerator,
    layers: Sequence[MvmLayer],
    *,
    clock_s: float | None = None,
    calibrated_by: Mapping[Macro, float] | None = None,
) -> NetworkEstimate:
    """Estimate what silicon would reach with an accelerator and a network.

    Each conversion that the cost model charges is one conversion of a macro. Digital operations beside the layers are
    not in it.

    Args:
        accelerator: The hardware.
        layers: The network, first layer first.
        clock_s: Time to read and convert one column; None takes that of the cost model (`CostReport.clock_s`).
        calibrated_by: Measured macros of one's own; see `silicon_estimate`.

    Raises:
        ValueError: If the accelerator has no cost model and `clock_s` is None, or a measured figure is not above 0.
    """
    if clock_s is None:
        clock_s = estimate_cost(accelerator, layers).clock_s
    conversions = {
        _macro(accelerator, rows, clock_s): count for rows, count in _conversions_by_rows(accelerator, layers).items()
    }
    scale, points = calibration(next(iter(conversions)), calibrated_by or {})
    ops = 2 * sum(layer.macs for layer in layers)
    return _estimate(accelerator, conversions, ops, scale, points)


def _estimate(
    accelerator: Accelerator, conversions: Mapping[Macro, int], ops: int, scale: float, points: int
) -> NetworkEstimate:
    macro = next(iter(conversions))
    energy_j = math.fsum(count * conversion_energy_j(each) for each, count in conversions.items()) / scale
    processor_j = energy_j * constants()[PROCESSOR]
    narrow = Bars.of(WITHIN_CHIP, ALL)
    bars = narrow if points else Bars.of(EFFICIENCY, macro.family)
    return NetworkEstimate(
        family=macro.family,
        energy_j=processor_j,
        tops_per_watt=Figure(value=ops / processor_j / 1e12, bars=bars),
        macro_tops_per_watt=Figure(value=ops / energy_j / 1e12, bars=bars),
        between_designs=narrow,
        calibrated_by=points,
        assumptions=_assumptions(accelerator, macro),
        reasons=tuple(dict.fromkeys(reason for each in conversions for reason in extrapolations(each))),
    )


def family_of(accelerator: Accelerator) -> Family:
    """The family of chips that resembles an accelerator read by current."""
    return "divider" if accelerator.device.cell == "sram" else "conducting"


def _macro(accelerator: Accelerator, rows: int, clock_s: float) -> Macro:
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


def _conversions_by_rows(accelerator: Accelerator, layers: Sequence[MvmLayer]) -> Counter[int]:
    """Conversions of one inference by the rows that are read at once."""
    found: Counter[int] = Counter()
    for mapped in map_network(accelerator, layers).layers:
        per_block = mapped.layer.windows * mapped.input_cycles * mapped.columns
        for first, end in mapped.row_blocks:
            found[end - first] += per_block
    return found


def _assumptions(accelerator: Accelerator, macro: Macro) -> tuple[str, ...]:
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
