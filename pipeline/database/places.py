"""Where a study keeps its files and its database."""

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from pipeline.study.study_file import StudyDefinition


def places(definition: StudyDefinition, out: Path | None, storage: str | None) -> tuple[Path, str]:
    """The output folder and the database URL of a study.

    Raises:
        ValueError: If `storage` is no URL; it is not repeated, for it may hold a password.
    """
    folder = out or Path("results") / definition.spec.name
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
