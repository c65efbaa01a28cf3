"""What runs inside a worker process. Importing this module loads no torch, so that the parent stays light."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from pipeline.data.data_set import DataError
from pipeline.design.design_point import DesignPoint
from pipeline.design.pareto import StoppingRule
from pipeline.design.results import TrialResult
from pipeline.file_function import FileChanged
from pipeline.machine_faults import MachineFault, fault_of
from pipeline.phase import phase_file, told_in
from pipeline.study.study_spec import StudySpec
from pipeline.threads import one_thread_each

CANNOT_START = "worker processes cannot be started ({}); free memory, or lift its limit or that on processes"

_AT_START: list[Exception] = []  # what failed before this process had work


def worker_context() -> ForkServerContext:
    """How worker processes start: forked from a server that loads torch and Lightning once for all of them.

    Forking it is safe: it is a fresh process that touches no GPU, and its only threads are OpenBLAS's, which stop at a
    fork.
    """
    one_thread_each()  # the server inherits it
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline.run.preloaded"])
    return context


def start_worker() -> None:
    """Prepare a worker: it ignores Ctrl-C and SIGTERM, which the parent handles, and ends when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def start_pool_worker() -> None:
    """`start_worker` in a pool, which would say nothing of an error: the first evaluation raises it."""
    try:
        start_worker()
    except Exception as error:
        _AT_START.append(error)


def use_one_thread() -> None:
    """Let torch compute in one thread.

    Results then do not depend on the number of workers, and two workers of one thread each are faster than one of two.
    """
    import torch

    torch.set_num_threads(1)


def evaluate_trial(
    design: DesignPoint,
    spec: StudySpec,
    trial_number: int,
    checkpoint: Path | None,
    rule: StoppingRule | None = None,
) -> TrialResult:
    """Call `pipeline.trial.evaluate.evaluate`, which is imported only where it runs."""
    use_one_thread()
    from pipeline.trial.evaluate import evaluate

    with told_in(phase_file(checkpoint)) if checkpoint else contextlib.nullcontext():
        return evaluate(design, spec, trial_number, checkpoint, rule)


def evaluate_and_judge(
    evaluate: Callable[..., TrialResult], design: DesignPoint, spec: StudySpec, *arguments: Any, **named: Any
) -> TrialResult:
    """Call `evaluate` in a worker, where the errors behind an error are known: only the last one reaches the parent.

    Raises:
        MachineFault: If the machine is to blame for its failure, or a file that the run had checked has changed.
        ValueError: If an objective of the result is no number.
    """
    try:
        for error in _AT_START:
            raise error
        result = evaluate(design, spec, *arguments, **named)
    except (DataError, FileChanged) as error:
        raise MachineFault(f"{error}; it was right when the run began") from error
    except Exception as error:
        if fault := fault_of(error):
            raise fault from error
        raise
    result.check(spec.objectives)
    return result


def _die_with_parent() -> None:
    """End this worker when its parent is gone: nobody would take its result."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
