"""Batch normalisation that each chip recalibrates for itself."""

import contextlib
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.analog.model import BATCH, logits_of_chips
from pipeline.analog.simulated_chip import SimulatedChip, one_after_another, side_by_side

RECALIBRATION_IMAGES = 256  # assumed: training images of a chip's recalibration; Joshi et al., 2020, use about 1,300
_RECALIBRATION = 2**28  # index of the first recalibration image: images to be judged draw other read noise


@contextlib.contextmanager
def recalibrated_batch_norm(model: nn.Module, chips: Sequence[SimulatedChip], images: Tensor) -> Iterator[None]:
    """Within the block, batch normalisation uses the statistics of `images` on each chip programmed in the model.

    All chips see the same `images`, (n, channels, height, width). This is a digital correction of each column and needs
    no labels. Afterwards the model's own statistics hold again.

    Raises:
        ValueError: If a batch normalisation is of a class with a forward pass of its own.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        if type(norm).forward is not nn.modules.batchnorm._BatchNorm.forward:
            raise ValueError(
                f"{type(norm).__name__} does more than normalise and cannot be recalibrated; move the rest of "
                "it into a layer after it, or leave recalibrate_batch_norm off"
            )
    own = [_ChipNorm(norm, len(chips)) for norm in norms]
    try:
        for norm, each in zip(norms, own, strict=True):
            vars(norm)["forward"] = each
        with torch.no_grad():
            for part in torch.arange(len(images)).split(BATCH):
                numbers = (_RECALIBRATION + part).expand(len(chips), -1)
                logits_of_chips(model, chips, images[part.repeat(len(chips))], numbers)
        for each in own:
            each.collects = False
        yield
    finally:
        for norm in norms:
            vars(norm).pop("forward", None)


class _ChipNorm:
    """The forward pass of a batch normalisation with separate statistics for each chip."""

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm, chips: int) -> None:
        self._chips, self._eps = chips, norm.eps
        self._weight, self._bias = (None if x is None else x.repeat(chips) for x in (norm.weight, norm.bias))
        self.mean, self.var = torch.zeros(0), torch.ones(0)  # (chips * channels,) from the first batch on
        self.collects = True
        self._batches = 0

    def __call__(self, x: Tensor) -> Tensor:
        wide = side_by_side(x, self._chips)
        if not self._batches:
            self.mean, self.var = wide.new_zeros(wide.shape[1]), wide.new_ones(wide.shape[1])
        if self.collects:
            self._batches += 1
        share = 1 / self._batches  # so that the statistics are plain means over the batches
        y = F.batch_norm(wide, self.mean, self.var, self._weight, self._bias, self.collects, share, self._eps)
        return one_after_another(y, self._chips)
