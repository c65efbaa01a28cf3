"""The command `nacim`. A command imports only typer at its top, so that help is quick; it loads the rest when it runs.

Exit codes: 0 done; 2 bad input, nothing written; 3 the database or the machine failed, results are kept; 4 the run
stopped because trainings failed or the search space is used up; 5 a replayed trial differs; 130 interrupted,
finished trials are kept.
"""

import typer

from pipeline.cli import options
from pipeline.cli.cost import cost
from pipeline.cli.data import data
from pipeline.cli.devices import devices
from pipeline.cli.evaluate import evaluate
from pipeline.cli.look import dashboard, export, report, schema, show
from pipeline.cli.require import require
from pipeline.cli.run import run
from pipeline.cli.status import status
from pipeline.cli.submit import submit
from pipeline.cli.worker import worker
from pipeline.machine_faults import MachineFault, fault_of

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Search computing-in-memory accelerators and their networks together.",
)
for command in (cost, evaluate, require, worker, submit, status, run, report, show, export, dashboard, schema):
    app.command()(command)
app.add_typer(data, name="data")
app.add_typer(devices, name="devices")


def main() -> None:
    """Entry point: runs a command and turns expected failures into one line and an exit code."""
    try:
        app()
    except Exception as error:  # its type decides; importing the types is slow, so only now
        outcome = _expected(error)
        if outcome is None:
            raise
        options.stop(*outcome)


def _expected(error: Exception) -> tuple[str, int] | None:
    """Message and exit code of an error that may happen; None of one that is a fault of ours."""
    if isinstance(error, (MemoryError, ImportError)):  # what follows could not be loaded either
        return f"{fault_of(error)}; then run the same command to go on", 3
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    from pipeline.database.patience import DISK_ERRORS, DatabaseAway
    from pipeline.database.storage import cause_of
    from pipeline.design.results import TrainingDiverged
    from pipeline.run.runner import RepeatedFailure, SpaceExhausted
    from pipeline.run.supernet_file import SupernetDied

    if isinstance(error, (RepeatedFailure, SpaceExhausted, SupernetDied, TrainingDiverged)):
        return str(error), 4
    if isinstance(error, (DatabaseAway, MachineFault)):
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
    if isinstance(error, ValueError):
        return str(error), 2
    fault = fault_of(error)
    return (f"{fault}; then run the same command to go on", 3) if fault else None
