"""Steps in the database while a run holds its study."""

from collections.abc import Callable
from typing import TypeVar

from pipeline.database.patience import DatabaseAway, Patience
from pipeline.database.storage import StudyError

Result = TypeVar("Result")


class Steps:
    """Does steps in the database that may be repeated, with the study still held; waits while the database is away.

    Args:
        patience: How long the database is waited for.
        keep_lock: Makes sure that the study is still held, True if it had to be taken again.
        connection_was_lost: Called when it had to.
    """

    def __init__(
        self, patience: Patience, keep_lock: Callable[[], bool], connection_was_lost: Callable[[], None]
    ) -> None:
        self._patience = patience
        self._keep_lock = keep_lock
        self._connection_was_lost = connection_was_lost

    def __call__(self, step: Callable[[], Result]) -> Result:
        """Do a step.

        Raises:
            DatabaseAway: If the database stays away, or another process took the study meanwhile.
        """

        def held() -> Result:
            try:
                if self._keep_lock():
                    self._connection_was_lost()
            except StudyError as error:
                raise DatabaseAway(f"the study was lost with the connection; results are kept: {error}") from None
            return step()

        return self._patience(held)
