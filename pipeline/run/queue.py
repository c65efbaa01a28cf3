"""What a run does next: its goal, when it may ask for a trial, and which trial that is."""

from collections.abc import Set
from typing import Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.orm import Session

from pipeline.database import records
from pipeline.optuna_private import trial_id
from pipeline.run.goal import goal_of_run
from pipeline.samplers import generation_of
from pipeline.study.sampler_spec import SamplerSpec


class Queue(Protocol):
    """What a `Runner` does next. `own` are the numbers of the trials that this run has in work.

    Attributes:
        evaluated: Design hash -> its evaluated trial. The runner adds what it records.
        elsewhere: Design hash -> number of the trial that another process has in work.
        idle_s: Seconds between two looks while there is nothing to do.
    """

    evaluated: dict[str, FrozenTrial]
    elsewhere: dict[str, int]
    idle_s: float

    def goal(self, trials: int) -> int:
        """Number of evaluated trials at which the run ends; notes in the study what was wished."""

    def may_ask(self, own: Set[int]) -> bool:
        """Whether the next trial depends on nothing that is still in work."""

    def next_trial(self, session: Session, own: Set[int]) -> optuna.Trial | None:
        """A trial to take up again or a new one, inside a transaction; None while all that is left is in work."""

    def ended(self, committed: bool) -> None:
        """The transaction of `next_trial` ended; if not `committed`, nobody knows what it wrote."""

    def connection_was_lost(self) -> None:
        """The connection to the database broke and is back."""


class LoneQueue:
    """The queue of a run that has its study for itself.

    A generation is finished before the next one is asked for, so that the trials are the same for any number of
    workers.
    """

    idle_s = 0.0  # it never waits for others

    def __init__(self, study: optuna.Study, sampler: SamplerSpec) -> None:
        self._study = study
        self._sampler = sampler
        self._left: list[int] | None = None  # ids of trials that an earlier run left; None: look
        self.evaluated = {trial.user_attrs["design_hash"]: trial for trial in records.evaluated_trials(study)}
        self.elsewhere: dict[str, int] = {}

    def goal(self, trials: int) -> int:
        return goal_of_run(self._study, trials, len(self.evaluated))

    def may_ask(self, own: Set[int]) -> bool:
        if not own or not self._sampler.has_generations or self._left_over(own):
            return True
        seen = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING))
        current = max(generation_of(trial) for trial in seen if trial.number in own)
        filled = sum(trial.state is TrialState.COMPLETE and generation_of(trial) == current for trial in seen)
        return filled + len(own) < self._sampler.population_size

    def next_trial(self, session: Session, own: Set[int]) -> optuna.Trial | None:
        left = self._left_over(own)
        return optuna.Trial(self._study, left[0]) if left else self._study.ask()

    def ended(self, committed: bool) -> None:
        self._left = self._left[1:] if committed and self._left is not None else None

    def connection_was_lost(self) -> None:
        pass

    def _left_over(self, own: Set[int]) -> list[int]:
        if self._left is None:
            unfinished = records.unfinished_trials(self._study)
            self._left = [trial_id(trial) for trial in unfinished if trial.number not in own]
        return self._left
