"""The part of a report that sets several studies side by side."""

from collections.abc import Sequence
from html import escape

from pipeline.evaluated import Findings, winner
from pipeline.figures import comparison_figure, pairs
from pipeline.metrics import METRICS
from pipeline.report_html import Cell, Number, Plots, section, table
from pipeline.report_provenance import flat


def comparison(studies: Sequence[Findings], plots: Plots) -> str:
    """Fronts over one another, the best of each study, and the settings that differ. Objectives: the first study's."""
    objectives = studies[0].pareto.objectives
    fronts = {findings.name: findings.front for findings in studies if findings.front}
    names = " and ".join(METRICS[name].label for name in objectives)
    title = f"Fronts of {len(studies)} studies in {names}"
    views = [
        plots.place(f"fronts-{i}", title, comparison_figure(fronts, x, y)) for i, (x, y) in enumerate(pairs(objectives))
    ]
    note = (
        "Marks and bars: designs on each study's own front with 95 % intervals. Accuracies compare only between "
        "studies of one data set and the same device cards; the settings that differ are listed below."
    )
    heads = ["study", "designs", "on the front", *(f"best {METRICS[name].title}" for name in objectives)]
    rows = [_row(findings, objectives) for findings in studies]
    return (
        f"<h1>{escape(', '.join(findings.name for findings in studies))}</h1>"
        + section(title, note, *(views if fronts else ()), table(heads, rows))
        + section("What differs in their settings", "", _differences(studies))
    )


def _row(findings: Findings, objectives: Sequence[str]) -> list[Cell]:
    best = [winner(findings.evaluated, name) for name in objectives] if findings.evaluated else []
    cells = [
        f"{trial.show(name)} (trial {trial.number}, {trial.device})"
        for trial, name in zip(best, objectives, strict=bool(best))
    ]
    counts = [Number(str(len(group)), len(group)) for group in (findings.evaluated, findings.front)]
    return [findings.name, *counts, *(cells or [""] * len(objectives))]


def _differences(studies: Sequence[Findings]) -> str:
    settings = [dict(flat({k: v for k, v in s.identity.items() if k != "devices"}, "study")) for s in studies]
    shared = set.intersection(*(set(s.identity["devices"]) for s in studies))
    cards = [dict(flat({name: s.identity["devices"][name] for name in sorted(shared)}, "card")) for s in studies]
    both = [a | b for a, b in zip(settings, cards, strict=True)]
    keys = [key for key in dict.fromkeys(key for each in both for key in each) if key != "study.name"]
    rows: list[list[Cell]] = [
        [key.removeprefix("study."), *(each.get(key, "not there") for each in both)]
        for key in keys
        if len({each.get(key) for each in both}) > 1
    ]
    return table(["setting", *(findings.name for findings in studies)], rows) if rows else "<p>Nothing.</p>"
