"""From a design point to its layers. The network and the cost model both read this list, and nothing else."""

import dataclasses

from hw_models.errors import InfeasibleDesign
from hw_models.layers import MvmLayer
from pipeline.design_point import DesignPoint, FixedPoint


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One weight layer of the network: its matrix-vector form, and what torch needs beside it.

    Attributes:
        mvm: What the crossbars see.
        is_conv: A convolution; else fully connected.
        stride: Step in pixels.
        weight_format: Fixed-point format of the weights, or None.
        batch_norm: A digital batch normalisation follows.
    """

    mvm: MvmLayer
    is_conv: bool
    stride: int
    weight_format: FixedPoint | None
    batch_norm: bool


def topology(design: DesignPoint) -> list[Layer]:
    """The design's layers in order, classifier last.

    Raises:
        InfeasibleDesign: If pooling or strides leave less than one pixel.
    """
    layers = []
    height, width, channels = design.image.height, design.image.width, design.image.channels
    for index, conv in enumerate(design.convs, start=1):
        out_height, out_width = -(-height // conv.stride), -(-width // conv.stride)
        if conv.pool and min(out_height, out_width) < 2:
            raise InfeasibleDesign(
                f"conv{index}: cannot pool an image of {out_height} x {out_width} pixels; use fewer pools"
            )
        mvm = MvmLayer(
            name=f"conv{index}",
            in_height=height,
            in_width=width,
            in_channels=channels,
            kernel=conv.kernel,
            out_channels=conv.filters,
            windows=out_height * out_width,
            pooled=conv.pool,
            weight_bits=conv.weight_format.bits if conv.weight_format else None,
        )
        layers.append(
            Layer(
                mvm=mvm,
                is_conv=True,
                stride=conv.stride,
                weight_format=conv.weight_format,
                batch_norm=design.batch_norm,
            )
        )
        shrink = 2 if conv.pool else 1
        height, width, channels = out_height // shrink, out_width // shrink, conv.filters
    units = [(fc.units, fc.weight_format) for fc in design.hidden] + [(design.image.classes, design.classifier_format)]
    inputs = height * width * channels
    for index, (outputs, weight_format) in enumerate(units, start=1):
        last = index == len(units)
        mvm = MvmLayer(
            name="classifier" if last else f"fc{index}",
            in_height=1,
            in_width=1,
            in_channels=inputs,
            kernel=1,
            out_channels=outputs,
            windows=1,
            relu=not last,
            weight_bits=weight_format.bits if weight_format else None,
        )
        layers.append(
            Layer(
                mvm=mvm, is_conv=False, stride=1, weight_format=weight_format, batch_norm=design.batch_norm and not last
            )
        )
        inputs = outputs
    return layers


def mvm_layers(design: DesignPoint) -> list[MvmLayer]:
    """The layers as the mapping and the cost model see them."""
    return [layer.mvm for layer in topology(design)]
