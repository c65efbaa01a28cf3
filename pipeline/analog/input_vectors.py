"""Input vectors of a layer: its input codes, and where in them each row of the weight matrix reads."""

import dataclasses
import functools
import math

import numpy as np
import torch
from torch import Tensor

from pipeline.analog.kernels import vector_code


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Where each row of a weight matrix reads in an image.

    Attributes:
        offsets: Place of the value that a row reads, from the window's first, in the mapping's row order, (rows,).
        channels: Values per pixel.
    """

    offsets: np.ndarray
    channels: int

    @functools.cached_property
    def places(self) -> np.ndarray:
        """Positions of a window's pixels, counted from its first pixel."""
        return np.unique(self.offsets // self.channels)

    @staticmethod
    @functools.lru_cache(maxsize=256)
    def of_windows(
        kernel: tuple[int, int], channels: int, image_width: int, kernel_major: bool, dilation: tuple[int, int] = (1, 1)
    ) -> "Rows":
        """Rows for windows of `kernel` pixels (down, right), `dilation` apart, in images stored channels-last."""
        down, right = (np.arange(size) * step for size, step in zip(kernel, dilation, strict=True))
        place = down[:, None] * image_width + right
        offsets = place[..., None] * channels + np.arange(channels)
        return Rows((offsets if kernel_major else offsets.transpose(2, 0, 1)).ravel(), channels)


@dataclasses.dataclass(kw_only=True)
class InputVectors:
    """Input codes of a batch of images, from which input vectors are read.

    Attributes:
        codes: Integers as float, (images, ...), in memory from `InputVectors.room`; those of a convolution include its
            zero padding.
        rows: Where each row of the weight matrix reads in an image.
        grid: (windows down, windows right, step down, step right) of an image; a step is between first values.
    """

    codes: Tensor
    rows: Rows
    grid: tuple[int, int, int, int]

    @staticmethod
    def room(shape: tuple[int, ...], step: int, device: torch.device) -> Tensor:
        """Zeros to be filled with codes, (images, ..., channels), with spare memory behind them that the kernels may
        read. `step` is the distance from one window to the next, in values."""
        behind = (vector_code.RUN - 1) * step
        return torch.zeros(math.prod(shape) + behind, device=device)[: math.prod(shape)].view(shape)

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def windows(self) -> int:
        """Number of input vectors per image."""
        return self.grid[0] * self.grid[1]

    def windows_of_pixels(self) -> tuple[np.ndarray, int, np.ndarray, tuple[int, int, int, int]]:
        """The first arguments of `kernels.windows.window_sums`."""
        return self.codes.flatten(1).numpy(), self.rows.channels, self.rows.places, self.grid

    def vectors(self, start: int, stop: int) -> Tensor:
        """Input vectors of some images, (images, windows, rows)."""
        return self.codes[start:stop].flatten(1)[:, self._places()]

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Up to `count` input vectors of all images, drawn without replacement, (1, count, rows)."""
        total = len(self) * self.windows
        chosen = torch.arange(total) if count >= total else torch.randperm(total, generator=generator)[:count]
        chosen = chosen.to(self.codes.device)
        image, window = chosen // self.windows, chosen % self.windows
        return self.codes.flatten(1)[image[:, None], self._places()[window]][None]

    def _places(self) -> Tensor:
        """Where each window's rows lie in an image, (windows, rows)."""
        height, width, step_down, step_right = self.grid
        first = torch.arange(height)[:, None] * step_down + torch.arange(width) * step_right
        return (first.reshape(-1, 1) + torch.from_numpy(self.rows.offsets)).to(self.codes.device)
