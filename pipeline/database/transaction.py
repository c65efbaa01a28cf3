"""Several reads and writes through Optuna as one transaction."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.orm import Session

from pipeline.optuna_private import backend_of, forget_cached_trials, user_attribute_table


@contextlib.contextmanager
def transaction(study: optuna.Study | RDBStorage) -> Iterator[Session]:
    """Make everything that this thread reads and writes through Optuna inside the block one transaction.

    The database gets all of it or nothing. Optuna opens and commits a session for each of its calls; here its
    sessions join one outer transaction (SQLAlchemy: "Joining a Session into an External Transaction").

    Raises:
        DatabaseError: Of SQLAlchemy or Optuna. Nothing was written then, unless the connection broke during the commit.
    """
    backend = study if isinstance(study, RDBStorage) else backend_of(study)
    first: list[BaseException] = []
    backend.scoped_session.remove()
    try:
        with backend.engine.begin() as connection:
            if backend.engine.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")  # waits for other writers here, not later

            def remember(context: ExceptionContext) -> None:
                if context.connection is connection and context.sqlalchemy_exception is not None:
                    first.append(context.sqlalchemy_exception)

            sqlalchemy.event.listen(backend.engine, "handle_error", remember)
            try:
                yield backend.scoped_session(bind=connection, join_transaction_mode="rollback_only")
            finally:
                sqlalchemy.event.remove(backend.engine, "handle_error", remember)
    except BaseException as error:
        if isinstance(study, optuna.Study):
            forget_cached_trials(study)
        if first and isinstance(error, (StorageInternalError, sqlalchemy.exc.SQLAlchemyError)):
            raise first[0] from None  # the cause, which Optuna's own retries hide
        raise
    finally:
        backend.scoped_session.remove()


def set_user_attributes(session: Session, trial_id: int, values: dict[str, Any]) -> None:
    """Write several attributes of an unfinished trial at once; Optuna would read the trial and write a row for each.

    The transaction of `session` must have locked or created the trial. JSON must be able to hold the values.
    """
    table = user_attribute_table()
    session.execute(sqlalchemy.delete(table).where(table.trial_id == trial_id, table.key.in_(values)))
    rows = [{"trial_id": trial_id, "key": key, "value_json": json.dumps(value)} for key, value in values.items()]
    session.execute(sqlalchemy.insert(table), rows)
