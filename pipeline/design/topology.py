"""From a design point to its layers. The network and the cost model both read this list, and nothing else."""

import dataclasses

from hw_models.errors import InfeasibleDesign
from hw_models.layers import MvmLayer
from hw_models.number_format import FixedPoint
from pipeline.design.design_point import ConvSpec, DesignPoint


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One weight layer of the network: its matrix-vector form, and what torch needs beside it.

    Attributes:
        mvm: What the crossbars see.
        is_conv: A convolution; else fully connected.
        stride: Step in pixels.
        weight_format: Fixed-point format of the weights, or None.
        batch_norm: A digital batch normalisation follows.
        grow_to: Height and width to which the input is enlarged first, each pixel repeated (digital); None: it is not.
    """

    mvm: MvmLayer
    is_conv: bool
    stride: int
    weight_format: FixedPoint | None
    batch_norm: bool
    grow_to: tuple[int, int] | None = None


def topology(design: DesignPoint) -> list[Layer]:
    """The design's layers in order, classifier last.

    For masks the encoder is mirrored: for each convolution that shrank the image, last one first, the image is enlarged
    to the size before it and a convolution of as many filters and as large a kernel follows (`up1`, ...). A 1 x 1
    convolution classifies each pixel.

    Raises:
        InfeasibleDesign: If pooling or strides leave less than one pixel.
    """
    layers = []
    shrunk: list[tuple[int, int, ConvSpec]] = []
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
        if conv.pool or conv.stride > 1:
            shrunk.append((height, width, conv))
        shrink = 2 if conv.pool else 1
        height, width, channels = out_height // shrink, out_width // shrink, conv.filters
    if design.image.masks:
        return layers + _decoder(design, shrunk, height, width, channels)
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


def _decoder(
    design: DesignPoint, shrunk: list[tuple[int, int, ConvSpec]], height: int, width: int, channels: int
) -> list[Layer]:
    """From the smallest feature map back to a class for each pixel."""
    if design.hidden:
        raise InfeasibleDesign("masks come from convolutions alone; leave the hidden layers out")
    layers = []
    for index, (high, wide, conv) in enumerate(reversed(shrunk), start=1):
        layers.append(_pixel_layer(f"up{index}", (high, wide), channels, conv.filters, conv.kernel, conv.weight_format))
        layers[-1] = dataclasses.replace(layers[-1], batch_norm=design.batch_norm, grow_to=(high, wide))
        height, width, channels = high, wide, conv.filters
    format_ = design.classifier_format
    return [*layers, _pixel_layer("classifier", (height, width), channels, design.image.classes, 1, format_)]


def _pixel_layer(
    name: str, size: tuple[int, int], channels: int, filters: int, kernel: int, weight_format: FixedPoint | None
) -> Layer:
    """A convolution that keeps the image's size."""
    mvm = MvmLayer(
        name=name,
        in_height=size[0],
        in_width=size[1],
        in_channels=channels,
        kernel=kernel,
        out_channels=filters,
        windows=size[0] * size[1],
        relu=name != "classifier",
        weight_bits=weight_format.bits if weight_format else None,
    )
    return Layer(mvm=mvm, is_conv=True, stride=1, weight_format=weight_format, batch_norm=False)


def mvm_layers(design: DesignPoint) -> list[MvmLayer]:
    """The layers as the mapping and the cost model see them."""
    return [layer.mvm for layer in topology(design)]
