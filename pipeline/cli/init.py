"""`nacim init`: a study to start from, in a folder of the user's own."""

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where to write; made if missing.")]
Data = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="A folder with a folder of pictures for each class, a data set's name, or "
        "FILE.py:FUNCTION; digits if left out.",
    ),
]
Network = Annotated[
    str | None,
    typer.Option(metavar="FILE.py", help="Your network: FILE.py, FILE.py:FUNCTION or a family; else layers to search."),
]
Task = Annotated[str | None, typer.Option(help="What is learnt, such as regression; the data's usual task otherwise.")]
Name = Annotated[str | None, typer.Option(help="Name of the study, and of its folder of results.")]


def init(
    folder: Folder = Path(), data: Data = None, task: Task = None, network: Network = None, name: Name = None
) -> None:
    """Write a commented study to start from, checked against your data and your network."""
    import json

    from pipeline.files import write_whole
    from pipeline.study.search_space import SearchSpace
    from pipeline.study.starting import starting_study, study_name
    from pipeline.study.study_file import load_study, study_schema

    path = folder / "study.yaml"
    if path.exists():
        raise ValueError(f"{path} exists already; name another folder: nacim init FOLDER")
    stem = Path((network or data or "my_study").partition(":")[0]).stem
    text = starting_study(path, name or study_name(stem), data, task, network)
    try:
        write_whole(path, text)
        SearchSpace(load_study(path)).check()
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    write_whole(folder / "study.schema.json", json.dumps(study_schema(), indent=2) + "\n")
    print(f"{path}: a study to start from; edit it, then\n")
    print(f"  nacim data look {path}    # what the networks see")
    print(f"  nacim run {path} --trials 2 --set name=try --set training.epochs=1    # does it run?")
    print(f"  nacim run {path}")
