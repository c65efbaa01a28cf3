"""A study made ready for optuna-dashboard: notes, figures and artefacts beside its trials. Values are not touched."""

import json
import mimetypes
import shutil
import uuid
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial
from optuna_dashboard import save_note, save_plotly_graph_object

from pipeline.database.transaction import transaction
from pipeline.design.describe import describe
from pipeline.design.metrics import METRICS
from pipeline.optuna_private import note_artifact, trial_id
from pipeline.report.cost_parts import component_parts
from pipeline.report.evaluated import Evaluated, half_width, two_digits
from pipeline.report.figures.front import front_figure, hypervolume_figure, pairs
from pipeline.report.figures.noise import sigma_figure
from pipeline.report.figures.parts import breakdown_figure, component_colours
from pipeline.report.figures.style import device_styles, spoken
from pipeline.report.findings import Findings, read_findings

_TOTALS = ("energy_j", "area_m2", "latency_s")
_MOST_BARS = 50  # designs in a figure that gives each one a bar of its own


def artifact_folder(folder: Path) -> Path:
    """Where a study's artefacts lie, inside its output folder."""
    return folder / "artifacts"


def prepare_dashboard(study: optuna.Study, folder: Path, report: Path) -> None:
    """Write a note on the study and on each design of its front, our figures, and artefacts.

    Artefacts are the checkpoints of the front's designs and the report, files in the folder `artifacts`. What an
    earlier call wrote is replaced.

    Args:
        study: The study in its database.
        folder: Its output folder.
        report: The report's page.
    """
    findings = read_findings(study)
    store = artifact_folder(folder)
    store.mkdir(parents=True, exist_ok=True)
    with transaction(study):
        save_note(study, _study_note(findings))
        _save_figures(study, findings)
        for trial, shown in zip(findings.pareto.front, findings.front, strict=True):
            save_note(optuna.Trial(study, trial_id(trial)), _trial_note(findings, shown))
            if shown.checkpoint and (weights := folder / "checkpoints" / shown.checkpoint).is_file():
                _attach(study, store, weights, trial)
        _attach(study, store, report, None)


def _attach(study: optuna.Study, folder: Path, file: Path, trial: FrozenTrial | None) -> None:
    """A file as an artefact of a trial, or of the study; one of the same name is replaced."""
    name = str(uuid.uuid5(uuid.NAMESPACE_URL, file.name))
    unfinished = folder / f"{name}.part"
    shutil.copyfile(file, unfinished)
    unfinished.replace(folder / name)
    mime = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    meta = {"artifact_id": name, "filename": file.name, "mimetype": mime, "encoding": None}
    note_artifact(study, trial, name, json.dumps(meta))


def _save_figures(study: optuna.Study, findings: Findings) -> None:
    if not findings.evaluated:
        return
    cards = [card["name"] for card in findings.identity["devices"].values()]
    styles = device_styles([*cards, *(trial.device for trial in findings.evaluated)])
    objectives = findings.pareto.objectives
    figures = {
        f"front-{i}": front_figure(findings.evaluated, findings.front, styles, x, y, joined=len(objectives) == 2)
        for i, (x, y) in enumerate(pairs(objectives))
    }
    shown = findings.front[:: -(-len(findings.front) // _MOST_BARS)]  # a long front evenly along it
    colours = component_colours(shown, ("energy_j", "area_m2"))
    figures |= {f"parts-{name}": breakdown_figure(shown, name, colours) for name in ("energy_j", "area_m2")}
    figures["hypervolume"] = hypervolume_figure(objectives, findings.evaluated)
    if again := [trial for trial in findings.evaluated if len(trial.over_sigma()) > 1]:
        figures["sigma"] = sigma_figure(again, styles)
    for name, figure in figures.items():
        save_plotly_graph_object(study, figure.update_layout(title=_TITLES.get(name, _FRONT)), graph_object_id=name)


_FRONT = "Pareto front, 95 % intervals"
_TITLES = {
    "parts-energy_j": "Energy of the designs on the front",
    "parts-area_m2": "Area of the designs on the front",
    "hypervolume": "Hypervolume after each trial",
    "sigma": "Accuracy against programming errors",
}


def _study_note(findings: Findings) -> str:
    objectives = "\n".join(
        f"| {METRICS[name].stored_title} | {METRICS[name].direction} | {METRICS[name].unit} | {METRICS[name].meaning} |"
        for name in findings.pareto.objectives
    )
    front = ", ".join(f"{trial.number}" for trial in findings.front) or "none yet"
    counts = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in findings.pareto.counts.items() if count)
    versions = dict.fromkeys(", ".join(f"{k} {v}" for k, v in trial.versions.items()) for trial in findings.evaluated)
    return (
        f"# {_plain(findings.name)}\n\n{_plain(findings.question)}\n\n"
        "| objective | better | shown in | meaning |\n|---|---|---|---|\n"
        f"{objectives}\n\nValues in the tables are stored in SI units without prefixes, accuracies as fractions.\n\n"
        f"**Trials:** {counts}. **On the front:** {front}.\n\n"
        f"**Data:** {findings.identity['dataset']['name']}. **Seed:** {findings.identity['seed']}. "
        f"**Versions:** {'; '.join(versions)}\n\n"
        "Our figures and the report (an artifact) are below the dashboard's own, on the page History.\n"
    )


def _trial_note(findings: Findings, trial: Evaluated) -> str:
    figures = "\n".join(
        f"| {METRICS[name].label} | {trial.show(name)} {METRICS[name].unit} |"
        for name in dict.fromkeys([*findings.pareto.objectives, "accuracy_mean", "tops_per_watt", *_TOTALS])
    )
    reports = {"validation": trial.validation, "test": trial.test}
    accuracy = "\n".join(
        f"| {name} | {100 * r.mean:.4g} ± {two_digits(100 * half_width(r))} | {100 * r.worst:.4g} | "
        f"{100 * r.noiseless:.4g} | {100 * r.float_accuracy:.4g} | {len(r.per_chip)} |"
        for name, r in reports.items()
    )
    parts = [component_parts(trial, name) for name in _TOTALS]
    sizes = {key: max(part.get(key, 0.0) / sum(part.values()) for part in parts) for part in parts for key in part}
    rows = "\n".join(
        f"| {spoken(key)} | {' | '.join(_share(part, key) for part in parts)} |"
        for key in sorted(sizes, key=lambda key: -parts[0].get(key, 0.0))
        if sizes[key] >= 0.005
    )
    return (
        f"## Trial {trial.number}: {_plain(trial.device)}\n\n{_plain(describe(trial.design))}\n\n"
        f"### Figures\n\n| | |\n|---|---:|\n{figures}\n\n"
        "### Accuracy [%]\n\n| images | mean, 95 % interval | worst chip | no device errors | float | chips |\n"
        f"|---|---:|---:|---:|---:|---:|\n{accuracy}\n\n"
        f"### Shares of the cost\n\n| part | energy | area | latency |\n|---|---:|---:|---:|\n{rows}\n\n"
        "The trained weights are among the artifacts. The same design in the terminal: "
        f"`nacim show STUDY.yaml --trial {trial.number}`\n"
    )


def _share(part: dict[str, float], key: str) -> str:
    return f"{part[key] / sum(part.values()):.0%}" if key in part else ""


def _plain(text: str) -> str:
    """Text that Markdown and its tables show as it is."""
    return text.replace("|", r"\|").replace("<", "&lt;")
