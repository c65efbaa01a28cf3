"""Data sets from the network, checked and laid out as studies read them."""

import dataclasses
import hashlib
import tarfile
from pathlib import Path

from rich.progress import Progress

from pipeline.data.download import download
from pipeline.data.files import CHECKSUMS, CIFAR10_FILES, FOLDERS, IDX_FILES, checked, unpacked
from pipeline.data.spec import DataError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where a data set comes from.

    Attributes:
        url: Folder of the official files, or of a mirror, with a slash at its end.
        files: Their names.
        archive_md5: If the one file is a tar archive, its checksum.
        about: Size and licence, for people.
    """

    url: str
    files: tuple[str, ...]
    archive_md5: str | None = None
    about: str


_IDX_PACKED = tuple(f"{name}.gz" for name in IDX_FILES)
SOURCES = {
    "mnist": Source(
        url="https://ossci-datasets.s3.amazonaws.com/mnist/",  # the copy that torchvision uses
        files=_IDX_PACKED,
        about="70,000 digits 28 x 28, 11 MB",
    ),
    "fashion_mnist": Source(
        url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",  # Xiao et al., their README
        files=_IDX_PACKED,
        about="70,000 articles of clothing 28 x 28, 30 MB, MIT licence",
    ),
    "cifar10": Source(
        url="https://www.cs.toronto.edu/~kriz/",  # Krizhevsky's own page, checksum included
        files=("cifar-10-python.tar.gz",),
        archive_md5="c58f30108f718f92721af3b95e74349a",
        about="60,000 colour photographs 32 x 32, 170 MB",
    ),
}


def fetch(name: str, source: Source, to: Path, progress: Progress) -> Path:
    """Bring a data set into `to`; files that are there and whole are not fetched again.

    Returns:
        The data set's own folder.

    Raises:
        DataError: If a file cannot be fetched or its checksum is wrong; such a file is removed.
    """
    folder = to / FOLDERS[name]
    for file in source.files:
        if source.archive_md5:
            if not is_whole(name, folder):
                archive = download(source.url + file, to / file, progress)
                _unpack_cifar10(archive, source.archive_md5, folder)
        elif not (_holds(name, folder, file.removesuffix(".gz")) or _holds(name, folder, file)):
            path = download(source.url + file, folder / file, progress)
            try:
                checked(unpacked(path.read_bytes(), path, name), path, name)
            except DataError:
                path.unlink()
                raise
    return folder


def _unpack_cifar10(archive: Path, wanted: str, folder: Path) -> None:
    """Write the batches of the archive, checked first, each whole or not at all; then the archive is not needed."""
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != wanted:
        archive.unlink()
        raise DataError(f"{archive}: checksum (MD5) is {found}, must be {wanted}; run the same command to fetch anew")
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as members:
        for name in CIFAR10_FILES:
            member = members.extractfile(f"{FOLDERS['cifar10']}/{name}")
            assert member is not None, "the checksum vouches for the archive's members"
            unfinished = folder / f"{name}.part"
            unfinished.write_bytes(checked(member.read(), folder / name, "cifar10"))
            unfinished.replace(folder / name)
    archive.unlink()


def is_whole(name: str, folder: Path) -> bool:
    return all(_holds(name, folder, file) or _holds(name, folder, f"{file}.gz") for file in CHECKSUMS[name])


def _holds(name: str, folder: Path, file: str) -> bool:
    """The file is there, and it is the official one."""
    path = folder / file
    try:
        content = path.read_bytes()
        checked(unpacked(content, path, name) if file.endswith(".gz") else content, path, name)
    except (OSError, DataError):
        return False
    return True
