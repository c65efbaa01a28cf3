"""The windows of a convolution with one, two or three sides: its product, its input vectors, its output's size."""

import dataclasses
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.analog.input_vectors import InputVectors, Rows

_CONVOLUTIONS: tuple[Callable[..., Tensor], ...] = (F.conv1d, F.conv2d, F.conv3d)
Sides = Sequence[int]  # one number per side of the kernel


@dataclasses.dataclass(frozen=True)
class Windows:
    """How the windows of a convolution lie, one number per side of the kernel."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    def convolution(self, x: Tensor, weight: Tensor, bias: Tensor | None = None, groups: int = 1) -> Tensor:
        """The convolution of torch.nn.functional with as many sides as the weight has."""
        return _CONVOLUTIONS[weight.dim() - 3](x, weight, bias, self.stride, self.padding, self.dilation, groups)

    def out_size(self, size: Sides, kernel: Sides) -> tuple[int, ...]:
        """Windows along each side of an input of `size`."""
        sides = zip(size, kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple((side + 2 * pad - far * (length - 1) - 1) // jump + 1 for side, length, jump, pad, far in sides)

    def input_vectors(self, codes: Tensor, kernel: Sides, kernel_major: bool) -> InputVectors:
        """The input vectors for input codes (n, channels, *size); those of a kernel with a depth count as n x depth
        images."""
        images, flat = self._with_two_sides(codes, kernel)
        down, right = (1, *kernel)[-2:]
        return flat._of_images(images, (down, right), kernel_major)

    def _with_two_sides(self, codes: Tensor, kernel: Sides) -> tuple[Tensor, "Windows"]:
        """The same windows in images with two sides: a kernel's depth becomes channels."""
        if len(kernel) == 2:
            return codes, self
        if len(kernel) == 1:
            return codes.unsqueeze(2), Windows((1, *self.stride), (0, *self.padding), (1, *self.dilation))
        depth = self.out_size(codes.shape[2:], kernel)[0]
        (stride, *strides), (padding, *paddings), (dilation, *dilations) = dataclasses.astuple(self)
        codes = F.pad(codes, (0, 0, 0, 0, padding, padding))
        starts = [dilation * place for place in range(kernel[0])]
        slices = [codes[:, :, start : start + (depth - 1) * stride + 1 : stride] for start in starts]
        # (n, channels, kernel depth, depth, height, width) -> (n x depth, channels x kernel depth, height, width)
        images = torch.stack(slices, 2).permute(0, 3, 1, 2, 4, 5).flatten(2, 3).flatten(0, 1)
        return images, Windows(tuple(strides), tuple(paddings), tuple(dilations))

    def _of_images(self, images: Tensor, kernel: tuple[int, int], kernel_major: bool) -> InputVectors:
        count, channels, *size = images.shape
        height, width = (side + 2 * pad for side, pad in zip(size, self.padding, strict=True))
        (top, left), (down, right) = self.padding, self.stride
        step = channels * right
        pixels = InputVectors.room((count, height, width, channels), step, images.device)
        pixels[:, top : height - top, left : width - left] = images.permute(0, 2, 3, 1)
        dilation = self.dilation[0], self.dilation[1]
        rows = Rows.of_windows(kernel, channels, width, kernel_major, dilation)
        windows_down, windows_right = self.out_size(size, kernel)
        return InputVectors(codes=pixels, rows=rows, grid=(windows_down, windows_right, width * channels * down, step))


def vectors_of_last_side(codes: Tensor) -> InputVectors:
    """The input vectors of a linear layer, whose inputs are (n, ..., features)."""
    features = codes.shape[-1]
    vectors = InputVectors.room(tuple(codes.shape), features, codes.device).copy_(codes)
    grid = (1, codes[0].numel() // features, 0, features)
    return InputVectors(codes=vectors, rows=Rows.of_windows((1, 1), features, 1, True), grid=grid)
