"""One of many workers on a study in PostgreSQL: each asks, evaluates and tells for itself.

There is no barrier between generations: which trials a design is bred from depends on what was finished when it was
asked for. The draws of a trial depend on (seed, number) alone, so that a trial which outlives its worker is taken up by
another one under its own number and gets the very result.
"""

import time
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from sqlalchemy.orm import Session

from pipeline.database import records
from pipeline.database.heartbeat import heartbeats
from pipeline.database.waiting_times import GRACE_BEATS
from pipeline.optuna_private import lock_study, storage_of, trial_id
from pipeline.run.runner import Runner

_IDLE_S = 5.0  # assumed: between looks for work while all that is left is in work elsewhere
_DEATHS = 3  # assumed: workers that a trial may outlive before it is given up


class ClusterWorker(Runner):
    """A `Runner` that shares its study with others like it.

    A trial is free to be taken up when its worker handed it back or gives no sign of life. After the connection was
    lost, silence proves nothing for a while: the others may not have been able to give one.
    """

    _goal_total = 0
    _silence_proves_after = 0.0

    def _goal(self, trials: int) -> int:
        """The number of evaluated trials in total; the same for all workers."""
        self._goal_total = trials
        wish = {"trials": trials, "goal": trials}
        if self._study.user_attrs.get("run") != wish:
            self._study.set_user_attr("run", wish)
        self._lock_was_lost()
        return trials

    def _lock_was_lost(self) -> None:
        self._silence_proves_after = time.monotonic() + self._grace_s

    @property
    def _idle_s(self) -> float:
        return min(_IDLE_S, self._heartbeat_s)

    @property
    def _grace_s(self) -> int:
        return GRACE_BEATS * self._heartbeat_s

    def _next_trial(self, session: Session) -> optuna.Trial | None:
        lock_study(self._study, session)
        unfinished = records.unfinished_trials(
            self._study
        )  # first: a trial told meanwhile counts twice, never zero times
        self._learn()
        free, given_up = self._free_trial(session)
        out = {trial_id(trial) for trial in (free, *given_up) if trial is not None}
        in_work = [trial for trial in unfinished if trial_id(trial) not in out]
        self._elsewhere = {
            trial.user_attrs["design_hash"]: trial.number for trial in in_work if "design_hash" in trial.user_attrs
        }
        if free is not None:
            return optuna.Trial(self._study, trial_id(free))
        return self._study.ask() if len(self._known) + len(in_work) < self._goal_total else None

    def _free_trial(self, session: Session) -> tuple[FrozenTrial | None, list[FrozenTrial]]:
        """The first trial that was handed back or lost its worker, and those that were given up on the way to it."""
        unfinished = records.unfinished_trials(self._study)
        silent = self._silent(unfinished)
        given_up: list[FrozenTrial] = []
        for trial in unfinished:
            if trial.user_attrs.get("interrupted"):
                return trial, given_up
            if trial_id(trial) in silent:
                if self._outlives(session, trial, silent[trial_id(trial)]):
                    return trial, given_up
                given_up.append(trial)
        return None, given_up

    def _learn(self) -> None:
        """What others have evaluated since."""
        for trial in records.evaluated_trials(self._study):
            key = trial.user_attrs["design_hash"]
            if key not in self._known:
                self._known[key] = trial
                self._view.elsewhere(trial)

    def _silent(self, unfinished: list[FrozenTrial]) -> dict[int, float]:
        """Trial id -> seconds of silence, of trials whose worker counts as dead."""
        if not unfinished or time.monotonic() < self._silence_proves_after:
            return {}
        beats = heartbeats(self._study, unfinished)
        return {silent: silence_s for silent, silence_s in beats.items() if silence_s > self._grace_s}

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
