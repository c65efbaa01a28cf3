"""Who may work on a study: one run, or any number of workers on PostgreSQL."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import sqlalchemy
from sqlalchemy.engine import make_url

from pipeline.database.storage import StudyError, as_study_error, is_postgresql, is_sqlite, lone_engine, show_url


class StudyLock:
    """The lock of a study on PostgreSQL, for one `nacim run` or any number of `nacim worker`.

    The lock belongs to a connection. When the connection breaks, the server releases the lock; `keep` takes it again.
    With `shared` other workers may hold it too.
    """

    def __init__(self, url: str, name: str, shared: bool) -> None:
        self._url = url
        self._engine = lone_engine(url)
        self._statement = sqlalchemy.text(f"SELECT pg_try_advisory_lock{'_shared' if shared else ''}(:key)")
        self._key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little", signed=True)
        self._connection: sqlalchemy.Connection | None = None
        self._shared = shared

    def keep(self) -> bool:
        """Make sure that the lock is held; True if it had to be taken (again).

        Raises:
            StudyError: If another process holds it.
        """
        if self._connection is not None:
            try:
                self._connection.exec_driver_sql("SELECT 1")
            except sqlalchemy.exc.DBAPIError:
                self.release()
            else:
                return False
        connection = self._engine.connect()
        if not connection.execute(self._statement, {"key": self._key}).scalar():
            connection.close()
            others = "a `nacim run` has it" if self._shared else "a `nacim run` or `nacim worker` has it"
            raise StudyError(f"{show_url(self._url)}: another process uses this study ({others}); wait for its end")
        self._connection = connection
        return True

    def release(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError):
                self._connection.close()
        self._connection = None


@contextlib.contextmanager
def run_lock(url: str, folder: Path, name: str) -> Iterator[Callable[[], bool]]:
    """Lock a study against a second run until the end of the block.

    A SQLite file is locked by a file beside it, wherever the links of its path lead, a study on PostgreSQL by the
    server, another database by a file in the output folder.

    Yields:
        A function that makes sure that the lock is still held (see `StudyLock.keep`), and that a SQLite file is still
        the one of its first call: what a run writes into a file that was moved or deleted may be lost with it.

    Raises:
        StudyError: If another run or a worker holds it.
    """
    if is_postgresql(url):
        with study_lock(url, name, shared=False) as lock:
            yield lock.keep
        return
    database_file = make_url(url).database if is_sqlite(url) else None
    path = Path(f"{Path(database_file).resolve()}.lock") if database_file else folder / "run.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(path, timeout=0):
            yield _SameFile(Path(database_file)) if database_file else lambda: False
    except filelock.Timeout:
        raise StudyError(
            f"{show_url(url)}: another run is using it ({path}); wait for it, or use --workers there"
        ) from None


class _SameFile:
    """Raises StudyError, when called, if a path is not the file any more that it was at the first call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._first: tuple[int, int] | None = None

    def __call__(self) -> bool:
        try:
            found = self._path.stat()
        except OSError as error:
            raise StudyError(
                f"{self._path} was moved or deleted ({error.strerror}); put it back and run the same command"
            ) from None
        self._first = self._first or (found.st_dev, found.st_ino)
        if self._first != (found.st_dev, found.st_ino):
            raise StudyError(f"{self._path} is another file than before; put the first one back")
        return False


@contextlib.contextmanager
def study_lock(url: str, name: str, shared: bool) -> Iterator[StudyLock]:
    """Hold the lock of a study on PostgreSQL until the end of the block.

    Raises:
        StudyError: If another process holds it, or the server cannot be used.
    """
    with as_study_error(url):
        lock = StudyLock(url, name, shared)
        lock.keep()
    try:
        yield lock
    finally:
        lock.release()
