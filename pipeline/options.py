"""Options that several commands share, and what they mean."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from pipeline.study_spec import Study

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


def places(study: Study, out: Path | None, storage: str | None) -> tuple[Path, str]:
    """The output folder and the database URL of a study.

    Raises:
        ValueError: If `storage` is no URL; it is not repeated, for it may hold a password.
    """
    folder = out or Path("results") / study.spec.name
    if storage is None:
        return folder, URL.create("sqlite", database=str(folder / "study.db")).render_as_string()
    try:
        make_url(storage)
    except (ArgumentError, ValueError):
        shown = "" if "@" in storage else f"{storage!r} "  # it may hold a password
        raise ValueError(
            f"--storage {shown}is no database URL; write sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"
        ) from None
    return folder, storage


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
