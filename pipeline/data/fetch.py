"""Data sets from the network, checked and laid out as studies read them."""

import hashlib
import http.client
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from pipeline.data.data_set import DataError, DataSet, checked, read_official
from pipeline.data.sets import DATA_SETS
from pipeline.files import write_whole

_CHUNK = 2**16  # bytes
_WAIT_S = 30  # without data, after which a transfer counts as cut


def fetch(name: str, to: Path, progress: Progress, mirror: str | None = None) -> Path:
    """Fetch a data set into `to`, the `data_dir` of later runs. Complete files are not fetched again.

    Args:
        name: A data set with a source.
        to: Folder to write into; the result is the data set's folder in it.
        progress: Shows the transfers.
        mirror: URL of another folder with the official files.

    Raises:
        DataError: If a transfer fails (the next call continues it) or a file is wrong (it is removed).
    """
    data_set = DATA_SETS[name]
    assert data_set.source is not None
    assert data_set.folder is not None
    url = data_set.source.url if mirror is None else mirror.rstrip("/") + "/"
    folder = to / data_set.folder
    if data_set.source.archive_md5:
        if not is_whole(name, to):
            (file,) = data_set.source.files
            _unpack(_download(url + file, to / file, progress), data_set, folder, name)
        return folder
    for file in data_set.source.files:
        if not _holds(data_set, folder, file.removesuffix(".gz"), name):
            path = _download(url + file, folder / file, progress)
            try:
                checked(path.read_bytes(), path, data_set.checksums, name)
            except DataError:
                path.unlink()
                raise
    return folder


def is_whole(name: str, data_dir: Path) -> bool:
    """Whether all official files of a data set lie in a study's `data_dir`."""
    data_set = DATA_SETS[name]
    return all(_holds(data_set, data_dir / (data_set.folder or ""), file, name) for file in data_set.checksums)


def _unpack(archive: Path, data_set: DataSet, folder: Path, name: str) -> None:
    """Check the archive, write each of its files whole or not at all, and remove the archive."""
    assert data_set.source is not None
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != data_set.source.archive_md5:
        archive.unlink()
        wanted = f"must be {data_set.source.archive_md5}; run the same command to fetch anew"
        raise DataError(f"{archive}: checksum (MD5) is {found}, {wanted}")
    with tarfile.open(archive) as members:
        for each in data_set.checksums:
            try:  # it is never unpacked as a whole: only the official files are taken, each under its own name
                member = members.extractfile(f"{data_set.folder}/{each}")
            except (KeyError, RecursionError):  # no such file, or a link that leads nowhere in the archive
                member = None
            if member is None:
                raise DataError(f"{archive}: holds no file {data_set.folder}/{each}; fetch it from another place")
            write_whole(folder / each, checked(member.read(), folder / each, data_set.checksums, name))
    archive.unlink()


def _holds(data_set: DataSet, folder: Path, file: str, name: str) -> bool:
    """Whether the intact official file is there, plain or packed."""
    try:
        read_official(folder, file, data_set.checksums, name)
    except (OSError, DataError):
        return False
    return True


def _download(url: str, path: Path, progress: Progress) -> Path:
    """Fetch `url` into `path`. An interrupted transfer (`path` with `.part`) is continued with an HTTP range.

    pooch (1.9) is not used: it restarts an interrupted transfer from the beginning.
    """
    unfinished = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _continue(url, unfinished, progress)
    except (OSError, http.client.HTTPException, ValueError) as error:
        way_out = f"run the same command to go on where it stopped, or put the file into {path.parent}"
        raise DataError(f"{url}: {error}; {way_out}") from error
    return unfinished.replace(path)


def _continue(url: str, unfinished: Path, progress: Progress) -> None:
    have = unfinished.stat().st_size if unfinished.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_WAIT_S)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
                return  # the file was already there, byte for byte
            raise OSError(f"the server answers {error.code} {error.reason}") from None
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0  # the server ignores ranges and sends everything
        length = response.headers["Content-Length"]
        total = None if length is None else have + int(length)
        task = progress.add_task(unfinished.name.removesuffix(".part"), total=total, completed=have)
        with unfinished.open("ab" if have else "wb") as file:
            while piece := response.read(_CHUNK):
                file.write(piece)
                progress.advance(task, len(piece))
            have = file.tell()
    if total is not None and have < total:
        raise OSError(f"the transfer was cut after {have} of {total} bytes")


def progress_bar() -> Progress:
    """Name, bar, bytes, speed and time left."""
    return Progress("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
