"""Finished trials -> the Pareto front, its hypervolume, and how it grew. Loads neither torch nor plotly."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import optuna
from optuna._hypervolume import compute_hypervolume
from optuna.trial import FrozenTrial, TrialState

from pipeline.metrics import METRICS, Metric

KINDS = ("evaluated", "stopped early", "reused", "infeasible", "failed", "running")
_MARKS = {"reused_from": "reused", "infeasible": "infeasible", "stopped_early": "stopped early"}
_STATES = {TrialState.PRUNED: "infeasible", TrialState.FAIL: "failed"}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ParetoReport:
    """What a study has found.

    Attributes:
        objectives: Names in `METRICS`.
        trials: Evaluated trials, by number.
        front: Those of them that no other one dominates, best first objective first.
        counts: How many trials there are of each of `KINDS`.
    """

    objectives: tuple[str, ...]
    trials: tuple[FrozenTrial, ...]
    front: tuple[FrozenTrial, ...]
    counts: dict[str, int]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The objectives' descriptions."""
        return tuple(METRICS[name] for name in self.objectives)


def kind_of(trial: FrozenTrial) -> str:
    """The one of `KINDS` that a trial is. Only an `evaluated` one is a result: on fronts, in figures and in counts.

    Optuna calls others complete too: an infeasible one has not been trained, one stopped early not to the end, and a
    reused one repeats another, or one that was in work at the same time.
    """
    if "duplicate_of" in trial.user_attrs:
        return "reused"
    if trial.state is not TrialState.COMPLETE:
        return _STATES.get(trial.state, "running")
    return next((kind for mark, kind in _MARKS.items() if mark in trial.user_attrs), "evaluated")


def reason_of(trial: FrozenTrial) -> str:
    """Why a trial that is not evaluated has no result, for people."""
    if stopped := trial.user_attrs.get("stopped_early"):
        return (
            f"stopped early after epoch {stopped['epoch']:g}: accuracy {stopped['accuracy']:.1%}, granted "
            f"{stopped['optimistic']:.1%}, dominated even so"
        )
    if (other := trial.user_attrs.get("duplicate_of")) is not None:
        return f"its design was in work as trial {other}"
    return trial.user_attrs.get("error") or trial.user_attrs.get("infeasible") or "it has not finished"


def pareto_report(opened: optuna.Study) -> ParetoReport:
    """Read a study's trials."""
    everything = opened.get_trials(deepcopy=False)
    objectives = tuple(opened.user_attrs["identity"]["objectives"])
    kinds = [kind_of(trial) for trial in everything]
    evaluated = [trial for trial, kind in zip(everything, kinds, strict=True) if kind == "evaluated"]
    counts = {kind: kinds.count(kind) for kind in KINDS}
    losses = to_losses(objectives, [t.values for t in evaluated])
    front = [evaluated[i] for i in np.flatnonzero(nondominated(losses))]
    front.sort(key=lambda trial: to_losses(objectives, [trial.values])[0].tolist())
    return ParetoReport(objectives=objectives, trials=tuple(evaluated), front=tuple(front), counts=counts)


def to_losses(objectives: Sequence[str], values: Sequence[Sequence[float]]) -> np.ndarray:
    """Objective values (trials, objectives) with the sign that makes smaller better."""
    signs = [1.0 if METRICS[name].direction == "minimize" else -1.0 for name in objectives]
    return np.asarray(values, dtype=float).reshape(-1, len(objectives)) * signs


def nondominated(losses: np.ndarray) -> np.ndarray:
    """Mask (n,) of the rows of `losses` (n, objectives) that no other row dominates; equal rows all count."""
    better = (losses[:, None] <= losses[None]).all(-1) & (losses[:, None] < losses[None]).any(-1)
    return np.asarray(~better.any(0))


def reference_point(objectives: Sequence[str], losses: np.ndarray) -> np.ndarray:
    """Losses (objectives,) from which hypervolumes are measured: 0 for what is maximized, else the largest given."""
    maximized = np.array([METRICS[name].direction == "maximize" for name in objectives])
    return np.where(maximized, 0.0, losses.max(axis=0))


def hypervolume_history(objectives: Sequence[str], values: Sequence[Sequence[float]]) -> list[float]:
    """Hypervolume of the front after each trial, in the product of the objectives' units.

    The reference point is 0 for what is maximized (no accuracy, no efficiency) and the largest value among the given
    trials for what is minimized, so that histories with minimized objectives compare only within one study.
    """
    if not values:
        return []
    losses = to_losses(objectives, values)
    reference = reference_point(objectives, losses)
    history, front, volume = [], losses[:0], 0.0
    for loss in losses:
        if not (front <= loss).all(-1).any():
            front = np.vstack([front[~(loss <= front).all(-1)], loss])
            volume = float(compute_hypervolume(front, reference))
        history.append(volume)
    return history
