"""Expected failures as one line and an exit code."""

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    from pipeline.database.patience import DISK_ERRORS, DatabaseAway
    from pipeline.database.storage import cause_of
    from pipeline.design.results import TrainingDiverged
    from pipeline.run.runner import RepeatedFailure, SpaceExhausted
    from pipeline.run.supernet_file import SupernetDied

    try:
        yield
    except (RepeatedFailure, SpaceExhausted, SupernetDied, TrainingDiverged) as error:
        stop(str(error), 4)
    except DatabaseAway as error:
        stop(str(error), 3)
    except (StorageInternalError, SQLAlchemyError) as error:
        way_out = "free the disk or the lock and run the same command to go on"
        stop(f"the database cannot be written ({cause_of(error)}); {way_out}", 3)
    except OSError as error:
        if error.filename is None and error.errno not in DISK_ERRORS:
            raise
        stop(
            f"cannot use {error.filename or 'a file'} ({error.strerror}); finished trials are kept, make room or "
            "choose another folder and run the same command to go on",
            3,
        )
    except ValueError as error:
        stop(str(error), 2)


def stop(message: str, code: int) -> None:
    print(f"nacim: {message}", file=sys.stderr)
    sys.exit(code)
