"""Image data sets in memory, and batches of them."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from pipeline.chips import derive_seed
from pipeline.data_files import read_idx_pair
from pipeline.study_spec import DatasetSpec, TrainingSpec

Split = tuple[Tensor, Tensor]

_SPLIT_SEED = 0  # all studies share one split, so that they can be compared


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageSet:
    """Three splits of images (n, channels, height, width), float from 0 to 1, with labels (n,).

    Networks learn from `train`, the search is led by `validation`, and `test` is only reported.
    """

    train: Split
    validation: Split
    test: Split


def load_images(spec: DatasetSpec) -> ImageSet:
    """Read the data set of a study.

    Raises:
        DataError: If a file is missing or its checksum is wrong.
    """
    if spec.name == "digits":
        bunch = load_digits()
        images = torch.from_numpy(bunch.images).float().unsqueeze(1) / 16
        labels = torch.from_numpy(bunch.target).long()
        train, validation, test = _split(images, labels, (0.6, 0.2))
    else:
        images, labels = _tensors(*read_idx_pair(spec, "train"))
        train, validation, _ = _split(images, labels, (5 / 6, 1 / 6))
        test = _tensors(*read_idx_pair(spec, "t10k"))
    return ImageSet(
        train=_first(train, spec.train_images),
        validation=_first(validation, spec.validation_images),
        test=_first(test, spec.test_images),
    )


class ImageData(pl.LightningDataModule):
    """Training batches for Lightning: images stay in memory as one tensor, shuffled anew each epoch.

    Args:
        train: Training split.
        spec: Batch size.
        seed: Order of the images is a function of it and of the epoch.
    """

    def __init__(self, train: Split, spec: TrainingSpec, seed: int) -> None:
        super().__init__()
        self._batches = ShuffledBatches(train, spec.batch_size, seed)

    def train_dataloader(self) -> "ShuffledBatches":
        return self._batches


class ShuffledBatches:
    """Batches of a split in an order that changes with each pass; the last, smaller batch is left out."""

    def __init__(self, split: Split, batch_size: int, seed: int) -> None:
        self._images, self._labels = split
        self._batch_size = min(batch_size, len(self._labels))
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._labels) // self._batch_size

    def __iter__(self) -> Iterator[Split]:
        generator = torch.Generator().manual_seed(derive_seed(self._seed, self._epoch))
        self._epoch += 1
        order = torch.randperm(len(self._labels), generator=generator)
        for batch in order[: len(self) * self._batch_size].split(self._batch_size):
            yield self._images[batch], self._labels[batch]


def _split(images: Tensor, labels: Tensor, shares: tuple[float, float]) -> tuple[Split, Split, Split]:
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(_SPLIT_SEED))
    first = round(shares[0] * len(labels))
    second = first + round(shares[1] * len(labels))
    train, validation, test = order[:first], order[first:second], order[second:]
    return (images[train], labels[train]), (images[validation], labels[validation]), (images[test], labels[test])


def _first(split: Split, count: int | None) -> Split:
    return split if count is None else (split[0][:count], split[1][:count])


def _tensors(images: np.ndarray, labels: np.ndarray) -> Split:
    return torch.from_numpy(images).float().unsqueeze(1) / 255, torch.from_numpy(labels).long()
