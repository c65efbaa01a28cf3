"""Tiny data sets in the real formats, and a server that hands out files as real ones do, faults included."""

import hashlib
import http.server
import io
import struct
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.sets import DATA_SETS


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def idx_files(images: int = 12) -> dict[str, bytes]:
    """The four files of an MNIST-like set with that many images a part."""
    chance = np.random.default_rng(0)
    files = {}
    for name in DATA_SETS["mnist"].checksums:
        shape = (images, 28, 28) if "images" in name else (images,)
        values = chance.integers(0, 256 if "images" in name else 10, shape, dtype=np.uint8)
        files[name] = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + values.tobytes()
    return files


def cifar10_files(images: int = 4) -> dict[str, bytes]:
    """The six batches of CIFAR-10 with that many images each, pickled as Python 2 did."""
    chance = np.random.default_rng(0)
    return {
        name: python2_batch(chance.integers(0, 256, (images, 3072), dtype=np.uint8), list(range(images)))
        for name in DATA_SETS["cifar10"].checksums
    }


def python2_batch(pixels: np.ndarray, labels: list[int]) -> bytes:
    """{"labels": labels, "data": pixels}, protocol 2, byte strings and NumPy's old module names."""
    numbers = b"".join(b"M" + struct.pack("<H", value) for value in pixels.shape)
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01("
        + numbers
        + b"tcnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<I", pixels.size)
        + pixels.tobytes()
        + b"tb"
    )
    names = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(U\x06labels" + names + b"U\x04data" + array + b"u."


def write_set(name: str, files: dict[str, bytes], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write files into `folder` and take them for the official ones."""
    folder.mkdir(parents=True, exist_ok=True)
    trust(name, files, monkeypatch)
    for file, content in files.items():
        (folder / file).write_bytes(content)


def trust(name: str, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Take these files for the official ones."""
    for file, content in files.items():
        monkeypatch.setitem(DATA_SETS[name].checksums, file, md5(content))


def cifar10_archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


class Server:
    """Files by path, over HTTP with ranges.

    Attributes:
        url: Of the folder, with a slash.
        files: Path -> content.
        cut_after: Bytes after which each answer is cut off; None for whole answers.
        asked: Range header of each request, "" for none.
    """

    def __init__(self) -> None:
        self.url = ""
        self.files: dict[str, bytes] = {}
        self.cut_after: int | None = None
        self.asked: list[str] = []


@contextmanager
def serve() -> Iterator[Server]:
    """A server on a free port of this machine."""
    server = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            server.asked.append(wanted)
            if self.path.lstrip("/") not in server.files:
                self.send_error(404)
                return
            content = server.files[self.path.lstrip("/")]
            start = int(wanted.removeprefix("bytes=").rstrip("-") or 0)
            if start and start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = None if server.cut_after is None else start + server.cut_after
            self.wfile.write(content[start:end])

        def log_message(self, *_: object) -> None:
            pass

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever)
    thread.start()
    server.url = f"http://127.0.0.1:{listener.server_port}/"
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


def write_nuclei(folder: Path, train: int = 24, test: int = 6) -> dict[str, np.ndarray]:
    """Bright squares on dark ground with their masks, in the format of the nuclei set; gives what was written."""
    chance = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for part, count in (("train", train), ("test", test)):
        masks = np.zeros((count, 128, 128), np.uint8)
        for mask in masks:
            top, left = chance.integers(0, 80, 2)
            mask[top : top + 40, left : left + 40] = 1
        arrays[f"{part}_x"], arrays[f"{part}_y"] = 30 + 200 * masks, masks
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "dsb2018_stage1_128.npz", **arrays)
    return arrays
