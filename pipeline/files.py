"""Files of users, read with one-line errors, and files of ours, written whole or not at all."""

import contextlib
import difflib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from hw_models.yaml_loaders import load_yaml

_LONGEST_FILE = 4_000_000  # characters of a user's file; assumed


def write_whole(path: Path, content: str | bytes | Callable[[Path], Any], durable: bool = False) -> None:
    """Write a file whole or not at all. Several processes may write the same one: the last wins.

    Args:
        path: The file; its folder is made if missing.
        content: Text (UTF-8), bytes, or a function that writes the file it is given.
        durable: Return only when the disk has the file, so that it outlives a power cut.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        if callable(content):
            content(unfinished)
        else:
            unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
        if durable:
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


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


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: ` (did you mean 'rram'?)`, or nothing if no known word is near."""
    nearest = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""
