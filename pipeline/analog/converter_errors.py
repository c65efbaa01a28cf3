"""Statistics of the errors that converters add."""

import torch
from torch import Tensor


class ErrorSums:
    """Converters' errors of a layer's outputs, as sums: those of all images would not fit into memory."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: Tensor | float = 0.0

    def add(self, error: Tensor, ideal: Tensor) -> None:
        """Errors and outputs without them, both (windows, out_channels)."""
        error, ideal = error.double(), ideal.double()
        common = error.mean(1, keepdim=True).expand_as(error)
        parts = (error, ideal, common, error.square(), ideal.square(), common.square(), error * common)
        self.count += len(error)
        self._sums = self._sums + torch.stack([part.sum(0) for part in parts])

    def statistics(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`NoisyLayer.adc_error_ratio`, `adc_bias`, `adc_std` and `adc_common_std` for these cells."""
        assert isinstance(self._sums, Tensor)
        error, ideal, common = self._sums[:3] / self.count
        squares = self._sums[3:] / self.count
        var, ideal_var, common_var = squares[:3] - torch.stack([error, ideal, common]).square()
        rest = var + common_var - 2 * (squares[3] - error * common)
        ratio = (var.mean() / ideal_var.mean().clamp(1e-18)).clamp(0).sqrt()
        return ratio, error, rest.clamp(0).sqrt(), common_var[0].clamp(0).sqrt()
