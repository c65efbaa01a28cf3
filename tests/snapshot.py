"""What a folder holds, to be compared before and after: files by their bytes, databases by their rows."""

import contextlib
import sqlite3
from pathlib import Path

_SIDE_FILES = (".lock", ".db-wal", ".db-shm")  # SQLite's log moves into the database when the last connection ends


def snapshot(folder: Path) -> dict[Path, bytes | None]:
    """Path -> content of everything below a folder but locks and SQLite's own side files; None for a folder."""
    return {path: _content(path) for path in folder.rglob("*") if path.suffix not in _SIDE_FILES}


def _content(path: Path) -> bytes | None:
    if path.is_dir():
        return None
    content = path.read_bytes()
    return rows(path) if content.startswith(b"SQLite format 3") else content


def rows(database: Path) -> bytes:
    """All tables of a SQLite database as SQL."""
    with contextlib.closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        return "\n".join(connection.iterdump()).encode()
