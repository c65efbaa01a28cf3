"""What numbers mean and where they come from."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pipeline.design.metrics import METRICS
from pipeline.report.content import Cell, Section, Table
from pipeline.report.evaluated import Evaluated, best_by, two_digits
from pipeline.report.findings import Findings
from pipeline.report.score_words import named


def definitions_section(studies: Sequence[Findings]) -> Section:
    """All metrics, their units and meaning, and on which images and chips accuracies were measured."""
    rows = [[m.label, name, m.unit, m.direction.removesuffix("imize") + ".", m.meaning] for name, m in METRICS.items()]
    notes = ["One multiply-accumulate (MAC) counts as 2 operations. Costs are those of one inference."]
    notes += [_images_note(findings) for findings in studies if findings.evaluated]
    heads = ["shown as", "stored as", "unit shown", "better", "meaning"]
    return Section("What the numbers mean", " ".join(notes), [Table(heads, rows)])


def _images_note(findings: Findings) -> str:
    first = findings.evaluated[0]
    chips = sorted({len(trial.validation.per_chip) for trial in findings.evaluated})
    range_of_chips = f"{chips[0]}" if len(chips) == 1 else f"{chips[0]} to {chips[-1]}"
    note = (
        f"Data set: {findings.dataset.title}. The search sees the accuracy on "
        f"{first.validation.n_images} validation images. Accuracy on {first.test.n_images} test images is reported "
        f"beside it and never guides the search. Each design is measured on {range_of_chips} simulated chips, the same "
        "ones for all designs. ± and bars are 95 % intervals of the mean over chips (Student's t) for these images; "
        f"{other_images(findings)}."
    )
    return named(note, findings.dataset.score_name)


def other_images(findings: Findings) -> str:
    """By how much other images would shift the best accuracy."""
    if not findings.dataset.scores_each_input:
        return "other images would shift the best accuracy too, by how much is not known"
    best = best_by(findings.evaluated, "accuracy_mean").validation
    mean = min(max(best.mean, 0.0), 1.0)  # estimates from few images a chip may leave 0 to 1
    points = two_digits(196 * math.sqrt(mean * (1 - mean) / best.n_images))
    return f"other images would shift the best accuracy by about ± {points} points"


def provenance_section(findings: Findings) -> Section:
    """Seed, versions, times, study file and device cards."""
    identity = findings.identity
    used = dict.fromkeys(", ".join(f"{k} {v}" for k, v in trial.versions.items()) for trial in findings.evaluated)
    versions: list[list[Cell]] = [["versions", text] for text in used]
    facts: list[list[Cell]] = [
        ["study", findings.name],
        ["identity", hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]],
        ["seed", str(identity["seed"])],
        ["objectives", ", ".join(f"{METRICS[name].direction} {name}" for name in findings.pareto.objectives)],
        *_times(findings.evaluated),
        *versions,
        ["report written", f"{datetime.now():%Y-%m-%d %H:%M}"],
    ]
    parts = [key for key in identity if key not in ("name", "seed", "objectives", "devices")]
    settings = [[key, value] for part in parts for key, value in flat(identity[part], part)]
    cards = [_card(name, card, findings.device_sources.get(name, {})) for name, card in identity["devices"].items()]
    study_file = Table(["key", "value"], settings, folded_under="Study file")
    return Section(f"Where {findings.name} comes from", "", [Table(["", ""], facts), study_file, *cards])


def _card(name: str, card: Mapping[str, Any], sources: Mapping[str, str]) -> Table:
    rows = [[field, _plain(value), sources.get(field, "")] for field, value in card.items()]
    return Table(["field", "value", "source"], rows, folded_under=f"Device card: {name}")


def _times(trials: Sequence[Evaluated]) -> list[list[Cell]]:
    times = [time for trial in trials for time in (trial.started, trial.finished) if time]
    phases = dict.fromkeys(phase for trial in trials for phase in trial.phase_s)
    spent = [f"{phase} {sum(trial.phase_s.get(phase, 0.0) for trial in trials):.3g} s" for phase in phases]
    rows: list[list[Cell]] = [["time of all trials", ", ".join(spent)]] if spent else []
    if times:
        rows.insert(0, ["trials ran", f"{min(times):%Y-%m-%d %H:%M} to {max(times):%Y-%m-%d %H:%M}"])
    return rows


def flat(value: Any, key: str) -> list[tuple[str, str]]:
    """Dotted keys and their values as text, deepest last."""
    if isinstance(value, dict):
        return [item for name, inner in value.items() for item in flat(inner, f"{key}.{name}")]
    if isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        return [item for i, inner in enumerate(value, start=1) for item in flat(inner, f"{key}{i}")]
    return [(key, _plain(value))]


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
