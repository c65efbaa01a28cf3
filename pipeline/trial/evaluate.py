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
from pipeline.analog.calibration import CALIBRATION_IMAGES, calibrate
from pipeline.data.batches import ImageSet, load_images
from pipeline.design.design_point import DesignPoint
from pipeline.design.results import TrialResult, measured_values
from pipeline.design.stopping_rule import StoppingRule
from pipeline.design.topology import mvm_layers, topology
from pipeline.phase import say
from pipeline.seeds import derive_seed
from pipeline.study.study_spec import StudySpec
from pipeline.trial.activity import measured_activity
from pipeline.trial.batch_norm import RECALIBRATION_IMAGES
from pipeline.trial.checkpoint import save_checkpoint
from pipeline.trial.midway import MIDWAY_CALIBRATION_IMAGES, Midway, midway_images, midway_variation
from pipeline.trial.network import build_network
from pipeline.trial.supernet import inherited_network
from pipeline.trial.training import AfterEpoch, train
from pipeline.trial.variation import accuracy_under_variation

_ACTIVITY_IMAGES = 32  # training images on which bit densities are counted
_LIBRARIES = ("nacim", "torch", "pytorch-lightning", "optuna", "numpy")


def evaluate(
    design: DesignPoint,
    spec: StudySpec,
    trial_number: int,
    checkpoint: Path | None = None,
    rule: StoppingRule | None = None,
) -> TrialResult:
    """Measure everything about one design.

    Every draw comes from (study seed, trial number), chips from (study seed, chip number).

    Args:
        design: Hardware and network.
        spec: Data set, training and variation settings, seed.
        trial_number: Number of the trial.
        checkpoint: Where to write the trained weights; None keeps none, nor are those of a stopped training kept.
        rule: Decides at its checkpoints whether the training is worth going on; None always is.

    Raises:
        InfeasibleDesign: If the network cannot be built.
        TrainingDiverged: If training fails.
    """
    phase_s: dict[str, float] = {}
    with _timed(phase_s, "data"):
        images = load_images(spec.dataset)
    with _timed(phase_s, "cost"):
        cost = estimate_cost(design.accelerator, mvm_layers(design))
    midway = None if rule is None else Midway(rule, images, spec)
    with _timed(phase_s, "training"):
        network = trained_network(design, spec, trial_number, images, midway)
    stopped = None if midway is None else midway.stopped
    with _timed(phase_s, "calibration"):
        calibrate(network, images.train[0][: CALIBRATION_IMAGES if stopped is None else MIDWAY_CALIBRATION_IMAGES])
    with _timed(phase_s, "activity"):
        activity = measured_activity(network, images.train[0][:_ACTIVITY_IMAGES])
        own_cost = estimate_cost(design.accelerator, mvm_layers(design), activity=activity)
    with _timed(phase_s, "variation"):
        splits = [images.validation if stopped is None else midway_images(images), images.test]
        variation = spec.variation if stopped is None else midway_variation(spec.variation)
        recalibration = images.train[0][:RECALIBRATION_IMAGES]
        validation, test = accuracy_under_variation(network, splits, variation, spec.seed, recalibration)
    if stopped is not None:
        checkpoint = None
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
        learning_curve=() if midway is None else tuple(midway.curve),
        stopped_early=stopped,
    )


def trained_network(
    design: DesignPoint,
    spec: StudySpec,
    trial_number: int,
    images: ImageSet,
    after_epoch: AfterEpoch | None = None,
) -> nn.Module:
    """Build and train a trial's network, or let it inherit; the same numbers give the same weights."""
    if spec.accuracy.source == "supernet":
        return inherited_network(design, spec, trial_number, images)
    torch.manual_seed(derive_seed(spec.seed, trial_number, "weights"))
    network = build_network(topology(design), design.accelerator)
    seed = derive_seed(spec.seed, trial_number, "training") % 2**32
    train(network, images.train, spec.training, seed, after_epoch)
    return network


def versions() -> dict[str, str]:
    """Versions of what computed a result."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in _LIBRARIES}


@contextmanager
def _timed(phase_s: dict[str, float], phase: str) -> Iterator[None]:
    say(phase)
    start = time.perf_counter()
    yield
    phase_s[phase] = time.perf_counter() - start
