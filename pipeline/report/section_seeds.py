"""What several searches of one study, with other seeds, found: how much of it is the search's chance."""

import statistics
from collections.abc import Sequence

from pipeline.design.metrics import METRICS
from pipeline.design.pareto import hypervolumes
from pipeline.report.content import Cell, Number, Section, Table
from pipeline.report.evaluated import best_by
from pipeline.report.findings import Findings

_OF_A_SEARCH = ("name", "seed")


def are_searches_of_one_study(studies: Sequence[Findings]) -> bool:
    """Whether studies differ in name and seed alone, and all have found designs whose objectives are known."""
    settings = [{k: v for k, v in study.identity.items() if k not in _OF_A_SEARCH} for study in studies]
    seeds = {study.identity["seed"] for study in studies}
    objectives = studies[0].pareto.objectives
    known = all(
        study.evaluated and all(name in trial.measured for trial in study.evaluated for name in objectives)
        for study in studies
    )
    return known and len(seeds) == len(studies) and all(each == settings[0] for each in settings)


def seeds_section(studies: Sequence[Findings]) -> Section:
    """For each objective and for the hypervolume: mean and standard deviation over searches, and each search."""
    objectives = studies[0].pareto.objectives
    values = [[[trial.measured[name] for name in objectives] for trial in study.counted] for study in studies]
    *each, joint = hypervolumes(objectives, [*values, [point for points in values for point in points]])
    shares = [100 * volume / joint if joint else 0.0 for volume in each]
    rows: list[list[Cell]] = [_row("hypervolume, % of the joint front's", shares)]
    for name in objectives:
        metric = METRICS[name]
        best = [metric.scale * best_by(study.counted, name).measured[name] for study in studies]
        rows.append(_row(f"best {metric.title}", best))
    heads = ["", "mean", "standard deviation", *(f"seed {study.identity['seed']}" for study in studies)]
    note = (
        "These searches differ in their seed alone: designs tried, initial weights, chips. What differs less than the "
        "standard deviation may be chance. The joint front is that of all searches; hypervolumes are measured from one "
        "common point. Designs below the accuracy floor of their search do not count."
    )
    return Section(f"Over {len(studies)} searches with other seeds", note, [Table(heads, rows)])


def _row(title: str, values: Sequence[float]) -> list[Cell]:
    numbers = (statistics.fmean(values), statistics.stdev(values), *values)
    return [title, *(Number(f"{number:.4g}", number) for number in numbers)]
