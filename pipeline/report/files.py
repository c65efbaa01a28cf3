"""A study's trials as CSV and JSON, for further work."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from pipeline.design.describe import design_columns
from pipeline.design.metrics import METRICS
from pipeline.design.results import TEST_ACCURACIES
from pipeline.files import write_whole
from pipeline.report.evaluated import Evaluated
from pipeline.report.findings import Findings


def write_trials_csv(findings: Findings, path: Path) -> None:
    """All measured trials: SI values with the unit in the column's name, accuracies as fractions; then the design."""
    rows = [_csv_row(trial, trial in findings.front) for trial in findings.evaluated]
    columns = dict.fromkeys(name for row in rows for name in row) or {"trial": None}
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(columns), restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())


def write_trials_json(findings: Findings, path: Path) -> None:
    """Everything the report shows, for programs: question, objectives, identity and all measured trials.

    Trials have the columns of the CSV, their design, cost by component and layer, and accuracy chip by chip.
    """
    trials = [
        _csv_row(trial, trial in findings.front)
        | {
            "design": trial.design.to_dict(),
            "cost": trial.cost,
            "validation": trial.validation.to_dict(),
            "test": trial.test.to_dict(),
            "versions": dict(trial.versions),
        }
        for trial in findings.evaluated
    ]
    content = {
        "study": findings.name,
        "question": findings.question,
        "objectives": list(findings.pareto.objectives),
        "counts": findings.pareto.counts,
        "front": [trial.number for trial in findings.front],
        "importance": findings.importance,
        "identity": findings.identity,
        "trials": trials,
    }
    write_whole(path, json.dumps(content))


def _csv_row(trial: Evaluated, on_front: bool) -> dict[str, Any]:
    names = (*METRICS, *TEST_ACCURACIES)
    reports = {"": trial.validation, "test_": trial.test}
    intervals = {
        f"{split}accuracy_mean_{side}_fraction": getattr(report, f"mean_{side}")
        for split, report in reports.items()
        for side in ("low", "high")
    }
    return (
        {"trial": trial.number, "on_front": int(on_front)}
        | {f"{name}_fraction" if _is_fraction(name) else name: trial.measured.get(name) for name in names}
        | intervals
        | {"chips": len(trial.validation.per_chip)}
        | {f"{phase}_wall_s": seconds for phase, seconds in trial.phase_s.items()}
        | design_columns(trial.design)
    )


def _is_fraction(name: str) -> bool:
    return name in TEST_ACCURACIES or METRICS[name].is_accuracy
