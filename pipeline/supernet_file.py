"""The supernet of a study: where it lies, and its training before the first trial. No torch here."""

import hashlib
import json
import multiprocessing
import shutil
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import filelock

from pipeline.data_files import read_parts
from pipeline.study_spec import Study
from pipeline.worker import start_worker

_FORMAT = 1  # of the shared weights; raise it when they change their meaning
_REPORT_S = 10  # at least so long between two lines of progress


class SupernetDied(RuntimeError):
    """The process that trains the supernet is gone."""


def supernet_key(study: Study) -> str:
    """Twelve hexadecimal digits of all that the supernet's weights depend on: data, space, training and seed.

    The number of trials, the objectives, the sampler and how variation is measured are not among them.
    """
    identity = study.identity()
    dataset = {key: identity["dataset"][key] for key in ("name", "image_size", "channels", "train_images")}
    training = {key: value for key, value in identity["training"].items() if key != "epochs"}
    parts = {key: identity[key] for key in ("hardware", "network", "devices", "seed")}
    epochs = study.spec.accuracy.supernet_epochs
    content = parts | {"dataset": dataset, "training": training, "epochs": epochs, "format": _FORMAT}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    if study.spec.dataset.name == "image_folder":  # the others are official files with known checksums
        for array in read_parts(study.spec.dataset)["train"]:
            digest.update(array.tobytes())
    return digest.hexdigest()[:12]


def with_supernet(study: Study, folder: Path, say: Callable[[str], None]) -> Study:
    """The study with its supernet at hand, trained first if no study beside it has one of the same key.

    A training that was cut off goes on after its last epoch. Several processes may call this at once: one trains, the
    others wait.

    Args:
        study: The study; one that trains each network is given back as it is.
        folder: Its output folder; the supernet lies there.
        say: Told how far the training is.

    Raises:
        OSError: If a file cannot be written.
        SupernetDied, TrainingDiverged: If the training fails.
    """
    if study.spec.accuracy.source == "training":
        return study
    path = (folder / f"supernet-{supernet_key(study)}.pt").resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_suffix(".lock")):
        if not path.is_file() and not _take_from_beside(path):
            _train(study, path, say)
    return study.with_supernet(path)


def _take_from_beside(path: Path) -> bool:
    """Copy the supernet of equal key that another study has in its folder."""
    for found in sorted(path.parent.parent.glob(f"*/{path.name}")):
        part = path.with_name(path.name + ".part")
        shutil.copyfile(found, part)
        part.replace(path)
        return True
    return False


def _train(study: Study, path: Path, say: Callable[[str], None]) -> None:
    """Train in a process of its own, as trials are; it dies with this one."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_train_and_report, args=(study, path, there), daemon=True)
    process.start()
    there.close()
    last = 0.0
    try:
        while True:
            try:
                message = here.recv()
            except EOFError:
                break
            if isinstance(message, Exception):
                raise message
            epoch, loss = message
            if epoch == study.spec.accuracy.supernet_epochs or time.monotonic() - last >= _REPORT_S:
                last = time.monotonic()
                say(f"supernet: epoch {epoch} of {study.spec.accuracy.supernet_epochs}, loss {loss:.3f}")
    finally:
        process.kill()
        process.join()
        here.close()
    if not path.is_file():
        raise SupernetDied("the supernet's training died, perhaps for lack of memory; the same command goes on with it")


def _train_and_report(study: Study, path: Path, connection: Connection) -> None:
    start_worker()
    from pipeline.data import load_images
    from pipeline.supernet import train_supernet

    try:
        images = load_images(study.spec.dataset)
        train_supernet(study, images.train, path, lambda epoch, loss: connection.send((epoch, loss)))
    except Exception as error:
        connection.send(error)
