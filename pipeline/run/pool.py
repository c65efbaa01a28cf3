"""Worker processes, and a second try for trials whose process dies."""

import dataclasses
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Protocol

import optuna
from optuna.trial import FrozenTrial

from pipeline.design.design_point import DesignPoint
from pipeline.design.results import TrialResult
from pipeline.machine_faults import MachineFault, fault_of_death, name_of_death
from pipeline.run.worker import CANNOT_START, start_pool_worker, worker_context

_POLL_S = 0.5


class WorkerDied(RuntimeError):
    """An evaluation crashed its process, alone and twice."""


class View(Protocol):
    """What a run tells those who watch it."""

    def begin(self, goal: int, done: int, workers: int) -> None:
        """A run starts; `done` of `goal` trials are evaluated."""

    def started(self, number: int, design: DesignPoint) -> None:
        """A trial goes to a worker; twice if the first one died."""

    def finished(self, trial: FrozenTrial) -> None:
        """A trial has got its final state."""

    def elsewhere(self, trial: FrozenTrial) -> None:
        """A trial was evaluated by another process."""

    def tick(self) -> None:
        """Some time has passed."""


@dataclasses.dataclass(kw_only=True)
class Evaluation:
    """A running design: `task` evaluates it for `trial`; `duplicates`, later trials of it, get the same values."""

    trial: optuna.Trial
    design: DesignPoint
    task: Callable[[], TrialResult]
    duplicates: list[optuna.Trial] = dataclasses.field(default_factory=list)

    @property
    def trials(self) -> list[optuna.Trial]:
        return [self.trial, *self.duplicates]


class WorkerPool:
    """Evaluates designs in processes of their own.

    `spool` gets number, design hash and result of an evaluation as soon as it is done, in a thread of the pool.
    """

    def __init__(self, workers: int, view: View, spool: Callable[[int, str, TrialResult], None]) -> None:
        self._workers = workers
        self._view = view
        self._spool = spool
        self._in_work: dict[Future[TrialResult], Evaluation] = {}
        self._executor = _processes(workers)

    @property
    def in_work(self) -> list[Evaluation]:
        return list(self._in_work.values())

    @property
    def trials(self) -> list[optuna.Trial]:
        return [trial for evaluation in self._in_work.values() for trial in evaluation.trials]

    @property
    def has_room(self) -> bool:
        return len(self._in_work) < self._workers

    def submit(self, evaluation: Evaluation) -> Future[TrialResult]:
        """Hand an evaluation to a process."""
        try:
            future = self._executor.submit(evaluation.task)
        except BrokenProcessPool as error:  # a process died just now; `finished` will see it
            future = _failed(error)
        except (OSError, EOFError) as error:
            future = _failed(MachineFault(CANNOT_START.format(type(error).__name__)))
        future.add_done_callback(lambda future: self._pass_on(evaluation, future))
        self._in_work[future] = evaluation
        self._view.started(evaluation.trial.number, evaluation.design)
        return future

    def add_duplicate(self, trial: optuna.Trial, design: DesignPoint) -> bool:
        """Let a trial wait for a running design; False if the design is not running."""
        for evaluation in self._in_work.values():
            if evaluation.design == design:
                evaluation.duplicates.append(trial)
                return True
        return False

    def wait(self) -> None:
        """Wait for a result, but not long."""
        wait(self._in_work, timeout=_POLL_S, return_when=FIRST_COMPLETED)

    def finished(self) -> Iterator[tuple[Evaluation, Future[TrialResult]]]:
        """Evaluations that ended, lowest trial first; each counts as `in_work` until the caller asks for the next."""
        done = [future for future in self._in_work if future.done()]
        if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
            yield from self._each_alone()
            return
        for future in sorted(done, key=lambda future: self._in_work[future].trial.number):
            yield self._in_work[future], future
            del self._in_work[future]

    def close(self) -> None:
        """End all processes at once, whatever they do."""
        for process in multiprocessing.active_children():
            process.kill()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _each_alone(self) -> Iterator[tuple[Evaluation, Future[TrialResult]]]:
        """After a process died, try each unfinished evaluation again, alone: any of them may have killed it."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        for future, evaluation in sorted(self._in_work.items(), key=lambda item: item[1].trial.number):
            self._executor = _processes(1)
            again = future
            if future.cancelled() or future.exception() is not None:
                del self._in_work[future]
                again = self.submit(evaluation)
                processes = multiprocessing.active_children()
                wait([again])
                if isinstance(again.exception(), BrokenProcessPool):
                    self._executor.shutdown(wait=True)
                    del self._in_work[again]
                    again = _failed(_death(processes))
                    self._in_work[again] = evaluation
            yield evaluation, again
            del self._in_work[again]
            self._executor.shutdown(wait=True)
        self._executor = _processes(self._workers)

    def _pass_on(self, evaluation: Evaluation, future: Future[TrialResult]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._spool(evaluation.trial.number, evaluation.design.content_hash, future.result())


def _failed(error: BaseException) -> "Future[TrialResult]":
    future: Future[TrialResult] = Future()
    future.set_exception(error)
    return future


def _death(processes: Sequence[BaseProcess]) -> BaseException:
    """Why the only process of an evaluation is gone: by a fault of the machine, or a crash."""
    code = min((process.exitcode for process in processes if process.exitcode is not None), default=None)
    crash = f"the worker process died twice, the second time alone, of {name_of_death(code)}"
    return fault_of_death(code) or WorkerDied(crash)


def _processes(count: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(count, mp_context=worker_context(), initializer=start_pool_worker)
