"""Image data sets as files: found, checked and read into arrays. No torch here, so that a run can check them first."""

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np

from pipeline.study_spec import DatasetSpec

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


def read_idx_pair(spec: DatasetSpec, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 28, 28) and labels (n,), uint8, of the part `train` or `t10k` of an MNIST-like data set.

    Raises:
        DataError: If a file is missing or its checksum is wrong.
    """
    folder = _data_folder(spec) / _IDX_FOLDER[spec.name]
    images = _read_idx(folder, f"{part}-images-idx3-ubyte", spec.name)[16:].reshape(-1, 28, 28)
    return images, _read_idx(folder, f"{part}-labels-idx1-ubyte", spec.name)[8:]


def check_data(spec: DatasetSpec) -> None:
    """Make sure that a study's data set is there and whole.

    Raises:
        DataError: If it is not.
    """
    if spec.name != "digits":  # digits come with scikit-learn
        for part in ("train", "t10k"):
            read_idx_pair(spec, part)


def _data_folder(spec: DatasetSpec) -> Path:
    if spec.data_dir is None:
        raise DataError(
            f"data set {spec.name!r} needs a folder: set dataset.data_dir in the study file or pass --data-dir"
        )
    folder = Path(spec.data_dir)
    if not folder.is_dir():
        raise DataError(
            f"data folder {folder} does not exist; set dataset.data_dir in the study file or pass --data-dir"
        )
    return folder


def _read_idx(folder: Path, name: str, dataset: str) -> np.ndarray:
    plain, packed = folder / name, folder / f"{name}.gz"
    if plain.is_file():
        path, content = plain, plain.read_bytes()
    elif packed.is_file():
        path = packed
        try:
            content = gzip.decompress(packed.read_bytes())
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{packed}: cannot be unpacked ({error}); fetch the file again") from error
    else:
        raise DataError(f"{plain} (or {packed.name}) does not exist; put the official {dataset} files into {folder}")
    found, wanted = hashlib.md5(content).hexdigest(), _IDX_MD5[dataset][name]
    if found != wanted:
        raise DataError(
            f"{path}: checksum (MD5 of the unpacked file) is {found}, must be {wanted}; fetch the file again"
        )
    return np.frombuffer(content, np.uint8).copy()
