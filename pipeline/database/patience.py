"""Waiting for a database that is locked, full or unreachable."""

import dataclasses
import errno
import re
import time
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy
from optuna.exceptions import StorageInternalError

from pipeline.database import PATIENCE_S
from pipeline.database.storage import StudyError, cause_of

Result = TypeVar("Result")
DISK_ERRORS = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO)  # such errors may name no file
_PAUSES_S = (0.2, 10.0)  # assumed: between attempts, first and longest
_WRONG = re.compile(  # operational errors that waiting will not fix when a command begins
    "unable to open database file|readonly database|password authentication failed|no password supplied|"
    "does not exist|no pg_hba.conf entry|failed to resolve host|could not translate host name"
)


class DatabaseAway(RuntimeError):
    """The database stayed locked, full or unreachable for longer than `Patience.bound_s`."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """Repeats a step while the database or the disk is unavailable, and says when the waiting begins and ends.

    Not tenacity: its limit counts from the first attempt, ours from the first failure.
    """

    bound_s: float = PATIENCE_S  # from the first failure
    say: Callable[[str], None] = lambda message: None
    at_start: bool = False  # the command just starts: likely mistakes (password, path) are raised at once
    before: Callable[[], None] = lambda: None  # called first in each attempt

    def __call__(self, step: Callable[[], Result]) -> Result:
        """Do a step, which must be atomic and safe to repeat.

        Raises:
            DatabaseAway: If the step still fails after `bound_s`.
        """
        deadline, pause = None, _PAUSES_S[0]
        while True:
            try:
                self.before()
                result = step()
            except Exception as error:
                if not passes(error) or (self.at_start and _WRONG.search(str(error))):
                    raise
                now = time.monotonic()
                if deadline is None:
                    deadline = now + self.bound_s
                    until = time.strftime("%H:%M:%S", time.localtime(time.time() + self.bound_s))
                    self.say(f"waiting for the database until {until} ({cause_of(error)})")
                if now >= deadline:
                    raise DatabaseAway(
                        f"the database was waited for {self.bound_s:g} s ({cause_of(error)}); results are kept, free "
                        "the disk or the lock or start the server, and run the same command to go on"
                    ) from error
                time.sleep(min(pause, deadline - now))
                pause = min(2 * pause, _PAUSES_S[1])
            else:
                if deadline is not None:
                    self.say("the database is back")
                return result


def passes(error: BaseException) -> bool:
    """Whether an error may pass by itself: locked, full, unreachable, restarted."""
    if isinstance(error, OSError):
        return error.errno in DISK_ERRORS
    while error.__cause__ is not None and isinstance(error, (StorageInternalError, StudyError)):
        error = error.__cause__
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError))
