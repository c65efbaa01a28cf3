"""The command `nacim`. Heavy libraries are imported by the command that needs them.

Exit codes: 0 done; 2 bad input, nothing written; 3 the database or the disk failed, results are kept; 4 the run
stopped because trainings failed or the search space is used up; 5 a replayed trial differs; 130 interrupted,
finished trials are kept.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import optuna
import typer
from rich.console import Console

from pipeline.cost_command import cost
from pipeline.data_command import data
from pipeline.devices_command import devices
from pipeline.evaluate_command import evaluate
from pipeline.metrics import METRICS
from pipeline.options import AsJson, OutFolder, StorageUrl, StudyFile, WaitFor, places, print_json, within
from pipeline.pareto import hypervolume_history, pareto_report
from pipeline.require_command import require
from pipeline.status_command import status
from pipeline.storage import PATIENCE_S, Patience, show_url
from pipeline.stored import remeasured, stored_study
from pipeline.study import load_study_read_only, open_study
from pipeline.study_spec import load_study, study_schema
from pipeline.submit_command import submit
from pipeline.worker_command import worker

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Search computing-in-memory accelerators and their networks together.",
)
app.command()(cost)
app.command()(evaluate)
app.command()(require)
app.command()(worker)
app.command()(submit)
app.command()(status)
app.add_typer(data, name="data")
app.add_typer(devices, name="devices")

_LOG_WIDTH = 160  # columns of tables where there is no terminal

TrialNumber = Annotated[int, typer.Option("--trial", help="Number of the trial.")]


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=_LOG_WIDTH)


@app.command()
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
    from pipeline.data_files import check_data
    from pipeline.progress import JsonProgress, LiveProgress, PlainProgress, Progress, front_table
    from pipeline.report import write_report
    from pipeline.runner import Runner, end_run, stopped_like_ctrl_c
    from pipeline.search_space import SearchSpace
    from pipeline.showcase import prepare_dashboard
    from pipeline.study_lock import run_lock
    from pipeline.supernet_file import with_supernet

    within("--trials", trials, 1)
    within("--timeout", timeout, 0)
    within("--workers", workers, 1)
    within("--patience", patience, 0)
    study = load_study(study_file, seed, data_dir)
    SearchSpace(study).check()
    check_data(study.spec.dataset)
    folder, url = places(study, out, storage)
    console = _console()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--out {folder}: {error.strerror}; choose a folder that can be made and written") from error
    early = Patience(bound_s=patience, say=lambda message: print(message, file=sys.stderr), at_start=True)
    with stopped_like_ctrl_c(), contextlib.ExitStack() as held:
        keep_lock = early(lambda: held.enter_context(run_lock(url, folder, study.spec.name)))
        opened = early(lambda: open_study(study, url, replace_empty=True))
        for_people = LiveProgress if console.is_terminal else PlainProgress
        view_kind: type[Progress] = Progress if quiet else JsonProgress if as_json else for_people
        earlier = pareto_report(opened).trials
        view = view_kind(study.spec.name, study.spec.objectives, earlier, console, folder / "checkpoints")
        waits = Patience(bound_s=patience, say=view.say)
        count = workers or os.cpu_count() or 1
        try:
            study = with_supernet(study, folder, view.say)
            runner = Runner(study, opened, folder, count, view, patience=waits, keep_lock=keep_lock)
            runner.run(trials or study.spec.trials, timeout)
        except KeyboardInterrupt:
            _stop("interrupted; finished trials are kept, run the same command to go on", 130)
        finally:
            view.close()
    found, page = pareto_report(opened), write_report(opened, folder)
    prepare_dashboard(opened, folder, page)
    waits(lambda: end_run(opened))
    if isinstance(view, JsonProgress):
        front = [trial.number for trial in found.front]
        view.tell("end", front=front, hypervolume=view.hypervolume(), database=show_url(url), report=str(page))
    elif not quiet:
        console.print(front_table(found.objectives, found.front))
        console.print(f"{view.summary()}", soft_wrap=True)
        console.print(f"database  {show_url(url)}\nreport    {page}", soft_wrap=True, markup=False)


@app.command()
def report(
    study_files: Annotated[list[Path], typer.Argument(metavar="STUDY.yaml...", help="One or more study files.")],
    storage: StorageUrl = None,
    out: OutFolder = None,
    trial: Annotated[
        list[int] | None, typer.Option(help="Number of a trial to look at part by part, instead of the front.")
    ] = None,
    png: Annotated[bool, typer.Option("--png", help="Also write each figure as a PNG file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the report of each study from its database, prepare the dashboard, and compare if there are several."""
    from pipeline.report import write_comparison, write_pictures, write_report
    from pipeline.showcase import prepare_dashboard

    chosen = trial or []
    if chosen and len(study_files) > 1:
        raise ValueError(f"--trial chooses designs of one study, got {len(study_files)} studies; report each by itself")
    studies = [load_study(path) for path in study_files]
    found = [places(study, out, storage) for study in studies]
    opened = [load_study_read_only(url, study.spec.name) for study, (_, url) in zip(studies, found, strict=True)]
    pages = [write_report(each, folder, chosen) for each, (folder, _) in zip(opened, found, strict=True)]
    if not chosen:
        for each, (folder, _), page in zip(opened, found, pages, strict=True):
            prepare_dashboard(each, folder, page)
    if png:
        for each, (folder, _) in zip(opened, found, strict=True):
            write_pictures(each, folder, chosen)
    path = write_comparison(opened, out or Path("results")) if opened[1:] else pages[0]
    if as_json:
        facts = [_facts(each) for each in opened]
        print_json({"report": str(path)} | (facts[0] if len(facts) == 1 else {"studies": facts}))
    else:
        print(path)


def _facts(opened: optuna.Study) -> dict[str, Any]:
    """Counts, front and hypervolume of a study."""
    found = pareto_report(opened)
    front = [
        {"trial": t.number, "design": t.user_attrs["design"]}
        | {n: t.user_attrs[n] for n in METRICS}
        | {"variation": t.user_attrs["variation"], "outside_reference": t.user_attrs["cost"]["outside_reference"]}
        for t in found.front
    ]
    history = hypervolume_history(found.objectives, [trial.values for trial in found.trials])
    volume = history[-1] if history else 0.0
    return {"study": opened.study_name, "counts": found.counts, "front": front, "hypervolume": volume}


@app.command()
def show(
    study_file: StudyFile,
    trial: TrialNumber,
    storage: StorageUrl = None,
    out: OutFolder = None,
    as_json: AsJson = False,
) -> None:
    """Show one trial: design, cost by component and layer, accuracy over chips."""
    from pipeline.trial_page import trial_page

    stored = stored_study(study_file, storage, out)
    found = stored.trial(trial)
    again = remeasured(stored.opened, found.number)
    if as_json:
        values = {"trial": found.number, "values": found.values} | found.user_attrs
        print_json(values | ({"remeasured": again} if again else {}))
    else:
        _console().print(trial_page(stored.spec, found, again))


@app.command()
def export(
    study_file: StudyFile,
    trial: TrialNumber,
    to: Annotated[Path, typer.Option(help="Folder to write into; the trial gets a folder of its own there.")],
    storage: StorageUrl = None,
    out: OutFolder = None,
) -> None:
    """Write a trial as checkpoint (weights only), design card, plain PyTorch module, ONNX and network table."""
    from pipeline.design_point import DesignPoint
    from pipeline.export import can_write_onnx, export_design

    stored = stored_study(study_file, storage, out)
    found = stored.trial(trial)
    design = DesignPoint.from_dict(found.user_attrs["design"])
    checkpoint = stored.checkpoints / str(found.user_attrs["checkpoint"])
    title = f"Trial {found.number} of the study {stored.spec.name}"
    for path in export_design(title, design, checkpoint, to / f"{stored.spec.name}-{found.number}"):
        print(path)
    if not can_write_onnx():
        print("nacim: no network.onnx without onnx and onnxscript; pip install 'nacim[onnx]'", file=sys.stderr)


@app.command()
def dashboard(
    study_file: StudyFile,
    storage: StorageUrl = None,
    out: OutFolder = None,
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 8080,
    writable: Annotated[bool, typer.Option("--writable", help="Let every visitor change and delete studies.")] = False,
) -> None:
    """Open optuna-dashboard on a study's database, on this machine only and read-only unless asked."""
    from pipeline.dashboard import serve
    from pipeline.showcase import artifact_folder

    within("--port", port, 1, 65535)
    study = load_study(study_file)
    folder, url = places(study, out, storage)
    load_study_read_only(url, study.spec.name)
    serve(url, port, writable, artifact_folder(folder))


@app.command()
def schema() -> None:
    """Print the JSON schema of study files, for editors."""
    print_json(study_schema())


def main() -> None:
    """Entry point: runs a command and turns expected failures into one line and an exit code."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with _exit_codes():
        app()


@contextlib.contextmanager
def _exit_codes() -> Iterator[None]:
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    from pipeline.results import TrainingDiverged
    from pipeline.runner import RepeatedFailure, SpaceExhausted
    from pipeline.storage import DISK_ERRORS, DatabaseAway, cause_of
    from pipeline.supernet_file import SupernetDied

    try:
        yield
    except (RepeatedFailure, SpaceExhausted, SupernetDied, TrainingDiverged) as error:
        _stop(str(error), 4)
    except DatabaseAway as error:
        _stop(str(error), 3)
    except (StorageInternalError, SQLAlchemyError) as error:
        way_out = "free the disk or the lock and run the same command to go on"
        _stop(f"the database cannot be written ({cause_of(error)}); {way_out}", 3)
    except OSError as error:
        if error.filename is None and error.errno not in DISK_ERRORS:
            raise
        _stop(
            f"cannot use {error.filename or 'a file'} ({error.strerror}); finished trials are kept, make room or "
            "choose another folder and run the same command to go on",
            3,
        )
    except ValueError as error:
        _stop(str(error), 2)


def _stop(message: str, code: int) -> None:
    print(f"nacim: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
