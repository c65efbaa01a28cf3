"""Files from the network, whole or not at all, with a progress bar.

Our own, for pooch (1.9) starts a transfer that was cut from its beginning again.
"""

import contextlib
import http.client
import urllib.error
import urllib.request
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from pipeline.data.data_set import DataError

_CHUNK = 2**16  # bytes
_WAIT_S = 30  # without a byte, after which a transfer counts as cut


def download(url: str, path: Path, progress: Progress) -> Path:
    """Fetch `url` into `path`. What a cut transfer left (`path` with `.part`) is continued with an HTTP range.

    Raises:
        DataError: If the server cannot be reached or the transfer is cut; what came is kept for the next call.
    """
    unfinished = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.suppress(_Complete):
            _continue(url, unfinished, progress)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DataError(
            f"{url}: {error}; run the same command to go on where it stopped, or put the file into {path.parent}"
        ) from error
    return unfinished.replace(path)


class _Complete(Exception):
    """The file was already there, byte for byte."""


def _continue(url: str, unfinished: Path, progress: Progress) -> None:
    have = unfinished.stat().st_size if unfinished.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_WAIT_S)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
                raise _Complete from None
            raise OSError(f"the server answers {error.code} {error.reason}") from None
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0  # the server knows no ranges and sends all of it
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
