"""The section on the Pareto front."""

from pipeline.design.describe import describe
from pipeline.design.metrics import METRICS
from pipeline.design.pareto import nondominated, to_losses
from pipeline.report.evaluated import Evaluated, half_width, two_digits
from pipeline.report.figures.front import front_figure, pairs
from pipeline.report.figures.style import Styles
from pipeline.report.findings import Findings
from pipeline.report.html import Cell, Number, Plots, count_of, filtered, section, table
from pipeline.report.provenance import other_images


def front_section(findings: Findings, styles: Styles, plots: Plots) -> str:
    objectives = findings.pareto.objectives
    names = " and ".join(METRICS[name].label for name in objectives)
    n_front, n_all = len(findings.front), len(findings.evaluated)
    heading = f"{n_front} of {count_of(n_all, 'design')} on the front: nothing else found is as good in {names} at once"
    if len(objectives) == 1:
        heading = f"Trial {findings.front[0].number} has the best {names} of {count_of(n_all, 'design')}"
    note = (
        "Large marks with an outline are the Pareto front, bars 95 % intervals of the mean accuracy over simulated "
        "chips; faint marks are all other designs. Point at a mark to see the design; click a device in the legend to "
        "hide it."
    )
    if "tops_per_watt" in objectives[1:]:  # where the figure has it on its x axis
        note += " Dotted lines: NACIM (Jiang et al., 2021) on CIFAR-10, under its own models, for orientation."
    outside = sum(bool(trial.cost["outside_reference"]) for trial in findings.front)
    note += (
        f" Bars leave out that {other_images(findings)}, and what another training would change: designs closer than "
        f"that are not told apart. Costs of {outside} of the {count_of(n_front, 'design')} on the front are beyond what "
        "the cost model's reference tool vouches for, and that tool is a simulator: measured chips lie several times "
        "off (docs/cost_model.md)."
    )
    is_pair = len(objectives) == 2
    views = [
        plots.place(f"front-{i}", heading, front_figure(findings.evaluated, findings.front, styles, x, y, is_pair))
        for i, (x, y) in enumerate(pairs(objectives))
    ]
    if "tops_per_watt" in objectives and "energy_j" not in objectives and n_all > 1:
        views += _by_energy(findings, styles, plots)
    return section(heading, note, *views, _trial_table(findings))


def _by_energy(findings: Findings, styles: Styles, plots: Plots) -> list[str]:
    """The same designs by energy per inference, which compares designs of other bits and sizes."""
    names = ("accuracy_mean", "energy_j")
    losses = to_losses(names, [[trial.measured[name] for name in names] for trial in findings.evaluated])
    front = [trial for trial, stays in zip(findings.evaluated, nondominated(losses), strict=True) if stays]
    both = sum(trial in findings.front for trial in front)
    title = (
        f"By energy of an inference {count_of(len(front), 'design')} lead, {both} of them from the front above: TOPS/W "
        "counts operations of any width, so that large networks of few bits look good in it"
    )
    figure = front_figure(findings.evaluated, front, styles, "energy_j", "accuracy_mean", joined=True)
    return [f"<h3>{title}</h3>", plots.place("energy", title, figure)]


def _trial_table(findings: Findings) -> str:
    """All designs, those on the front first; the page shows the front until asked for more."""
    objectives = findings.pareto.objectives
    totals = [name for name in ("area_m2", "latency_s", "energy_j") if name not in objectives]
    heads = ["trial", "device", *(METRICS[name].title for name in objectives), "accuracy on test images [%]"]
    heads += [METRICS[name].title for name in totals]
    best = {trial.number for trial in findings.front}
    others = [trial for trial in findings.evaluated if trial.number not in best]
    rows: list[list[Cell]] = [
        [
            Number(str(trial.number), trial.number),
            trial.device,
            *(_value(trial, name) for name in objectives),
            Number(f"{100 * trial.test.mean:.4g} ± {two_digits(100 * half_width(trial.test))}", 100 * trial.test.mean),
            *(_value(trial, name) for name in totals),
            describe(trial.design),
        ]
        for trial in [*findings.front, *others]
    ]
    caption = (
        "Click a column to sort by it. The best of many accuracies is a little too good, because it was chosen; the "
        "one on test images, which the search never saw, is not."
    )
    return filtered(table([*heads, "design"], rows, caption, sortable=True, first_kind=len(findings.front)))


def _value(trial: Evaluated, name: str) -> Number:
    return Number(trial.show(name), trial.measured[name] * METRICS[name].scale)
