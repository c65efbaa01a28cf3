"""Prepare a study for optuna-dashboard: add notes, figures and artifacts. Its values do not change."""

import functools
import json
import mimetypes
import shutil
import uuid
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial
from optuna_dashboard import save_note, save_plotly_graph_object

from pipeline.database.transaction import transaction
from pipeline.database.trials import weights_of
from pipeline.design.describe import describe
from pipeline.design.metrics import METRICS
from pipeline.files import write_whole
from pipeline.optuna_private import note_artifact, trial_id
from pipeline.report import silicon
from pipeline.report.cost_parts import component_parts
from pipeline.report.evaluated import Evaluated, show_mean
from pipeline.report.figures.style import spoken
from pipeline.report.findings import Findings, read_findings
from pipeline.report.page import TEMPLATES
from pipeline.report.sections import study_chapter

_TOTALS = ("energy_j", "area_m2", "latency_s")
_LEAST_SHARE = 0.005  # assumed: components below half a percent in all totals are not listed
_FIGURES = {  # the report's figures that the dashboard shows -> their name and title there
    "parts-energy_j": ("parts-energy_j", "Energy of the designs on the front"),
    "parts-area_m2": ("parts-area_m2", "Area of the designs on the front"),
    "told-apart": ("told-apart", "What silicon tells apart"),
    "progress": ("hypervolume", "Hypervolume after each trial"),
    "sigma": ("sigma", "Accuracy against programming errors"),
}


def artifact_folder(folder: Path) -> Path:
    """Where a study's artifacts lie, inside its output folder."""
    return folder / "artifacts"


def prepare_dashboard(study: optuna.Study, folder: Path, report: Path) -> list[str]:
    """Write notes on the study and on each design of its front, nacim's figures, and artifacts; replace earlier ones.

    Artifacts are the checkpoints of the front's designs and the report, in the folder `artifacts` of the study's
    output folder.

    Returns:
        Why checkpoints are left out: they are not the files that their trials wrote.
    """
    findings = read_findings(study)
    store = artifact_folder(folder)
    store.mkdir(parents=True, exist_ok=True)
    left_out = []
    with transaction(study):
        save_note(study, _study_note(findings))
        _save_figures(study, findings)
        for trial, shown in zip(findings.pareto.front, findings.front, strict=True):
            save_note(optuna.Trial(study, trial_id(trial)), _trial_note(findings, shown))
            try:
                weights = weights_of(trial, folder / "checkpoints") if shown.checkpoint else None
            except ValueError as error:
                left_out.append(str(error))
                continue
            if weights is not None and weights.is_file():
                _attach(study, store, weights, trial)
        _attach(study, store, report, None)
    return left_out


def _attach(study: optuna.Study, folder: Path, file: Path, trial: FrozenTrial | None) -> None:
    """Attach a file as artifact to a trial or to the study; one of the same name is replaced."""
    name = str(uuid.uuid5(uuid.NAMESPACE_URL, file.name))
    write_whole(folder / name, functools.partial(shutil.copyfile, file))
    mime = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    meta = {"artifact_id": name, "filename": file.name, "mimetype": mime, "encoding": None}
    note_artifact(study, trial, name, json.dumps(meta))


def _save_figures(study: optuna.Study, findings: Findings) -> None:
    for plot in study_chapter(findings).plots():
        front = (plot.name, "Pareto front, 95 % intervals") if plot.name.startswith("front-") else None
        if shown := front or _FIGURES.get(plot.name):
            name, title = shown
            save_plotly_graph_object(study, plot.figure.update_layout(title=title), graph_object_id=name)


def _study_note(findings: Findings) -> str:
    counts = {kind.replace("_", " "): count for kind, count in findings.pareto.counts.items() if count}
    versions = dict.fromkeys(", ".join(f"{k} {v}" for k, v in trial.versions.items()) for trial in findings.evaluated)
    note = TEMPLATES.get_template("study_note.md")
    return note.render(findings=findings, metrics=findings.pareto.metrics, counts=counts, versions=versions)


def _trial_note(findings: Findings, trial: Evaluated) -> str:
    names = dict.fromkeys([*findings.pareto.objectives, "accuracy_mean", "tops_per_watt", *_TOTALS])
    values = [(METRICS[name].label, f"{trial.show(name)} {METRICS[name].unit}") for name in names]
    if trial.silicon:
        values.append((silicon.HEAD, silicon.cell(trial).text))
    accuracies = [
        [split, show_mean(r), *(f"{100 * v:.4g}" for v in (r.worst, r.noiseless, r.float_accuracy)), len(r.per_chip)]
        for split, r in (("validation", trial.validation), ("test", trial.test))
    ]
    told = {"design": describe(trial.design), "silicon": _silicon_words(trial), "shares": _shares(trial)}
    note = TEMPLATES.get_template("trial_note.md")
    return note.render(trial=trial, values=values, accuracies=accuracies, **told)


def _silicon_words(trial: Evaluated) -> list[str]:
    """Where the estimate comes from, and where no measured chip is like the design."""
    return [trial.silicon.source, *trial.silicon.reasons] if trial.silicon else []


def _shares(trial: Evaluated) -> dict[str, list[str]]:
    """Component -> its shares of energy, area and latency, largest share of the energy first."""
    parts = [component_parts(trial, name) for name in _TOTALS]
    keys = dict.fromkeys(key for part in parts for key in part)
    shares = {key: [part.get(key, 0.0) / sum(part.values()) for part in parts] for key in keys}
    listed = sorted((key for key in shares if max(shares[key]) >= _LEAST_SHARE), key=lambda key: -shares[key][0])
    return {spoken(key): [f"{share:.0%}" if share else "" for share in shares[key]] for key in listed}
