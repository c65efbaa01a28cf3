"""What a run tells those who watch it."""

from typing import Protocol

from optuna.trial import FrozenTrial

from pipeline.design.design_point import DesignPoint


class View(Protocol):
    """What a run tells those who watch it."""

    def begin(self, goal: int, done: int, workers: int) -> None:
        """A run starts: `done` of `goal` evaluated trials are there."""

    def started(self, number: int, design: DesignPoint) -> None:
        """A trial goes to a worker."""

    def finished(self, trial: FrozenTrial) -> None:
        """A trial has got its final state."""

    def elsewhere(self, trial: FrozenTrial) -> None:
        """A trial was evaluated by another process."""

    def tick(self) -> None:
        """Some time has passed."""
