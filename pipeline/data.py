"""Image data sets in memory, and batches of them."""

import dataclasses
import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from pipeline.chips import derive_seed
from pipeline.study_spec import DatasetSpec, TrainingSpec

Split = tuple[Tensor, Tensor]

_SPLIT_SEED = 0  # all studies share one split, so that they can be compared
_IDX_MD5 = {  # of the unpacked official files (mnist: yann.lecun.com; fashion_mnist: Xiao et al., arXiv 1708.07747)
    "mnist": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}
_IDX_FOLDER = {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw"}  # the layout torchvision writes


class DataError(ValueError):
    """A data set that is missing or damaged; the message names the file and the way out."""


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
        images, labels = _read_idx_pair(spec, "train")
        train, validation, _ = _split(images, labels, (5 / 6, 1 / 6))
        test = _read_idx_pair(spec, "t10k")
    return ImageSet(
        train=_first(train, spec.train_images), validation=_first(validation, spec.validation_images), test=_first(test, spec.test_images)
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


def _read_idx_pair(spec: DatasetSpec, part: str) -> Split:
    folder = _data_folder(spec) / _IDX_FOLDER[spec.name]
    images = _read_idx(folder, f"{part}-images-idx3-ubyte", spec.name)[16:].reshape(-1, 1, 28, 28)
    labels = _read_idx(folder, f"{part}-labels-idx1-ubyte", spec.name)[8:]
    return torch.from_numpy(images).float() / 255, torch.from_numpy(labels).long()


def _data_folder(spec: DatasetSpec) -> Path:
    if spec.data_dir is None:
        raise DataError(f"data set {spec.name!r} needs a folder: set dataset.data_dir in the study file or pass --data-dir")
    folder = Path(spec.data_dir)
    if not folder.is_dir():
        raise DataError(f"data folder {folder} does not exist; set dataset.data_dir in the study file or pass --data-dir")
    return folder


def _read_idx(folder: Path, name: str, dataset: str) -> np.ndarray:
    plain, packed = folder / name, folder / f"{name}.gz"
    if plain.is_file():
        path, content = plain, plain.read_bytes()
    elif packed.is_file():
        path, content = packed, gzip.decompress(packed.read_bytes())
    else:
        raise DataError(f"{plain} (or {packed.name}) does not exist; put the official {dataset} files into {folder}")
    found, wanted = hashlib.md5(content).hexdigest(), _IDX_MD5[dataset][name]
    if found != wanted:
        raise DataError(f"{path}: checksum (MD5 of the unpacked file) is {found}, must be {wanted}; fetch the file again")
    return np.frombuffer(content, np.uint8).copy()
