"""The accuracy below which a design counts for nothing: no front, superlative, ranking, importance or hypervolume."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Floor:
    """A study's accuracy floor.

    Attributes:
        written: `floor` of the study file; None: half-way from chance to the best accuracy found.
        chance: Accuracy of guessing; 0 where it is not known.
    """

    written: float | None = None
    chance: float = 0.0

    def of(self, accuracies: Sequence[float]) -> float:
        """The floor for designs with these accuracies; if none reaches a written one, their lowest, so that all count.

        0 without designs.
        """
        best = max(accuracies, default=0.0)
        if self.written is None:
            return min(best, (best + self.chance) / 2)
        return min(accuracies, default=0.0) if self.is_missed(accuracies) else self.written

    def is_missed(self, accuracies: Sequence[float]) -> bool:
        """Whether the floor is written and no design reaches it."""
        return self.written is not None and max(accuracies, default=0.0) < self.written


def chance_of(task: str, classes: int) -> float:
    """Accuracy of guessing in a task of `pipeline.data.dataset_spec`; 0 where it depends on the data."""
    if task == "classification":
        return 1 / max(classes, 2)
    return 0.5 if task == "binary" else 0.0
