"""The command `nacim data`: which data sets there are, and how to get them."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import Changes, DataDir, StudyFile, changes_by_key, console_of_tables

data = typer.Typer(no_args_is_help=True, help="List data sets, look at one, or fetch one.")


@data.command("list")
def list_sets(
    data_dir: Annotated[Path | None, typer.Option(help="Also show which of them this folder holds.")] = None,
) -> None:
    """List the data sets that a study can name."""
    from rich.console import Console
    from rich.table import Column, Table

    from pipeline.data.fetch import is_whole
    from pipeline.data.sets import DATA_SETS

    table = Table("name", "what", Column("from", overflow="fold"), *(["in the folder"] if data_dir else []))
    for name, data_set in DATA_SETS.items():
        url, presence = data_set.source.url if data_set.source else "", ""
        if data_dir and data_set.checksums:
            presence = "yes" if is_whole(name, data_dir) else "no"
        table.add_row(name, data_set.about, url, *([presence] if data_dir else []))
    table.add_row(
        "build: FILE.py:FUNCTION",
        "your own, in place of a name: what a function gives, see docs/data.md",
        *[""] * (len(table.columns) - 2),
    )
    Console().print(table)


@data.command("look")
def look(study_file: StudyFile, data_dir: DataDir = None, changes: Changes = None) -> None:
    """Show what the networks of a study see: inputs and labels of each split, the task and its score."""
    from rich.table import Table

    from pipeline.data.batches import load_images
    from pipeline.data.spec import check_data, image_of
    from pipeline.study.study_file import load_study

    spec = load_study(study_file, data_dir=data_dir, changes=changes_by_key(changes)).spec.dataset
    check_data(spec)
    images, image = load_images(spec), image_of(spec)
    table = Table("split", "inputs", "type", "range", "labels", "type", "range")
    for name in ("train", "validation", "test"):
        cells = []
        for each in getattr(images, name):
            shape = f"({', '.join(map(str, each.shape))})"
            cells += [shape, str(each.dtype).removeprefix("torch."), f"{each.min():.4g} to {each.max():.4g}"]
        table.add_row(name, *cells)
    console_of_tables().print(table)
    print(f"{spec.title}: task {images.task.name}, score {spec.score_name}, outputs of a network {image.outputs}")


@data.command("get")
def get(
    name: Annotated[str, typer.Argument(help="Name of the data set; see `nacim data list`.")],
    to: Annotated[Path, typer.Option(help="Folder to write into: the --data-dir of later runs.")],
    mirror: Annotated[str | None, typer.Option(help="URL of another folder with the official files.")] = None,
) -> None:
    """Fetch and check a data set, in the layout that studies read. Continues an interrupted transfer."""
    from pipeline.data.fetch import fetch, progress_bar
    from pipeline.data.sets import DATA_SETS

    known = DATA_SETS.get(name)
    if known is None or known.source is None:
        why = f": {known.about}" if known else ""
        choices = ", ".join(each for each, data_set in DATA_SETS.items() if data_set.source)
        raise ValueError(f"data set {name!r} cannot be fetched{why}; choose from {choices}")
    with progress_bar() as progress:
        folder = fetch(name, to, progress, mirror)
    print(f"{name} is in {folder}; run a study of it with --data-dir {to}")
