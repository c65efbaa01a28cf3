"""One trial: cost first, then training, then accuracy over simulated chips."""

import copy
import os
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
from pipeline.data import ImageSet, Split, load_images
from pipeline.design_point import DesignPoint
from pipeline.early_stopping import StoppingRule
from pipeline.gpu import compute_device
from pipeline.network import build_network
from pipeline.network_activity import measured_activity
from pipeline.phase import say
from pipeline.results import TrialResult, accuracies, measured_values
from pipeline.study_spec import StudySpec, VariationSpec
from pipeline.supernet import inherited_network
from pipeline.topology import mvm_layers, topology
from pipeline.training import AfterEpoch, train
from pipeline.variation import accuracy_under_variation

CALIBRATION_IMAGES = 128  # assumed: training images that fix input and ADC ranges
RECALIBRATION_IMAGES = 256  # training images of a chip's batch-norm recalibration (Joshi et al., 2020, use about 1,300)
_ACTIVITY_IMAGES = 32  # training images on which bit densities are counted
_MIDWAY_IMAGES = 200  # assumed: validation images of a look during training
_MIDWAY_CALIBRATION_IMAGES = 32  # assumed: training images that fix its ranges
_MIDWAY_CHIPS = 2  # assumed: chips of one
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
        calibrate(network, images.train[0][: CALIBRATION_IMAGES if stopped is None else _MIDWAY_CALIBRATION_IMAGES])
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


class Midway:
    """Looks at a network at a rule's checkpoints; the training that it interrupts does not notice.

    Attributes:
        curve: One record a checkpoint: `epoch` and the accuracies of `METRICS`, on few chips and images.
        stopped: The rule's verdict, or None.
    """

    def __init__(self, rule: StoppingRule, images: ImageSet, spec: StudySpec) -> None:
        self._rule = rule
        self._images = images
        self._spec = spec
        self.curve: list[dict[str, float]] = []
        self.stopped: dict[str, float] | None = None

    def __call__(self, network: nn.Module, epoch: int) -> bool:
        if epoch not in self._rule.checkpoints:
            return False
        with torch.random.fork_rng():
            accuracy = self._accuracies(copy.deepcopy(network))
        self.curve.append({"epoch": epoch} | accuracy)
        self.stopped = self._rule.verdict(epoch, accuracy)
        return self.stopped is not None

    def _accuracies(self, network: nn.Module) -> dict[str, float]:
        train, spec = self._images.train[0], self._spec
        calibrate(network, train[:_MIDWAY_CALIBRATION_IMAGES])
        splits, variation = [midway_images(self._images)], midway_variation(spec.variation)
        recalibration = train[:RECALIBRATION_IMAGES]
        (report,) = accuracy_under_variation(network, splits, variation, spec.seed, recalibration)
        return accuracies(report)


def midway_images(images: ImageSet) -> Split:
    """The validation images that a look during training takes."""
    return images.validation[0][:_MIDWAY_IMAGES], images.validation[1][:_MIDWAY_IMAGES]


def midway_variation(spec: VariationSpec) -> VariationSpec:
    """The chips of a look during training."""
    return spec.model_copy(update={"min_chips": _MIDWAY_CHIPS, "max_chips": _MIDWAY_CHIPS})


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


def save_checkpoint(network: nn.Module, path: Path) -> None:
    """Write weights and ranges, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.part")  # two workers may hold one trial
    torch.save({name: value.cpu() for name, value in network.state_dict().items()}, unfinished)
    unfinished.replace(path)


def load_checkpoint(design: DesignPoint, path: Path) -> nn.Module:
    """The network of a checkpoint, ranges included, ready for `accuracy_under_variation`."""
    network = build_network(topology(design), design.accelerator)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.to(compute_device()).eval()


def versions() -> dict[str, str]:
    """Versions of what computed a result."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in _LIBRARIES}


@contextmanager
def _timed(phase_s: dict[str, float], phase: str) -> Iterator[None]:
    say(phase)
    start = time.perf_counter()
    yield
    phase_s[phase] = time.perf_counter() - start
