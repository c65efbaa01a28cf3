"""What a worker is doing now, in a small file that the live view reads; losing the file does no harm."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

_FILE: ContextVar[Path | None] = ContextVar("file", default=None)


@contextlib.contextmanager
def told_in(path: Path) -> Iterator[None]:
    """Let `say` write to `path` inside the block, and remove the file afterwards."""
    token = _FILE.set(path)
    try:
        yield
    finally:
        _FILE.reset(token)
        with contextlib.suppress(OSError):
            path.unlink()


def say(phase: str) -> None:
    """Say what happens now, such as `training, epoch 3 of 30`; outside `told_in` this does nothing."""
    if path := _FILE.get():
        with contextlib.suppress(OSError):  # a full disk shows itself elsewhere
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(phase, encoding="utf-8")


def phase_file(checkpoint: Path) -> Path:
    """The file of the trial that writes this checkpoint."""
    return checkpoint.with_suffix(".phase")


def read_phase(folder: Path, study: str, number: int) -> str:
    """What the worker of trial `number` last said; empty if nothing. `folder` holds the study's checkpoints."""
    with contextlib.suppress(OSError):
        for path in folder.glob(f"{study}-*-{number:05d}.phase"):
            return path.read_text(encoding="utf-8")
    return ""
