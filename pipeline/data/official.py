"""Official files of a data set, plain or packed with gzip, read only if their checksum is right."""

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path

from pipeline.data.data_set import DataError


def read_official(folder: Path, name: str, checksums: Mapping[str, str], data_set: str) -> bytes:
    """The content of an official file, which may lie there as `name` or as `name.gz`.

    Raises:
        DataError: If it is missing or damaged.
    """
    plain, packed = folder / name, folder / f"{name}.gz"
    if plain.is_file():
        return checked(plain.read_bytes(), plain, checksums, data_set)
    if packed.is_file():
        return checked(unpacked(packed.read_bytes(), packed, data_set), packed, checksums, data_set)
    raise DataError(
        f"{plain} (or {packed.name}) does not exist; put the official {data_set} files into {folder}, "
        f"or run nacim data get {data_set}"
    )


def checked(content: bytes, path: Path, checksums: Mapping[str, str], data_set: str) -> bytes:
    """The content of an official file; `path` names the file, with or without `.gz`.

    Raises:
        DataError: If its checksum is wrong.
    """
    found, wanted = hashlib.md5(content).hexdigest(), checksums[path.name.removesuffix(".gz")]
    if found != wanted:
        raise DataError(
            f"{path}: checksum (MD5 of the unpacked file) is {found}, must be {wanted}; {_fetch_again(data_set)}"
        )
    return content


def unpacked(content: bytes, path: Path, data_set: str) -> bytes:
    """What a gzip file holds.

    Raises:
        DataError: If it is damaged.
    """
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be unpacked ({error}); {_fetch_again(data_set)}") from error


def _fetch_again(data_set: str) -> str:
    return f"fetch the file again (nacim data get {data_set})"
