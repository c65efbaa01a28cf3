"""Convolutions and fully connected layers on crossbars, and the max pooling between them."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hw_models.accelerator import Accelerator
from hw_models.mapping import LayerMapping
from hw_models.number_format import FixedPoint
from pipeline.analog import adc
from pipeline.analog.base import NoisyLayer
from pipeline.analog.input_vectors import InputVectors
from pipeline.analog.simulated_chip import one_after_another, side_by_side
from pipeline.analog.windows import Windows, vectors_of_last_side


class NoisyConv2d(NoisyLayer):
    """A convolution on crossbars, with a square kernel and the same stride and zero padding in both directions.

    Args:
        in_channels, out_channels, kernel, stride, bias: As in torch.nn.Conv2d; the bias is digital.
        padding: As in torch.nn.Conv2d; None: `kernel // 2`.
        accelerator: The hardware.
        mapping: Where the layer lies on crossbars.
        weight_format: Fixed-point format; None: the largest code is 2.5 times the weights' rms.
        index: Number of the layer; it seeds the random streams of its cells and reads.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        bias: bool = True,
        padding: int | None = None,
        *,
        accelerator: Accelerator,
        mapping: LayerMapping,
        weight_format: FixedPoint | None = None,
        index: int = 0,
    ) -> None:
        super().__init__(out_channels, accelerator, mapping, weight_format, index)
        self.own_weight((out_channels, in_channels, kernel, kernel), bias)
        self.stride, self.padding = stride, kernel // 2 if padding is None else padding

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, weight, bias, self.stride, self.padding)

    def products(self, x: Tensor, weights: list[Tensor], bias: Tensor | None) -> Tensor:
        chips, biases = len(weights), None if bias is None else bias.repeat(len(weights))
        y = F.conv2d(side_by_side(x, chips), torch.cat(weights), biases, self.stride, self.padding, groups=chips)
        return one_after_another(y, chips)

    def _out_size(self, x: Tensor) -> tuple[int, int]:
        height, width = ((side + 2 * self.padding - self.weight.shape[-1]) // self.stride + 1 for side in x.shape[2:])
        return height, width

    def input_vectors(self, codes: Tensor) -> InputVectors:
        sides = (self.stride,) * 2, (self.padding,) * 2, (1, 1)
        return Windows(*sides).input_vectors(codes, self.weight.shape[2:], self.mapping.row_order == "kernel_major")

    def from_windows(self, y: Tensor, x: Tensor) -> Tensor:
        return y.view(len(y), *self._out_size(x), -1).permute(0, 3, 1, 2)

    def to_windows(self, y: Tensor) -> Tensor:
        return y.permute(0, 2, 3, 1).flatten(1, 2)

    def read_power(self, codes: Tensor) -> Tensor:
        power = adc.cycle_power(codes, self.accelerator).sum(1, keepdim=True)
        return self.to_windows(self.product(power, torch.ones_like(self.weight[:1, :1]), None))


class NoisyLinear(NoisyLayer):
    """A fully connected layer on crossbars, inputs (images, ..., in_features). Arguments as in `NoisyConv2d`."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        accelerator: Accelerator,
        mapping: LayerMapping,
        weight_format: FixedPoint | None = None,
        index: int = 0,
    ) -> None:
        super().__init__(out_features, accelerator, mapping, weight_format, index)
        self.own_weight((out_features, in_features), bias)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)

    def products(self, x: Tensor, weights: list[Tensor], bias: Tensor | None) -> Tensor:
        y = x.reshape(len(weights), -1, x.shape[-1]) @ torch.stack(weights).mT
        return (y if bias is None else y + bias).reshape(*x.shape[:-1], -1)

    def input_vectors(self, codes: Tensor) -> InputVectors:
        return vectors_of_last_side(codes)

    def from_windows(self, y: Tensor, x: Tensor) -> Tensor:
        return y.reshape(*x.shape[:-1], -1)

    def to_windows(self, y: Tensor) -> Tensor:
        return y.reshape(len(y), -1, y.shape[-1])

    def read_power(self, codes: Tensor) -> Tensor:
        return self.to_windows(adc.cycle_power(codes, self.accelerator)).sum(-1, keepdim=True)


class MaxPool2d(nn.MaxPool2d):
    """torch.nn.MaxPool2d, faster on a CPU: torch also computes the indices of the maxima.

    Without gradients it takes the maximum of shifted views, if windows neither overlap nor leave gaps.
    """

    @classmethod
    def like(cls, pool: nn.MaxPool2d) -> "MaxPool2d":
        """A layer with the settings of `pool`."""
        settings = pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.return_indices, pool.ceil_mode
        return cls(*settings).train(pool.training)

    def forward(self, x: Tensor) -> Tensor:
        side = self.kernel_size
        unusual = self.stride != side or self.dilation != 1 or self.padding or self.ceil_mode or self.return_indices
        if torch.is_grad_enabled() or unusual or not isinstance(side, int):
            pooled: Tensor = super().forward(x)
            return pooled
        height, width = (size // side * side for size in x.shape[-2:])
        rows = functools.reduce(torch.maximum, (x[..., i:height:side, :width] for i in range(side)))
        return functools.reduce(torch.maximum, (rows[..., i::side] for i in range(side)))
