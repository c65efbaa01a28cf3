"""Evaluations without training, for tests of everything around them. Worker processes import this module."""

import dataclasses
import errno
import hashlib
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import made_up

from pipeline.data.data_set import DataError
from pipeline.design.design_point import DesignPoint
from pipeline.design.metrics import METRICS
from pipeline.design.pareto import StoppingRule
from pipeline.design.results import TrialResult, VariationReport
from pipeline.file_function import FileChanged
from pipeline.files import write_whole
from pipeline.networks.workload import cost_before_training
from pipeline.study.study_spec import StudySpec


def made_up_result(design: DesignPoint, trial_number: int) -> TrialResult:
    """Values that depend on the design and the trial number alone; no two are likely to be equal."""
    digest = hashlib.sha256(f"{design.content_hash} {trial_number}".encode()).digest()
    measured = {name: (1 + digest[i]) / 256 for i, name in enumerate(METRICS)}
    mean = measured["accuracy_mean"]
    report = VariationReport(
        per_chip=(mean, mean), mean=mean, std=0.0, p05=mean, worst=mean, mean_low=mean, mean_high=mean,
        noiseless=mean, float_accuracy=mean, required=None, fraction_good=None, n_images=10, fidelity="fast",
    )  # fmt: skip
    measured |= {"test_accuracy_mean": mean, "test_accuracy_std": 0.0}
    return TrialResult(
        measured=measured,
        cost={},
        validation=report,
        test=report,
        phase_s={"training": 0.0},
        versions={},
        checkpoint=None,
    )


def evaluate(design: DesignPoint, spec: StudySpec, trial_number: int, checkpoint: Path | None) -> TrialResult:
    return made_up_result(design, trial_number)


def evaluate_with_costs(
    design: DesignPoint, spec: StudySpec, trial_number: int, checkpoint: Path | None, rule: StoppingRule | None = None
) -> TrialResult:
    """Costs are real and the result can be reported; accuracies are made up."""
    return made_up.made_up_result(design, random.Random(trial_number), 2, spec.calibrated_by)


def evaluate_with_looks(
    design: DesignPoint, spec: StudySpec, trial_number: int, checkpoint: Path | None, rule: StoppingRule
) -> TrialResult:
    """Costs are real; accuracy rises by a made-up part between checkpoints, and the rule is asked at each."""
    result = made_up_result(design, trial_number)
    known = cost_before_training(design, spec.calibrated_by)
    last = result.measured["accuracy_mean"]
    curve: list[dict[str, float]] = []
    verdict = None
    for epoch in rule.checkpoints:
        curve.append({"epoch": epoch, "accuracy_mean": last * (0.9 + 0.05 * epoch / spec.training.epochs)})
        verdict = rule.verdict(epoch, curve[-1])
        if verdict:
            last = curve[-1]["accuracy_mean"]
            break
    measured = result.measured | {name: known[name] for name in result.measured if name in known}
    return dataclasses.replace(
        result, measured=measured | {"accuracy_mean": last}, learning_curve=tuple(curve), stopped_early=verdict
    )


def evaluate_slowly(design: DesignPoint, spec: StudySpec, trial_number: int, checkpoint: Path | None) -> TrialResult:
    time.sleep(0.3)
    return made_up_result(design, trial_number)


def fail_on_sram(design: DesignPoint, spec: StudySpec, trial_number: int, checkpoint: Path | None) -> TrialResult:
    if design.accelerator.device.name == "sram":
        raise RuntimeError(f"made-up failure of trial {chr(97 + trial_number)}")  # another cause each time
    return made_up_result(design, trial_number)


def always_fail(design: DesignPoint, spec: StudySpec, trial_number: int, checkpoint: Path | None) -> TrialResult:
    raise RuntimeError("made-up failure")


def die_once(design: DesignPoint, spec: StudySpec, trial_number: int, checkpoint: Path | None) -> TrialResult:
    """Kill the worker, once, at trial 1; `checkpoint`'s folder remembers that it happened."""
    assert checkpoint is not None
    mark = checkpoint.parent / "died"
    if trial_number == 1 and not mark.exists():
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return made_up_result(design, trial_number)


def trial_1_kills_its_worker(
    design: DesignPoint, spec: StudySpec, trial_number: int, checkpoint: Path | None
) -> TrialResult:
    if trial_number == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(0.2)
    return made_up_result(design, trial_number)


def fail_with_a_path(design: DesignPoint, spec: StudySpec, trial_number: int, checkpoint: Path | None) -> TrialResult:
    raise RuntimeError(f"part {trial_number} of the made-up failure")


def wait_for_go(design: DesignPoint, spec: StudySpec, trial_number: int, checkpoint: Path | None) -> TrialResult:
    """Leave a mark with the trial and the parent process, then wait for the file `go`, or one for this trial."""
    assert checkpoint is not None
    folder = checkpoint.parent
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"started-{trial_number}-{multiprocessing.parent_process().pid}").touch()
    while not ((folder / "go").exists() or (folder / f"go-{trial_number}").exists()):
        time.sleep(0.02)
    return made_up_result(design, trial_number)


def evaluate_briefly(design: DesignPoint, spec: StudySpec, trial_number: int, checkpoint: Path | None) -> TrialResult:
    time.sleep(0.02 * (1 + trial_number % 5))
    return made_up_result(design, trial_number)


def lack_something(design: DesignPoint, spec: StudySpec, trial_number: int, checkpoint: Path | None) -> TrialResult:
    """From trial 2 on, while the file `lack` lies beside the checkpoints' folder: fail as a machine does without it."""
    assert checkpoint is not None
    lack = checkpoint.parent.parent / "lack"
    if trial_number < 2 or not lack.exists():
        write_whole(checkpoint, f"weights of {trial_number}")
        return made_up_result(design, trial_number)
    kind = lack.read_text()
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "builder":
        try:
            raise MemoryError
        except MemoryError as error:
            raise ValueError("net.py:build(width=4) failed") from error
    write_whole(checkpoint, lambda unfinished: (unfinished.write_text("half"), raise_one(LACKS[kind])))
    raise AssertionError


def raise_one(error: Exception) -> None:
    raise error


LACKS = {
    "room": OSError(errno.ENOSPC, "No space left on device"),
    "short name": OSError(errno.ENAMETOOLONG, "File name too long", "n.pt"),
    "room, says a library": RuntimeError("open file failed with strerror: No space left on device"),
    "memory": MemoryError(),
    "memory, says a library": RuntimeError("can't allocate memory: Error code 12 (Cannot allocate memory)"),
    "library": ImportError("libgomp.so.1: failed to map segment from shared object"),
    "library of ctypes": OSError("Could not load shared object file: libllvmlite.so"),
    "thread": RuntimeError("can't start new thread"),
    "data": DataError("train-images: does not exist"),
    "own file": FileChanged("net.py has changed since it was read"),
}


def not_a_number(design: DesignPoint, spec: StudySpec, trial_number: int, checkpoint: Path | None) -> TrialResult:
    """The accuracy of trial 1 is no number."""
    result = made_up_result(design, trial_number)
    wrong = {"accuracy_mean": float("nan")} if trial_number == 1 else {}
    return dataclasses.replace(result, measured=result.measured | wrong)


def evaluate_with_costs_slowly(
    design: DesignPoint, spec: StudySpec, trial_number: int, checkpoint: Path | None, rule: StoppingRule | None = None
) -> TrialResult:
    time.sleep(0.3)
    return evaluate_with_costs(design, spec, trial_number, checkpoint, rule)
