"""The rule that ends a training early."""

import dataclasses
from collections.abc import Mapping

from pipeline.design.pareto import nondominated, to_losses


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StoppingRule:
    """What a worker needs to decide about one design. Frozen and picklable.

    Attributes:
        checkpoints: Epochs after which accuracy is looked at.
        objectives: Names in `pipeline.design.metrics.METRICS`.
        known: Objective -> the design's value, for those that are exact before training.
        gains: Epoch -> accuracy objective -> what it is granted from there on, 0 or more. Empty: never stop.
        front: Objective values of finished designs that no other one dominates.
    """

    checkpoints: tuple[int, ...]
    objectives: tuple[str, ...]
    known: Mapping[str, float]
    gains: Mapping[int, Mapping[str, float]]
    front: tuple[tuple[float, ...], ...]

    def verdict(self, epoch: int, measured: Mapping[str, float]) -> dict[str, float] | None:
        """None to go on; else why not: `epoch`, and of the first accuracy objective `accuracy` and `optimistic`.

        Args:
            epoch: Epochs done.
            measured: Accuracies at this point, by name.
        """
        gains = self.gains.get(epoch)
        if gains is None:
            return None
        optimistic = {name: min(1.0, measured[name] + gain) for name, gain in gains.items()}
        figures = {**self.known, **optimistic}
        best = [figures[name] for name in self.objectives]
        if nondominated(to_losses(self.objectives, [*self.front, best]))[-1]:
            return None
        first = next(iter(gains))
        return {"epoch": epoch, "accuracy": measured[first], "optimistic": optimistic[first]}
