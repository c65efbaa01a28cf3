"""Options that several commands share, and what they mean."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pipeline.database.storage import is_postgresql, show_url

_LOG_WIDTH = 160  # columns of tables where there is no terminal


def console_of_tables() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=_LOG_WIDTH)


StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="A study file; see studies/.")]
StorageUrl = Annotated[
    str | None,
    typer.Option(
        "--storage", envvar="NACIM_STORAGE", help="Database URL; a SQLite file in the output folder otherwise."
    ),
]
OutFolder = Annotated[Path | None, typer.Option("--out", help="Output folder; results/NAME otherwise.")]
DataDir = Annotated[str | None, typer.Option(help="Folder of the data set, in place of the study file's.")]
WaitFor = Annotated[float, typer.Option(help="Seconds that a database which is locked, full or away is waited for.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def within(option: str, value: float | None, low: int, high: int | None = None) -> None:
    """Refuse a number outside its range.

    Raises:
        ValueError: Naming the option, the range and the number.
    """
    if value is not None and (value < low or (high is not None and value > high)):
        raise ValueError(f"{option} must be {low} {'or more' if high is None else f'to {high}'}, got {value}")


def print_json(value: Any) -> None:
    """Print for scripts."""
    print(json.dumps(value, indent=2))


Heartbeat = Annotated[
    int, typer.Option(help="Seconds between signs of life; the same for all workers. Dead is who misses four.")
]
Goal = Annotated[
    int | None, typer.Option("--trials", help="Evaluated trials in total at which all workers end; else the file's.")
]


def needs_server(url: str) -> None:
    """Refuse a database that only one machine can write safely.

    Raises:
        ValueError: With the way out.
    """
    if not is_postgresql(url):
        raise ValueError(
            f"--storage {show_url(url)}: many workers need PostgreSQL (postgresql+psycopg://USER@HOST/DATABASE); "
            "on one machine use: nacim run --workers K"
        )
