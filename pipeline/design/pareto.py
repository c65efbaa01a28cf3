"""The Pareto front of measured designs, its hypervolume, and how it grew. Loads neither torch nor plotly."""

from collections.abc import Sequence

import numpy as np

from pipeline.design.metrics import METRICS
from pipeline.optuna_private import hypervolume, on_front


def to_losses(objectives: Sequence[str], values: Sequence[Sequence[float]]) -> np.ndarray:
    """Objective values (trials, objectives) with the sign that makes smaller better."""
    signs = [1.0 if METRICS[name].direction == "minimize" else -1.0 for name in objectives]
    return np.asarray(values, dtype=float).reshape(-1, len(objectives)) * signs


def nondominated(losses: np.ndarray) -> np.ndarray:
    """Mask (n,) of the rows of `losses` (n, objectives) that no other row dominates; equal rows all count."""
    return on_front(losses) if len(losses) else np.zeros(0, dtype=bool)


def reference_point(objectives: Sequence[str], losses: np.ndarray) -> np.ndarray:
    """Losses (objectives,) of the corner that bounds hypervolumes: 0 if maximized, else the largest of `losses`."""
    maximized = np.array([METRICS[name].direction == "maximize" for name in objectives])
    return np.where(maximized, 0.0, losses.max(axis=0))


def hypervolume_history(objectives: Sequence[str], values: Sequence[Sequence[float]]) -> list[float]:
    """Hypervolume of the front after each trial, in the product of the objectives' units.

    The reference point is 0 for objectives to maximize, and the largest given value for objectives to minimize.
    Histories with the latter therefore compare only within one study.
    """
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
            volume = hypervolume(front, reference)
        history.append(volume)
    return history
