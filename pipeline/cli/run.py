"""`nacim run`, and `run_study` for Python: run or resume a study.

`run` is long because its signature defines the options; `run_study` is long because half of it says what they mean.
"""

import contextlib
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pipeline.cli import options
from pipeline.database import PATIENCE_S

if TYPE_CHECKING:
    import optuna

    from pipeline.cli.progress import Progress

Show = Literal["progress", "json", "nothing"]
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
    seeds: options.Searches = 1,
    quiet: Quiet = False,
    as_json: Events = False,
) -> None:
    """Run or resume a study; finished trials stay in its database and are not computed again."""
    from pipeline.run.signals import stopped_like_ctrl_c

    options.within("--seeds", seeds, 1)
    if seeds > 1 and (seed is not None or out is not None):
        raise ValueError("--seeds gives each search a seed and a folder of its own: remove --seed and --out")
    try:
        with stopped_like_ctrl_c(to_the_end=True):
            studies = [
                run_study(
                    study_file,
                    trials=trials,
                    timeout_s=timeout,
                    workers=workers,
                    storage=storage,
                    seed=seed,
                    out=out,
                    data_dir=data_dir,
                    changes=each,
                    patience_s=patience,
                    show="nothing" if quiet else "json" if as_json else "progress",
                )
                for each in options.changes_of_searches(study_file, changes, seeds)
            ]
            if seeds > 1:
                _compare(studies, quiet or as_json)
    except KeyboardInterrupt:
        options.stop("interrupted; finished trials are kept, run the same command to go on", 130)


def _compare(studies: "Sequence[optuna.Study]", silent: bool) -> None:
    from pipeline.report.page import write_comparison

    page = write_comparison(studies, Path("results"))
    if not silent:
        print(f"all seeds {page}")


def run_study(
    study_file: str | Path,
    *,
    trials: int | None = None,
    timeout_s: float | None = None,
    workers: int | None = None,
    storage: str | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    data_dir: str | None = None,
    changes: Mapping[str, Any] | None = None,
    patience_s: float = PATIENCE_S,
    show: Show = "progress",
) -> "optuna.Study":
    """Run or resume a study, show its progress, and write its report. Finished trials are kept, whatever happens.

    A script must call it below `if __name__ == "__main__":`, because worker processes import the script.

    Args:
        study_file: A study file.
        trials: Trials to add; None: as the study file says.
        timeout_s: Seconds after which no new trial starts.
        workers: Processes; None: one per processor core.
        storage: Database URL; None: a SQLite file in the output folder.
        seed, data_dir: In place of the study file's own.
        out: Output folder; None: `results/NAME`.
        changes: Values in place of the study file's, as `load_study` takes them; a changed study needs a new `name`.
        patience_s: Seconds to wait for a database that is locked, full or unreachable.
        show: Progress for people, JSON lines for programs, or nothing.

    Returns:
        The study in its database, with all its trials.

    Raises:
        ValueError: If the study cannot run; names the key or option.
        KeyboardInterrupt: At Ctrl-C or SIGTERM, after all worker processes have ended.
    """
    from pipeline.study.study_file import load_study

    for option, value, least in (("--trials", trials, 1), ("--timeout", timeout_s, 0), ("--workers", workers, 1)):
        options.within(option, value, least)
    options.within("--patience", patience_s, 0)
    study_file, out = Path(study_file), None if out is None else Path(out)
    definition = load_study(study_file, seed, data_dir, changes)
    if show == "progress":  # before the slow imports
        print(f"study     {definition.spec.name} ({study_file})", flush=True)
        if (score := definition.spec.dataset.score_name) != "accuracy":
            print(f"accuracy  here: {score}", flush=True)
    folder, url = options.checked_places(definition, storage, out)
    from pipeline.database.lock import run_lock
    from pipeline.database.open_study import open_study
    from pipeline.database.patience import Patience
    from pipeline.database.storage import show_url
    from pipeline.run.queue import end_run
    from pipeline.run.runner import Runner
    from pipeline.run.signals import stopped_like_ctrl_c
    from pipeline.run.supernet_file import with_supernet

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--out {folder}: {error.strerror}; choose a folder that can be made and written") from error
    early = Patience(bound_s=patience_s, say=lambda message: print(message, file=sys.stderr), at_start=True)
    with stopped_like_ctrl_c(), contextlib.ExitStack() as held:
        keep_lock = early(lambda: held.enter_context(run_lock(url, folder, definition.spec.name)))
        study = early(lambda: open_study(definition, url, replace_empty=True))
        view = _view(study, definition.spec.objectives, folder, show)
        wait = Patience(bound_s=patience_s, say=view.say)
        _say_how_many(study, view)
        count = workers or os.cpu_count() or 1
        try:
            definition = with_supernet(definition, folder, view.say)
            runner = Runner(definition, study, folder, count, view, patience=wait, keep_lock=keep_lock)
            runner.run(trials or definition.spec.trials, timeout_s)
        finally:
            view.close()
        _report(study, folder, show_url(url), view)
        _say_if_used_up(study, view)
        wait(lambda: end_run(study))
    return study


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


def _view(study: "optuna.Study", objectives: list[str], folder: Path, show: Show) -> "Progress":
    """What shows the run: nothing, JSON lines, a live view on a terminal or in a notebook, or plain lines."""
    from pipeline.cli.live_view import LiveProgress
    from pipeline.cli.progress import JsonProgress, PlainProgress, Progress
    from pipeline.database.trials import floor_of, pareto_report

    console = options.console_of_tables()
    redrawn = console.is_terminal or (console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None)
    for_people = LiveProgress if redrawn else PlainProgress
    kind: type[Progress] = {"nothing": Progress, "json": JsonProgress, "progress": for_people}[show]
    trials = pareto_report(study).trials
    return kind(study.study_name, objectives, trials, console, folder / "checkpoints", floor_of(study, trials))


def _report(study: "optuna.Study", folder: Path, database: str, view: "Progress") -> None:
    from pipeline.database.trials import pareto_report
    from pipeline.report.dashboard_notes import prepare_dashboard
    from pipeline.report.page import write_report

    page = write_report(study, folder)
    for reason in prepare_dashboard(study, folder, page):
        print(f"nacim: {reason}", file=sys.stderr)
    view.end(pareto_report(study).front, database, page)
