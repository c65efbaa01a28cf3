"""Energy of converting columns. Their currents depend on the data.

Source: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019); docs/cost_model.md, "Converters".
"""

import dataclasses
import math
from typing import Literal

from hw_models.circuits.cell import mean_conductance
from hw_models.circuits.converters import EMPTY_COLUMN_W, survey_bound_j
from hw_models.circuits.crossbar import Crossbar
from hw_models.cost.activity import LayerActivity
from hw_models.cost.layer_uses import cut
from hw_models.mapping import LayerMapping

AdcModel = Literal["reference", "survey"]
SURVEY_FACTOR = 15.0  # an 8-bit converter of a 28 nm macro model (0.70 pJ) over the survey's bound (0.048 pJ)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ConversionEnergy:
    """Energy of conversions.

    `model` is `reference` (NeuroSim's fitted power of a converter) or `survey` (lower bound of published converters,
    times `factor`).
    """

    model: AdcModel
    factor: float
    column_bits: int

    def block_j(self, unit: Crossbar, activity: LayerActivity, mapped: LayerMapping, rows: int, columns: int) -> float:
        """Energy of one window's conversions, for `rows` x `columns` of a layer's matrix on its crossbars.

        Columns that are combined share a conversion, during which all of them conduct. A bit-plane without ones is
        skipped for the whole crossbar only, or reading few rows at once would skip many conversions for nothing.
        """
        if not mapped.conversions_per_weight:
            return 0.0
        total, combined = 0.0, mapped.columns_per_weight // mapped.conversions_per_weight
        for block_rows, row_count in cut(rows, mapped.crossbar_size):
            empty = [(1 - density) ** block_rows for density in activity.plane_densities]
            for block_columns, column_count in cut(columns, mapped.crossbar_columns):
                cell_siemens = mean_conductance(unit.cell, activity.level_shares, block_rows, block_columns)
                for rows_read, reads in cut(block_rows, mapped.rows_read):
                    times = _conversion_times_s(unit, activity, rows_read, block_columns, cell_siemens)
                    siemens = combined * rows_read * cell_siemens
                    conversion_j = self._conversion_j(unit, activity.means, siemens, empty, times)
                    total += row_count * column_count * reads * block_columns * conversion_j / combined
        return total

    def _conversion_j(
        self, unit: Crossbar, inputs: tuple[float, ...], siemens: float, empty: list[float], times: list[float]
    ) -> float:
        """Energy of one converter's conversions over all bit-planes.

        `inputs` are their means, `siemens` is the conductance of its columns with all rows active, `empty` the
        probability that no row of the crossbar is active. Cells conduct during the conversion, or for longer pulses.
        """
        adc = unit.converters
        full_w: float = adc.kappa * siemens**adc.exponent
        conduct = [max(unit.pulses_s, time) for time in times] if unit.pulses_s else times
        current_j: float = full_w * sum([time * x**adc.exponent for time, x in zip(conduct, inputs, strict=True)])
        if self.model == "survey":
            return current_j + len(inputs) * self.factor * survey_bound_j(self.column_bits)
        idle_w = EMPTY_COLUMN_W - adc.constant_w
        return current_j + sum([t * (adc.constant_w + e * idle_w) for t, e in zip(times, empty, strict=True)])


def _conversion_times_s(
    unit: Crossbar, activity: LayerActivity, rows: int, columns: int, cell_siemens: float
) -> list[float]:
    """Time of a conversion in each bit-plane. Where it depends on the current, the slowest column sets it.

    That column conducts least: the lowest of `columns` sums over the active cells, whose conductances have a
    coefficient of variation `cv`.
    """
    adc, densities = unit.converters, activity.plane_densities
    if adc.decision is None:
        return [adc.conversion_s] * len(densities)
    device = unit.cell.device
    cell_bits = len(activity.level_shares).bit_length() - 1
    levels = [device.relative_conductance(level, cell_bits) for level in range(len(activity.level_shares))]
    mean = sum(share * u for share, u in zip(activity.level_shares, levels, strict=True))
    cv = math.sqrt(sum(share * (u / mean - 1) ** 2 for share, u in zip(activity.level_shares, levels, strict=True)))
    times = []
    for density in densities:
        active = max(1.0, density * rows)
        least = max(levels[0] / mean, 1 - _lowest_of(columns) * cv / math.sqrt(active))
        mean_ohm = 1 / (active * cell_siemens)
        times.append(adc.decision.slowest_s(mean_ohm, mean_ohm / least))
    return times


def _lowest_of(count: int) -> float:
    """Expected distance of the lowest of `count` normal numbers below the mean, in standard deviations (asymptotic)."""
    if count == 1:
        return 0.0
    root = math.sqrt(2 * math.log(count))
    return root - (math.log(math.log(count)) + math.log(4 * math.pi)) / (2 * root)
