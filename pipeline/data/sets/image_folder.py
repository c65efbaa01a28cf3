"""A folder of a user's own pictures: one folder for each class, by name."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.data_set import DataError, DataSet, Part, data_folder
from pipeline.design.design_point import ImageSpec

if TYPE_CHECKING:
    import numpy as np

_SUFFIXES = (".png", ".jpg", ".jpeg")
_SPLITS = ("train", "training", "val", "valid", "validation", "test", "testing")  # folders of other layouts
_FORMATS = ("PNG", "JPEG")  # whatever the suffix says: Pillow would start another program to read some others
_STEP_16_BITS = 257  # 65535 / 255: one level of 8 bits, in levels of 16
_LOOKED_AT = 30  # assumed: pictures that tell the usual size
_SHARES = (("train", 0.6), ("validation", 0.8), ("test", 1.0))  # upper limits of the hash; shares as for digits


def _image(data_dir: str | None, side: int | None, channels: int | None) -> ImageSpec:
    assert side is not None, "needs_side"
    classes = len(_class_folders(data_folder("image_folder", data_dir)))
    return ImageSpec(channels=channels or 3, height=side, width=side, classes=classes)


def _read(folder: Path, image: ImageSpec) -> dict[str, Part]:
    """All pictures, resized to `image`, in three parts of 60, 20 and 20 %.

    A hash of a picture's path inside `folder` decides its part and its place there. So both stay when pictures are
    added, and the first pictures of a part are a random sample.
    """
    import numpy as np

    labelled = [(path, label) for label, place in enumerate(_class_folders(folder)) for path in _pictures(place)]
    drawn = sorted((_draw(path.relative_to(folder)), path, label) for path, label in labelled)
    parts: dict[str, Part] = {}
    low = 0.0
    for part, high in _SHARES:
        chosen = [(path, label) for draw, path, label in drawn if low <= draw < high]
        if not chosen:
            raise DataError(f"{folder}: {len(labelled)} pictures are too few, none falls to {part}; add pictures")
        images = np.stack([_pixels(path, image) for path, _ in chosen])
        parts[part] = images, np.array([label for _, label in chosen], np.int64)
        low = high
    return parts


def _class_folders(folder: Path) -> list[Path]:
    """The folders of the classes, sorted by name: label 0 is the first."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(classes) < 2:
        raise DataError(f"{folder}: holds {len(classes)} folders, must hold one folder of pictures for each class")
    if len(splits := [path.name for path in classes if path.name.lower() in _SPLITS]) > 1:
        raise DataError(
            f"{folder}: {' and '.join(splits)} are names of splits, not of classes; put a folder for each class there "
            "(nacim splits them itself), or give your own splits by dataset.build"
        )
    for path in classes:
        if not _pictures(path):
            raise DataError(f"{path}: holds no picture ({', '.join(_SUFFIXES)}); remove the folder or fill it")
    return classes


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)


def look_at(folder: Path) -> tuple[int, bool]:
    """The shorter side, in pixels, that pictures of a folder usually have, and whether all those looked at are grey.

    Raises:
        DataError: If the folder has not one folder of pictures for each class, or a picture cannot be read.
    """
    from PIL import Image, UnidentifiedImageError

    pictures = [path for place in _class_folders(folder) for path in _pictures(place)]
    sides, modes = [], set()
    for path in pictures[:: -(-len(pictures) // _LOOKED_AT)]:
        try:
            with Image.open(path, formats=_FORMATS) as picture:
                sides.append(min(picture.size))
                modes.add(picture.mode)
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise DataError(f"{path}: not a readable picture ({error}); remove it or mend it") from error
    return sorted(sides)[len(sides) // 2], modes <= {"1", "L", "LA", "I", "I;16"}


def _draw(path: Path) -> float:
    """A number from 0 to below 1, the same on every machine."""
    return (
        int.from_bytes(hashlib.sha256(path.as_posix().encode(errors="surrogateescape")).digest()[:6], "little") / 2**48
    )


def _pixels(path: Path, image: ImageSpec) -> "np.ndarray":
    import numpy as np
    from PIL import Image

    if not path.is_file():  # a pipe would never end
        raise DataError(f"{path}: must be a picture, but is no file; remove it")
    try:
        with Image.open(path, formats=_FORMATS) as picture:
            read: Image.Image = picture
            if read.mode.startswith("I"):  # grey of 16 bits, which `convert` would cut at 255
                levels = np.asarray(read).astype(np.float64) / _STEP_16_BITS
                read = Image.fromarray(levels.round().astype(np.uint8))
            plain = read.convert("L" if image.channels == 1 else "RGB")
    except Exception as error:  # a damaged picture makes Pillow raise errors of many classes
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
        raise DataError(f"{path}: not a readable picture ({reason}); remove it or mend it") from error
    pixels = np.asarray(plain.resize((image.width, image.height), Image.Resampling.BILINEAR))
    return pixels[None] if image.channels == 1 else pixels.transpose(2, 0, 1)


IMAGE_FOLDER = DataSet(
    about="your own pictures: one folder for each class, PNG or JPEG",
    image=_image,
    read=_read,
    folder="",
    options=("image_size", "channels"),
    needs_side=True,
    is_users_own=True,
)
