"""The command `nacim`. A command imports only typer at its top, so that help is quick; it loads the rest when it runs.

Exit codes: 0 done; 2 bad input, nothing written; 3 the database or the machine failed, results are kept; 4 the run
stopped because trainings failed or the search space is used up; 5 a replayed trial differs; 130 interrupted,
finished trials are kept.
"""

import functools
import inspect
import io
import logging
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from pipeline.cli import options
from pipeline.cli.cost import cost
from pipeline.cli.data import data
from pipeline.cli.devices import devices
from pipeline.cli.evaluate import evaluate
from pipeline.cli.init import init
from pipeline.cli.look import dashboard, export, report, schema, show
from pipeline.cli.require import require
from pipeline.cli.run import run
from pipeline.cli.status import status
from pipeline.cli.submit import submit
from pipeline.cli.worker import worker
from pipeline.machine_faults import MachineFault, fault_of
from pipeline.threads import one_thread_each

_log = logging.getLogger("nacim")


def _telling_of_damage(command: Callable[..., None]) -> Callable[..., None]:
    """The command, whose errors in values that a database holds are told in one line."""

    @functools.wraps(command)
    def run(**given: Any) -> None:
        from pipeline.database.storage import as_damage

        with as_damage():
            command(**given)

    return run


app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Search computing-in-memory accelerators and their networks together.",
)
for command in (init, run, status, report, show, dashboard, evaluate, require, export, cost, worker, submit, schema):
    app.command()(command)
for registered in app.registered_commands:
    if registered.callback in (status, report, show, dashboard):  # what shows a database, and computes nothing
        registered.callback = _telling_of_damage(registered.callback)
app.add_typer(data, name="data")
app.add_typer(devices, name="devices")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"nacim {version('nacim')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that stand before the command."""


def _log_to_stderr(wanted: bool) -> None:
    if wanted:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
        logging.captureWarnings(True)


_VERBOSE_HELP = "Also print log messages of the libraries, and where an error arose."
Verbose = Annotated[bool, typer.Option("-v", "--verbose", callback=_log_to_stderr, help=_VERBOSE_HELP)]


def _with_verbose(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the option `-v` after its own."""

    @functools.wraps(command)
    def run(**given: Any) -> None:
        del given["verbose"]  # its callback has been called
        command(**given)

    own = inspect.signature(command)
    option = inspect.Parameter("verbose", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Verbose)
    vars(run)["__signature__"] = own.replace(parameters=[*own.parameters.values(), option])
    run.__annotations__ = {**command.__annotations__, "verbose": Verbose}
    return run


for group in (app, data, devices):
    for registered in group.registered_commands:
        assert registered.callback is not None
        registered.callback = _with_verbose(registered.callback)


def main() -> None:
    """Entry point: runs a command and turns expected failures into one line and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    one_thread_each()  # before a command loads NumPy
    try:
        app()
    except Exception as error:  # its type decides; importing the types is slow, so only now
        outcome = _expected(error)
        if outcome is None:
            raise
        _log.info("the error arose here", exc_info=True)
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
