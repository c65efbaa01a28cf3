"""Residual networks (He et al., 2016) in the form for small images: a stem, stages of pairs of convolutions, a head.

With `residual` off and `pool` on it is the shape of Keller Jordan's fast CIFAR-10 networks (airbench, 2024): a 2 x 2
stem, and stages of two convolutions that pool before they normalise.
"""

import torch
from torch import Tensor, nn

from hw_models.errors import InfeasibleDesign
from hw_models.number_format import check_whole
from pipeline.networks.families.checks import check_image, check_kernel, stage_widths


def build(
    input: tuple[int, ...],
    classes: int,
    *,
    stages: int = 3,
    depth: int = 1,
    width1: int = 16,
    width2: int | None = None,
    width3: int | None = None,
    width4: int | None = None,
    kernel: int = 3,
    residual: bool = True,
    stem_kernel: int = 3,
    stem_width: int | None = None,
    stem_stride: int = 1,
    shrink_first: bool = False,
    pool: bool = False,
    max_pool: bool = False,
    hidden: int = 0,
) -> nn.Module:
    """A residual network. Long because the parameters take half of it.

    Layers are named `stem`, `stages.0.0.conv1`, `stages.0.0.conv2`, `stages.1.0.shortcut.0`, ..., `hidden`, `fc`.

    Args:
        input: Channels, height and width of an image.
        classes: Outputs.
        stages: 1 to 4. Each halves the height and width, but the first.
        depth: Pairs of convolutions in each stage, 1 to 20.
        width1, width2, width3, width4: Filters of each stage, 1 to 2048; None: twice those of the stage before.
        kernel: Side of the stages' kernels, odd, 1 to 7.
        residual: Add each pair's input to its output, by a 1 x 1 convolution where their shapes differ.
        stem_kernel: Side of the first convolution's kernel, 1 to 7; an even one is not padded, so that 32 pixels become
            31 with a side of 2.
        stem_width: Filters of the first convolution, 1 to 2048; None: `width1`.
        stem_stride: 1 to 4.
        shrink_first: The first stage halves the size, too.
        pool: Halve by a 2 x 2 maximum after the first convolution of a stage; else by its stride of 2.
        max_pool: The head takes each feature's maximum over the image; else its mean.
        hidden: Units of a fully connected layer before the last, 0 to 4096; 0: there is none.

    Raises:
        InfeasibleDesign: If the image has fewer pixels than the network halves away.
        ValueError: If a value is out of its range.
    """
    check_image("resnet", input)
    check_whole("stages", stages, 1, 4)
    check_whole("depth", depth, 1, 20)
    check_whole("stem_kernel", stem_kernel, 1, 7)
    check_whole("stem_stride", stem_stride, 1, 4)
    check_whole("hidden", hidden, 0, 4096)
    check_kernel(kernel)
    widths = stage_widths(width1, width2, width3, width4)[:stages]
    stem = width1 if stem_width is None else stem_width
    check_whole("stem_width", stem, 1, 2048)
    _check_size(input, stem_kernel, stem_stride, stages - (not shrink_first) if pool else 0)
    return _ResNet(
        nn.Conv2d(input[0], stem, stem_kernel, stem_stride, stem_kernel // 2 if stem_kernel % 2 else 0, bias=False),
        _stages(stem, widths, depth, kernel, residual, shrink_first, pool),
        _MaxOfImage() if max_pool else nn.AdaptiveAvgPool2d(1),
        nn.Linear(widths[-1], hidden) if hidden else None,
        nn.Linear(hidden or widths[-1], classes),
    )


def _check_size(image: tuple[int, ...], stem_kernel: int, stem_stride: int, pools: int) -> None:
    sides = image[1:] if stem_kernel % 2 else [side - stem_kernel + 1 for side in image[1:]]
    smallest = min(-(-side // stem_stride) for side in sides)
    if smallest < 2**pools:
        raise InfeasibleDesign(
            f"an image of {image[1]} x {image[2]} pixels is too small for a stem of {stem_kernel} x {stem_kernel} with "
            f"stride {stem_stride} and {pools} poolings; use fewer stages"
        )


def _stages(
    inputs: int, widths: list[int], depth: int, kernel: int, residual: bool, shrink_first: bool, pool: bool
) -> nn.ModuleList:
    stages = nn.ModuleList()
    for number, width in enumerate(widths):
        pairs = []
        for pair in range(depth):
            shrink = pair == 0 and (number > 0 or shrink_first)
            pairs.append(_Pair(inputs, width, kernel, residual, shrink and not pool, shrink and pool))
            inputs = width
        stages.append(nn.Sequential(*pairs))
    return stages


class _Pair(nn.Module):
    """Two convolutions with batch normalisation and ReLU, and the shortcut past them."""

    def __init__(self, inputs: int, outputs: int, kernel: int, residual: bool, stride: bool, pool: bool) -> None:
        super().__init__()
        step, padding = 2 if stride else 1, kernel // 2
        self.conv1 = nn.Conv2d(inputs, outputs, kernel, step, padding, bias=False)
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, kernel, 1, padding, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module | None = None
        if residual and (stride or pool or inputs != outputs):
            matched = [nn.Conv2d(inputs, outputs, 1, step, bias=False), nn.BatchNorm2d(outputs)]
            self.shortcut = nn.Sequential(*matched, *([nn.MaxPool2d(2)] if pool else []))
        elif residual:
            self.shortcut = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.pool(self.conv1(x))))
        y = self.norm2(self.conv2(y))
        return torch.relu(y if self.shortcut is None else y + self.shortcut(x))


class _MaxOfImage(nn.Module):
    """torch.nn.AdaptiveMaxPool2d(1), which cannot be trained on a GPU that must give equal results at each run."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.max_pool2d(x, [int(side) for side in x.shape[2:]])


class _ResNet(nn.Module):
    def __init__(
        self, stem: nn.Conv2d, stages: nn.ModuleList, pool: nn.Module, hidden: nn.Linear | None, fc: nn.Linear
    ) -> None:
        super().__init__()
        self.stem, self.norm = stem, nn.BatchNorm2d(stem.out_channels)
        self.stages, self.pool, self.hidden, self.fc = stages, pool, hidden, fc

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        for stage in self.stages:
            x = stage(x)
        x = self.pool(x).flatten(1)
        if self.hidden is not None:
            x = torch.relu(self.hidden(x))
        scores: Tensor = self.fc(x)
        return scores
