"""One trial: cost first, then training, then accuracy over simulated chips."""

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import torch
from torch import nn

from hw_models.cost import estimate_cost
from pipeline.analog_layers import calibrate
from pipeline.chips import derive_seed
from pipeline.data import ImageSet, load_images
from pipeline.design_point import DesignPoint
from pipeline.network import build_network
from pipeline.network_activity import measured_activity
from pipeline.phase import say
from pipeline.results import TrialResult, measured_values
from pipeline.study_spec import StudySpec
from pipeline.supernet import inherited_network
from pipeline.topology import mvm_layers, topology
from pipeline.training import train
from pipeline.variation import accuracy_under_variation

CALIBRATION_IMAGES = 128  # assumed: training images that fix input and ADC ranges
RECALIBRATION_IMAGES = 256  # training images of a chip's batch-norm recalibration (Joshi et al., 2020, use about 1,300)
_ACTIVITY_IMAGES = 32  # training images on which bit densities are counted
_LIBRARIES = ("nacim", "torch", "pytorch-lightning", "optuna", "numpy")


def evaluate(design: DesignPoint, spec: StudySpec, trial_number: int, checkpoint: Path | None = None) -> TrialResult:
    """Measure everything about one design.

    Every draw comes from (study seed, trial number), chips from (study seed, chip number).

    Args:
        design: Hardware and network.
        spec: Data set, training and variation settings, seed.
        trial_number: Number of the trial.
        checkpoint: Where to write the trained weights; None keeps none.

    Raises:
        InfeasibleDesign: If the network cannot be built.
        TrainingDiverged: If training fails.
    """
    phase_s: dict[str, float] = {}
    with _timed(phase_s, "data"):
        images = load_images(spec.dataset)
    with _timed(phase_s, "cost"):
        cost = estimate_cost(design.accelerator, mvm_layers(design))
    with _timed(phase_s, "training"):
        network = trained_network(design, spec, trial_number, images)
    with _timed(phase_s, "calibration"):
        calibrate(network, images.train[0][:CALIBRATION_IMAGES])
    with _timed(phase_s, "activity"):
        activity = measured_activity(network, images.train[0][:_ACTIVITY_IMAGES])
        own_cost = estimate_cost(design.accelerator, mvm_layers(design), activity=activity)
    with _timed(phase_s, "variation"):
        splits = [images.validation, images.test]
        recalibration = images.train[0][:RECALIBRATION_IMAGES]
        validation, test = accuracy_under_variation(network, splits, spec.variation, spec.seed, recalibration)
    if checkpoint is not None:
        with _timed(phase_s, "checkpoint"):
            save_checkpoint(network, checkpoint)
    return TrialResult(
        measured=measured_values(cost, own_cost, validation, test),
        cost=cost.to_dict(),
        validation=validation,
        test=test,
        phase_s=phase_s,
        versions=versions(),
        checkpoint=None if checkpoint is None else checkpoint.name,
    )


def trained_network(design: DesignPoint, spec: StudySpec, trial_number: int, images: ImageSet) -> nn.Module:
    """Build and train a trial's network, or let it inherit; the same numbers give the same weights."""
    if spec.accuracy.checkpoint is not None:
        return inherited_network(design, spec, trial_number, images)
    torch.manual_seed(derive_seed(spec.seed, trial_number, "weights"))
    network = build_network(topology(design), design.accelerator)
    train(network, images.train, spec.training, derive_seed(spec.seed, trial_number, "training") % 2**32)
    return network


def save_checkpoint(network: nn.Module, path: Path) -> None:
    """Write weights and ranges, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    torch.save(network.state_dict(), unfinished)
    unfinished.replace(path)


def load_checkpoint(design: DesignPoint, path: Path) -> nn.Module:
    """The network of a checkpoint, ranges included, ready for `accuracy_under_variation`."""
    network = build_network(topology(design), design.accelerator)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()


def versions() -> dict[str, str]:
    """Versions of what computed a result."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in _LIBRARIES}


@contextmanager
def _timed(phase_s: dict[str, float], phase: str) -> Iterator[None]:
    say(phase)
    start = time.perf_counter()
    yield
    phase_s[phase] = time.perf_counter() - start
