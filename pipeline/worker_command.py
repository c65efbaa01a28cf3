"""`nacim worker`: one of many processes that work on one study, on this or other machines."""

import contextlib
import dataclasses
import sys
from typing import Annotated

import typer
from rich.console import Console

from pipeline.heartbeat import HEARTBEAT_S
from pipeline.options import DataDir, OutFolder, StorageUrl, StudyFile, WaitFor, places, within
from pipeline.storage import PATIENCE_S, Patience, is_postgresql, show_url
from pipeline.study_spec import load_study

_LOG_WIDTH = 160  # columns where there is no terminal

Heartbeat = Annotated[
    int, typer.Option(help="Seconds between signs of life; the same for all workers. Dead is who misses four.")
]
Goal = Annotated[
    int | None, typer.Option("--trials", help="Evaluated trials in total at which all workers end; else the file's.")
]


def worker(
    study_file: StudyFile,
    trials: Goal = None,
    storage: StorageUrl = None,
    out: OutFolder = None,
    data_dir: DataDir = None,
    heartbeat: Heartbeat = HEARTBEAT_S,
    patience: WaitFor = PATIENCE_S,
) -> None:
    """Work on a study in PostgreSQL together with any number of other workers, to the study's goal."""
    from pipeline.cluster import ClusterWorker
    from pipeline.data_files import check_data
    from pipeline.pareto import pareto_report
    from pipeline.progress import PlainProgress
    from pipeline.runner import stopped_like_ctrl_c
    from pipeline.search_space import SearchSpace
    from pipeline.study import open_study
    from pipeline.study_lock import study_lock
    from pipeline.supernet_file import with_supernet

    within("--trials", trials, 1)
    within("--heartbeat", heartbeat, 1)
    within("--patience", patience, 0)
    study = load_study(study_file, data_dir=data_dir)
    SearchSpace(study).check()
    check_data(study.spec.dataset)
    folder, url = places(study, out, storage)
    needs_server(url)
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(width=_LOG_WIDTH)
    waits = Patience(bound_s=patience, say=lambda message: console.print(message, soft_wrap=True, markup=False))
    early = dataclasses.replace(waits, at_start=True)
    with stopped_like_ctrl_c(), contextlib.ExitStack() as held:
        try:
            opened = early(lambda: open_study(study, url))
            study = with_supernet(study, folder, waits.say)
            lock = early(lambda: held.enter_context(study_lock(url, study.spec.name, shared=True)))
            earlier = early(lambda: pareto_report(opened)).trials
            view = PlainProgress(study.spec.name, study.spec.objectives, earlier, console, folder / "checkpoints")
            runner = early(
                lambda: ClusterWorker(
                    study, opened, folder, 1, view, patience=waits, keep_lock=lock.keep, heartbeat_s=heartbeat
                )
            )
            runner.run(trials or study.spec.trials)
        except KeyboardInterrupt:
            print("nacim: stopped; its trial is free for another worker", file=sys.stderr)
            raise SystemExit(130) from None
    console.print(view.summary(), soft_wrap=True)


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
