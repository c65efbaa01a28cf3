"""Which design to take for which purpose, what it costs against the next one, and how sure the order is."""

import dataclasses
from collections.abc import Sequence

from hw_models.silicon import ratio_told_apart
from pipeline.design.metrics import METRICS
from pipeline.design.pareto import nondominated, to_losses
from pipeline.report.evaluated import Evaluated, best_by

NEAR = 0.03  # assumed: accuracy below the best that a purpose may give away
PURPOSES = {  # -> the metric that decides among designs that are accurate enough
    "most accurate": "accuracy_mean",
    "battery sensor": "energy_j",
    "camera": "latency_s",
    "cheap chip": "area_m2",
    "safety": "accuracy_p05",
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Pick:
    """The design for a purpose: the best in `metric`; `runner_up` is the next one, None if there is none."""

    purpose: str
    metric: str
    design: Evaluated
    runner_up: Evaluated | None

    @property
    def reason(self) -> str:
        """What decides, and its value: `least energy, 3.1 nJ`."""
        metric = METRICS[self.metric]
        word = "highest" if metric.direction == "maximize" else "least"
        return f"{word} {metric.label}, {self.design.with_unit(self.metric)}"

    @property
    def against_next(self) -> str:
        """What the next design would cost or bring: `trial 7: 1.3x the energy, + 0.4 points of accuracy`."""
        if self.runner_up is None:
            return "no other design is as accurate"
        points = 100 * (self.runner_up.measured["accuracy_mean"] - self.design.measured["accuracy_mean"])
        gain = f"{abs(points):.2g} points {'more' if points >= 0 else 'less'} accuracy" if points else "as accurate"
        if METRICS[self.metric].is_accuracy:
            energy = self.runner_up.measured["energy_j"] / self.design.measured["energy_j"]
            points = 100 * (self.runner_up.measured[self.metric] - self.design.measured[self.metric])
            less = f"{abs(points):.2g} points less" if points else "as accurate"
            return f"trial {self.runner_up.number}: {less}, {energy:.3g}x the energy"
        times = self.runner_up.measured[self.metric] / self.design.measured[self.metric]
        return f"trial {self.runner_up.number}: {times:.3g}x the {METRICS[self.metric].label}, {gain}"

    @property
    def sureness(self) -> str:
        """Whether the order of the two is beyond what is known not to be exact."""
        if self.runner_up is None:
            return ""
        if METRICS[self.metric].is_accuracy and self.metric != "accuracy_mean":
            return "by the chips simulated; no interval is known"
        if self.metric == "accuracy_mean":
            apart = self.design.validation.mean_low > self.runner_up.validation.mean_high
            return "apart: intervals over chips do not meet" if apart else "tied: intervals over chips overlap"
        if self.metric != "energy_j":
            return "by the cost model; how far silicon differs is not known"
        one, other = self.design.silicon, self.runner_up.silicon
        if one is None or other is None:
            return "by the cost model; no estimate of silicon"
        apart = other.energy_j > ratio_told_apart(one, other) * one.energy_j
        return "apart on silicon (80 %)" if apart else "tied: silicon may reverse it"


def accurate_enough(trials: Sequence[Evaluated]) -> list[Evaluated]:
    """Designs at most `NEAR` below the best accuracy."""
    best = max((trial.measured["accuracy_mean"] for trial in trials), default=0.0)
    return [trial for trial in trials if trial.measured["accuracy_mean"] >= best - NEAR]


def picks(trials: Sequence[Evaluated]) -> list[Pick]:
    """A design for each of `PURPOSES`, of the designs that are accurate enough; empty without designs."""
    enough = accurate_enough(trials)
    found = []
    for purpose, metric in PURPOSES.items() if enough else ():
        best = best_by(enough, metric)
        others = [trial for trial in enough if trial.number != best.number]
        next_one = best_by(others, metric) if others else None
        found.append(Pick(purpose=purpose, metric=metric, design=best, runner_up=next_one))
    return found


def energy_front(trials: Sequence[Evaluated]) -> list[Evaluated]:
    """Designs that no other one beats in accuracy and in energy of an inference, most accurate first."""
    names = ("accuracy_mean", "energy_j")
    losses = to_losses(names, [[trial.measured[name] for name in names] for trial in trials])
    front = [trial for trial, stays in zip(trials, nondominated(losses), strict=True) if stays]
    return sorted(front, key=lambda trial: -trial.measured["accuracy_mean"])


def energy_or_tops(trials: Sequence[Evaluated]) -> str:
    """Whether TOPS/W and energy pick the same design of those that are accurate enough, in one sentence."""
    enough = accurate_enough(trials)
    by_tops, by_energy = best_by(enough, "tops_per_watt"), best_by(enough, "energy_j")
    within = f"within {100 * NEAR:g} points of the best accuracy"
    if by_tops.number == by_energy.number:
        return f"Of the designs {within}, trial {by_tops.number} has both the best TOPS/W and the least energy."
    times = by_tops.measured["energy_j"] / by_energy.measured["energy_j"]
    return (
        f"TOPS/W and energy pick different designs {within}: trial {by_tops.number} has the best TOPS/W "
        f"({by_tops.show('tops_per_watt')}), but an inference takes {times:.3g}x the energy of trial "
        f"{by_energy.number} ({by_energy.show('energy_j')} nJ), because its network does more operations."
    )
