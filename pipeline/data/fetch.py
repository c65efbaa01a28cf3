"""Data sets from the network, checked and laid out as studies read them."""

import hashlib
import tarfile
from pathlib import Path

from rich.progress import Progress

from pipeline.data.data_set import DataError, DataSet
from pipeline.data.download import download
from pipeline.data.official import checked, read_official, unpacked
from pipeline.data.sets import DATA_SETS
from pipeline.files import write_whole


def fetch(name: str, to: Path, progress: Progress, mirror: str | None = None) -> Path:
    """Bring a data set into `to`; files that are there and whole are not fetched again.

    Args:
        name: Of a data set with a source.
        to: The `data_dir` of later runs.
        progress: Shows the transfers.
        mirror: URL of another folder with the official files.

    Returns:
        The data set's own folder.

    Raises:
        DataError: If a file cannot be fetched or its checksum is wrong; such a file is removed.
    """
    data_set = DATA_SETS[name]
    assert data_set.source is not None
    assert data_set.folder is not None
    url = data_set.source.url if mirror is None else mirror.rstrip("/") + "/"
    folder = to / data_set.folder
    if data_set.source.archive_md5:
        if not is_whole(name, to):
            (file,) = data_set.source.files
            _unpack(download(url + file, to / file, progress), data_set, folder, name)
        return folder
    for file in data_set.source.files:
        if not _holds(data_set, folder, file.removesuffix(".gz"), name):
            path = download(url + file, folder / file, progress)
            try:
                checked(unpacked(path.read_bytes(), path, name), path, data_set.checksums, name)
            except DataError:
                path.unlink()
                raise
    return folder


def is_whole(name: str, data_dir: Path) -> bool:
    """Whether all official files of a data set lie in a study's `data_dir`."""
    data_set = DATA_SETS[name]
    return all(_holds(data_set, data_dir / (data_set.folder or ""), file, name) for file in data_set.checksums)


def _unpack(archive: Path, data_set: DataSet, folder: Path, name: str) -> None:
    """Write the files of the archive, checked first, each whole or not at all; then the archive is not needed."""
    assert data_set.source is not None
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != data_set.source.archive_md5:
        archive.unlink()
        raise DataError(
            f"{archive}: checksum (MD5) is {found}, must be {data_set.source.archive_md5}; "
            "run the same command to fetch anew"
        )
    with tarfile.open(archive) as members:
        for each in data_set.checksums:
            member = members.extractfile(f"{data_set.folder}/{each}")
            assert member is not None, "the checksum vouches for the archive's members"
            write_whole(folder / each, checked(member.read(), folder / each, data_set.checksums, name))
    archive.unlink()


def _holds(data_set: DataSet, folder: Path, file: str, name: str) -> bool:
    """The official file is there, plain or packed."""
    try:
        read_official(folder, file, data_set.checksums, name)
    except (OSError, DataError):
        return False
    return True
