"""From layers to a torch network whose weights lie on crossbars."""

from collections.abc import Sequence

import torch
from torch import nn

from hw_models.accelerator import Accelerator
from hw_models.mapping import map_network
from pipeline.analog.base import NoisyLayer
from pipeline.analog.conv import NoisyConv2d
from pipeline.analog.linear import NoisyLinear
from pipeline.analog.pooling import MaxPool2d
from pipeline.design.topology import Layer

FIXED_POINT_SPREAD = 0.25  # assumed: standard deviation at which formats from 3 fraction bits on do not round to zero


def build_network(layers: Sequence[Layer], accelerator: Accelerator) -> nn.Sequential:
    """A classifier of the given layers: input (images, channels, height, width) in 0 to 1, output (images, classes),
    or (images, classes, height, width) for masks.

    Batch normalisation, pooling, rectifier and bias are digital. Pooling comes before the rectifier, which gives the
    same values and costs less.
    """
    mapping = map_network(accelerator, [layer.mvm for layer in layers])
    modules: list[nn.Module] = []
    for index, (layer, place) in enumerate(zip(layers, mapping.layers, strict=True)):
        mvm = layer.mvm
        bias = not layer.batch_norm
        noisy: NoisyLayer
        if layer.grow_to:
            modules.append(nn.Upsample(layer.grow_to))
        if layer.is_conv:
            noisy = NoisyConv2d(
                mvm.in_channels,
                mvm.out_channels,
                mvm.kernel,
                layer.stride,
                bias,
                accelerator=accelerator,
                mapping=place,
                weight_format=layer.weight_format,
                index=index,
            )
        else:
            if index == 0 or layers[index - 1].is_conv:
                modules.append(nn.Flatten())
            noisy = NoisyLinear(
                mvm.in_channels,
                mvm.out_channels,
                bias,
                accelerator=accelerator,
                mapping=place,
                weight_format=layer.weight_format,
                index=index,
            )
        modules.append(noisy)
        if layer.batch_norm:
            if layer.weight_format:
                _widen(noisy)
            modules.append(nn.BatchNorm2d(mvm.out_channels) if layer.is_conv else nn.BatchNorm1d(mvm.out_channels))
        if mvm.pooled:
            modules.append(MaxPool2d(2))
        if mvm.relu:
            modules.append(nn.ReLU())
    return nn.Sequential(*modules)


@torch.no_grad()
def _widen(layer: NoisyLayer) -> None:
    spread = float(layer.weight.square().mean().sqrt())
    layer.weight.mul_(max(1.0, FIXED_POINT_SPREAD / spread))
