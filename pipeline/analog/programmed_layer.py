"""A layer with its cells on simulated chips, which follow its weight."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hw_models.accelerator import Accelerator
from hw_models.mapping import LayerMapping
from hw_models.number_format import FixedPoint
from pipeline.analog.calibration_state import CalibratedLayer
from pipeline.analog.programmed_cells import ProgrammedCells, written_cells
from pipeline.analog.quantise import RangeRule
from pipeline.analog.simulated_chip import SimulatedChip


class ProgrammedLayer(CalibratedLayer):
    """A layer whose weight is written into the cells of chips.

    Attributes:
        mapping: Where the layer lies on crossbars.
        programmed: The layer's cells on each programmed chip; empty before `program_chips`. With several chips a
            batch holds equally many images for each, chip after chip.
    """

    def __init__(
        self,
        outputs: int,
        accelerator: Accelerator,
        weight_bits: int,
        mapping: LayerMapping,
        weight_format: FixedPoint | None,
        index: int,
        range_rule: RangeRule,
    ) -> None:
        super().__init__(outputs, accelerator, weight_bits, weight_format, index, range_rule)
        self.mapping = mapping
        self.programmed: list[ProgrammedCells] = []
        self._chips: tuple[Sequence[SimulatedChip], float | None] = ((), None)  # and the time since programming
        self._written: Tensor | None = None  # the weight that these chips hold
        self._programmed_step = 0.0  # value of one weight code on these chips

    @property
    def conversions(self) -> int:
        """ADC conversions that exact passes have made on these chips, for audits."""
        return sum(cells.conversions for cells in self.programmed)

    @property
    def cycles(self) -> int:
        """Input cycles that exact passes have made on these chips, for audits."""
        return sum(cells.cycles for cells in self.programmed)

    def parts(self, cells: ProgrammedCells, codes: Tensor) -> list[tuple[ProgrammedCells, Tensor, slice]]:
        """The matrices of the layer on one chip: their cells, the input codes that they see, and their outputs."""
        return [(cells, codes, slice(None))]

    def program_chips(self, chips: Sequence[SimulatedChip], drift_time_s: float | None = None) -> None:
        """Write the weights into the cells of each chip; weights that change later are written at the next pass."""
        self._chips, self._written = (chips, drift_time_s), None
        self.follow_weight()

    def follow_weight(self) -> None:
        """Write the weight into the cells of the programmed chips, unless they hold it already."""
        if self._written is None or not torch.equal(self._written, self.weight):
            self._write(*self._chips)

    def _write(self, chips: Sequence[SimulatedChip], drift_time_s: float | None) -> None:
        self.check_calibration()
        # Keep the weight's strides: with one input channel they may change, and convolutions would round differently.
        codes = torch.empty_like(self.weight, requires_grad=False, dtype=torch.float32).copy_(self.weight_codes())
        self._programmed_step = self.weight_step.item()
        place = self.code, self.mapping, self.index
        with torch.autocast(codes.device.type, enabled=False):
            self.programmed = [written_cells(*place, chip, codes, drift_time_s) for chip in chips]
        self._written = self.weight.detach().clone()

    @property
    def output_step(self) -> float:
        """Value of one unit of the digital sum: of one input code times one weight code."""
        return self.input_step.item() * self._programmed_step

    @property
    def error_entry(self) -> int:
        """Index of the converter error that holds on these chips."""
        return 0 if self.programmed[0].chip.ideal_cells else 1
