"""Fully connected layers on crossbars."""

import torch
import torch.nn.functional as F
from torch import Tensor

from hw_models.accelerator import Accelerator
from hw_models.mapping import LayerMapping
from hw_models.number_format import FixedPoint
from pipeline.analog import adc
from pipeline.analog.base import NoisyLayer
from pipeline.analog.input_vectors import InputVectors, Rows


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
        super().__init__((out_features, in_features), bias, accelerator, mapping, weight_format, index)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)

    def products(self, x: Tensor, weights: list[Tensor], bias: Tensor | None) -> Tensor:
        y = x.reshape(len(weights), -1, x.shape[-1]) @ torch.stack(weights).mT
        return (y if bias is None else y + bias).reshape(*x.shape[:-1], -1)

    def input_vectors(self, codes: Tensor) -> InputVectors:
        features = codes.shape[-1]
        vectors = InputVectors.room(tuple(codes.shape), features, codes.device).copy_(codes)
        grid = (1, codes[0].numel() // features, 0, features)
        return InputVectors(codes=vectors, rows=Rows.of_windows(1, features, 1, True), grid=grid)

    def from_windows(self, y: Tensor, x: Tensor) -> Tensor:
        return y.reshape(*x.shape[:-1], -1)

    def to_windows(self, y: Tensor) -> Tensor:
        return y.reshape(len(y), -1, y.shape[-1])

    def read_power(self, codes: Tensor) -> Tensor:
        return self.to_windows(adc.cycle_power(codes, self.accelerator)).sum(-1, keepdim=True)
