"""Files of users, read with one-line errors, and files of ours, written whole or not at all."""

import contextlib
import difflib
import glob
import hashlib
import os
import socket
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from hw_models.yaml_loaders import load_yaml

_LONGEST_FILE = 4_000_000  # characters of a user's file; assumed

_HOST = f"{zlib.crc32(socket.gethostname().encode()):08x}"  # several machines may write into one folder


def write_whole(path: Path, content: str | bytes | Callable[[Path], Any], durable: bool = False) -> None:
    """Write a file whole or not at all. Several processes may write the same one: the last wins.

    It is written as `NAME.HOST-PROCESS-THREAD.part` first. What a process that was killed left of such a file is
    removed.

    Args:
        path: The file; its folder is made if missing.
        content: Text (UTF-8), bytes, or a function that writes the file it is given.
        durable: Return only when the disk has the file, so that it outlives a power cut.

    Raises:
        OSError: If the disk refuses it; names a file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(path.parent, path.name)
    unfinished = path.with_name(f"{path.name}.{_HOST}-{os.getpid()}-{threading.get_native_id()}.part")
    try:
        if callable(content):
            content(unfinished)
        else:
            unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
        if durable:
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # what the disk refuses in the middle of a file has no name
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


def remove_unfinished(folder: Path, name: str = "*") -> None:
    """Remove what processes of this machine that are gone left unfinished of the file `name` in a folder, or of all."""
    pattern = name if name == "*" else glob.escape(name)
    for path in folder.glob(f"{pattern}.{_HOST}-*-*.part"):
        process = path.name.split("-")[-2]
        if process.isdecimal() and not _is_alive(int(process)):
            with contextlib.suppress(OSError):
                path.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


def checksum_of(content: bytes) -> str:
    """SHA-256 of a file's content, as the database keeps it."""
    return hashlib.sha256(content).hexdigest()


def is_whole_archive(path: Path) -> bool:
    """Whether each part of a zip archive has its checksum. torch writes weights as such archives and checks none."""
    try:
        with zipfile.ZipFile(path) as parts:
            return parts.testzip() is None
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return False


def read_yaml(path: Path, kind: str) -> Any:
    """The content of a user's YAML (or JSON) file; messages call it a `kind` file, such as `study` or `design`.

    Raises:
        ValueError: If it is missing, or cannot be read for a reason that `load_yaml` lists; names the file.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LONGEST_FILE + 1)
        if len(text) > _LONGEST_FILE:
            raise ValueError(f"{path}: longer than {_LONGEST_FILE} characters, so it is no {kind} file")
        return load_yaml(text)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such {kind} file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())[:160]}") from error


def listed(names: Iterable[str], most: int = 150) -> str:
    """Names for a message: `a, b and c`, or as many as fit `most` characters and `and 7 more`."""
    *first, last = names
    text, kept = ", ".join(first), len(first)
    while len(text) > most:
        kept -= 1
        text = ", ".join(first[:kept])
    rest = len(first) + 1 - kept
    end = last if rest == 1 else f"{rest} more"
    return f"{text} and {end}" if text else end


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: ` (did you mean 'rram'?)`, or nothing if no known word is near."""
    nearest = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""
