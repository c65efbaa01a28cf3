"""The loop that asks for designs, has worker processes evaluate them, and records the results.

Of a run's processes only the parent writes the database. A lone run gets the same trials with any number of workers,
interrupted or not. Each step in the database is one transaction that may be repeated: after a broken connection it
first looks up whether it was committed.
"""

import contextlib
import dataclasses
import functools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from pipeline.database import HEARTBEAT_S
from pipeline.database.heartbeat import HeartbeatThread
from pipeline.database.patience import DatabaseAway, Patience
from pipeline.database.storage import StudyError
from pipeline.design.design_point import DesignPoint
from pipeline.design.results import TrialResult
from pipeline.files import remove_unfinished
from pipeline.machine_faults import MachineFault
from pipeline.optuna_private import trial_id
from pipeline.run.asking import Asked, Asking
from pipeline.run.pool import Evaluation, View, WorkerPool
from pipeline.run.queue import LoneQueue, Queue
from pipeline.run.recording import Recording
from pipeline.run.stopping import stopping_rule
from pipeline.run.worker import evaluate_and_judge, evaluate_trial
from pipeline.study.study_file import StudyDefinition

_IDLE_TRIALS = 1000  # assumed: trials in a row that need no evaluation before a large space counts as used up
_SAME_FAILURES = 3  # assumed: failures of one cause in a row that stop a run


class RepeatedFailure(RuntimeError):
    """Several trials in a row failed for the same reason, which the message gives."""


class SpaceExhausted(RuntimeError):
    """The sampler proposes only designs that were proposed before, break a constraint or cannot exist."""

    def __init__(self, designs: int, last_infeasible: str) -> None:
        super().__init__(
            f"the last {designs} designs proposed were known, break a constraint or cannot exist"
            f"{last_infeasible and f' (last: {last_infeasible})'}; widen the search space"
        )


def _keep_study(keep_lock: Callable[[], bool], queue: Queue) -> None:
    """Make sure, before each step in the database, that this process still holds the study's lock."""
    try:
        if keep_lock():
            queue.connection_was_lost()
    except StudyError as error:
        raise DatabaseAway(f"the study was lost, results are kept: {error}") from None


def _stop_if_repeated(causes: list[str], cause: str) -> None:
    causes.append(re.sub(r"\d+", "#", cause))  # ignore numbers of trials and epochs
    if len(causes) >= _SAME_FAILURES and len(set(causes[-_SAME_FAILURES:])) == 1:
        raise RepeatedFailure(f"{_SAME_FAILURES} trials in a row failed of one cause: {cause}")


class Runner:
    """One run of a study, which evaluates designs in 1 or more worker processes.

    Args:
        folder: The output folder: `checkpoints/` for trained weights, `spool/` for results on their way.
        evaluate: What a worker calls; only tests replace it.
        queue: Says what to do next; a `SharedQueue` for one worker of a cluster.
        keep_lock: Makes sure that the study's lock is held; True if it had to be taken again.
        heartbeat_s: Seconds between heartbeats of the running trials; only PostgreSQL holds them.
    """

    def __init__(
        self,
        definition: StudyDefinition,
        study: optuna.Study,
        folder: Path,
        workers: int,
        view: View,
        evaluate: Callable[..., TrialResult] = evaluate_trial,
        *,
        queue: Queue | None = None,
        patience: Patience | None = None,
        keep_lock: Callable[[], bool] = lambda: False,
        heartbeat_s: int = HEARTBEAT_S,
    ) -> None:
        self._definition = definition
        self._study = study
        self._checkpoints = folder / "checkpoints"
        self._workers = workers
        self._view = view
        self._evaluate = evaluate
        self._heartbeat = HeartbeatThread(study, heartbeat_s)
        self._queue = queue or LoneQueue(study, definition.spec.sampler)
        held = functools.partial(_keep_study, keep_lock, self._queue)
        self._in_database = dataclasses.replace(patience or Patience(), before=held)
        self._asking = Asking(definition, study, self._queue, self._heartbeat)
        self._recording = Recording(definition, study, folder, self._in_database)
        self._causes: list[str] = []  # of failures in a row

    def run(self, trials: int, timeout_s: float | None = None) -> None:
        """Evaluate until the goal is reached, the time is up or a small space is used up; finishes a run cut off.

        Raises:
            RepeatedFailure, SpaceExhausted, DatabaseAway, MachineFault: As their names say.
            KeyboardInterrupt: Ctrl-C; unfinished trials stay marked as interrupted and are taken up by the next run.
        """
        self._idle = 0  # trials in a row that needed no evaluation
        for design_hash, trial in self._recording.record_spooled():
            self._note(design_hash, [trial])
        goal = self._in_database(lambda: self._queue.goal(trials))
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        self._view.begin(self._queue.reachable(goal), len(self._queue.evaluated), self._workers)
        with self._processes() as pool:
            while True:
                others_work = self._fill(pool, goal, deadline)
                if pool.in_work:
                    self._collect(pool)
                elif self._idle >= _IDLE_TRIALS:
                    raise SpaceExhausted(self._idle, self._asking.last_infeasible)
                elif others_work:
                    time.sleep(self._queue.idle_s)
                else:
                    return

    @contextlib.contextmanager
    def _processes(self) -> Iterator[WorkerPool]:
        """Worker processes to the end of the block; an error hands back the running trials."""
        pool = WorkerPool(self._workers, self._view, self._recording.spool)
        self._heartbeat.start()
        try:
            yield pool
        except BaseException:
            with contextlib.suppress(Exception):  # the database itself may be what failed
                self._recording.hand_back(pool.trials)
            raise
        finally:
            self._heartbeat.stop()
            pool.close()
            remove_unfinished(self._checkpoints)

    def _fill(self, pool: WorkerPool, goal: int, deadline: float) -> bool:
        """Give work to free processes; True if all that is left to do runs elsewhere."""
        while pool.has_room and self._idle < _IDLE_TRIALS and time.monotonic() < deadline:
            own = {trial.number for trial in pool.trials}
            enough = len(self._queue.evaluated) + len(pool.in_work) >= goal
            if enough or not self._in_database(functools.partial(self._queue.may_ask, own)):
                return False
            asked = self._in_database(functools.partial(self._asking.ask, own))
            if asked is None:
                self._idle = 0
                return not self._queue.used_up
            self._idle = 0 if self._begin(pool, asked) else self._idle + 1
        return False

    def _begin(self, pool: WorkerPool, asked: Asked) -> bool:
        """Start a trial's evaluation; False if it needs none of its own."""
        if asked.finished is not None:
            self._view.finished(asked.finished)
            return False
        assert asked.design is not None
        self._heartbeat.watch(trial_id(asked.trial))
        if pool.add_duplicate(asked.trial, asked.design):
            return False
        pool.submit(Evaluation(trial=asked.trial, design=asked.design, task=self._task(asked.trial, asked.design)))
        return True

    def _task(self, trial: optuna.Trial, design: DesignPoint) -> Callable[[], TrialResult]:
        spec = self._definition.spec
        path = self._checkpoints / f"{spec.name}-{self._definition.identity_hash}-{trial.number:05d}.pt"
        rule = self._in_database(lambda: stopping_rule(self._study, spec, trial.number, design))
        options = {"rule": rule} if rule else {}
        return functools.partial(evaluate_and_judge, self._evaluate, design, spec, trial.number, path, **options)

    def _collect(self, pool: WorkerPool) -> None:
        """Wait a moment and record the evaluations that ended."""
        pool.wait()
        self._view.tick()
        for evaluation, future in pool.finished():
            error = future.exception()
            if error is None:
                self._record(evaluation, future.result())
            elif isinstance(error, MachineFault):
                self._recording.leave(evaluation.trial, error)
            else:
                self._fail(pool, evaluation, error)

    def _record(self, evaluation: Evaluation, result: TrialResult) -> None:
        key = evaluation.design.content_hash
        finished = self._recording.record(evaluation.trials, key, result)
        for trial in evaluation.trials:
            self._heartbeat.leave(trial_id(trial))
        self._note(key, finished)
        self._causes.clear()

    def _note(self, design_hash: str, finished: Sequence[FrozenTrial]) -> None:
        self._queue.evaluated[design_hash] = finished[0]  # the others are its duplicates
        for trial in finished:
            self._view.finished(trial)

    def _fail(self, pool: WorkerPool, evaluation: Evaluation, error: BaseException) -> None:
        """End the trial of an evaluation that failed; its first duplicate tries the design again."""
        failed = self._recording.fail(evaluation.trial, error)
        self._heartbeat.leave(trial_id(evaluation.trial))
        if evaluation.duplicates:
            (first, *others), design = evaluation.duplicates, evaluation.design
            pool.submit(Evaluation(trial=first, design=design, task=self._task(first, design), duplicates=others))
        if failed.state is TrialState.FAIL:  # else another process has taken it over
            self._view.finished(failed)
            _stop_if_repeated(self._causes, failed.user_attrs["error"])
