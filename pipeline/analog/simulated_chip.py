"""Simulated chips: where every random number of an evaluation comes from.

Chip number i of a study is a function of (study seed, i) alone. Every design meets the same chips (common random
numbers), and each chip can be made again without the others.
"""

import dataclasses
import functools

import torch
from torch import Tensor

from pipeline.seeds import derive_seed

_POOL_SIZE = 2**20  # assumed: many more than the values of one image in one layer, and only 4 MiB
_POOL_MARGIN = 64  # values that a reader of whole tiles may touch beyond its own


@dataclasses.dataclass(kw_only=True)
class SimulatedChip:
    """The random numbers of one simulated chip, all from its seed.

    Attributes:
        ideal_cells: Whether cells hold exactly what is written; converters still convert.
        ideal_reads: Whether cells are read without noise.
        images: Index of each image of the batch now in the network; set it before each batch.
    """

    seed: int
    ideal_cells: bool = False
    ideal_reads: bool = False
    images: Tensor = dataclasses.field(default_factory=lambda: torch.zeros(0, dtype=torch.long))

    @classmethod
    def number(cls, study_seed: int, index: int) -> "SimulatedChip":
        """Chip `index` of the study."""
        return cls(seed=derive_seed("chip", study_seed, index))

    @classmethod
    def nominal(cls) -> "SimulatedChip":
        """A chip without device errors."""
        return cls(seed=derive_seed("nominal chip"), ideal_cells=True, ideal_reads=True)

    @classmethod
    def for_calibration(cls, index: int) -> "SimulatedChip":
        """A chip on which the converters' error is measured: its cells err, its reads do not."""
        return cls(seed=derive_seed("calibration chip", index), ideal_reads=True)

    def numbers_of(self, count: int) -> Tensor:
        """A number for each of `count` equal parts of the batch now in the network, from the indices of its images.

        Usually these are `images`, or 0, 1, 2, ... where they are not set. A layer that sees several parts of each
        image (windows, frames) numbers them image by image.
        """
        if len(self.images) == count:
            return self.images
        each, rest = divmod(count, len(self.images)) if len(self.images) else (0, 0)
        if not each or rest:  # the first dimension does not count images
            return torch.arange(count)
        return (self.images[:, None] * each + torch.arange(each, device=self.images.device)).flatten()

    def cell_generator(self, layer: int) -> torch.Generator:
        """The stream from which the cells of one layer are drawn."""
        return torch.Generator().manual_seed(derive_seed(self.seed, "cells", layer))

    def read_noise(self, like: Tensor, images: Tensor, *place: int) -> Tensor:
        """Standard normal numbers of the shape (images, ...) and device of `like`.

        They are fresh for each image and each `place` (layer, cycle, block, ...). The indices `images`
        (images,) seed them, so that results do not depend on how images are batched.
        """
        count = like[0].numel()
        pool, starts = self.read_stream(count, images.to(like.device), *place)
        return pool.unfold(0, count, 1)[starts].reshape(like.shape)

    def read_stream(self, count: int, images: Tensor, *place: int) -> tuple[Tensor, Tensor]:
        """The numbers of `read_noise` as a pool, and where in it each image's `count` numbers begin.

        The pool of normal numbers is drawn once. Each image and place reads it from a pseudo-random start, as good as
        fresh numbers as long as one read takes a small part of the pool.
        """
        pool = _noise_pool(images.device, max(_POOL_SIZE, 1 << (4 * count - 1).bit_length()))  # 2**k: few pools
        salt = derive_seed(self.seed, "read", *place) & 0x7FFFFFFF
        mixed = (images + 1) * 0x9E3779B1 + salt * 0x85EBCA6B
        mixed = ((mixed ^ (mixed >> 17)) * 0x2C1B3C6D) & 0x7FFFFFFFFFFFFFF
        return pool, (mixed >> 11) % (pool.numel() - count - _POOL_MARGIN)


@functools.cache
def _noise_pool(device: torch.device, size: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(derive_seed("noise pool"))).to(device)


def side_by_side(x: Tensor, chips: int) -> Tensor:
    """Images of several chips, (chips * n, channels, ...) -> (n, chips * channels, ...): one channel group per chip."""
    return x.view(chips, -1, *x.shape[1:]).transpose(0, 1).flatten(1, 2)


def one_after_another(x: Tensor, chips: int) -> Tensor:
    """The inverse of `side_by_side`."""
    return x.view(len(x), chips, -1, *x.shape[2:]).transpose(0, 1).flatten(0, 1)
