"""Noise of column sums: read noise of their cells, and thermal noise of their conversions."""

import dataclasses
import functools

from torch import Tensor

from hw_models.read_errors import device_as_read, read_errors
from pipeline.analog import adc
from pipeline.analog.cells import CellCode


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ReadNoise:
    """Noise of a layer's column sums, in levels, and what it amounts to at an output, in weight codes x input codes.

    Attributes:
        read_sigma: Standard deviation of a column sum by the read noise of one active cell of each column.
        thermal_sigma: Standard deviation of a column sum by thermal noise, whatever cells are active.
        read_variance: Variance of an output by read noise, for each unit of `adc.cycle_power`.
        thermal_variance: Variance of an output by the thermal noise of all its conversions.
    """

    read_sigma: float = 0.0
    thermal_sigma: float = 0.0
    read_variance: float = 0.0
    thermal_variance: float = 0.0

    @staticmethod
    @functools.lru_cache(maxsize=256)
    def of(code: CellCode, row_blocks: int) -> "ReadNoise":
        """The noise of a layer's cells and readout; its rows are read in so many blocks."""
        read_sigma = code.noise_gain * device_as_read(code.accelerator).read_sigma / code.step
        thermal_sigma = code.noise_gain * read_errors(code.accelerator).conversion_sigma
        sums = float(code.sum_significance().square().sum())
        conversions = sums * float(adc.cycle_values(code.accelerator, signed=False).square().sum())
        return ReadNoise(
            read_sigma=read_sigma,
            thermal_sigma=thermal_sigma,
            read_variance=read_sigma**2 * sums,
            thermal_variance=thermal_sigma**2 * conversions * row_blocks,
        )

    def __bool__(self) -> bool:
        return self.read_sigma > 0 or self.thermal_sigma > 0

    def sigma_of_sums(self, slices: Tensor) -> Tensor:
        """Standard deviation of column sums for input slices (..., rows)."""
        active = slices.square().sum(-1)  # cells are independent: variances add
        if not self.thermal_sigma:
            return self.read_sigma * active.sqrt()
        return (self.read_sigma**2 * active + self.thermal_sigma**2).sqrt()
