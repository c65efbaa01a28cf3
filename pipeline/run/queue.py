"""What a run does next: its goal, when it may ask for a trial, and which trial that is.

A `LoneQueue` serves the only run of a study, a `SharedQueue` one of many workers on a study in PostgreSQL.
"""

import time
from collections.abc import Set
from datetime import UTC, datetime

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.orm import Session

from pipeline.database import GRACE_BEATS, HEARTBEAT_S, records
from pipeline.database.heartbeat import heartbeats
from pipeline.database.trials import kind_of
from pipeline.optuna_private import lock_study, storage_of, trial_id
from pipeline.run.pool import View
from pipeline.samplers import designs_left, generation_of
from pipeline.study.sampler_spec import SamplerSpec

_IDLE_S = 5.0  # assumed: between looks for work while others run all that is left
_DEATHS = 3  # assumed: workers that may die in a trial before it is given up


class Queue:
    """What a `Runner` does next. `own` are the numbers of the trials that this run is running.

    Attributes:
        evaluated: Design hash -> its evaluated trial. The runner adds what it records.
        elsewhere: Design hash -> number of the trial that another process is running.
        idle_s: Seconds between two looks while there is nothing to do.
        used_up: Whether every design of a small space is in a trial, and none of these is running elsewhere.
    """

    idle_s = 0.0
    used_up = False

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self.evaluated = {trial.user_attrs["design_hash"]: trial for trial in records.evaluated_trials(study)}
        self.elsewhere: dict[str, int] = {}

    def goal(self, trials: int) -> int:
        """Number of evaluated trials at which the run ends; stores it in the study."""
        raise NotImplementedError

    def reachable(self, goal: int) -> int:
        """The goal, or the number of designs of a small space if that is less."""
        designs = designs_left(self._study)
        return goal if designs is None else min(goal, designs[0])

    def may_ask(self, own: Set[int]) -> bool:
        """Whether a trial may be asked for now; False if it depends on trials still running."""
        return True

    def next_trial(self, session: Session, own: Set[int]) -> optuna.Trial | None:
        """A trial to take up again or a new one, inside a transaction.

        None while others run all that is left, or if the space is `used_up`.
        """
        raise NotImplementedError

    def ended(self, committed: bool) -> None:
        """The transaction of `next_trial` ended; if not `committed`, it may or may not have been written."""

    def connection_was_lost(self) -> None:
        """The connection to the database broke and is back."""

    def _new_trial(self, running_elsewhere: bool) -> optuna.Trial | None:
        """A trial with a design of its own; None if the space has none left."""
        designs = designs_left(self._study)
        if designs is None or designs[1]:
            return self._study.ask()
        self.used_up = not running_elsewhere
        return None


class LoneQueue(Queue):
    """The queue of the only run of a study.

    A generation is finished before the next one is asked for, so that the trials are the same for any number of
    workers.
    """

    def __init__(self, study: optuna.Study, sampler: SamplerSpec) -> None:
        super().__init__(study)
        self._sampler = sampler
        self._left: list[int] | None = None  # ids of trials that an earlier run left; None: to be read

    def goal(self, trials: int) -> int:
        return goal_of_run(self._study, trials, len(self.evaluated))

    def may_ask(self, own: Set[int]) -> bool:
        if not own or not self._sampler.has_generations or self._left_over(own):
            return True
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING))
        seen = [trial for trial in trials if kind_of(trial) != "foreign"]
        current = max(generation_of(trial) for trial in seen if trial.number in own)
        filled = sum(trial.state is TrialState.COMPLETE and generation_of(trial) == current for trial in seen)
        return filled + len(own) < self._sampler.population_size

    def next_trial(self, session: Session, own: Set[int]) -> optuna.Trial | None:
        left = self._left_over(own)
        return optuna.Trial(self._study, left[0]) if left else self._new_trial(running_elsewhere=False)

    def ended(self, committed: bool) -> None:
        self._left = self._left[1:] if committed and self._left is not None else None

    def _left_over(self, own: Set[int]) -> list[int]:
        if self._left is None:
            unfinished = records.unfinished_trials(self._study)
            self._left = [trial_id(trial) for trial in unfinished if trial.number not in own]
        return self._left


class SharedQueue(Queue):
    """The queue of a worker that shares its study: each asks, evaluates and records for itself.

    No worker waits for the end of a generation: a design is bred from the trials that are finished when it is asked
    for. A trial may be taken up, under its number and so with the same draws, when its worker handed it back or sends
    no heartbeat. For a while after a lost connection no worker counts as dead: the others may have been unable to
    send heartbeats. `view` is told of trials that others evaluated, and of those that are given up.
    """

    def __init__(self, study: optuna.Study, view: View, heartbeat_s: int = HEARTBEAT_S) -> None:
        super().__init__(study)
        self._view = view
        self._grace_s = GRACE_BEATS * heartbeat_s
        self._goal = 0
        self._silence_proves_after = 0.0
        self.idle_s = min(_IDLE_S, heartbeat_s)

    def goal(self, trials: int) -> int:
        self._goal = trials  # in total; the same for all workers
        wish = {"trials": trials, "goal": trials}
        if self._study.user_attrs.get("run") != wish:
            self._study.set_user_attr("run", wish)
        self.connection_was_lost()
        return trials

    def next_trial(self, session: Session, own: Set[int]) -> optuna.Trial | None:
        lock_study(self._study, session)
        # Before `_learn`: a trial that finishes in between is counted twice, never missed.
        unfinished = records.unfinished_trials(self._study)
        self._learn()
        free, given_up = self._free_trial(session)
        out = {trial.number for trial in (free, *given_up) if trial is not None}
        in_work = [trial for trial in unfinished if trial.number not in out]
        self.elsewhere = {t.user_attrs["design_hash"]: t.number for t in in_work if "design_hash" in t.user_attrs}
        if free is not None:
            return optuna.Trial(self._study, trial_id(free))
        if len(self.evaluated) + len(in_work) >= self._goal:
            return None
        return self._new_trial(running_elsewhere=any(trial.number not in own for trial in in_work))

    def connection_was_lost(self) -> None:
        self._silence_proves_after = time.monotonic() + self._grace_s

    def _learn(self) -> None:
        """Take note of what others have evaluated since."""
        for trial in records.evaluated_trials(self._study):
            key = trial.user_attrs["design_hash"]
            if key not in self.evaluated:
                self.evaluated[key] = trial
                self._view.elsewhere(trial)

    def _free_trial(self, session: Session) -> tuple[FrozenTrial | None, list[FrozenTrial]]:
        """The first trial that was handed back or lost its worker, and those given up before it."""
        unfinished = records.unfinished_trials(self._study)
        silence_s = self._silent(unfinished)
        given_up: list[FrozenTrial] = []
        for trial in unfinished:
            if not trial.user_attrs.get("interrupted"):
                if trial_id(trial) not in silence_s:
                    continue
                self._note_death(trial, silence_s[trial_id(trial)])
            if self._outlives(session, trial):
                return trial, given_up
            given_up.append(trial)
        return None, given_up

    def _silent(self, unfinished: list[FrozenTrial]) -> dict[int, float]:
        """Trial id -> seconds since the last heartbeat, of trials whose worker counts as dead."""
        if not unfinished or time.monotonic() < self._silence_proves_after:
            return {}
        beats = heartbeats(self._study, unfinished)
        return {key: silence_s for key, silence_s in beats.items() if silence_s > self._grace_s}

    def _note_death(self, trial: FrozenTrial, silence_s: float) -> None:
        """Note that a trial's worker counts as dead."""
        death = trial.user_attrs.get("worker", {}) | {
            "silent_s": round(silence_s),
            "noticed": datetime.now(UTC).isoformat(),
        }
        deaths = [*trial.user_attrs.get("deaths", []), death]
        storage_of(self._study).set_trial_user_attr(trial_id(trial), "deaths", deaths)

    def _outlives(self, session: Session, trial: FrozenTrial) -> bool:
        """Whether a trial is tried again; False if too many workers died in it, and it is given up."""
        deaths = storage_of(self._study).get_trial(trial_id(trial)).user_attrs.get("deaths", [])
        if len(deaths) < _DEATHS:
            return True
        last = f"the last on {deaths[-1].get('host')} (process {deaths[-1].get('pid')})"
        reason = f"{len(deaths)} workers died in this trial, {last}"
        self._view.finished(records.fail(self._study, session, trial_id(trial), {"error": reason}))
        return False


def goal_of_run(study: optuna.Study, trials: int, done: int) -> int:
    """Number of evaluated trials at which a run ends.

    A run adds `trials` to those that are `done`. If the last run asked for as many and was cut off before `end_run`,
    its goal still holds.
    """
    last = study.user_attrs.get("run")
    if last and last["trials"] == trials and not last.get("ended"):
        return int(last["goal"])
    study.set_user_attr("run", {"trials": trials, "goal": done + trials})
    return done + trials


def end_run(study: optuna.Study) -> None:
    """Note that a run is complete, its report included, so that the same command begins a new one."""
    run = study.user_attrs["run"]
    if len(records.evaluated_trials(study)) >= run["goal"]:
        study.set_user_attr("run", run | {"ended": True})
