"""The chapter of a report that sets several studies side by side."""

from collections.abc import Sequence

import numpy as np

from pipeline.design.metrics import METRICS
from pipeline.design.pareto import nondominated, to_losses
from pipeline.report.content import Cell, Chapter, Number, Plot, Section, Table
from pipeline.report.evaluated import Evaluated, best_by
from pipeline.report.figures.front import comparison_figure, pairs
from pipeline.report.findings import Findings
from pipeline.report.provenance import flat
from pipeline.report.section_seeds import are_searches_of_one_study, seeds_section


def comparison_chapter(studies: Sequence[Findings]) -> Chapter:
    """Overlaid fronts, the best of each study, what chance decides, and the settings that differ.

    Objectives: the first study's.
    """
    differences = _differences(studies)
    note = "" if differences.rows else "None."
    settings = Section("Settings that differ", note, [differences] if differences.rows else [])
    seeds = [seeds_section(studies)] if are_searches_of_one_study(studies) else []
    return Chapter([_fronts(studies), *seeds, settings], ", ".join(findings.name for findings in studies))


def _fronts(studies: Sequence[Findings]) -> Section:
    objectives = studies[0].pareto.objectives
    fronts = {findings.name: front for findings in studies if (front := _comparable(findings.front, objectives))}
    heading = f"Fronts of {len(studies)} studies in {' and '.join(METRICS[name].label for name in objectives)}"
    axes = pairs(objectives) if fronts else []
    plots = [Plot(f"fronts-{i}", comparison_figure(fronts, x, y)) for i, (x, y) in enumerate(axes)]
    note = (
        "Marks with bars are the designs on each study's own front with their 95 % intervals. A design is on the joint "
        "front if no design of any of these studies beats it in all objectives; designs below the accuracy floor of "
        "their study do not count. Compare accuracies only between studies with the same data set and the same device "
        "cards; the settings that differ are listed below."
    )
    bests = [f"best {METRICS[name].title}" for name in objectives]
    joint = _on_the_joint_front(studies, objectives)
    heads = ["study", "designs", "on its own front", "on the joint front", *bests]
    rows = [_row(findings, count, objectives) for findings, count in zip(studies, joint, strict=True)]
    return Section(heading, note, [*plots, Table(heads, rows)])


def _comparable(trials: Sequence[Evaluated], objectives: Sequence[str]) -> list[Evaluated]:
    """Trials that hold all objectives; an earlier release may not have stored a metric added later."""
    return [trial for trial in trials if all(name in trial.measured for name in objectives)]


def _on_the_joint_front(studies: Sequence[Findings], objectives: Sequence[str]) -> list[int]:
    """For each study, how many of its designs are on the joint front of all designs above their study's floor."""
    designs = [_comparable(study.counted, objectives) for study in studies]
    values = [[trial.measured[name] for name in objectives] for trials in designs for trial in trials]
    stay = nondominated(to_losses(objectives, values))
    ends = np.cumsum([len(trials) for trials in designs])[:-1]
    return [int(part.sum()) for part in np.split(stay, ends)]


def _row(findings: Findings, on_joint_front: int, objectives: Sequence[str]) -> list[Cell]:
    counts = [len(findings.evaluated), len(findings.front), on_joint_front]
    cells: list[Cell] = [Number(str(count), count) for count in counts]
    if findings.evaluated and not _comparable(findings.evaluated, objectives):
        cells[-1] = "-"
    return [findings.name, *cells, *(_best(findings.counted, name) for name in objectives)]


def _best(trials: Sequence[Evaluated], name: str) -> str:
    if not trials:
        return ""
    known = _comparable(trials, [name])
    best = best_by(known, name) if known else None
    return f"{best.show(name)} (trial {best.number}, {best.device})" if best else "-"


def _differences(studies: Sequence[Findings]) -> Table:
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
    return Table(["setting", *(findings.name for findings in studies)], rows)
