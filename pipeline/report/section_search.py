"""Sections on what the search says: which choices matter, what good designs share, whether to go on."""

from pipeline.design.metrics import METRICS
from pipeline.report.content import Plot, Section
from pipeline.report.figures.hypervolume import hypervolume_figure
from pipeline.report.figures.importance import importance_figure
from pipeline.report.figures.parallel import parallel_figure
from pipeline.report.figures.style import device_styles
from pipeline.report.findings import Findings


def importance_section(findings: Findings) -> Section | None:
    """Which choice tells the best tenth of the designs from the others; None for a small study."""
    if not findings.importance:
        return None
    first = {name: next(iter(shares)) for name, shares in findings.importance.items()}
    parts = ", ".join(f"{choice.replace('_', ' ')} for {METRICS[name].label}" for name, choice in first.items())
    heading = f"Which choice matters most: {parts}"
    note = (
        "How much each choice tells whether a design is among the best tenth in an objective (PED-ANOVA over the "
        f"{len(findings.evaluated)} evaluated designs; shares of 100 %). A search does not sample evenly, and with few "
        "designs the shares are noisy: read the order, not the digits."
    )
    return Section(heading, note, [Plot("importance", importance_figure(findings.importance))])


def common_section(findings: Findings) -> Section:
    """What the designs on the front have in common."""
    note = (
        "One line is one design: its choices on the left, what it reaches on the right. Choices that all designs share "
        "are left out."
    )
    styles, objectives = device_styles(findings.devices), findings.pareto.objectives
    figure = parallel_figure(findings.evaluated, findings.front, styles, objectives)
    return Section("What the designs on the front have in common", note, [Plot("designs", figure)])


def progress_section(findings: Findings) -> Section:
    """Whether more trials still pay."""
    newest, last = max(trial.number for trial in findings.front), findings.evaluated[-1].number
    heading = f"The front last changed with trial {newest}; the last evaluated trial is {last}"
    note = (
        "Hypervolume: how much of the objectives' space the front dominates. While it climbs, more trials pay. A flat "
        "curve can hide gains of tenths of a point of accuracy."
    )
    figure = hypervolume_figure(findings.pareto.objectives, findings.evaluated)
    return Section(heading, note, [Plot("progress", figure)])
