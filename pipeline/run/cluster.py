"""The queue of one of many workers on a study in PostgreSQL: each asks, evaluates and records for itself.

No worker waits for the end of a generation: a design is bred from the trials that are finished when it is asked for.
The random draws of a trial depend on (seed, number) alone. When its worker dies, another one takes the trial up under
its number and gets the same result.
"""

import time
from collections.abc import Set
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from sqlalchemy.orm import Session

from pipeline.database import GRACE_BEATS, HEARTBEAT_S, records
from pipeline.database.heartbeat import heartbeats
from pipeline.optuna_private import lock_study, storage_of, trial_id
from pipeline.run.view import View

_IDLE_S = 5.0  # assumed: between looks for work while all that is left is in work elsewhere
_DEATHS = 3  # assumed: workers that may die in a trial before it is given up


class SharedQueue:
    """The queue of a `Runner` that shares its study with others.

    A trial may be taken up when its worker handed it back or sends no heartbeat. After the connection was lost, silence
    proves nothing for a while: the others may have been unable to send one.

    Args:
        study: The study in its database.
        view: Told of trials that others evaluated, and of those that are given up.
        heartbeat_s: Seconds between two heartbeats of a worker.
    """

    def __init__(self, study: optuna.Study, view: View, heartbeat_s: int = HEARTBEAT_S) -> None:
        self._study = study
        self._view = view
        self._grace_s = GRACE_BEATS * heartbeat_s
        self._goal = 0
        self._silence_proves_after = 0.0
        self.idle_s = min(_IDLE_S, heartbeat_s)
        self.evaluated = {trial.user_attrs["design_hash"]: trial for trial in records.evaluated_trials(study)}
        self.elsewhere: dict[str, int] = {}

    def goal(self, trials: int) -> int:
        """The number of evaluated trials in total; the same for all workers."""
        self._goal = trials
        wish = {"trials": trials, "goal": trials}
        if self._study.user_attrs.get("run") != wish:
            self._study.set_user_attr("run", wish)
        self.connection_was_lost()
        return trials

    def may_ask(self, own: Set[int]) -> bool:
        return True

    def next_trial(self, session: Session, own: Set[int]) -> optuna.Trial | None:
        lock_study(self._study, session)
        # Before `_learn`: a trial that finishes in between is counted twice, never missed.
        unfinished = records.unfinished_trials(self._study)
        self._learn()
        free, given_up = self._free_trial(session)
        out = {trial.number for trial in (free, *given_up) if trial is not None}
        in_work = [trial for trial in unfinished if trial.number not in out]
        self.elsewhere = {
            trial.user_attrs["design_hash"]: trial.number for trial in in_work if "design_hash" in trial.user_attrs
        }
        if free is not None:
            return optuna.Trial(self._study, trial_id(free))
        return self._study.ask() if len(self.evaluated) + len(in_work) < self._goal else None

    def ended(self, committed: bool) -> None:
        pass

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
        """The first trial that was handed back or lost its worker, and those that were given up on the way to it."""
        unfinished = records.unfinished_trials(self._study)
        silence_s = self._silent(unfinished)
        given_up: list[FrozenTrial] = []
        for trial in unfinished:
            if trial.user_attrs.get("interrupted"):
                return trial, given_up
            if trial_id(trial) in silence_s:
                if self._outlives(session, trial, silence_s[trial_id(trial)]):
                    return trial, given_up
                given_up.append(trial)
        return None, given_up

    def _silent(self, unfinished: list[FrozenTrial]) -> dict[int, float]:
        """Trial id -> seconds since the last heartbeat, of trials whose worker counts as dead."""
        if not unfinished or time.monotonic() < self._silence_proves_after:
            return {}
        beats = heartbeats(self._study, unfinished)
        return {key: silence_s for key, silence_s in beats.items() if silence_s > self._grace_s}

    def _outlives(self, session: Session, trial: FrozenTrial, silence_s: float) -> bool:
        """Note the death of a trial's worker; False if that was one too many, and the trial is given up."""
        worker = trial.user_attrs.get("worker", {})
        death: dict[str, Any] = worker | {"silent_s": round(silence_s), "noticed": datetime.now(UTC).isoformat()}
        deaths = [*trial.user_attrs.get("deaths", []), death]
        storage_of(self._study).set_trial_user_attr(trial_id(trial), "deaths", deaths)
        if len(deaths) < _DEATHS:
            return True
        last = f"the last on {worker.get('host')} (process {worker.get('pid')})"
        reason = f"{len(deaths)} workers died in this trial, {last}"
        self._view.finished(records.fail(self._study, session, trial_id(trial), {"error": reason}))
        return False
