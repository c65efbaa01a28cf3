"""Nuclei in microscope images with masks (Data Science Bowl 2018); docs/data.md says what the file holds."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.data_set import DataError, DataSet, Part
from pipeline.design.design_point import ImageSpec

if TYPE_CHECKING:
    import numpy as np

_FILE = "dsb2018_stage1_128.npz"
_SIDE = 128  # pixels, of the images in the file


def _image(data_dir: str | None, side: int | None, channels: int | None) -> ImageSpec:
    return ImageSpec(channels=1, height=side or _SIDE, width=side or _SIDE, classes=2, masks=True)


def _read(folder: Path, image: ImageSpec) -> dict[str, Part]:
    """Grey images and masks. Smaller images are block means; smaller masks are 1 where at least half is nucleus."""
    import numpy as np

    path = folder / _FILE
    try:
        with np.load(path, allow_pickle=False) as file:
            parts = {part: (file[f"{part}_x"], file[f"{part}_y"]) for part in ("train", "test")}
        if not all(isinstance(array, np.ndarray) for arrays in parts.values() for array in arrays):
            raise ValueError("a member is no array")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; docs/data.md says what it holds") from None
    except Exception as error:  # a damaged archive makes zipfile, zlib and NumPy raise errors of a dozen classes
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
        raise DataError(f"{path}: not a readable file of images and masks ({reason}); copy it again") from error
    for part, arrays in parts.items():
        if not arrays[0].size:
            raise DataError(f"{path}: {part}_x holds no image")
        for name, array in zip("xy", arrays, strict=True):
            if array.dtype != np.uint8 or array.shape != (len(arrays[0]), _SIDE, _SIDE):
                kind = f"{array.dtype}, {array.shape}"[:80]
                raise DataError(f"{path}: {part}_{name} must be uint8, (n, 128, 128), is {kind}")
        if arrays[1].max() > 1:
            raise DataError(f"{path}: {part}_y must hold 0 and 1, holds {arrays[1].max()}")
    return {
        part: (
            _block_means(x, image.height).round().astype(np.uint8)[:, None],
            (_block_means(y, image.height) >= 0.5).astype(np.uint8),
        )
        for part, (x, y) in parts.items()
    }


def _block_means(images: "np.ndarray", side: int) -> "np.ndarray":
    """Means over square blocks, `side` blocks a row."""
    step = images.shape[1] // side
    means: np.ndarray = images.reshape(-1, side, step, side, step).mean((2, 4))
    return means


NUCLEI = DataSet(
    about="nuclei in microscope images with masks, 128 x 128; not downloadable in this form, see docs/data.md",
    image=_image,
    read=_read,
    folder="nuclei",
    options=("image_size",),
    sides=(32, 64, 128),
    masks=True,
)
