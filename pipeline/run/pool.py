"""Worker processes, and what becomes of a trial whose process dies."""

import dataclasses
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

import optuna

from pipeline.design.design_point import DesignPoint
from pipeline.design.results import TrialResult
from pipeline.run.view import View
from pipeline.run.worker import start_worker, worker_context

_POLL_S = 0.5


@dataclasses.dataclass(kw_only=True)
class Evaluation:
    """A design in work.

    Attributes:
        trial: The trial that it is evaluated for.
        design: The design.
        task: Evaluates it, in a worker process.
        duplicates: Trials that proposed the same design since; they get the same values.
    """

    trial: optuna.Trial
    design: DesignPoint
    task: Callable[[], TrialResult]
    duplicates: list[optuna.Trial] = dataclasses.field(default_factory=list)

    @property
    def trials(self) -> list[optuna.Trial]:
        """The trial and its duplicates."""
        return [self.trial, *self.duplicates]


class WorkerPool:
    """Evaluates designs in processes of their own.

    Args:
        workers: Number of processes.
        view: Told of an evaluation that goes to a process; twice if the first process died.
        spool: Given number, design hash and result of an evaluation as soon as it is done, in a thread of the pool.
    """

    def __init__(self, workers: int, view: View, spool: Callable[[int, str, TrialResult], None]) -> None:
        self._workers = workers
        self._view = view
        self._spool = spool
        self._in_work: dict[Future[TrialResult], Evaluation] = {}
        self._executor = _processes(workers)

    @property
    def in_work(self) -> list[Evaluation]:
        """Evaluations whose result was not taken yet."""
        return list(self._in_work.values())

    @property
    def trials(self) -> list[optuna.Trial]:
        """Trials in work, duplicates included."""
        return [trial for evaluation in self._in_work.values() for trial in evaluation.trials]

    @property
    def has_room(self) -> bool:
        """Whether a process is free."""
        return len(self._in_work) < self._workers

    def submit(self, evaluation: Evaluation) -> Future[TrialResult]:
        """Hand an evaluation to a process."""
        try:
            future = self._executor.submit(evaluation.task)
        except BrokenProcessPool as error:  # a process died just now; `finished` will see it
            future = Future()
            future.set_exception(error)
        future.add_done_callback(lambda future: self._pass_on(evaluation, future))
        self._in_work[future] = evaluation
        self._view.started(evaluation.trial.number, evaluation.design)
        return future

    def add_duplicate(self, trial: optuna.Trial, design: DesignPoint) -> bool:
        """Let a trial wait for a design in work; False if the design is not in work."""
        for evaluation in self._in_work.values():
            if evaluation.design == design:
                evaluation.duplicates.append(trial)
                return True
        return False

    def wait(self) -> None:
        """Wait for a result, but not long."""
        wait(self._in_work, timeout=_POLL_S, return_when=FIRST_COMPLETED)

    def finished(self) -> Iterator[tuple[Evaluation, Future[TrialResult]]]:
        """The evaluations that came to their end, lowest trial first; each is in work until the next one is taken."""
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
        """After a process died: nobody knows whose evaluation killed it, so that each gets a second try alone."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        for future, evaluation in sorted(self._in_work.items(), key=lambda item: item[1].trial.number):
            self._executor = _processes(1)
            again = future
            if future.cancelled() or future.exception() is not None:
                del self._in_work[future]
                again = self.submit(evaluation)
                wait([again])
            yield evaluation, again
            del self._in_work[again]
            self._executor.shutdown(wait=True)
        self._executor = _processes(self._workers)

    def _pass_on(self, evaluation: Evaluation, future: Future[TrialResult]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._spool(evaluation.trial.number, evaluation.design.content_hash, future.result())


def _processes(count: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(count, mp_context=worker_context(), initializer=start_worker)
