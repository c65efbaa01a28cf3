"""The Pareto front of measured designs, its hypervolume over trials, and early stopping of designs far behind it."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.design.metrics import METRICS
from pipeline.optuna_private import hypervolume, on_front


def to_losses(objectives: Sequence[str], values: Sequence[Sequence[float]]) -> np.ndarray:
    """Objective values (trials, objectives) with the sign that makes smaller better."""
    signs = [1.0 if METRICS[name].direction == "minimize" else -1.0 for name in objectives]
    return np.asarray(values, dtype=float).reshape(-1, len(objectives)) * signs


def nondominated(losses: np.ndarray) -> np.ndarray:
    """Mask (n,) of the rows of `losses` (n, objectives) that no other row dominates; equal rows all stay."""
    return on_front(losses) if len(losses) else np.zeros(0, dtype=bool)


def reference_point(objectives: Sequence[str], losses: np.ndarray) -> np.ndarray:
    """The hypervolume's reference point, as losses (objectives,): 0 if maximized, else the largest of `losses`."""
    maximized = np.array([METRICS[name].direction == "maximize" for name in objectives])
    return np.where(maximized, 0.0, losses.max(axis=0))


def hypervolume_history(
    objectives: Sequence[str], values: Sequence[Sequence[float]], counted: Sequence[bool] | None = None
) -> list[float]:
    """Hypervolume of the front after each trial, in the product of the objectives' units.

    Trials that are not `counted` add nothing; None: all are counted.
    The reference point is 0 for objectives to maximize, and the largest value counted for objectives to minimize.
    Histories with an objective to minimize therefore compare only within one study.
    """
    if counted is not None:
        known = [0.0, *hypervolume_history(objectives, [v for v, c in zip(values, counted, strict=True) if c])]
        return [known[count] for count in np.cumsum(counted, dtype=int)]
    if not values:
        return []
    losses = to_losses(objectives, values)
    reference = reference_point(objectives, losses)
    history, front, volume = [], losses[:0], 0.0
    for loss in losses:
        candidates = np.vstack([front, loss])
        stays = nondominated(candidates)
        if stays[-1]:
            front = candidates[stays]
            volume = hypervolume(np.minimum(front, reference), reference)  # beyond it nothing adds volume
        history.append(volume)
    return history


def hypervolumes(objectives: Sequence[str], searches: Sequence[Sequence[Sequence[float]]]) -> list[float]:
    """Hypervolume of each search's values (trials, objectives), all with the reference point of all of them."""
    losses = [to_losses(objectives, values) for values in searches]
    reference = reference_point(objectives, np.vstack(losses))
    return [hypervolume(np.minimum(each, reference), reference) for each in losses]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StoppingRule:
    """All that a worker needs to decide whether to stop the training of one design.

    Attributes:
        checkpoints: Epochs after which accuracy is measured.
        costs: Objective -> the design's value, for objectives that need no training.
        gains: Epoch -> accuracy objective -> how much it is assumed to rise from there on, 0 or more. Without an entry
            for an epoch, no training ends there.
        front: Objective values of finished designs that no other one dominates.
    """

    checkpoints: tuple[int, ...]
    objectives: tuple[str, ...]
    costs: Mapping[str, float]
    gains: Mapping[int, Mapping[str, float]]
    front: tuple[tuple[float, ...], ...]

    def verdict(self, epoch: int, measured: Mapping[str, float]) -> dict[str, float] | None:
        """Whether training stops after `epoch`, given the accuracies `measured` (name -> value): None if it goes on.

        Else `epoch`, and of the first accuracy objective `accuracy` and `optimistic` (`accuracy` plus its gain).
        """
        gains = self.gains.get(epoch)
        if gains is None:
            return None
        optimistic = {name: min(1.0, measured[name] + gain) for name, gain in gains.items()}
        best = [{**self.costs, **optimistic}[name] for name in self.objectives]
        if nondominated(to_losses(self.objectives, [*self.front, best]))[-1]:
            return None
        first = next(iter(gains))
        return {"epoch": epoch, "accuracy": measured[first], "optimistic": optimistic[first]}


def hypervolume_scale(objectives: Sequence[str]) -> float:
    """Stored hypervolume times this is in the units shown; accuracies stay fractions."""
    return math.prod(METRICS[name].scale for name in objectives if not METRICS[name].is_accuracy)
