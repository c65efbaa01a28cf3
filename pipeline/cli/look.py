"""Commands that look at a study: report, show, export, dashboard, schema.

`report` is long because its signature defines the options.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli import options

if TYPE_CHECKING:
    import optuna


def report(
    study_files: Annotated[list[Path], typer.Argument(metavar="STUDY.yaml...", help="One or more study files.")],
    storage: options.StorageUrl = None,
    out: options.OutFolder = None,
    trial: Annotated[
        list[int] | None, typer.Option(help="Trial to show by component and layer, not the front; may be repeated.")
    ] = None,
    changes: options.Changes = None,
    seeds: options.Searches = 1,
    png: Annotated[bool, typer.Option("--png", help="Also write each figure as a PNG file.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Write the report of each study from its database, prepare the dashboard, and compare if there are several."""
    from pipeline.database.storage import is_writable, show_url
    from pipeline.report.dashboard_notes import prepare_dashboard
    from pipeline.report.page import write_comparison, write_pictures, write_report

    chosen = trial or []
    if chosen and len(study_files) > 1:
        raise ValueError(f"--trial chooses designs of one study, got {len(study_files)} studies; report each by itself")
    options.within("--seeds", seeds, 1)
    if seeds > 1 and (out is not None or chosen):
        raise ValueError("--seeds reports several searches, each from a folder of its own: remove --out and --trial")
    found = [
        options.study_to_report(path, storage, out, each)
        for path in study_files
        for each in options.changes_of_searches(path, changes, seeds)
    ]
    studies = [study for study, _, _ in found]
    for _, folder, url in found:
        _check_writable(folder, url)
    pages = [write_report(study, folder, chosen) for study, folder, _ in found]
    if not chosen:
        for (study, folder, url), page in zip(found, pages, strict=True):
            if not is_writable(url):
                print(f"nacim: {show_url(url)} is read-only, so the dashboard gets no notes", file=sys.stderr)
                continue
            for reason in prepare_dashboard(study, folder, page):
                print(f"nacim: {reason}", file=sys.stderr)
    if png:
        for study, folder, _ in found:
            write_pictures(study, folder, chosen)
    path = write_comparison(studies, out or Path("results")) if studies[1:] else pages[0]
    if as_json:
        facts = [_facts(study) for study in studies]
        options.print_json({"report": str(path)} | (facts[0] if len(facts) == 1 else {"studies": facts}))
    else:
        print(path)


def _check_writable(folder: Path, url: str) -> None:
    """Raise ValueError if a report cannot be written into its study's folder, which may be somebody else's."""
    from pipeline.database.storage import show_url

    if folder.is_dir() and not os.access(folder, os.W_OK):
        raise ValueError(f"{folder} is read-only; write elsewhere: --out FOLDER --storage {show_url(url)}")


def _facts(study: "optuna.Study") -> dict[str, Any]:
    from pipeline.database.trials import pareto_report
    from pipeline.design.metrics import METRICS
    from pipeline.design.pareto import hypervolume_history
    from pipeline.design.results import stored_silicon, stored_values

    found = pareto_report(study)
    silicon = {trial.number: stored_silicon(trial.user_attrs) for trial in found.front}
    plain = {number: estimate.to_dict() if estimate else None for number, estimate in silicon.items()}
    front = [
        {"trial": t.number, "design": t.user_attrs["design"]}
        | {n: stored_values(t.user_attrs).get(n) for n in METRICS}
        | {"silicon": plain[t.number]}
        | {"variation": t.user_attrs["variation"], "outside_reference": t.user_attrs["cost"]["outside_reference"]}
        for t in found.front
    ]
    measured = [stored_values(trial.user_attrs) for trial in found.trials]
    values = [[each[name] for name in found.objectives] for each in measured]
    counted = [trial.number in found.counted for trial in found.trials]
    volume = hypervolume_history(found.objectives, values, counted)[-1] if values else 0.0
    facts = {"study": study.study_name, "counts": found.counts, "floor": found.floor, "front": front}
    return facts | {"hypervolume": volume}


def show(
    study_file: options.StudyFile,
    trial: options.TrialNumber,
    storage: options.StorageUrl = None,
    out: options.OutFolder = None,
    changes: options.Changes = None,
    as_json: options.AsJson = False,
) -> None:
    """Show one trial: design, cost by component and layer, accuracy over chips."""
    from pipeline.cli.trial_page import trial_page
    from pipeline.database.trials import remeasured
    from pipeline.design.results import stored_silicon
    from pipeline.follow_up.stored import stored_study

    stored = stored_study(study_file, storage, out, changes=options.changes_by_key(changes))
    found = stored.trial(trial)
    again = remeasured(stored.study.user_attrs, found.number)
    if as_json:
        silicon = stored_silicon(found.user_attrs)
        values = {"trial": found.number, "values": found.values} | found.user_attrs
        values |= {"silicon": silicon.to_dict()} if silicon else {}
        options.print_json(values | ({"remeasured": again} if again else {}))
    else:
        options.console_of_tables().print(trial_page(stored.spec, found, again))


def export(
    study_file: options.StudyFile,
    trial: options.TrialNumber,
    to: Annotated[Path, typer.Option(help="Folder to write into; the trial gets a subfolder.")],
    storage: options.StorageUrl = None,
    out: options.OutFolder = None,
    changes: options.Changes = None,
) -> None:
    """Write a trial as checkpoint (weights only), design file, plain PyTorch module, ONNX and network table."""
    from pipeline.database.trials import weights_of
    from pipeline.follow_up.export import export_design
    from pipeline.follow_up.stored import design_of, stored_study

    stored = stored_study(study_file, storage, out, changes=options.changes_by_key(changes))
    found = stored.trial(trial)
    design = design_of(stored.spec, found)
    checkpoint = weights_of(found, stored.checkpoints)
    options.tell_unchecked([found], stored.checkpoints)
    title = f"Trial {found.number} of the study {stored.spec.name}"
    files, missing = export_design(title, design, checkpoint, to / f"{stored.spec.name}-{found.number}")
    for path in files:
        print(path)
    for what in missing:
        print(f"nacim: {what}", file=sys.stderr)


def dashboard(
    study_file: options.StudyFile,
    storage: options.StorageUrl = None,
    out: options.OutFolder = None,
    changes: options.Changes = None,
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 8080,
    writable: Annotated[bool, typer.Option("--writable", help="Let every visitor change and delete studies.")] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Host name of a proxy before it; may be repeated.")
    ] = None,
) -> None:
    """Open optuna-dashboard on a study's database, on this machine only and read-only unless asked."""
    from pipeline.report.dashboard_notes import artifact_folder
    from pipeline.report.dashboard_server import serve

    options.within("--port", port, 1, 65535)
    _, folder, url = options.read_only_study(study_file, storage, out, changes)
    serve(url, port, writable, artifact_folder(folder), allow_host or [])


def schema() -> None:
    """Print the JSON schema of study files, for editors."""
    from pipeline.study.study_file import study_schema

    options.print_json(study_schema())
