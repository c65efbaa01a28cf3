"""Files of users, read with one-line errors, and files of ours, written whole or not at all."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    unfinished = path.with_suffix(".part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def read_yaml(path: Path, kind: str) -> Any:
    """The content of a user's YAML (or JSON) file.

    Args:
        path: The file.
        kind: What it is, for the message: `study` or `design`.

    Raises:
        ValueError: If it is missing or cannot be read; names the file.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such {kind} file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: ` (did you mean 'rram'?)`, or nothing if no known word is near."""
    nearest = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""
