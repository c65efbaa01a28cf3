"""CIFAR-10 (Krizhevsky, 2009), in the pickled batches of its official page."""

import io
import pickle
from pathlib import Path
from typing import Any

from pipeline.data.data_set import DataSet, Part, Source, read_official
from pipeline.design.design_point import ImageSpec

_MD5 = {  # of the files in the archive
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}


def _read(folder: Path, image: ImageSpec) -> dict[str, Part]:
    import numpy as np

    parts: dict[str, list[Part]] = {"train": [], "test": []}
    for name in _MD5:
        content = read_official(folder, name, _MD5, "cifar10")  # the checksum comes before the first byte is unpickled
        batch = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
        images = batch[b"data"].reshape(-1, image.channels, image.height, image.width)
        parts["test" if name == "test_batch" else "train"].append((images, np.array(batch[b"labels"], np.uint8)))
    return {
        part: (np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches]))
        for part, batches in parts.items()
    }


class _ArraysOnly(pickle.Unpickler):
    """Reads pickled NumPy arrays and plain values, and refuses everything else that a pickle can call."""

    def find_class(self, module: str, name: str) -> Any:
        import numpy as np

        allowed: dict[tuple[str, str], Any] = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
        # NumPy's own maker of empty arrays, wherever this version keeps it
        allowed["numpy.core.multiarray", "_reconstruct"] = np.ndarray(0).__reduce__()[0]
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"a data file must not load {module}.{name}")
        return allowed[module, name]


CIFAR10 = DataSet(
    about="60,000 colour photographs 32 x 32, 170 MB",
    image=ImageSpec(channels=3, height=32, width=32, classes=10),
    read=_read,
    folder="cifar-10-batches-py",  # as the archive and torchvision lay it out
    checksums=_MD5,
    source=Source(  # Krizhevsky's own page, checksum included
        url="https://www.cs.toronto.edu/~kriz/",
        files=("cifar-10-python.tar.gz",),
        archive_md5="c58f30108f718f92721af3b95e74349a",
    ),
    validation_share=1 / 10,  # as is usual
)
