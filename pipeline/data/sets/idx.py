"""Data sets in MNIST's four idx files (LeCun's format): headers of 16 bytes for images, 8 for labels."""

import functools
from collections.abc import Mapping
from pathlib import Path

from pipeline.data.data_set import DataSet, Part, Source, read_official
from pipeline.design.design_point import ImageSpec

_IMAGE = ImageSpec(channels=1, height=28, width=28, classes=10)
_MNIST_MD5 = {  # yann.lecun.com
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
_FASHION_MNIST_MD5 = {  # Xiao et al., arXiv 1708.07747
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
_PACKED = tuple(f"{name}.gz" for name in _MNIST_MD5)


def _read(name: str, checksums: Mapping[str, str], folder: Path, image: ImageSpec) -> dict[str, Part]:
    import numpy as np

    def part(prefix: str) -> Part:
        images = read_official(folder, f"{prefix}-images-idx3-ubyte", checksums, name)
        labels = read_official(folder, f"{prefix}-labels-idx1-ubyte", checksums, name)
        pixels = np.frombuffer(images, np.uint8, offset=16).reshape(-1, image.channels, image.height, image.width)
        return pixels.copy(), np.frombuffer(labels, np.uint8, offset=8).copy()

    return {"train": part("train"), "test": part("t10k")}


MNIST = DataSet(
    about="70,000 digits 28 x 28, 11 MB",
    image=_IMAGE,
    read=functools.partial(_read, "mnist", _MNIST_MD5),
    folder="MNIST/raw",  # as torchvision lays it out
    checksums=_MNIST_MD5,
    source=Source(url="https://ossci-datasets.s3.amazonaws.com/mnist/", files=_PACKED),  # the copy torchvision uses
)
FASHION_MNIST = DataSet(
    about="70,000 articles of clothing 28 x 28, 30 MB, MIT licence",
    image=_IMAGE,
    read=functools.partial(_read, "fashion_mnist", _FASHION_MNIST_MD5),
    folder="FashionMNIST/raw",  # as torchvision lays it out
    checksums=_FASHION_MNIST_MD5,
    source=Source(  # Xiao et al., their README
        url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/", files=_PACKED
    ),
)
