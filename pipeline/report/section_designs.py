"""Sections that look into single designs: those on the front, or those chosen for the report."""

from collections.abc import Sequence

from pipeline.design.metrics import METRICS
from pipeline.report.content import Plot, Section, Table, count_of
from pipeline.report.cost_parts import component_parts, mean_shares
from pipeline.report.evaluated import Evaluated, two_digits
from pipeline.report.figures.errors import chips_figure
from pipeline.report.figures.parts import breakdown_figure, component_colours, layers_figure
from pipeline.report.figures.style import spoken
from pipeline.report.findings import Findings

_MOST_BARS = 24  # most designs in a figure with one bar per design
_MOST_BY_LAYER = 3  # most designs that are shown layer by layer
_TOTALS = ("energy_j", "area_m2")


def cost_section(findings: Findings) -> Section:
    """Which components and layers take most of the energy and area."""
    trials = _evenly(_designs(findings), _MOST_BARS)
    by_layer = trials if findings.chosen else _evenly(trials, _MOST_BY_LAYER)
    colours = component_colours(trials, _TOTALS)
    titles = {name: f"{METRICS[name].label.capitalize()} by component" for name in _TOTALS}
    shares = [Plot(f"parts-{name}", breakdown_figure(trials, name, colours), titles[name]) for name in _TOTALS]
    which = "the chosen designs" if findings.chosen else "the ends and the middle of the front"
    layers = Plot("layers", layers_figure(by_layer, colours), f"Energy and area by layer and component: {which}")
    largest = ", ".join(f"{_largest(trials, name)} of the {METRICS[name].label}" for name in _TOTALS)
    order = "" if findings.chosen else f"Best {METRICS[findings.pareto.objectives[0]].label} on top. "
    heading = f"What takes most {_where(findings)}: {largest}"
    note = f"{order}Grey: all but the eight largest components.{_left_out(findings, trials)}"
    return Section(heading, note, [*shares, layers, *_outside(trials)])


def chips_section(findings: Findings) -> Section:
    """How much the simulated chips of one design differ."""
    trials = _evenly(_designs(findings), _MOST_BARS)
    spreads = {trial.number: max(trial.validation.per_chip) - min(trial.validation.per_chip) for trial in trials}
    widest = max(spreads, key=lambda number: spreads[number])
    points = two_digits(100 * spreads[widest])
    heading = f"Chips of one design {_where(findings)} differ by up to {points} points (trial {widest})"
    note = "Each mark is one simulated chip on the validation images; boxes hold the middle half of a design's chips."
    plot = Plot("chips", chips_figure(trials, findings.styles))
    return Section(heading, f"{note}{_left_out(findings, trials)}", [plot])


def _largest(trials: Sequence[Evaluated], name: str) -> str:
    component, share = next(iter(mean_shares([component_parts(trial, name) for trial in trials]).items()))
    return f"{spoken(component)} {100 * share:.0f} %"


def _outside(trials: Sequence[Evaluated]) -> list[Table]:
    """Designs whose cost is an extrapolation, with the reasons; no table if there are none."""
    rows = [[str(trial.number), "; ".join(reasons)] for trial in trials if (reasons := trial.cost["outside_reference"])]
    title = f"{len(rows)} of {count_of(len(trials), 'design')} outside NeuroSim's range"
    return [Table(["trial", "why"], rows, folded_under=title)] if rows else []


def _designs(findings: Findings) -> list[Evaluated]:
    return list(findings.chosen) or list(findings.front)


def _where(findings: Findings) -> str:
    return "among the chosen" if findings.chosen else "on the front"


def _evenly(trials: Sequence[Evaluated], most: int) -> list[Evaluated]:
    """At most `most` of the trials, evenly over their order, first and last among them."""
    if len(trials) <= most:
        return list(trials)
    step = (len(trials) - 1) / (most - 1)
    return [trials[round(i * step)] for i in range(most)]


def _left_out(findings: Findings, trials: Sequence[Evaluated]) -> str:
    """Which designs the figures leave out: some of a long front, and useless ones."""
    designs = _designs(findings)
    text = ""
    if len(trials) < len(designs):
        text = f" Shown: {len(trials)} of {len(designs)} designs {_where(findings)}, evenly spaced."
    return text
