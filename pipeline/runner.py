"""The loop that asks for designs, has them evaluated by worker processes, and tells the results.

Only this process writes the database. A generation of NSGA-II is finished before the next one is asked for, so that the
trials are the same for any number of workers, interrupted or not.
"""

import contextlib
import dataclasses
import errno
import multiprocessing
import re
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Protocol

import filelock
import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url

from hw_models.errors import InfeasibleDesign
from pipeline import study as database
from pipeline.design_point import DesignPoint
from pipeline.results import TrialResult
from pipeline.search_space import SearchSpace
from pipeline.study import StudyError, generation_of
from pipeline.study_spec import Study
from pipeline.topology import topology
from pipeline.worker import evaluate_trial, start_worker

_IDLE_TRIALS = 1000  # assumed: trials in a row that need no evaluation before the space counts as used up
_SAME_FAILURES = 3  # assumed: failures of one cause in a row that stop a run
_POLL_S = 0.5
DISK_ERRORS = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO)  # that say so even without a file's name
_TRACEBACK_LENGTH = 4000  # characters kept of a traceback, its end


class RepeatedFailure(RuntimeError):
    """Several trials in a row failed of one cause; the message carries the cause."""


class SpaceExhausted(RuntimeError):
    """The sampler proposes only designs that are known or cannot exist."""


class View(Protocol):
    """What a run tells those who watch it."""

    def begin(self, goal: int, done: int, workers: int) -> None:
        """A run starts: `done` of `goal` evaluated trials are there."""

    def started(self, number: int, design: DesignPoint) -> None:
        """A trial goes to a worker."""

    def finished(self, trial: FrozenTrial) -> None:
        """A trial has got its final state."""

    def tick(self) -> None:
        """Some time has passed."""


@dataclasses.dataclass(kw_only=True)
class _Running:
    trial: optuna.Trial
    design: DesignPoint
    twins: list[optuna.Trial] = dataclasses.field(default_factory=list)


class Runner:
    """One run of a study.

    Args:
        study: The study file with its cards.
        opened: The same study in its database, with its sampler.
        checkpoints: Folder for trained weights.
        workers: Processes that evaluate, 1 or more.
        view: Told what happens.
        evaluate: What a worker calls; another one only in tests.
    """

    def __init__(
        self,
        study: Study,
        opened: optuna.Study,
        checkpoints: Path,
        workers: int,
        view: View,
        evaluate: Callable[..., TrialResult] = evaluate_trial,
    ) -> None:
        self._study = study
        self._opened = opened
        self._checkpoints = checkpoints
        self._workers = workers
        self._view = view
        self._evaluate = evaluate
        self._space = SearchSpace(study)
        self._known = {trial.user_attrs["design_hash"]: trial for trial in database.evaluated_trials(opened)}
        self._running: dict[Future[TrialResult], _Running] = {}
        self._causes: list[str] = []
        self._last_infeasible = ""

    def run(self, trials: int, timeout_s: float | None = None) -> None:
        """Evaluate until the goal is reached or the time is up.

        A run that was cut off is finished by the same call: see `goal_of_run`.

        Raises:
            RepeatedFailure, SpaceExhausted: As their names say.
            KeyboardInterrupt: Ctrl-C; unfinished trials stay marked as interrupted and are taken up by the next run.
        """
        goal = goal_of_run(self._opened, trials, len(self._known))
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        left = database.interrupted_trials(self._opened)
        idle = 0
        self._view.begin(goal, len(self._known), self._workers)
        pool = self._new_pool(self._workers)
        try:
            while True:
                in_time = deadline is None or time.monotonic() < deadline
                while in_time and len(self._known) + len(self._running) < goal and self._may_ask(bool(left)):
                    idle = 0 if self._take(pool, left.pop(0) if left else self._opened.ask()) else idle + 1
                    if idle >= _IDLE_TRIALS:
                        raise SpaceExhausted(
                            f"the last {idle} designs proposed were known or cannot exist"
                            f"{self._last_infeasible and f' (last: {self._last_infeasible})'}; widen the search space"
                        )
                if not self._running:
                    return
                done, _ = wait(self._running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                self._view.tick()
                if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
                    pool.shutdown(wait=True, cancel_futures=True)
                    self._try_each_alone()
                    pool = self._new_pool(self._workers)
                else:
                    for future in sorted(done, key=lambda future: self._running[future].trial.number):
                        self._finish(pool, future)
        except BaseException:
            with contextlib.suppress(Exception):  # the database itself may be what failed
                for entry in self._running.values():
                    for trial in (entry.trial, *entry.twins):
                        trial.set_user_attr("interrupted", True)
            raise
        finally:
            for process in multiprocessing.active_children():
                process.kill()
            pool.shutdown(wait=True, cancel_futures=True)

    def _new_pool(self, workers: int) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker)

    def _may_ask(self, left: bool) -> bool:
        """A worker is free, and the next trial belongs to the generation that is being filled."""
        if len(self._running) >= self._workers:
            return False
        if left or not self._running:
            return True
        waiting = {trial.number for entry in self._running.values() for trial in (entry.trial, *entry.twins)}
        seen = self._opened.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING))
        current = max(generation_of(trial) for trial in seen if trial.number in waiting)
        filled = sum(trial.state is TrialState.COMPLETE and generation_of(trial) == current for trial in seen)
        return filled + len(waiting) < self._study.spec.sampler.population_size

    def _take(self, pool: ProcessPoolExecutor, trial: optuna.Trial) -> bool:
        """Bring a trial on its way; False if it needs no evaluation."""
        try:
            design = self._space.suggest(trial)
            topology(design)
        except InfeasibleDesign as error:
            self._last_infeasible = str(error)
            trial.set_user_attr("infeasible", str(error))
            self._view.finished(self._opened.tell(trial, state=TrialState.PRUNED))
            return False
        key = design.content_hash
        trial.set_user_attr("design_hash", key)
        trial.set_user_attr("design", design.to_dict())
        if key in self._known:
            self._view.finished(database.reuse(self._opened, trial, self._known[key]))
            return False
        for entry in self._running.values():
            if entry.design == design:
                entry.twins.append(trial)
                return False
        self._submit(pool, _Running(trial=trial, design=design))
        return True

    def _submit(self, pool: ProcessPoolExecutor, entry: _Running) -> None:
        number = entry.trial.number
        checkpoint = self._checkpoints / f"{self._study.spec.name}-{self._study.identity_hash}-{number:05d}.pt"
        try:
            future = pool.submit(self._evaluate, entry.design, self._study.spec, number, checkpoint)
        except BrokenProcessPool as error:  # a worker died just now; the loop will see it
            future = Future()
            future.set_exception(error)
        self._running[future] = entry
        self._view.started(number, entry.design)

    def _finish(self, pool: ProcessPoolExecutor, future: "Future[TrialResult]") -> None:
        error = future.exception()
        if isinstance(error, OSError) and (error.filename or error.errno in DISK_ERRORS):
            raise error  # of the machine, not of the design: the trial is left for the next run
        entry = self._running.pop(future)
        if error is not None:
            self._fail(entry.trial, error)
            if entry.twins:
                self._submit(pool, _Running(trial=entry.twins[0], design=entry.design, twins=entry.twins[1:]))
            return
        self._causes.clear()
        entry.trial.set_user_attr("interrupted", False)
        finished = database.record(self._opened, entry.trial, self._study.spec.objectives, future.result())
        self._known[entry.design.content_hash] = finished
        self._view.finished(finished)
        for twin in entry.twins:
            self._view.finished(database.reuse(self._opened, twin, finished))

    def _fail(self, trial: optuna.Trial, error: BaseException) -> None:
        if isinstance(error, BrokenProcessPool):
            error = RuntimeError("the worker process died twice, the second time alone; perhaps for lack of memory")
        cause = f"{type(error).__name__}: {error}".splitlines()[0]
        trial.set_user_attr("error", cause)
        trial.set_user_attr("traceback", "".join(traceback.format_exception(error))[-_TRACEBACK_LENGTH:])
        self._view.finished(self._opened.tell(trial, state=TrialState.FAIL))
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


def goal_of_run(opened: optuna.Study, trials: int, done: int) -> int:
    """Number of evaluated trials at which a run ends.

    A run adds `trials` to what is there; if the last run of as many trials was cut off, its goal still holds.
    """
    last = opened.user_attrs.get("run")
    if last and last["trials"] == trials and done < last["goal"]:
        return int(last["goal"])
    opened.set_user_attr("run", {"trials": trials, "goal": done + trials})
    return done + trials


@contextlib.contextmanager
def run_lock(url: str, folder: Path) -> Iterator[None]:
    """Hold a study's database against a second run at the same time.

    Args:
        url: Of the database. A SQLite file is locked by a file beside it, another database by one in `folder`.
        folder: The study's output folder.

    Raises:
        StudyError: If another run holds it.
    """
    database_file = make_url(url).database if url.startswith("sqlite") else None
    path = Path(f"{database_file}.lock") if database_file else folder / "run.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(path, timeout=0):
            yield
    except filelock.Timeout:
        raise StudyError(
            f"{database.show_url(url)}: another run is using it ({path}); wait for it, or use --workers there"
        ) from None
