"""Mobile networks of inverted residuals (MobileNetV2: Sandler et al., 2018) in the form for small images.

An inverted residual widens its input by a 1 x 1 convolution, filters each channel alone (depthwise), and narrows it
again by a 1 x 1 convolution without an activation.
"""

from torch import Tensor, nn

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
    expansion: int = 4,
    kernel: int = 3,
    residual: bool = True,
    stem_width: int = 16,
    stem_stride: int = 1,
    features: int = 0,
) -> nn.Module:
    """A network of inverted residuals. Long because the parameters take half of it.

    Layers are named `stem`, `stages.0.0.expand`, `stages.0.0.depthwise`, `stages.0.0.project`, ..., `features`, `fc`.

    Args:
        input: Channels, height and width of an image.
        classes: Outputs.
        stages: 1 to 4. Each halves the height and width, but the first.
        depth: Inverted residuals in each stage, 1 to 20.
        width1, width2, width3, width4: Channels after each stage, 1 to 2048; None: twice those of the stage before.
        expansion: Channels inside an inverted residual over those of its input, 1 to 8; with 1 it does not widen.
        kernel: Side of the depthwise kernels, odd, 1 to 7.
        residual: Add the input where it has the shape of the output.
        stem_width: Filters of the first convolution, 3 x 3, 1 to 2048.
        stem_stride: 1 to 4.
        features: Filters of a 1 x 1 convolution before the head, 0 to 4096; 0: there is none.

    Raises:
        InfeasibleDesign: If the inputs are no images.
        ValueError: If a value is out of its range.
    """
    check_image("mobilenet", input)
    check_whole("stages", stages, 1, 4)
    check_whole("depth", depth, 1, 20)
    check_whole("expansion", expansion, 1, 8)
    check_whole("stem_width", stem_width, 1, 2048)
    check_whole("stem_stride", stem_stride, 1, 4)
    check_whole("features", features, 0, 4096)
    check_kernel(kernel)
    widths = stage_widths(width1, width2, width3, width4)[:stages]
    return _MobileNet(
        nn.Conv2d(input[0], stem_width, 3, stem_stride, 1, bias=False),
        _stages(stem_width, widths, depth, expansion, kernel, residual),
        nn.Conv2d(widths[-1], features, 1, bias=False) if features else None,
        nn.Linear(features or widths[-1], classes),
    )


def _stages(inputs: int, widths: list[int], depth: int, expansion: int, kernel: int, residual: bool) -> nn.ModuleList:
    stages = nn.ModuleList()
    for number, width in enumerate(widths):
        blocks = []
        for block in range(depth):
            stride = 2 if block == 0 and number > 0 else 1
            blocks.append(_InvertedResidual(inputs, width, expansion, kernel, stride, residual))
            inputs = width
        stages.append(nn.Sequential(*blocks))
    return stages


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int, residual: bool) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand: nn.Module | None = nn.Conv2d(inputs, wide, 1, bias=False) if expansion > 1 else None
        self.norm1 = nn.BatchNorm2d(wide)
        self.depthwise = nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False)
        self.norm2 = nn.BatchNorm2d(wide)
        self.project = nn.Conv2d(wide, outputs, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(outputs)
        self.clip = nn.ReLU6()
        self.adds = residual and stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x if self.expand is None else self.clip(self.norm1(self.expand(x)))
        y = self.norm3(self.project(self.clip(self.norm2(self.depthwise(y)))))
        return x + y if self.adds else y


class _MobileNet(nn.Module):
    def __init__(self, stem: nn.Conv2d, stages: nn.ModuleList, features: nn.Conv2d | None, fc: nn.Linear) -> None:
        super().__init__()
        self.stem, self.stem_norm = stem, nn.BatchNorm2d(stem.out_channels)
        self.stages, self.features, self.fc = stages, features, fc
        self.features_norm = nn.BatchNorm2d(features.out_channels) if features is not None else None
        self.clip, self.pool = nn.ReLU6(), nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.clip(self.stem_norm(self.stem(x)))
        for stage in self.stages:
            x = stage(x)
        if self.features is not None and self.features_norm is not None:
            x = self.clip(self.features_norm(self.features(x)))
        scores: Tensor = self.fc(self.pool(x).flatten(1))
        return scores
