"""Image data sets as files: found, checked and read into arrays. No torch here, so that a run can check them first."""

import functools
import gzip
import hashlib
import io
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.spec import DataError, DatasetSpec, Part
from pipeline.design.design_point import ImageSpec

IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CIFAR10_FILES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
NUCLEI_FILE = "dsb2018_stage1_128.npz"
_NUCLEI_SIDE = 128  # pixels
FOLDERS = {  # the layout that torchvision reads and writes
    "mnist": "MNIST/raw",
    "fashion_mnist": "FashionMNIST/raw",
    "cifar10": "cifar-10-batches-py",
    "nuclei": "nuclei",
}
CHECKSUMS = {  # MD5 of the unpacked official files
    "mnist": {  # yann.lecun.com
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion_mnist": {  # Xiao et al., arXiv 1708.07747
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
    "cifar10": {  # Krizhevsky, 2009
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
}
_IMAGES = {
    "digits": ImageSpec(channels=1, height=8, width=8, classes=10),
    "mnist": ImageSpec(channels=1, height=28, width=28, classes=10),
    "fashion_mnist": ImageSpec(channels=1, height=28, width=28, classes=10),
    "cifar10": ImageSpec(channels=3, height=32, width=32, classes=10),
}


def image_of(spec: DatasetSpec) -> ImageSpec:
    """Size of a data set's images and number of its classes.

    Raises:
        DataError: If the classes of an image folder cannot be counted.
    """
    if spec.name == "image_folder":
        from pipeline.data.image_folder import class_folders

        assert spec.image_size is not None
        classes = len(class_folders(data_folder(spec)))
        return ImageSpec(channels=spec.channels or 3, height=spec.image_size, width=spec.image_size, classes=classes)
    if spec.name == "nuclei":
        side = spec.image_size or _NUCLEI_SIDE
        return ImageSpec(channels=1, height=side, width=side, classes=2, masks=True)
    return _IMAGES[spec.name]


def read_parts(spec: DatasetSpec) -> dict[str, Part]:
    """Images (n, channels, height, width) and labels (n,), uint8, of the parts `train`, `test` and maybe `validation`.

    Masks have labels (n, height, width).

    Raises:
        DataError: If a file is missing or damaged.
    """
    folder = data_folder(spec)
    if spec.name == "image_folder":
        from pipeline.data.image_folder import read_image_folder

        return read_image_folder(folder, image_of(spec))
    folder = folder / FOLDERS[spec.name]
    if spec.name == "nuclei":
        return _read_nuclei(folder / NUCLEI_FILE, image_of(spec).height)
    if spec.name == "cifar10":
        return {"train": _read_cifar10(folder, CIFAR10_FILES[:5]), "test": _read_cifar10(folder, CIFAR10_FILES[5:])}
    return {part: _read_idx_pair(folder, name, spec.name) for part, name in (("train", "train"), ("test", "t10k"))}


def check_data(spec: DatasetSpec) -> None:
    """Make sure that a study's data set is there and whole.

    Raises:
        DataError: If it is not.
    """
    if spec.name != "digits":  # digits come with scikit-learn
        read_parts(spec)


def data_folder(spec: DatasetSpec) -> Path:
    """The folder that a study's data set lies in.

    Raises:
        DataError: If none is given or it is not there.
    """
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


def checked(content: bytes, path: Path, dataset: str) -> bytes:
    """The content of an official file, if its checksum is right; `path` names the file, with or without `.gz`.

    Raises:
        DataError: If it is not.
    """
    found, wanted = hashlib.md5(content).hexdigest(), CHECKSUMS[dataset][path.name.removesuffix(".gz")]
    if found != wanted:
        raise DataError(
            f"{path}: checksum (MD5 of the unpacked file) is {found}, must be {wanted}; {_fetch_again(dataset)}"
        )
    return content


def unpacked(content: bytes, path: Path, dataset: str) -> bytes:
    """What a gzip file holds.

    Raises:
        DataError: If it is damaged.
    """
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be unpacked ({error}); {_fetch_again(dataset)}") from error


def _fetch_again(dataset: str) -> str:
    return f"fetch the file again (nacim data get {dataset})"


def _read_official(folder: Path, name: str, dataset: str) -> bytes:
    plain, packed = folder / name, folder / f"{name}.gz"
    if plain.is_file():
        return checked(plain.read_bytes(), plain, dataset)
    if packed.is_file():
        return checked(unpacked(packed.read_bytes(), packed, dataset), packed, dataset)
    raise DataError(
        f"{plain} (or {packed.name}) does not exist; put the official {dataset} files into {folder}, "
        f"or run nacim data get {dataset}"
    )


def _read_idx_pair(folder: Path, part: str, dataset: str) -> Part:
    """Images and labels behind idx headers of 16 and 8 bytes (LeCun's format)."""
    images = np.frombuffer(_read_official(folder, f"{part}-images-idx3-ubyte", dataset), np.uint8, offset=16)
    labels = np.frombuffer(_read_official(folder, f"{part}-labels-idx1-ubyte", dataset), np.uint8, offset=8)
    size = _IMAGES[dataset]
    return images.reshape(-1, size.channels, size.height, size.width).copy(), labels.copy()


def _read_cifar10(folder: Path, names: tuple[str, ...]) -> Part:
    images, labels = [], []
    for name in names:
        content = _read_official(folder, name, "cifar10")  # the checksum comes before the first byte is unpickled
        batch = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
        images.append(batch[b"data"].reshape(-1, 3, 32, 32))
        labels.append(np.array(batch[b"labels"], np.uint8))
    return np.concatenate(images), np.concatenate(labels)


def _read_nuclei(path: Path, side: int) -> dict[str, Part]:
    """Grey images and masks; smaller ones are means over blocks of pixels, masks where at least half is a nucleus."""
    try:
        with np.load(path, allow_pickle=False) as file:
            parts = {part: (file[f"{part}_x"], file[f"{part}_y"]) for part in ("train", "test")}
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; docs/data.md says what it holds") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a readable file of images and masks ({error}); copy it again") from error
    for part, arrays in parts.items():
        for name, array in zip("xy", arrays, strict=True):
            if array.dtype != np.uint8 or array.shape != (len(arrays[0]), _NUCLEI_SIDE, _NUCLEI_SIDE):
                raise DataError(f"{path}: {part}_{name} must be uint8, (n, 128, 128), is {array.dtype}, {array.shape}")
    return {
        part: (_blocks(x, side).round().astype(np.uint8)[:, None], (_blocks(y, side) >= 0.5).astype(np.uint8))
        for part, (x, y) in parts.items()
    }


def _blocks(images: np.ndarray, side: int) -> np.ndarray:
    """Means over square blocks, `side` blocks a row."""
    step = images.shape[1] // side
    means: np.ndarray = images.reshape(-1, side, step, side, step).mean((2, 4))
    return means


class _ArraysOnly(pickle.Unpickler):
    """Reads pickled NumPy arrays and plain values, and refuses everything else that a pickle can call."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return _reconstruct()
        raise pickle.UnpicklingError(f"a data file must not load {module}.{name}")


@functools.cache
def _reconstruct() -> Any:
    """NumPy's own maker of empty arrays for the pickle, wherever this version keeps it."""
    return np.ndarray(0).__reduce__()[0]
