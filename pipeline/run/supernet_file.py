"""Where a study's supernet lies, and its training before the first trial. Loads no torch."""

import functools
import shutil
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import filelock

from pipeline.files import is_whole_archive, write_whole
from pipeline.machine_faults import MachineFault, fault_of, fault_of_death, name_of_death
from pipeline.run.worker import CANNOT_START, start_worker, use_one_thread, worker_context
from pipeline.study.study_file import StudyDefinition
from pipeline.trial.supernet_key import supernet_key

_END_S = 10  # assumed: for a process that has closed its pipe to end by itself
_REPORT_S = 10  # least time between two lines of progress


class SupernetDied(RuntimeError):
    """The process that trains the supernet is gone."""


def with_supernet(definition: StudyDefinition, folder: Path, say: Callable[[str], None]) -> StudyDefinition:
    """The study with the path of its supernet, trained first unless a neighbouring study has one of the same key.

    A training that was cut off goes on after its last epoch. Several processes may call this at once: one trains, the
    others wait. The supernet lies in `folder`; `say` is told how far its training is. A study that trains each network
    is given back as it is.

    Raises:
        OSError: If a file cannot be written.
        MachineFault: If the machine lacks something.
        SupernetDied, TrainingDiverged: If the training fails.
    """
    if definition.spec.accuracy.source == "training":
        return definition
    path = (folder / f"supernet-{supernet_key(definition)}.pt").resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_suffix(".lock")):
        if not path.is_file() and not _take_from_beside(path):
            _train(definition, path, say)
        if not is_whole_archive(path):
            raise MachineFault(f"{path} is damaged; remove it, and the same command trains the supernet again")
    return definition.with_supernet(path)


def _take_from_beside(path: Path) -> bool:
    """Copy the supernet of equal key from a neighbouring study's folder; False if there is none."""
    found = [each for each in sorted(path.parent.parent.glob(f"*/{path.name}")) if is_whole_archive(each)]
    if found:
        write_whole(path, functools.partial(shutil.copyfile, found[0]))
    return bool(found)


def _train(definition: StudyDefinition, path: Path, say: Callable[[str], None]) -> None:
    """Train in a worker process, which dies with this one."""
    context = worker_context()
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_train_and_report, args=(definition, path, there), daemon=True)
    try:
        process.start()
    except (OSError, EOFError) as error:
        raise MachineFault(CANNOT_START.format(type(error).__name__)) from error
    there.close()
    last = 0.0
    try:
        while True:
            try:
                message = here.recv()
            except EOFError:
                break
            if isinstance(message, MachineFault):
                raise type(message)(f"the supernet's training: {message}; then run the same command to go on with it")
            if isinstance(message, Exception):
                raise message
            epoch, loss = message
            if epoch == definition.spec.accuracy.supernet_epochs or time.monotonic() - last >= _REPORT_S:
                last = time.monotonic()
                say(f"supernet: epoch {epoch} of {definition.spec.accuracy.supernet_epochs}, loss {loss:.3f}")
        process.join(_END_S)
    finally:
        process.kill()
        process.join()
        here.close()
    if not path.is_file():
        if fault := fault_of_death(process.exitcode):
            raise type(fault)(f"the supernet's training: {fault}; then run the same command to go on with it")
        raise SupernetDied(
            f"the supernet's training died of {name_of_death(process.exitcode)}; the same command goes on with it"
        )


def _train_and_report(definition: StudyDefinition, path: Path, connection: Connection) -> None:
    try:
        start_worker()
        use_one_thread()
        from pipeline.data.batches import load_images
        from pipeline.trial.supernet import train_supernet

        images = load_images(definition.spec.dataset)
        train_supernet(definition, images.train, path, lambda epoch, loss: connection.send((epoch, loss)))
    except Exception as error:
        connection.send(fault_of(error) or error)
