"""`nacim run`: run a study, or go on with it."""

import contextlib
import os
import sys
from typing import Annotated

import typer

from pipeline.cli.exit_codes import stop
from pipeline.cli.options import (
    OutFolder,
    StorageUrl,
    StudyFile,
    WaitFor,
    console_of_tables,
    within,
)
from pipeline.database.open_study import open_study
from pipeline.database.patience import PATIENCE_S, Patience
from pipeline.database.places import places
from pipeline.database.storage import show_url
from pipeline.database.trials import pareto_report
from pipeline.study.study_file import load_study


def run(
    study_file: StudyFile,
    trials: Annotated[int | None, typer.Option(help="Trials to add; the study file's number otherwise.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which no new trial starts.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; one per processor core otherwise.")] = None,
    storage: StorageUrl = None,
    seed: Annotated[int | None, typer.Option(help="In place of the study file's seed.")] = None,
    out: OutFolder = None,
    data_dir: Annotated[str | None, typer.Option(help="Folder of the data set, in place of the study file's.")] = None,
    patience: WaitFor = PATIENCE_S,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print warnings and errors alone.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line for each event.")] = False,
) -> None:
    """Run a study, or go on with it: finished trials are in its database and are not computed again."""
    from pipeline.cli.progress import JsonProgress, LiveProgress, PlainProgress, Progress, front_table
    from pipeline.data.files import check_data
    from pipeline.database.lock import run_lock
    from pipeline.report.dashboard_notes import prepare_dashboard
    from pipeline.report.page import write_report
    from pipeline.run.goal import end_run, stopped_like_ctrl_c
    from pipeline.run.runner import Runner
    from pipeline.run.supernet_file import with_supernet
    from pipeline.study.search_space import SearchSpace

    within("--trials", trials, 1)
    within("--timeout", timeout, 0)
    within("--workers", workers, 1)
    within("--patience", patience, 0)
    definition = load_study(study_file, seed, data_dir)
    SearchSpace(definition).check()
    check_data(definition.spec.dataset)
    folder, url = places(definition, out, storage)
    console = console_of_tables()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--out {folder}: {error.strerror}; choose a folder that can be made and written") from error
    early = Patience(bound_s=patience, say=lambda message: print(message, file=sys.stderr), at_start=True)
    with stopped_like_ctrl_c(), contextlib.ExitStack() as held:
        keep_lock = early(lambda: held.enter_context(run_lock(url, folder, definition.spec.name)))
        study = early(lambda: open_study(definition, url, replace_empty=True))
        for_people = LiveProgress if console.is_terminal else PlainProgress
        view_kind: type[Progress] = Progress if quiet else JsonProgress if as_json else for_people
        earlier = pareto_report(study).trials
        view = view_kind(definition.spec.name, definition.spec.objectives, earlier, console, folder / "checkpoints")
        waits = Patience(bound_s=patience, say=view.say)
        count = workers or os.cpu_count() or 1
        try:
            definition = with_supernet(definition, folder, view.say)
            runner = Runner(definition, study, folder, count, view, patience=waits, keep_lock=keep_lock)
            runner.run(trials or definition.spec.trials, timeout)
        except KeyboardInterrupt:
            stop("interrupted; finished trials are kept, run the same command to go on", 130)
        finally:
            view.close()
    found, page = pareto_report(study), write_report(study, folder)
    prepare_dashboard(study, folder, page)
    waits(lambda: end_run(study))
    if isinstance(view, JsonProgress):
        front = [trial.number for trial in found.front]
        view.tell("end", front=front, hypervolume=view.hypervolume(), database=show_url(url), report=str(page))
    elif not quiet:
        console.print(front_table(found.objectives, found.front))
        console.print(f"{view.summary()}", soft_wrap=True)
        console.print(f"database  {show_url(url)}\nreport    {page}", soft_wrap=True, markup=False)
