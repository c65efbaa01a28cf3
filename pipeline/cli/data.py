"""The command `nacim data`: which data sets there are, and how to get them."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

data = typer.Typer(no_args_is_help=True, help="List data sets, or fetch one.")
_OWN = {
    "digits": "1,797 digits 8 x 8, come with scikit-learn; nothing to fetch",
    "nuclei": "nuclei in microscope images with masks, 128 x 128; no server has this form of it, see docs/data.md",
    "image_folder": "your own pictures: one folder for each class, PNG or JPEG",
}


@data.command("list")
def list_sets(
    data_dir: Annotated[Path | None, typer.Option(help="Say which of them lie in this folder.")] = None,
) -> None:
    """List the data sets that a study can name."""
    from rich.console import Console
    from rich.table import Column, Table

    from pipeline.data.fetch import SOURCES

    table = Table("name", "what", Column("from", overflow="fold"), *(["in the folder"] if data_dir else []))
    for name, about in ({name: source.about for name, source in SOURCES.items()} | _OWN).items():
        url = SOURCES[name].url if name in SOURCES else ""
        table.add_row(name, about, url, *([_presence(name, data_dir)] if data_dir else []))
    Console().print(table)


@data.command("get")
def get(
    name: Annotated[str, typer.Argument(help="Of the data set; see `nacim data list`.")],
    to: Annotated[Path, typer.Option(help="Folder to write into: the --data-dir of later runs.")],
    mirror: Annotated[str | None, typer.Option(help="URL of a folder that holds the official files.")] = None,
) -> None:
    """Fetch a data set, check it, and lay it out as studies read it. A transfer that was cut goes on."""
    from pipeline.data.download import progress_bar
    from pipeline.data.fetch import SOURCES, fetch

    if name not in SOURCES:
        why = f": {_OWN[name]}" if name in _OWN else ""
        raise ValueError(f"data set {name!r} cannot be fetched{why}; choose from {', '.join(SOURCES)}")
    source = SOURCES[name]
    if mirror is not None:
        source = dataclasses.replace(source, url=mirror.rstrip("/") + "/")
    with progress_bar() as progress:
        folder = fetch(name, source, to, progress)
    print(f"{name} is in {folder}; run a study of it with --data-dir {to}")


def _presence(name: str, data_dir: Path) -> str:
    from pipeline.data.fetch import SOURCES, is_whole
    from pipeline.data.files import FOLDERS

    if name not in SOURCES:
        return ""
    return "yes" if is_whole(name, data_dir / FOLDERS[name]) else "no"
