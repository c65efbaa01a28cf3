"""From a design point of the family `plain` to its layers. Network and cost model both read this list alone."""

import dataclasses

from hw_models.errors import InfeasibleDesign
from hw_models.layers import MvmLayer
from hw_models.number_format import FixedPoint
from pipeline.design.design_point import ConvSpec, DesignPoint

Size = tuple[int, int]  # height and width in pixels


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One weight layer of the network: its matrix-vector form, and what torch needs beside it.

    Attributes:
        mvm: The layer as mapping and cost model see it.
        is_conv: A convolution; else fully connected.
        batch_norm: A digital batch normalisation follows.
        grow_to: The input is first upsampled to this size by repeating pixels (digital); None: it is not.
    """

    mvm: MvmLayer
    is_conv: bool
    stride: int
    weight_format: FixedPoint | None
    batch_norm: bool
    grow_to: Size | None = None


def topology(design: DesignPoint) -> list[Layer]:
    """The design's layers in order, classifier last.

    For masks, a decoder mirrors the encoder. For each convolution that shrank the image, last one first, it upsamples
    to the size before that convolution and convolves with the same filters and kernel size (`up1`, ...). A 1 x 1
    convolution then classifies each pixel.

    Raises:
        InfeasibleDesign: If pooling or strides leave less than one pixel, a network for masks has hidden layers, or the
            inputs are no images and the network has convolutions or would need an embedding.
        ValueError: If a function builds the design's network: `pipeline.networks.workload` then knows the layers.
    """
    if design.network is not None:
        raise ValueError(f"{design.network.builder} builds this network; take pipeline.networks.workload.workload_of")
    _check_input(design)
    layers: list[Layer] = []
    shrinking: list[tuple[ConvSpec, Size]] = []
    size, channels = (design.image.height, design.image.width), design.image.channels
    for index, conv in enumerate(design.convs, start=1):
        name = f"conv{index}"
        size_after = _size_after(name, conv, size)
        layers.append(_conv_layer(design, name, conv, size, channels))
        if conv.pool or conv.stride > 1:
            shrinking.append((conv, size))
        size, channels = size_after, conv.filters
    if design.image.masks:
        return layers + _decoder(design, shrinking, size, channels)
    return layers + _fully_connected(design, size[0] * size[1] * channels)


def _check_input(design: DesignPoint) -> None:
    """What is no image has no neighbouring pixels, and an index says nothing by its size."""
    if design.image.integers:
        raise InfeasibleDesign("inputs are whole numbers, which need an embedding; a plain network has none")
    if design.image.shape is not None and design.convs:
        raise InfeasibleDesign(
            f"convolutions need images, inputs have the shape {design.image.shape}; use hidden layers"
        )


def mvm_layers(design: DesignPoint) -> list[MvmLayer]:
    """The layers as the mapping and the cost model see them."""
    return [layer.mvm for layer in topology(design)]


def _size_after(name: str, conv: ConvSpec, size: Size) -> Size:
    height, width = (-(-side // conv.stride) for side in size)
    if not conv.pool:
        return height, width
    if min(height, width) < 2:
        raise InfeasibleDesign(f"{name}: cannot pool an image of {height} x {width} pixels; use fewer pools")
    return height // 2, width // 2


def _decoder(design: DesignPoint, shrinking: list[tuple[ConvSpec, Size]], size: Size, channels: int) -> list[Layer]:
    """From the smallest feature map back to a class for each pixel."""
    if design.hidden:
        raise InfeasibleDesign("masks come from convolutions alone; leave the hidden layers out")
    layers = []
    for index, (conv, size_before) in enumerate(reversed(shrinking), start=1):
        mirrored = dataclasses.replace(conv, stride=1, pool=False)
        layer = _conv_layer(design, f"up{index}", mirrored, size_before, channels)
        layers.append(dataclasses.replace(layer, grow_to=size_before))
        size, channels = size_before, conv.filters
    return [*layers, _layer(design, "classifier", size, channels, design.image.classes, design.classifier_format)]


def _fully_connected(design: DesignPoint, inputs: int) -> list[Layer]:
    layers = []
    for index, hidden in enumerate(design.hidden, start=1):
        layers.append(_layer(design, f"fc{index}", (1, 1), inputs, hidden.units, hidden.weight_format))
        inputs = hidden.units
    layers.append(_layer(design, "classifier", (1, 1), inputs, design.image.classes, design.classifier_format))
    return [dataclasses.replace(layer, is_conv=False) for layer in layers]


def _conv_layer(design: DesignPoint, name: str, conv: ConvSpec, size: Size, channels: int) -> Layer:
    plain = _layer(design, name, size, channels, conv.filters, conv.weight_format)
    height, width = (-(-side // conv.stride) for side in size)
    mvm = dataclasses.replace(plain.mvm, kernel=conv.kernel, windows=height * width, pooled=conv.pool)
    return dataclasses.replace(plain, mvm=mvm, stride=conv.stride)


def _layer(
    design: DesignPoint, name: str, size: Size, channels: int, outputs: int, weight_format: FixedPoint | None
) -> Layer:
    """A 1 x 1 convolution at stride 1; on a single pixel it equals a fully connected layer."""
    is_classifier = name == "classifier"
    mvm = MvmLayer(
        name=name,
        in_height=size[0],
        in_width=size[1],
        in_channels=channels,
        kernel=1,
        out_channels=outputs,
        windows=size[0] * size[1],
        relu=not is_classifier,
        weight_bits=weight_format.bits if weight_format else None,
    )
    batch_norm = design.batch_norm and not is_classifier
    return Layer(mvm=mvm, is_conv=True, stride=1, weight_format=weight_format, batch_norm=batch_norm)
