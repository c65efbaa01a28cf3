"""The command `nacim`. A command imports only typer at its top, so that help is quick; it loads the rest when it runs.

Exit codes: 0 done; 2 bad input, nothing written; 3 the database or the disk failed, results are kept; 4 the run
stopped because trainings failed or the search space is used up; 5 a replayed trial differs; 130 interrupted,
finished trials are kept.
"""

import typer

from pipeline.cli.cost import cost
from pipeline.cli.data import data
from pipeline.cli.devices import devices
from pipeline.cli.evaluate import evaluate
from pipeline.cli.exit_codes import exit_codes
from pipeline.cli.look import dashboard, export, report, schema, show
from pipeline.cli.require import require
from pipeline.cli.run import run
from pipeline.cli.status import status
from pipeline.cli.submit import submit
from pipeline.cli.worker import worker

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
    with exit_codes():
        app()
