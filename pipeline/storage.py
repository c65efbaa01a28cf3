"""The database of studies: opened, locked, and written in whole steps that can be waited for and repeated."""

import contextlib
import dataclasses
import errno
import json
import os
import re
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import BaseModel, StudyModel, TrialModel, TrialUserAttributeModel
from sqlalchemy.engine import URL, Engine, ExceptionContext, make_url
from sqlalchemy.orm import Session

Result = TypeVar("Result")

PATIENCE_S = 300.0  # assumed: how long a database that is away is waited for
DISK_ERRORS = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO)  # that say so even without a file's name
_LOCK_WAIT_S = 10  # how long one attempt waits for another writer of a SQLite file
_PAUSES_S = (0.2, 10.0)  # assumed: between attempts, first and longest
_CREATION_KEY = 0x6E6163696D  # of the lock under which tables and studies are made: "nacim" in ASCII
_CONNECT = {  # PostgreSQL: a connection that is gone is noticed within about a minute, on both ends
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
_SERVER_OPTIONS = (  # UTC: signs of life are compared without their time zone, which an hour of summer time would break
    "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3 -c timezone=UTC"
)
_WRONG = re.compile(  # what will not pass when a command begins, though the drivers call it operational
    "unable to open database file|readonly database|password authentication failed|no password supplied|"
    "does not exist|no pg_hba.conf entry|failed to resolve host|could not translate host name"
)


class StudyError(ValueError):
    """A database that cannot be used for this study; the message says why and names the way out."""


class DatabaseAway(RuntimeError):
    """The database stayed locked, full or unreachable for longer than it is waited for."""


def open_storage(url: str) -> RDBStorage:
    """Connect to a database, after a look that writes nothing.

    Raises:
        StudyError: If it cannot be reached or is not an Optuna database of a known schema.
    """
    if is_sqlite(url):
        _inspect_sqlite(url)
    escaped = with_driver(url).replace("{", "{{").replace("}", "}}")  # Optuna fills in a template
    try:
        with one_at_a_time(url):
            storage = RDBStorage(escaped, engine_kwargs=_engine_options(url))
    except ImportError as error:
        raise StudyError(f"{show_url(url)}: {missing_driver(url)}") from error
    except (RuntimeError, sqlalchemy.exc.SQLAlchemyError, StorageInternalError) as error:
        raise StudyError(f"{show_url(url)}: cannot be used as a study database: {cause_of(error)}") from error
    weakref.finalize(storage, storage.engine.dispose)  # SQLite's log goes into the file when the last one leaves
    return storage


def is_sqlite(url: str) -> bool:
    """A database in a file of this machine."""
    return make_url(url).get_backend_name() == "sqlite"


def is_postgresql(url: str) -> bool:
    """A server that many machines may write to."""
    return make_url(url).get_backend_name() == "postgresql"


def with_driver(url: str) -> str:
    """The URL with psycopg 3 as the driver of a PostgreSQL URL that names none."""
    parsed = make_url(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed.render_as_string(hide_password=False)


def show_url(url: str) -> str:
    """The URL without its password."""
    return without_password(make_url(url)).render_as_string()


def without_password(url: URL) -> URL:
    """The URL without passwords, also those among its options."""
    bare = url._replace(password=None)  # `set` takes None for "as it is"
    return bare.difference_update_query(["password", "sslpassword"])


def cause_of(error: BaseException) -> str:
    """The first line of what the database said; a URL in it loses its password."""
    text = str(error.__cause__ or error).strip() or type(error).__name__
    return re.sub(r"(//[^:/\s]*):[^@\s]*@", r"\1@", text.splitlines()[0])


# Whole steps


@contextlib.contextmanager
def transaction(opened: optuna.Study | RDBStorage) -> Iterator[Session]:
    """Everything that this thread reads and writes through Optuna inside the block is one transaction of the database.

    It is in the database as a whole or not at all. Optuna opens and commits a session for each of its calls; here its
    sessions join one outer transaction (SQLAlchemy: "Joining a Session into an External Transaction").

    Raises:
        DatabaseError: Of SQLAlchemy or Optuna. Nothing was written then, unless the connection broke during the commit.
    """
    backend = opened if isinstance(opened, RDBStorage) else backend_of(opened)
    first: list[BaseException] = []
    backend.scoped_session.remove()
    try:
        with backend.engine.begin() as connection:
            if backend.engine.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")  # waits for another writer here and nowhere later

            def remember(context: ExceptionContext) -> None:
                if context.connection is connection and context.sqlalchemy_exception is not None:
                    first.append(context.sqlalchemy_exception)

            sqlalchemy.event.listen(backend.engine, "handle_error", remember)
            try:
                yield backend.scoped_session(bind=connection, join_transaction_mode="rollback_only")
            finally:
                sqlalchemy.event.remove(backend.engine, "handle_error", remember)
    except BaseException as error:
        if isinstance(opened, optuna.Study):
            _forget(opened._storage)
        if first and isinstance(error, (StorageInternalError, sqlalchemy.exc.SQLAlchemyError)):
            raise first[0] from None  # Optuna's repetitions hide it
        raise
    finally:
        backend.scoped_session.remove()


def backend_of(opened: optuna.Study) -> RDBStorage:
    """The database behind Optuna's cache."""
    backend = opened._storage._backend  # type: ignore[attr-defined]
    assert isinstance(backend, RDBStorage)
    return backend


def lock_study(opened: optuna.Study, session: Session) -> None:
    """Let no other process ask or claim until the transaction ends."""
    StudyModel.find_or_raise_by_id(opened._study_id, session, for_update=True)


def lock_trial(session: Session, trial_id: int) -> optuna.trial.TrialState:
    """Let no other process change a trial until the transaction ends; its state now."""
    state = TrialModel.find_or_raise_by_id(trial_id, session, for_update=True).state
    return cast(optuna.trial.TrialState, state)


def set_user_attributes(session: Session, trial_id: int, values: dict[str, Any]) -> None:
    """All at once: Optuna's own way reads the trial and writes a row for each of them.

    Args:
        session: Of a transaction that has locked the trial or made it.
        trial_id: Of an unfinished trial.
        values: Name -> a value for JSON.
    """
    table = TrialUserAttributeModel
    session.execute(sqlalchemy.delete(table).where(table.trial_id == trial_id, table.key.in_(values)))
    rows = [{"trial_id": trial_id, "key": key, "value_json": json.dumps(value)} for key, value in values.items()]
    session.execute(sqlalchemy.insert(table), rows)


def _forget(storage: Any) -> None:
    """What the cache has seen of a transaction that was taken back never happened."""
    with storage._lock:
        storage._studies.clear()
        storage._trial_id_to_study_id_and_number.clear()
        storage._study_id_and_number_to_trial_id.clear()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """Repeats a step while the database or the disk is away, and says so.

    Attributes:
        bound_s: Seconds from the first failure after which it gives up.
        say: Told what is waited for and until when, and when it is over.
        at_start: A command begins; what is more likely a mistake (a password, a path) is not waited for.
    """

    bound_s: float = PATIENCE_S
    say: Callable[[str], None] = lambda message: None
    at_start: bool = False

    def __call__(self, step: Callable[[], Result]) -> Result:
        """Do a step that may be repeated: whole or not at all, and harmless if it was done already.

        Raises:
            DatabaseAway: If the bound is reached.
        """
        deadline, pause = None, _PAUSES_S[0]
        while True:
            try:
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


# Details of the databases


@contextlib.contextmanager
def one_at_a_time(url: str) -> Iterator[None]:
    """Making tables or a study: two processes that do it at once crash each other on PostgreSQL."""
    if not is_postgresql(url):
        yield
        return
    engine = lone_engine(url)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": _CREATION_KEY})
        yield
    engine.dispose()


def let_readers_in(storage: RDBStorage) -> None:
    """SQLite's write-ahead log: readers and the writer do not wait for each other."""
    if storage.engine.name == "sqlite":
        with storage.engine.connect() as connection:
            connection.execute(sqlalchemy.text("PRAGMA journal_mode=WAL"))


def _engine_options(url: str) -> dict[str, Any]:
    if is_sqlite(url):
        return {"connect_args": {"timeout": _LOCK_WAIT_S}}
    if is_postgresql(url):
        return {"connect_args": _connect_arguments(url), "pool_pre_ping": True}
    return {"pool_pre_ping": True}


def _connect_arguments(url: str) -> dict[str, Any]:
    """Ours, after the server options that the URL or PGOPTIONS asks for, which would be lost otherwise."""
    asked = make_url(url).query.get("options") or os.environ.get("PGOPTIONS", "")
    return _CONNECT | {"options": f"{asked} {_SERVER_OPTIONS}".strip()}


def lone_engine(url: str) -> Engine:
    """Connections to PostgreSQL that are not shared, each statement on its own."""
    return sqlalchemy.create_engine(
        with_driver(url),
        poolclass=sqlalchemy.NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args=_connect_arguments(url),
    )


def missing_driver(url: str) -> str:
    """What to do about a driver that is not installed."""
    if is_postgresql(url):
        return "PostgreSQL needs the driver psycopg; install it with: pip install 'nacim[cluster]'"
    return f"the driver of {make_url(url).drivername} is not installed"


def _inspect_sqlite(url: str) -> None:
    database = make_url(url).database
    if not database or not (path := Path(database)).exists() or path.stat().st_size == 0:
        return
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        raise StudyError(
            f"{path}: not a readable SQLite database ({error}); choose another file with --storage"
        ) from error
    if foreign := tables - {"alembic_version", *BaseModel.metadata.tables}:
        raise StudyError(
            f"{path}: a database of another program (table {min(foreign)!r}); choose another file with --storage"
        )
