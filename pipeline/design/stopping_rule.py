"""The rule that ends a training early."""

import dataclasses
from collections.abc import Mapping

from pipeline.design.pareto import nondominated, to_losses


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StoppingRule:
    """All that a worker needs to decide whether one design is trained on.

    Attributes:
        checkpoints: Epochs after which accuracy is measured.
        objectives: Names in `pipeline.design.metrics.METRICS`.
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
        """None if training goes on; else `epoch`, and `accuracy` and `optimistic` of the first accuracy objective.

        Args:
            epoch: Epochs done.
            measured: Accuracies at this point, by name.
        """
        gains = self.gains.get(epoch)
        if gains is None:
            return None
        optimistic = {name: min(1.0, measured[name] + gain) for name, gain in gains.items()}
        values = {**self.costs, **optimistic}
        best = [values[name] for name in self.objectives]
        if nondominated(to_losses(self.objectives, [*self.front, best]))[-1]:
            return None
        first = next(iter(gains))
        return {"epoch": epoch, "accuracy": measured[first], "optimistic": optimistic[first]}
