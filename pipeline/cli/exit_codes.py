"""Expected failures as one line and an exit code."""

import contextlib
import sys
from collections.abc import Iterator
from typing import NoReturn


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """End the process with one line and a code where the failure is an expected one; others surface."""
    try:
        yield
    except Exception as error:  # only now are the libraries loaded that define what may be expected
        outcome = _expected(error)
        if outcome is None:
            raise
        stop(*outcome)


def _expected(error: Exception) -> tuple[str, int] | None:
    """The line and the exit code of an expected failure."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    from pipeline.database.patience import DISK_ERRORS, DatabaseAway
    from pipeline.database.storage import cause_of
    from pipeline.design.results import TrainingDiverged
    from pipeline.run.runner import RepeatedFailure, SpaceExhausted
    from pipeline.run.supernet_file import SupernetDied

    if isinstance(error, (RepeatedFailure, SpaceExhausted, SupernetDied, TrainingDiverged)):
        return str(error), 4
    if isinstance(error, DatabaseAway):
        return str(error), 3
    if isinstance(error, (StorageInternalError, SQLAlchemyError)):
        way_out = "free the disk or the lock and run the same command to go on"
        return f"the database cannot be written ({cause_of(error)}); {way_out}", 3
    if isinstance(error, OSError) and (error.filename is not None or error.errno in DISK_ERRORS):
        return (
            f"cannot use {error.filename or 'a file'} ({error.strerror}); finished trials are kept, make room or "
            "choose another folder and run the same command to go on",
            3,
        )
    return (str(error), 2) if isinstance(error, ValueError) else None


def stop(message: str, code: int) -> NoReturn:
    """End the process with one line on stderr."""
    print(f"nacim: {message}", file=sys.stderr)
    sys.exit(code)
