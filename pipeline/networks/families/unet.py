"""U-Net (Ronneberger et al., 2015): an encoder, a decoder of the same levels, and skip connections between them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hw_models.errors import InfeasibleDesign
from hw_models.number_format import check_whole
from pipeline.networks.families.checks import check_image, check_kernel


def build(
    input: tuple[int, ...],
    classes: int,
    *,
    levels: int = 3,
    depth: int = 2,
    width: int = 16,
    kernel: int = 3,
    skip: bool = True,
    transposed: bool = True,
) -> nn.Module:
    """A network that gives a score of each class for each pixel. Long because the parameters take half of it.

    Layers are named `encoder.0.0`, `up.0`, `decoder.0.0`, ..., `classifier`.

    Args:
        input: Channels, height and width of an image.
        classes: Outputs of each pixel.
        levels: Sizes of the image at which the network works, 1 to 6; each is half as high and wide as the one before.
        depth: Convolutions on each level, in the encoder and in the decoder, 1 to 4.
        width: Filters on the first level, 1 to 512; each level has twice those of the one before.
        kernel: Side of the kernels, odd, 1 to 7.
        skip: The decoder also sees the encoder's features of its level.
        transposed: The decoder doubles the size by a transposed 2 x 2 convolution; else by repeating pixels, before a
            convolution.

    Raises:
        InfeasibleDesign: If the image has fewer pixels than the encoder halves away.
        ValueError: If a value is out of its range.
    """
    check_image("unet", input)
    check_whole("levels", levels, 1, 6)
    check_whole("depth", depth, 1, 4)
    check_whole("width", width, 1, 512)
    check_kernel(kernel)
    if min(input[1:]) < 2 ** (levels - 1):
        raise InfeasibleDesign(
            f"an image of {input[1]} x {input[2]} pixels is too small for {levels} levels; use fewer"
        )
    return _UNet(input[0], classes, [width << level for level in range(levels)], depth, kernel, skip, transposed)


def _convolutions(inputs: int, outputs: int, depth: int, kernel: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*layers)


class _UNet(nn.Module):
    def __init__(
        self, channels: int, classes: int, widths: list[int], depth: int, kernel: int, skip: bool, transposed: bool
    ) -> None:
        super().__init__()
        self.skip, self.transposed = skip, transposed
        self.encoder, self.up, self.decoder = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for width in widths:
            self.encoder.append(_convolutions(channels, width, depth, kernel))
            channels = width
        for width in reversed(widths[:-1]):
            convolution = nn.Conv2d(2 * width, width, kernel, padding=kernel // 2)
            self.up.append(nn.ConvTranspose2d(2 * width, width, 2, 2) if transposed else convolution)
            self.decoder.append(_convolutions(2 * width if skip else width, width, depth, kernel))
        self.pool = nn.MaxPool2d(2)
        self.classifier = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        seen: list[Tensor] = []
        for level, encode in enumerate(self.encoder):
            x = encode(self.pool(x) if level else x)
            seen.append(x)
        for up, decode, before in zip(self.up, self.decoder, reversed(seen[:-1]), strict=True):
            size = list(before.shape[-2:])
            x = up(x, output_size=size) if self.transposed else up(F.interpolate(x, size))
            x = decode(torch.cat([before, x], 1) if self.skip else x)
        scores: Tensor = self.classifier(x)
        return scores
