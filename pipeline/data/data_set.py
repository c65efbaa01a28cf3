"""The record of a data set; each data set has a file in `pipeline/data/sets/`. Importing this is cheap."""

import dataclasses
import gzip
import hashlib
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.design.design_point import ImageSpec

if TYPE_CHECKING:
    import numpy as np

Part = tuple["np.ndarray", "np.ndarray"]  # images (n, channels, height, width); labels (n,) or masks (n, height, width)


class DataError(ValueError):
    """A data set is missing or damaged; the message names the file and the remedy."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where `nacim data get` fetches a data set."""

    url: str  # folder of the official files, or of a mirror, with a slash at its end
    files: tuple[str, ...]
    archive_md5: str | None = None  # checksum of the one file, if it is a tar archive


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """One data set that a study file can name: an entry of `pipeline.data.sets.DATA_SETS`.

    Attributes:
        about: One sentence for `nacim data list`: number of images, size, licence.
        image: Size of the images and number of classes, or a function that finds them; see `FindImage`.
        read: Reads the images and labels of each split; see `Read`.
        folder: Its own folder inside the study's `data_dir`; None if it needs no files.
        checksums: Official file -> MD5 of its unpacked content.
        source: Where to fetch it, or None.
        validation_share: Share of the official training images used for validation, if there are no others.
        options: Which of `image_size` and `channels` a study may set.
        sides: The values that `image_size` may have; empty: any.
        needs_side: Whether a study must set `image_size`.
        masks: Whether each pixel has a class, instead of each image.
        is_users_own: Whether the files are a user's own, so that only their content identifies the data set.
    """

    about: str
    image: "ImageSpec | FindImage"
    read: "Read"
    folder: str | None
    checksums: Mapping[str, str] = dataclasses.field(default_factory=dict)
    source: Source | None = None
    validation_share: float = 1 / 6
    options: tuple[str, ...] = ()
    sides: tuple[int, ...] = ()
    needs_side: bool = False
    masks: bool = False
    is_users_own: bool = False


# Finds a data set's `ImageSpec` from the study's `data_dir`, `image_size` and `channels`.
FindImage = Callable[[str | None, int | None, int | None], ImageSpec]
# Reads the parts from a data set's folder, given its `ImageSpec`: "train", "test" and maybe "validation", or "all",
# which is split. Images are uint8, or float from 0 to 1. Raises DataError if a file is missing or damaged.
Read = Callable[[Path, ImageSpec], dict[str, Part]]


def data_folder(name: str, data_dir: str | None) -> Path:
    """The folder of a study's data set. Raises DataError if none is given or it does not exist."""
    way_out = "set dataset.data_dir in the study file or pass --data-dir"
    if data_dir is None:
        raise DataError(f"data set {name!r} needs a folder: {way_out}")
    folder = Path(data_dir)
    if not folder.is_dir():
        raise DataError(f"data folder {folder} does not exist; {way_out}")
    return folder


def read_official(folder: Path, name: str, checksums: Mapping[str, str], data_set: str) -> bytes:
    """The content of an official file, stored as `name` or `name.gz`. Raises DataError, as `Read` does."""
    plain, packed = folder / name, folder / f"{name}.gz"
    for path in (plain, packed):
        if path.is_file():
            return checked(path.read_bytes(), path, checksums, data_set)
    raise DataError(
        f"{plain} (or {packed.name}) does not exist; put the official {data_set} files into {folder}, "
        f"or run nacim data get {data_set}"
    )


def checked(content: bytes, path: Path, checksums: Mapping[str, str], data_set: str) -> bytes:
    """The `content` of the official file `path`, unpacked. Raises DataError if it is damaged or its checksum wrong."""
    way_out = f"fetch the file again (nacim data get {data_set})"
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: cannot be unpacked ({error}); {way_out}") from error
    found, wanted = hashlib.md5(content).hexdigest(), checksums[path.name.removesuffix(".gz")]
    if found != wanted:
        raise DataError(f"{path}: checksum (MD5 of the unpacked file) is {found}, must be {wanted}; {way_out}")
    return content
