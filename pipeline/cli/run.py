"""`nacim run`: run or resume a study. `run` is long because its signature defines the options."""

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import options
from pipeline.database import PATIENCE_S

if TYPE_CHECKING:
    import optuna

    from pipeline.cli.progress import Progress

Trials = Annotated[int | None, typer.Option(help="Trials to add; the study file's number otherwise.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds after which no new trial starts.")]
Workers = Annotated[int | None, typer.Option(help="Worker processes; one per processor core otherwise.")]
Seed = Annotated[int | None, typer.Option(help="Seed, in place of the study file's.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only warnings and errors.")]
Events = Annotated[bool, typer.Option("--json", help="Print one JSON object a line for each event.")]


def run(
    study_file: options.StudyFile,
    trials: Trials = None,
    timeout: Timeout = None,
    workers: Workers = None,
    storage: options.StorageUrl = None,
    seed: Seed = None,
    out: options.OutFolder = None,
    data_dir: options.DataDir = None,
    changes: options.Changes = None,
    patience: options.WaitFor = PATIENCE_S,
    quiet: Quiet = False,
    as_json: Events = False,
) -> None:
    """Run or resume a study; finished trials stay in its database and are not computed again."""
    from pipeline.study.study_file import load_study

    for option, value, least in (("--trials", trials, 1), ("--timeout", timeout, 0), ("--workers", workers, 1)):
        options.within(option, value, least)
    options.within("--patience", patience, 0)
    definition = load_study(study_file, seed, data_dir, options.changes_by_key(changes))
    if not (quiet or as_json):  # before the slow imports
        print(f"study     {definition.spec.name} ({study_file})", flush=True)
        if (score := definition.spec.dataset.score_name) != "accuracy":
            print(f"accuracy  here: {score}", flush=True)
    folder, url = options.checked_places(definition, storage, out)
    from pipeline.database.lock import run_lock
    from pipeline.database.open_study import open_study
    from pipeline.database.patience import Patience
    from pipeline.database.storage import show_url
    from pipeline.run.queue import end_run
    from pipeline.run.runner import Runner, stopped_like_ctrl_c
    from pipeline.run.supernet_file import with_supernet

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--out {folder}: {error.strerror}; choose a folder that can be made and written") from error
    early = Patience(bound_s=patience, say=lambda message: print(message, file=sys.stderr), at_start=True)
    with stopped_like_ctrl_c(), contextlib.ExitStack() as held:
        keep_lock = early(lambda: held.enter_context(run_lock(url, folder, definition.spec.name)))
        study = early(lambda: open_study(definition, url, replace_empty=True))
        view = _view(study, definition.spec.objectives, folder, quiet, as_json)
        wait = Patience(bound_s=patience, say=view.say)
        _say_how_many(study, view)
        count = workers or os.cpu_count() or 1
        try:
            definition = with_supernet(definition, folder, view.say)
            runner = Runner(definition, study, folder, count, view, patience=wait, keep_lock=keep_lock)
            runner.run(trials or definition.spec.trials, timeout)
        except KeyboardInterrupt:
            options.stop("interrupted; finished trials are kept, run the same command to go on", 130)
        finally:
            view.close()
    _report(study, folder, show_url(url), view)
    _say_if_used_up(study, view)
    wait(lambda: end_run(study))


def _say_how_many(study: "optuna.Study", view: "Progress") -> None:
    """Tell how many designs a small space has."""
    from pipeline.samplers import designs_left

    if (designs := designs_left(study)) is not None:
        count, left = designs
        tried = f", {count - left} of them tried" if left < count else ""
        view.say(f"designs   {count} in this space{tried}; the run ends when all have been tried")


def _say_if_used_up(study: "optuna.Study", view: "Progress") -> None:
    """Tell that nothing is left to try, and the way out."""
    from pipeline.samplers import designs_left

    if (designs := designs_left(study)) is not None and not designs[1]:
        view.say(
            f"Nothing is left to try: all designs of this space ({designs[0]}) have had their trial. To go on, allow "
            "more values in a study with another name."
        )


def _view(study: "optuna.Study", objectives: list[str], folder: Path, quiet: bool, as_json: bool) -> "Progress":
    """What shows the run: nothing, JSON lines, a live view on a terminal, or plain lines."""
    from pipeline.cli.live_view import LiveProgress
    from pipeline.cli.progress import JsonProgress, PlainProgress, Progress
    from pipeline.database.trials import pareto_report

    console = options.console_of_tables()
    for_people = LiveProgress if console.is_terminal else PlainProgress
    kind: type[Progress] = Progress if quiet else JsonProgress if as_json else for_people
    return kind(study.study_name, objectives, pareto_report(study).trials, console, folder / "checkpoints")


def _report(study: "optuna.Study", folder: Path, database: str, view: "Progress") -> None:
    from pipeline.database.trials import pareto_report
    from pipeline.report.dashboard_notes import prepare_dashboard
    from pipeline.report.page import write_report

    page = write_report(study, folder)
    prepare_dashboard(study, folder, page)
    view.end(pareto_report(study).front, database, page)
