"""The section on the Pareto front."""

import plotly.graph_objects as go

from hw_models.cost.wires import TOLD_FROM
from pipeline.design.describe import describe
from pipeline.design.metrics import METRICS
from pipeline.report import silicon
from pipeline.report.content import Cell, Number, Plot, Section, Table, count_of
from pipeline.report.evaluated import Evaluated, show_mean
from pipeline.report.figures.axes import on_error_scale
from pipeline.report.figures.front import front_figure, pairs
from pipeline.report.figures.published import DATASET
from pipeline.report.findings import Findings
from pipeline.report.provenance import other_images
from pipeline.report.purposes import energy_front, energy_or_tops
from pipeline.report.section_silicon import silicon_note

_HIGH = 0.95  # accuracy from which a linear axis squeezes the best designs


def front_section(findings: Findings) -> Section:
    """The front in each pair of objectives, by energy, and as a table."""
    objectives, styles = findings.pareto.objectives, findings.styles
    joined, marks = len(objectives) == 2, (findings.evaluated, findings.front)
    title = findings.dataset.title
    views = [
        Plot(f"front-{i}", _scaled(findings, y, front_figure(*marks, styles, x, y, joined, title)))
        for i, (x, y) in enumerate(pairs(objectives))
    ]
    if "tops_per_watt" in objectives and "energy_j" not in objectives and len(findings.counted) > 1:
        views.append(_by_energy(findings))
    return Section(_heading(findings), _note(findings), [*views, _trial_table(findings)])


def _heading(findings: Findings) -> str:
    labels = [METRICS[name].label for name in findings.pareto.objectives]
    n_front, designs = len(findings.front), count_of(len(findings.evaluated), "design")
    if len(labels) == 1:
        return f"Trial {findings.front[0].number} has the best {labels[0]} of {designs}"
    objectives = f"{'both' if len(labels) == 2 else 'all of'} {', '.join(labels[:-1])} and {labels[-1]}"
    found = f"{n_front} of {designs} {'is' if n_front == 1 else 'are'} on the front"
    return f"{found}: no design found beats {'it' if n_front == 1 else 'these'} in {objectives}"


def _note(findings: Findings) -> str:
    outside = sum(bool(trial.cost["outside_reference"]) for trial in findings.front)
    paper = "Dotted lines: NACIM (Jiang et al., 2021), with its own models, for orientation only. "
    has_lines = findings.dataset.title == DATASET and "tops_per_watt" in findings.pareto.objectives[1:]
    return (
        "Large outlined marks are the Pareto front; faint marks are all other designs. Point at a mark to see its "
        "design; click a device in the legend to hide it. "
        f"{paper if has_lines else ''}"
        "Bars are 95 % intervals of the mean accuracy over simulated chips; they cover chip variation only, not other "
        f"images or retraining. {other_images(findings).capitalize()}; treat closer designs as equal. "
        f"Costs of {outside} of the {count_of(len(findings.front), 'design')} on the front are outside NeuroSim's "
        f"range. {silicon_note(findings)} {_wires(findings)}"
    )


def _wires(findings: Findings) -> str:
    """How many designs of the front would lose current to their wires; empty if none would."""
    ideal = [trial for trial in findings.front if trial.design.accelerator.wires == "ideal"]
    drops = [drop for trial in ideal if (drop := trial.cost.get("ir_drop", 0.0)) >= TOLD_FROM]
    if not drops:
        return ""
    return (
        f"In {count_of(len(drops), 'design')} on the front, wires would take {TOLD_FROM:.0%} to {max(drops):.0%} of a "
        "column's current (IR drop), of which neither accuracy nor energy knows."
    )


def _by_energy(findings: Findings) -> Plot:
    """The same designs by energy per inference, which compares designs with other bits and sizes."""
    front = energy_front(findings.counted)
    best = f"{count_of(len(front), 'design')} {'is' if len(front) == 1 else 'are'} best"
    heading = f"By accuracy and energy, {best}; {sum(trial in findings.front for trial in front)} of them above too"
    note = (
        "Of equal rank with the front by TOPS/W, which counts operations of any width, so that large networks with few "
        f"bits look good in it: for one task, compare energies. {energy_or_tops(findings.counted)}"
    )
    styles = findings.styles
    figure = front_figure(findings.evaluated, front, styles, "energy_j", "accuracy_mean", joined=True)
    return Plot("energy", _scaled(findings, "accuracy_mean", figure), heading, note)


def _scaled(findings: Findings, y: str, figure: go.Figure) -> go.Figure:
    """The figure; if it shows high accuracies upwards, on a scale of their errors."""
    best = max(trial.measured["accuracy_mean"] for trial in findings.evaluated)
    return on_error_scale(figure) if METRICS[y].is_accuracy and best >= _HIGH else figure


def _trial_table(findings: Findings) -> Table:
    """All designs, those on the front first; the page shows the front until asked for more."""
    objectives = findings.pareto.objectives
    silicon_head = [silicon.HEAD] if any(trial.silicon for trial in findings.evaluated) else []
    totals = [name for name in ("area_m2", "latency_s", "energy_j") if name not in objectives]
    heads = ["trial", "device", *(METRICS[name].title for name in objectives), "accuracy on test images [%]"]
    heads += _good_head(findings)
    heads += [*silicon_head, *(METRICS[name].title for name in totals), "design"]
    first = [*findings.front, *(trial for trial in energy_front(findings.counted) if trial not in findings.front)]
    others = [trial for trial in findings.evaluated if trial not in first]
    rows: list[list[Cell]] = []
    for trial in [*first, *others]:
        before, after = ([_value(trial, name) for name in names] for names in (objectives, totals))
        test = Number(show_mean(trial.test), 100 * trial.test.mean)
        number = Number(str(trial.number), trial.number)
        estimate = [silicon.cell(trial)] if silicon_head else []
        good = [_good_chips(trial)] if _good_head(findings) else []
        rows.append([number, trial.device, *before, test, *good, *estimate, *after, describe(trial.design)])
    caption = (
        "Shown first: the front by the objectives, then that by accuracy and energy. Click a column to sort by it. "
        "Selection inflates the best validation accuracy; quote that on test images, which the search never saw."
    )
    return Table(heads, rows, caption, first_shown=len(first))


def _good_head(findings: Findings) -> list[str]:
    """Head of the column of good chips, if the study says what a chip must reach."""
    required = findings.evaluated[0].validation.required
    return [] if required is None else [f"chips with {100 * required:.4g} % or more, test images [%]"]


def _good_chips(trial: Evaluated) -> Number:
    share = 100 * (trial.test.fraction_good or 0.0)
    return Number(f"{share:.4g}", share)


def _value(trial: Evaluated, name: str) -> Number:
    return Number(trial.show(name), trial.measured[name] * METRICS[name].scale)
