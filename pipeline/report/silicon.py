"""What silicon would reach with the designs of a study, in words, cells and columns; and which of them are tied."""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from hw_models.silicon import told_apart
from pipeline.report.content import Number, count_of
from pipeline.report.evaluated import Evaluated

HEAD = "silicon TOPS/W (80 %)"
OUTSIDE = "*"  # beside an estimate outside measured chips


def cell(trial: Evaluated) -> Number:
    """The estimate with its 80 % bar, such as `9.2 (2.1 to 40)`; `*` after it where no measured chip is like it."""
    found = trial.silicon
    if found is None:
        return Number("-", 0.0)
    return Number(f"{found.range}{f' {OUTSIDE}' if found.reasons else ''}", found.tops_per_watt.value)


def footnote(trials: Sequence[Evaluated]) -> str:
    """What the cells of these designs mean, in one sentence or two; empty if none has an estimate."""
    if not any(trial.silicon for trial in trials):
        return ""
    outside = sum(bool(trial.silicon and trial.silicon.reasons) for trial in trials)
    more = f" {OUTSIDE} {count_of(outside, 'design')} beyond measured chips: nacim show says why." if outside else ""
    return f"silicon: {sources(trials)}.{more}"


def sources(trials: Sequence[Evaluated]) -> str:
    """From how many chips of each family the estimates come, and how far these were from chips not seen."""
    by_family = {trial.silicon.family: trial.silicon for trial in trials if trial.silicon}
    return "; ".join(dict.fromkeys(found.source for found in by_family.values()))


def hover_line(trial: Evaluated) -> str:
    """The estimate in a hover text; empty if there is none."""
    if trial.silicon is None:
        return ""
    outside = ", beyond measured chips" if trial.silicon.reasons else ""
    return f"silicon {trial.silicon.range} TOPS/W (80 %{outside})"


def columns(trial: Evaluated) -> dict[str, Any]:
    """Columns of the CSV beside the metrics."""
    found = trial.silicon
    if found is None:
        return {}
    return {
        "tops_per_watt_silicon_high": found.tops_per_watt.high(80),
        "silicon_family": found.family,
        "silicon_chips": found.tops_per_watt.bars.chips,
        "silicon_ratio_80_within_family": found.between_designs.factor(80),
        "silicon_calibrated_by": found.calibrated_by,
        "silicon_outside": "; ".join(found.reasons),
    }


def tied_with(trial: Evaluated, others: Sequence[Evaluated]) -> list[Evaluated]:
    """Those of `others` whose order by TOPS/W silicon could reverse; empty if the trial has no estimate."""
    own = trial.silicon
    rest = [(each, each.silicon) for each in others if each is not trial]
    return [each for each, theirs in rest if own and theirs and not told_apart(own, theirs)]


def pairs_told_apart(trials: Sequence[Evaluated]) -> tuple[int, int, int]:
    """(pairs, pairs that silicon tells apart, those of them that the cost model orders the other way)."""
    found = [(trial.silicon, trial.measured["tops_per_watt"]) for trial in trials if trial.silicon]
    apart = [(one, other) for one, other in combinations(found, 2) if told_apart(one[0], other[0])]
    reverse = sum((a[0].tops_per_watt_silicon > b[0].tops_per_watt_silicon) != (a[1] > b[1]) for a, b in apart)
    return math.comb(len(found), 2), len(apart), reverse
