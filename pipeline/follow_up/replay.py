"""Train a finished trial anew and compare everything that was measured."""

import dataclasses
import json
from typing import Any

import torch
from optuna.trial import FrozenTrial

from pipeline.design.design_point import DesignPoint
from pipeline.design.pareto import StoppingRule
from pipeline.follow_up.networks import check_supernet, draws_of
from pipeline.study.study_spec import StudySpec
from pipeline.trial.evaluate import evaluate


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """What training a trial anew gave.

    Attributes:
        differing: Name of each value that is not what the database holds -> both, the stored one first.
        changed: Library -> its version then and now, where they differ.
    """

    differing: dict[str, tuple[Any, Any]]
    changed: dict[str, tuple[str | None, str | None]]


def replay(spec: StudySpec, trial: FrozenTrial, rule: StoppingRule | None) -> Replay:
    """Train a trial anew from its stored design and settings and compare everything that was measured.

    Args:
        spec: The study.
        trial: Evaluated or stopped early.
        rule: That the trial was trained under (`pipeline.run.stopping.stopping_rule`).
    """
    torch.set_num_threads(1)
    check_supernet(spec)
    stored = trial.user_attrs
    result = evaluate(DesignPoint.from_dict(stored["design"]), spec, draws_of(trial), rule=rule)
    again = json.loads(json.dumps(dataclasses.asdict(result)))
    variation = {split: (stored["variation"][split], again[split]) for split in ("validation", "test")}
    pairs = {name: (stored.get(name), value) for name, value in again["measured"].items()}
    pairs |= {f"{split}.{name}": (old[name], new[name]) for split, (old, new) in variation.items() for name in old}
    pairs |= {
        "cost": (stored["cost"], again["cost"]),
        "learning_curve": (stored.get("learning_curve", []), again["learning_curve"]),
        "stopped_early": (stored.get("stopped_early"), again["stopped_early"]),
    }
    before, now = stored["versions"], again["versions"]
    return Replay(
        differing={name: pair for name, pair in pairs.items() if pair[0] != pair[1]},
        changed={name: (before.get(name), now.get(name)) for name in before | now if before.get(name) != now.get(name)},
    )
