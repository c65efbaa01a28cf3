"""Connecting to a database, SQLite or a server, and what their drivers need."""

import contextlib
import os
import re
import sqlite3
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL, Engine, make_url

from pipeline.optuna_private import table_names

_LOCK_WAIT_S = 10  # how long one attempt waits for another writer of a SQLite file
_CREATION_KEY = 0x6E6163696D  # of the lock for making tables and studies: "nacim" in ASCII
_CONNECT = {  # PostgreSQL: both ends notice a dead connection within about a minute
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
_SERVER_OPTIONS = (  # UTC: heartbeats carry no time zone; a change to summer time would shift them
    "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3 -c timezone=UTC"
)


class StudyError(ValueError):
    """A database that cannot be used for this study; the message says why and names the way out."""


def open_storage(url: str, to_read: bool = False) -> RDBStorage:
    """Connect to a database, after checks that write nothing.

    Args:
        url: SQLAlchemy URL.
        to_read: Make no tables, and open a SQLite file also where nothing can be written.

    Raises:
        StudyError: If it cannot be reached, is not an Optuna database of a known schema, or is to be read and empty.
    """
    if is_sqlite(url) and not _inspect_sqlite(url) and to_read:
        raise StudyError(f"{show_url(url)}: an empty database; run the study first: nacim run STUDY.yaml")
    opened = url if is_writable(url) or not to_read else f"sqlite:///{_read_only_uri(url)}&uri=true"
    escaped = with_driver(opened).replace("{", "{{").replace("}", "}}")  # Optuna fills in a template
    with as_study_error(url), one_at_a_time(url):
        storage = RDBStorage(escaped, engine_kwargs=_engine_options(url), skip_table_creation=to_read)
    weakref.finalize(storage, storage.engine.dispose)  # closing the last connection merges SQLite's log
    return storage


@contextlib.contextmanager
def as_study_error(url: str) -> Iterator[None]:
    """Turn errors of an unusable database or a missing driver into a `StudyError`."""
    try:
        yield
    except ImportError as error:
        missing = f"the driver of {make_url(url).drivername} is not installed"
        if is_postgresql(url):
            missing = "PostgreSQL needs the driver psycopg; install it with: pip install 'nacim[cluster]'"
        raise StudyError(f"{show_url(url)}: {missing}") from error
    except (RuntimeError, sqlalchemy.exc.SQLAlchemyError, StorageInternalError) as error:
        raise StudyError(f"{show_url(url)}: cannot be used as a study database: {cause_of(error)}") from error


_LONGEST = 1000  # assumed: characters of a message beyond which it repeats what was read


@contextlib.contextmanager
def as_damage() -> Iterator[None]:
    """Turn an error in what a database holds, once it was read, into a `StudyError`.

    A run writes nothing that raises one. Another program, or a damaged disk, may have.
    """
    try:
        yield
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        AssertionError,
        RecursionError,
    ) as error:
        if isinstance(error, ValueError) and len(str(error)) <= _LONGEST:  # a message of ours, or as short
            raise
        raise StudyError(
            f"the database holds what cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:80]}); "
            "another program may have changed it; if none did, this is a fault of nacim, and -v tells where it arose"
        ) from error


def is_sqlite(url: str) -> bool:
    """Whether the database is a file on this machine."""
    return make_url(url).get_backend_name() == "sqlite"


def is_postgresql(url: str) -> bool:
    """Whether the database is a server that many machines may write to."""
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
    bare = url._replace(password=None)  # `set` ignores None
    return bare.difference_update_query(["password", "sslpassword"])


def cause_of(error: BaseException) -> str:
    """The first line of what the database said; a URL in it loses its password."""
    text = str(error.__cause__ or error).strip() or type(error).__name__
    return re.sub(r"(//[^:/\s]*):[^@\s]*@", r"\1@", text.splitlines()[0])[:160]


@contextlib.contextmanager
def one_at_a_time(url: str) -> Iterator[None]:
    """Let one process at a time make tables or a study; on PostgreSQL two at once make each other fail."""
    if not is_postgresql(url):
        yield
        return
    engine = lone_engine(url)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": _CREATION_KEY})
        yield
    engine.dispose()


def let_readers_in(storage: RDBStorage) -> None:
    """Turn on SQLite's write-ahead log, so that readers and the writer do not wait for each other."""
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
    """The settings above; server options of the URL or PGOPTIONS come before ours."""
    asked = make_url(url).query.get("options") or os.environ.get("PGOPTIONS", "")
    return _CONNECT | {"options": f"{asked} {_SERVER_OPTIONS}".strip()}


def lone_engine(url: str) -> Engine:
    """An engine for PostgreSQL, unpooled, that commits each statement."""
    return sqlalchemy.create_engine(
        with_driver(url),
        poolclass=sqlalchemy.NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args=_connect_arguments(url),
    )


def is_writable(url: str) -> bool:
    """Whether a database may be written; True for one that is no file, whose server knows."""
    database = make_url(url).database if is_sqlite(url) else None
    if not database or not (path := Path(database)).exists():
        return True
    return os.access(path, os.W_OK) and os.access(path.resolve().parent, os.W_OK)


def _read_only_uri(url: str) -> str:
    """SQLite's own URI of a file to be read. Where nothing can be written its log is read only if it is there."""
    path = Path(make_url(url).database or "").resolve()
    log = Path(f"{path}-wal")
    has_log = log.exists() and log.stat().st_size > 0
    return f"{path.as_uri()}?mode=ro{'' if has_log or is_writable(url) else '&immutable=1'}"


def _inspect_sqlite(url: str) -> set[str]:
    """Names of the tables of a SQLite file; none if there is no such file."""
    database = make_url(url).database
    if not database or not (path := Path(database)).exists() or path.stat().st_size == 0:
        return set()
    try:
        with contextlib.closing(sqlite3.connect(_read_only_uri(url), uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        raise StudyError(
            f"{path}: not a readable SQLite database ({error}); choose another file with --storage"
        ) from error
    if foreign := tables - {"alembic_version", *table_names()}:
        raise StudyError(
            f"{path}: a database of another program (table {min(foreign)!r}); choose another file with --storage"
        )
    return tables
