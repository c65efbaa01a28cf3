"""The part of a report that sets several studies side by side."""

from collections.abc import Sequence
from html import escape

import numpy as np

from pipeline.design.metrics import METRICS
from pipeline.design.pareto import nondominated, to_losses
from pipeline.report.evaluated import best_by
from pipeline.report.figures.front import comparison_figure, pairs
from pipeline.report.findings import Findings
from pipeline.report.html import Cell, Number, Plots, section, table
from pipeline.report.provenance import flat


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
        "Marks and bars: designs on each study's own front with 95 % intervals. The joint front: what no design of any "
        "of these studies beats in all objectives. Accuracies compare only between "
        "studies of one data set and the same device cards; the settings that differ are listed below."
    )
    bests = [f"best {METRICS[name].title}" for name in objectives]
    heads = ["study", "designs", "on its own front", "on the joint front", *bests]
    joint = _on_the_joint_front(studies, objectives)
    rows = [_row(findings, count, objectives) for findings, count in zip(studies, joint, strict=True)]
    return (
        f"<h1>{escape(', '.join(findings.name for findings in studies))}</h1>"
        + section(title, note, *(views if fronts else ()), table(heads, rows))
        + section("What differs in their settings", "", _differences(studies))
    )


def _on_the_joint_front(studies: Sequence[Findings], objectives: Sequence[str]) -> list[int]:
    """How many designs of each study no design of any study beats in all objectives."""
    values = [[trial.measured[name] for name in objectives] for study in studies for trial in study.evaluated]
    stay = nondominated(to_losses(objectives, values))
    ends = np.cumsum([len(study.evaluated) for study in studies])[:-1]
    return [int(part.sum()) for part in np.split(stay, ends)]


def _row(findings: Findings, on_joint_front: int, objectives: Sequence[str]) -> list[Cell]:
    best = [best_by(findings.evaluated, name) for name in objectives] if findings.evaluated else []
    cells = [
        f"{trial.show(name)} (trial {trial.number}, {trial.device})"
        for trial, name in zip(best, objectives, strict=bool(best))
    ]
    counts = [len(findings.evaluated), len(findings.front), on_joint_front]
    numbers = [Number(str(count), count) for count in counts]
    return [findings.name, *numbers, *(cells or [""] * len(objectives))]


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
