"""Image data sets in memory, and batches of them."""

import dataclasses
import functools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.compute_device import compute_device
from pipeline.data.spec import Augmentation, DatasetSpec, check_augmentation, read_parts
from pipeline.data.task import CLASSIFICATION, Task, task_of
from pipeline.seeds import derive_seed

Split = tuple[Tensor, Tensor]
_SPLIT_SEED = 0  # all studies share one split, so that they can be compared
_SHARES = (0.6, 0.2)  # train and validation, if a data set has no splits; the rest is test


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageSet:
    """Three splits of images (n, channels, height, width), float from 0 to 1, with labels (n,) or masks.

    Masks (n, height, width) give the class of each pixel. Networks learn from `train`, the search
    uses `validation`, and `test` is only reported. Inputs and labels of a user's own may have other shapes: (n, ...),
    float or whole numbers.
    """

    train: Split
    validation: Split
    test: Split
    task: Task = CLASSIFICATION


@functools.lru_cache(maxsize=1)
def load_images(spec: DatasetSpec) -> ImageSet:
    """Read the data set of a study; a worker process reads it once for all its trials.

    Returns:
        The splits on the compute device; do not change them. A pixel value takes four bytes: all of CIFAR-10 needs
        0.7 GB in each worker.

    Raises:
        DataError: If a file is missing or damaged.
    """
    counts = (spec.train_images, spec.validation_images, spec.test_images)
    parts = {part: (torch.from_numpy(x), torch.from_numpy(y)) for part, (x, y) in read_parts(spec).items()}
    task = task_of(spec)
    if "all" in parts:
        parts["train"], parts["validation"], parts["test"] = _split(*parts["all"], _SHARES)
    elif "validation" not in parts:
        share = spec.data_set.validation_share
        parts["train"], parts["validation"], _ = _split(*parts["train"], (1 - share, share))
    splits = (parts[name] for name in ("train", "validation", "test"))
    train, validation, test = (_tensors(*split, count, task) for split, count in zip(splits, counts, strict=True))
    return ImageSet(train=train, validation=validation, test=test, task=task)


class ShuffledBatches:
    """Batches of a split in an order that changes with each epoch; the last, smaller batch is left out.

    Args:
        split: Images and labels.
        batch_size: Images of a batch, at most those of the split.
        seed: Order and augmentation depend on it and on the epoch.
        augment: See `TrainingSpec`.
        epoch: Number of the first epoch.
        outside: Value in masks of pixels that move in from outside the image.

    Raises:
        ValueError: If inputs that are no images are to be augmented.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        seed: int,
        augment: Augmentation = "none",
        epoch: int = 0,
        outside: int = 0,
    ) -> None:
        self._images, self._labels = split
        self._outside = outside
        check_augmentation(augment, self._images.shape[1:])
        self._batch_size = min(batch_size, len(self._labels))
        self._seed, self._augment, self._epoch = seed, augment, epoch

    def __len__(self) -> int:
        return len(self._labels) // self._batch_size

    def __iter__(self) -> Iterator[Split]:
        generator = torch.Generator().manual_seed(derive_seed(self._seed, self._epoch))
        epoch, self._epoch = self._epoch, self._epoch + 1
        order = torch.randperm(len(self._labels), generator=generator)[: len(self) * self._batch_size]
        there = order.to(self._labels.device, non_blocking=True)  # else each batch would wait for a GPU
        for batch, own in zip(order.split(self._batch_size), there.split(self._batch_size), strict=True):
            images, labels = self._images[own], self._labels[own]
            if self._augment != "none":
                has_masks = labels.dim() == 3
                masks = labels.unsqueeze(1) - self._outside if has_masks else images[:, :0]  # shifted with their images
                both = self._augmented(torch.cat([images, masks], 1), batch, epoch, generator)
                images = both[:, : images.shape[1]]
                labels = both[:, -1].to(labels.dtype) + self._outside if has_masks else labels
            yield images, labels

    def _augmented(self, images: Tensor, numbers: Tensor, epoch: int, generator: torch.Generator) -> Tensor:
        if self._augment != "shift_and_alternate":
            return moved(images, self._augment == "crop_and_flip", generator)
        first = torch.rand(len(self._labels), generator=torch.Generator().manual_seed(self._seed)) < 0.5
        return moved(images, first[numbers] ^ bool(epoch % 2), generator, share=16, mode="reflect")


def moved(
    images: Tensor, flip: bool | Tensor, generator: torch.Generator, share: int = 8, mode: str = "constant"
) -> Tensor:
    """Each image shifted by up to an eighth of its side, padded with zeros, and mirrored or not at random.

    Padding 32 x 32 images by 4 pixels and cutting at random is the usual augmentation of CIFAR-10 (He et al., 2016).
    A sixteenth with reflected edges, each image mirrored in every second epoch, is that of airbench (Jordan, 2024).

    Args:
        images: (n, channels, height, width).
        flip: Whether to mirror left and right with probability 1/2; a tensor (n,) says which images.
        generator: Source of random numbers.
        share: The side over the furthest shift.
        mode: What moves in, as in torch.nn.functional.pad: `constant` zeros or `reflect`.
    """
    count, _, height, width = images.shape
    pads = (height // share, width // share)
    padded = F.pad(images, (pads[1], pads[1], pads[0], pads[0]), mode)
    down, right = (torch.randint(2 * pad + 1, (count, 1), generator=generator) for pad in pads)
    rows = torch.arange(height) + down
    columns = torch.arange(width).expand(count, width)
    if flip is not False:
        mirrored = torch.rand(count, 1, generator=generator) < 0.5 if flip is True else flip[:, None]
        columns = torch.where(mirrored, width - 1 - columns, columns)
    rows, columns = (each.to(images.device, non_blocking=True) for each in (rows, columns + right))
    numbers = torch.arange(count, device=images.device)
    picked: Tensor = padded[numbers[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)


def _split(images: Tensor, labels: Tensor, shares: tuple[float, float]) -> tuple[Split, Split, Split]:
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(_SPLIT_SEED))
    first = round(shares[0] * len(labels))
    second = first + round(shares[1] * len(labels))
    train, validation, test = order[:first], order[first:second], order[second:]
    return (images[train], labels[train]), (images[validation], labels[validation]), (images[test], labels[test])


def _tensors(inputs: Tensor, labels: Tensor, count: int | None, task: Task) -> Split:
    """The first `count` inputs; pixels of 0 to 255 are scaled to 0 to 1: inputs of analog layers are unsigned."""
    inputs = inputs[:count]
    if inputs.dtype is torch.uint8:
        inputs = inputs.float().div_(255)
    elif inputs.is_floating_point():
        inputs = inputs.float()
    return inputs.contiguous().to(compute_device()), task.stored(labels[:count]).to(compute_device())
