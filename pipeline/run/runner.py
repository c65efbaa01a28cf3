"""The loop that asks for designs, has them evaluated by worker processes, and tells the results.

Only this process writes the database. A generation of a sampler that has generations is finished before the next one is
asked for, so that the trials are the same for any number of workers, interrupted or not. Each step in the database is
one transaction that may be repeated: what a broken connection left in doubt is looked up before it is done again.
"""

import contextlib
import dataclasses
import functools
import multiprocessing
import re
import time
import traceback
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.orm import Session

from hw_models.errors import InfeasibleDesign
from pipeline.database import records
from pipeline.database.heartbeat import Heart, this_process
from pipeline.database.patience import DISK_ERRORS, DatabaseAway, Patience
from pipeline.database.storage import StudyError
from pipeline.database.transaction import set_user_attributes, transaction
from pipeline.database.waiting_times import HEARTBEAT_S
from pipeline.design.constraints import Constraint
from pipeline.design.design_point import DesignPoint
from pipeline.design.results import TrialResult
from pipeline.design.topology import topology
from pipeline.optuna_private import lock_trial, storage_of, trial_id
from pipeline.run.feasibility import end_if_infeasible
from pipeline.run.goal import goal_of_run
from pipeline.run.spool import Spool, Spooled
from pipeline.run.stopping import stopping_rule
from pipeline.run.view import View
from pipeline.run.worker import evaluate_trial, start_worker, worker_context
from pipeline.samplers import generation_of
from pipeline.study.search_space import SearchSpace
from pipeline.study.study_file import StudyDefinition

_IDLE_TRIALS = 1000  # assumed: trials in a row that need no evaluation before the space counts as used up
_SAME_FAILURES = 3  # assumed: failures of one cause in a row that stop a run
_POLL_S = 0.5
_TRACEBACK_LENGTH = 4000  # characters kept of a traceback, its end
Result = TypeVar("Result")


class RepeatedFailure(RuntimeError):
    """Several trials in a row failed of one cause; the message carries the cause."""


class SpaceExhausted(RuntimeError):
    """The sampler proposes only designs that are known, break a constraint or cannot exist."""


@dataclasses.dataclass(kw_only=True)
class _Running:
    trial: optuna.Trial
    design: DesignPoint
    twins: list[optuna.Trial] = dataclasses.field(default_factory=list)

    @property
    def trials(self) -> list[optuna.Trial]:
        return [self.trial, *self.twins]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """A trial with its design to evaluate, or with the end that it got at once."""

    trial: optuna.Trial
    design: DesignPoint | None = None
    finished: FrozenTrial | None = None


class Runner:
    """One run of a study.

    Args:
        definition: The study file with its cards.
        study: The same study in its database, with its sampler.
        folder: The output folder: `checkpoints/` for trained weights, `spool/` for results on their way.
        workers: Processes that evaluate, 1 or more.
        view: Told what happens.
        evaluate: What a worker calls; another one only in tests.
        patience: How long the database is waited for.
        keep_lock: Makes sure that the study is still held, True if it had to be taken again.
        heartbeat_s: Seconds between signs of life of the trials in work; only PostgreSQL holds them.
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
        patience: Patience | None = None,
        keep_lock: Callable[[], bool] = lambda: False,
        heartbeat_s: int = HEARTBEAT_S,
    ) -> None:
        self._definition = definition
        self._study = study
        self._checkpoints = folder / "checkpoints"
        self._spool = Spool(folder / "spool", definition)
        self._workers = workers
        self._view = view
        self._evaluate = evaluate
        self._patience = patience or Patience()
        self._keep_lock = keep_lock
        self._space = SearchSpace(definition)
        self._constraints = [Constraint.parse(text) for text in definition.spec.constraints]
        self._heart = Heart(study, heartbeat_s)
        self._heartbeat_s = heartbeat_s
        self._known = {trial.user_attrs["design_hash"]: trial for trial in records.evaluated_trials(study)}
        self._elsewhere: dict[str, int] = {}  # design hash -> number of the trial that another process has in work
        self._running: dict[Future[TrialResult], _Running] = {}
        self._left: list[int] | None = None  # trial ids that are free to be taken up; None: look
        self._causes: list[str] = []
        self._last_infeasible = ""

    def run(self, trials: int, timeout_s: float | None = None) -> None:
        """Evaluate until the goal is reached or the time is up.

        A run that was cut off is finished by the same call: see `goal_of_run`.

        Raises:
            RepeatedFailure, SpaceExhausted, DatabaseAway: As their names say.
            KeyboardInterrupt: Ctrl-C; unfinished trials stay marked as interrupted and are taken up by the next run.
        """
        self._record_spooled()
        goal = self._in_database(lambda: self._goal(trials))
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        idle = 0
        self._view.begin(goal, len(self._known), self._workers)
        pool = self._new_pool(self._workers)
        self._heart.start()
        try:
            while True:
                in_time = deadline is None or time.monotonic() < deadline
                waits = False
                while (
                    in_time
                    and not waits
                    and idle < _IDLE_TRIALS
                    and len(self._known) + len(self._running) < goal
                    and self._may_ask()
                ):
                    asked = self._take(pool)
                    waits = asked is None
                    idle = 0 if asked or waits else idle + 1
                if idle >= _IDLE_TRIALS and not self._running:  # what is in work is finished first
                    raise SpaceExhausted(
                        f"the last {idle} designs proposed were known, break a constraint or cannot exist"
                        f"{self._last_infeasible and f' (last: {self._last_infeasible})'}; widen the search space"
                    )
                if not self._running and not waits:
                    return
                pool = self._wait(pool)
        except BaseException:
            with contextlib.suppress(Exception):  # the database itself may be what failed
                self._hand_back()
            raise
        finally:
            self._heart.stop()
            for process in multiprocessing.active_children():
                process.kill()
            pool.shutdown(wait=True, cancel_futures=True)

    def _wait(self, pool: ProcessPoolExecutor) -> ProcessPoolExecutor:
        """Wait for a result and record it; the pool to go on with."""
        if not self._running:  # what is left to do is in work elsewhere
            time.sleep(self._idle_s)
            return pool
        done, _ = wait(self._running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
        self._view.tick()
        if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
            pool.shutdown(wait=True, cancel_futures=True)
            self._try_each_alone()
            return self._new_pool(self._workers)
        for future in sorted(done, key=lambda future: self._running[future].trial.number):
            self._finish(pool, future)
        return pool

    def _in_database(self, step: Callable[[], Result]) -> Result:
        """A step that is waited for while the database is away, with the study still held."""

        def held() -> Result:
            try:
                if self._keep_lock():
                    self._lock_was_lost()
            except StudyError as error:
                raise DatabaseAway(f"the study was lost with the connection; results are kept: {error}") from None
            return step()

        return self._patience(held)

    @property
    def _idle_s(self) -> float:
        return _POLL_S

    def _lock_was_lost(self) -> None:
        """The connection broke and is back."""

    def _goal(self, trials: int) -> int:
        return goal_of_run(self._study, trials, len(self._known))

    def _record_spooled(self) -> None:
        """Record what earlier runs computed and could not write."""
        for spooled in self._spool.left():
            by_number = {trial.number: trial for trial in self._in_database(self._all_trials)}
            trial = by_number.get(spooled.number)
            if trial is None or trial.user_attrs.get("design_hash") != spooled.design_hash:
                continue  # of a database that is not here any more
            if trial.state is TrialState.COMPLETE:  # recorded just before its file was written
                self._spool.drop(spooled.number)
                continue
            entry = _Running(
                trial=optuna.Trial(self._study, trial_id(trial)),
                design=DesignPoint.from_dict(trial.user_attrs["design"]),
            )
            self._finished(entry, spooled.result)

    def _all_trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _hand_back(self) -> None:
        """Mark what is in work as free to be taken up."""
        me = this_process()
        with transaction(self._study) as session:
            for trial in [trial for entry in self._running.values() for trial in entry.trials]:
                if lock_trial(session, trial_id(trial)) is not TrialState.RUNNING:
                    continue  # told just now
                stored = storage_of(self._study).get_trial(trial_id(trial)).user_attrs
                if stored["worker"] | me == stored["worker"]:  # else another worker has taken it over
                    set_user_attributes(session, trial_id(trial), {"interrupted": True})

    def _new_pool(self, workers: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(workers, mp_context=worker_context(), initializer=start_worker)

    def _may_ask(self) -> bool:
        """A worker is free, and the next trial belongs to the generation that is being filled."""
        if len(self._running) >= self._workers:
            return False
        if not self._running or not self._definition.spec.sampler.has_generations:
            return True
        if self._in_database(self._left_over):
            return True
        waiting = {trial.number for entry in self._running.values() for trial in entry.trials}
        states = (TrialState.COMPLETE, TrialState.RUNNING)
        seen = self._in_database(lambda: self._study.get_trials(deepcopy=False, states=states))
        current = max(generation_of(trial) for trial in seen if trial.number in waiting)
        filled = sum(trial.state is TrialState.COMPLETE and generation_of(trial) == current for trial in seen)
        return filled + len(waiting) < self._definition.spec.sampler.population_size

    def _left_over(self) -> list[int]:
        if self._left is None:
            mine = {trial.number for entry in self._running.values() for trial in entry.trials}
            unfinished = records.unfinished_trials(self._study)
            self._left = [trial_id(trial) for trial in unfinished if trial.number not in mine]
        return self._left

    def _take(self, pool: ProcessPoolExecutor) -> bool | None:
        """Bring a trial on its way; False if it needs no evaluation, None if there is none to take now."""
        asked = self._in_database(self._ask)
        if asked is None:
            return None
        if self._left:
            self._left.pop(0)
        if asked.finished is not None:
            self._view.finished(asked.finished)
            return False
        assert asked.design is not None
        self._heart.watch(trial_id(asked.trial))
        for entry in self._running.values():
            if entry.design == asked.design:
                entry.twins.append(asked.trial)
                return False
        self._submit(pool, _Running(trial=asked.trial, design=asked.design))
        return True

    def _ask(self) -> _Asked | None:
        """A trial with all its parameters and its design, in the database as a whole or not at all."""
        try:
            with transaction(self._study) as session:
                trial = self._next_trial(session)
                return None if trial is None else self._designed(session, trial)
        except BaseException:
            self._left = None  # whether the trial is there is in doubt
            raise

    def _next_trial(self, session: Session) -> optuna.Trial | None:
        left = self._left_over()
        return optuna.Trial(self._study, left[0]) if left else self._study.ask()

    def _designed(self, session: Session, trial: optuna.Trial) -> _Asked:
        self._heart.sign(trial_id(trial))
        taken_up = {"interrupted": False} if trial.user_attrs.get("interrupted") else {}
        worker = this_process() | {"heartbeat_s": self._heartbeat_s}
        set_user_attributes(session, trial_id(trial), {"worker": worker} | taken_up)
        try:
            design = self._space.suggest(trial)
            topology(design)
        except InfeasibleDesign as error:
            self._last_infeasible = str(error)
            trial.set_user_attr("infeasible", str(error))
            return _Asked(trial=trial, finished=self._study.tell(trial, state=TrialState.PRUNED))
        key = design.content_hash
        set_user_attributes(session, trial_id(trial), {"design_hash": key, "design": design.to_dict()})
        if ended := end_if_infeasible(self._study, trial, self._constraints, self._definition.spec.objectives, design):
            self._last_infeasible = ended.user_attrs["infeasible"]
            return _Asked(trial=trial, finished=ended)
        if key in self._known:
            finished = records.reuse(self._study, session, trial_id(trial), self._known[key])
            return _Asked(trial=trial, finished=finished)
        if key in self._elsewhere:
            trial.set_user_attr("duplicate_of", self._elsewhere[key])
            return _Asked(trial=trial, finished=self._study.tell(trial, state=TrialState.PRUNED))
        return _Asked(trial=trial, design=design)

    def _submit(self, pool: ProcessPoolExecutor, entry: _Running) -> None:
        number = entry.trial.number
        checkpoint = (
            self._checkpoints / f"{self._definition.spec.name}-{self._definition.identity_hash}-{number:05d}.pt"
        )
        spec = self._definition.spec
        rule = self._in_database(lambda: stopping_rule(self._study, spec, number, entry.design))
        evaluate = functools.partial(self._evaluate, rule=rule) if rule else self._evaluate
        try:
            future = pool.submit(evaluate, entry.design, spec, number, checkpoint)
        except BrokenProcessPool as error:  # a worker died just now; the loop will see it
            future = Future()
            future.set_exception(error)
        future.add_done_callback(lambda done: self._keep(entry, done))
        self._running[future] = entry
        self._view.started(number, entry.design)

    def _keep(self, entry: _Running, done: "Future[TrialResult]") -> None:
        """Spool a result as soon as it is there."""
        if not done.cancelled() and done.exception() is None:
            self._spool_result(entry, done.result())

    def _spool_result(self, entry: _Running, result: TrialResult) -> None:
        """Without room on the disk a result waits in memory."""
        if not self._spool.holds(entry.trial.number):
            key = entry.design.content_hash
            with contextlib.suppress(OSError):
                self._spool.put(Spooled(number=entry.trial.number, design_hash=key, result=result))

    def _finish(self, pool: ProcessPoolExecutor, future: "Future[TrialResult]") -> None:
        error = future.exception()
        if isinstance(error, OSError) and (error.filename or error.errno in DISK_ERRORS):
            raise error  # of the machine, not of the design: the trial is left for the next run
        entry = self._running[future]
        if error is None:
            self._finished(entry, future.result())
            self._causes.clear()
            del self._running[future]
            return
        failed = self._in_database(lambda: self._fail(entry.trial, error))
        del self._running[future]
        self._heart.leave(trial_id(entry.trial))
        if entry.twins:
            self._submit(pool, _Running(trial=entry.twins[0], design=entry.design, twins=entry.twins[1:]))
        if failed.state is TrialState.FAIL:  # else another process has taken it over
            self._view.finished(failed)
            self._stop_if_repeated(failed.user_attrs["error"])

    def _finished(self, entry: _Running, result: TrialResult) -> None:
        """Record a result, also for the trials that wait for the same design."""

        def step() -> list[FrozenTrial]:
            self._spool_result(entry, result)  # again, if there was no room before
            with transaction(self._study) as session:
                objectives = self._definition.spec.objectives
                first = records.record(self._study, session, trial_id(entry.trial), objectives, result)
                twins = [records.reuse(self._study, session, trial_id(twin), first) for twin in entry.twins]
                return [first, *twins]

        try:
            finished = self._in_database(step)
        except DatabaseAway as error:
            if self._spool.holds(entry.trial.number):
                raise
            raise DatabaseAway(
                f"the result of trial {entry.trial.number} is lost, for it could not be written to the spool either, "
                f"and its design will be evaluated again: {error}"
            ) from error
        self._spool.drop(entry.trial.number)
        self._known[entry.design.content_hash] = finished[0]
        for trial in entry.trials:
            self._heart.leave(trial_id(trial))
        for each in finished:
            self._view.finished(each)

    def _fail(self, trial: optuna.Trial, error: BaseException) -> FrozenTrial:
        if isinstance(error, BrokenProcessPool):
            error = RuntimeError("the worker process died twice, the second time alone; perhaps for lack of memory")
        cause = f"{type(error).__name__}: {error}".splitlines()[0]
        trace = "".join(traceback.format_exception(error))[-_TRACEBACK_LENGTH:]
        with transaction(self._study) as session:
            return records.fail(self._study, session, trial_id(trial), {"error": cause, "traceback": trace})

    def _stop_if_repeated(self, cause: str) -> None:
        self._causes.append(re.sub(r"\d+", "#", cause))  # the number of a trial or an epoch is no other cause
        if len(self._causes) >= _SAME_FAILURES and len(set(self._causes[-_SAME_FAILURES:])) == 1:
            raise RepeatedFailure(f"{_SAME_FAILURES} trials in a row failed of one cause: {cause}")

    def _try_each_alone(self) -> None:
        """After a worker died: no one knows whose trial killed it, so that each of them gets a second try alone."""
        entries = sorted(self._running.items(), key=lambda item: item[1].trial.number)
        for future, entry in entries:
            lone = self._new_pool(1)
            if future.cancelled() or future.exception() is not None:
                del self._running[future]
                self._submit(lone, entry)
                (future,) = (key for key, value in self._running.items() if value is entry)
                wait([future])
            self._finish(lone, future)
            lone.shutdown(wait=True)
