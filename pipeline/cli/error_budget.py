"""What `nacim evaluate --by-source` prints: where designs lose accuracy."""

import dataclasses
import itertools
from collections.abc import Iterable
from typing import Any

from optuna.trial import FrozenTrial
from rich.table import Table

from pipeline.cli.options import console_of_tables, print_json
from pipeline.database.trials import describe_settings
from pipeline.design.results import VariationReport
from pipeline.follow_up.error_sources import ErrorBudget, error_budget
from pipeline.follow_up.measure_again import Settings, own_epochs
from pipeline.follow_up.stored import StoredStudy
from pipeline.report.evaluated import show_mean

_NOTE = (
    "Each source is added to quantisation alone, and taken from all of them. All rows have the same chips, test images "
    "and weights; ± is the 95 % interval of the mean over chips. Losses do not add up, because errors combine."
)


def print_budgets(
    stored: StoredStudy, trials: Iterable[FrozenTrial], settings: Iterable[Settings], as_json: bool
) -> None:
    """Measure and print the budget of each trial with each of the settings; nothing is stored."""
    found: list[dict[str, Any]] = []
    for each, trial in itertools.product(settings, trials):
        budget = error_budget(stored, trial, each)
        found.append({"trial": trial.number, "settings": each.to_dict()} | dataclasses.asdict(budget))
        if not as_json:
            device = trial.user_attrs["design"]["accelerator"]["device"]["name"]
            words = describe_settings(each.to_dict() | {"epochs": own_epochs(stored.spec)})
            console_of_tables().print(_table(f"Trial {trial.number} ({device}): {words}", budget))
            for what in budget.stays:
                print(f"In every row: {what}.")
    if as_json:
        print_json(found)
    elif found:
        print(_NOTE)


def _table(title: str, budget: ErrorBudget) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("source of error")
    for head in ("alone [%]", "costs [points]", "all but it [%]", "gives back [points]"):
        table.add_column(head, justify="right")
    table.add_column("what it is")
    quantised, everything = budget.quantised, budget.everything
    table.add_row("none: float", f"{100 * budget.float_accuracy:.4g}", "", "", "", "no hardware")
    lost = _points(budget.float_accuracy - quantised.mean)
    table.add_row("quantisation", _shown(quantised), lost, "", "", "weights and inputs of few bits")
    for each in budget.sources:
        if each.alone is None or each.without is None:
            table.add_row(each.name, "-", "-", "-", "-", each.absent)
            continue
        costs, gives = quantised.mean - each.alone.mean, each.without.mean - everything.mean
        table.add_row(each.name, _shown(each.alone), _points(costs), _shown(each.without), _points(gives), each.meaning)
    lost = _points(budget.float_accuracy - everything.mean)
    table.add_row("all of them", _shown(everything), lost, "", "", "costs: against float")
    return table


def _shown(report: VariationReport) -> str:
    """Mean accuracy with its interval; alone where all chips are alike."""
    return show_mean(report) if report.std else f"{100 * report.mean:.4g}"


def _points(fraction: float) -> str:
    """A difference of accuracies in percentage points."""
    return f"{100 * fraction:.2f}"
