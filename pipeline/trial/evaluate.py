"""One trial: cost first, then training, then accuracy over simulated chips."""

import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch
from torch import nn

from hw_models.cost import CostReport
from pipeline.analog.calibration import calibrate
from pipeline.compute_device import compute_device
from pipeline.data.batches import ImageSet, load_images
from pipeline.design.design_point import DesignPoint
from pipeline.design.pareto import StoppingRule
from pipeline.design.results import TrialResult, measured_values
from pipeline.networks.workload import cost_of, estimates_of
from pipeline.phase import say
from pipeline.seeds import derive_seed
from pipeline.study.built_space import BuiltSpace
from pipeline.study.study_spec import StudySpec
from pipeline.trial.activity import measured_activity
from pipeline.trial.judging import Midway
from pipeline.trial.network import build_network, save_checkpoint
from pipeline.trial.supernet import inherited_network
from pipeline.trial.training import AfterEpoch, train

ACTIVITY_IMAGES = 32  # training images on which bit densities are counted
_LIBRARIES = ("nacim", "torch", "pytorch-lightning", "optuna", "numpy")
_Step = ParamSpec("_Step")
_Result = TypeVar("_Result")


def evaluate(
    design: DesignPoint,
    spec: StudySpec,
    trial_number: int,
    checkpoint: Path | None = None,
    rule: StoppingRule | None = None,
) -> TrialResult:
    """Measure everything about one design.

    (study seed, trial number) seeds all random draws but those of chips, which (study seed, chip number) seeds.

    Args:
        design, spec, trial_number: What is measured, how (data set, training, variation, seed), and as which trial.
        checkpoint: Where to write the trained weights, unless the training is stopped; None keeps none.
        rule: Early-stopping rule, applied at its checkpoints; None: train to the end.

    Raises:
        InfeasibleDesign: If the network cannot be built; TrainingDiverged if training fails.
    """
    timed = _Phases()
    images = timed("data", load_images, spec.dataset)
    cost, silicon = timed("cost", estimates_of, design, spec.calibrated_by)
    network, midway = timed("training", _train, design, spec, trial_number, images, rule)
    timed("calibration", calibrate, network, midway.judging.calibration)
    own_cost = timed("activity", _cost_of_own_data, design, network, images)
    validation, test = timed("variation", midway.judging.reports, network)
    kept = None if midway.stopped else checkpoint
    return TrialResult(
        measured=measured_values(cost, own_cost, silicon, validation, test),
        cost=cost.to_dict(),
        validation=validation,
        test=test,
        versions=versions(),
        checkpoint=kept.name if kept else None,
        checkpoint_sha256=timed("checkpoint", save_checkpoint, network, kept) if kept else None,
        learning_curve=tuple(midway.curve),
        stopped_early=midway.stopped,
        silicon=silicon.to_dict(),
        phase_s=timed.phase_s,
    )


def _train(
    design: DesignPoint, spec: StudySpec, trial_number: int, images: ImageSet, rule: StoppingRule | None
) -> tuple[nn.Module, Midway]:
    midway = Midway(rule, images, spec)
    return trained_network(design, spec, trial_number, images, midway), midway


def trained_network(
    design: DesignPoint,
    spec: StudySpec,
    trial_number: int,
    images: ImageSet,
    after_epoch: AfterEpoch | None = None,
    log: Path | None = None,
) -> nn.Module:
    """A trial's network, trained or with inherited or given weights; equal seed and trial number give equal weights.

    `log` is a folder for the training's course, as `pipeline.trial.training.train` writes it.
    """
    if spec.accuracy.source == "supernet":
        return inherited_network(design, spec, trial_number, images)
    torch.manual_seed(derive_seed(spec.seed, trial_number, "weights"))
    given = (spec.network.weights_file, spec.network.weights_hash) if isinstance(spec.network, BuiltSpace) else ()
    network = build_network(design, *given)
    if spec.training == "none":
        return network.to(compute_device()).eval()
    seed = derive_seed(spec.seed, trial_number, "training") % 2**32
    train(network, images.train, spec.training, seed, after_epoch, images.task, log)
    return network


def _cost_of_own_data(design: DesignPoint, network: nn.Module, images: ImageSet) -> CostReport:
    """Cost at the activity measured in the trained network."""
    activity = measured_activity(network, images.train[0][:ACTIVITY_IMAGES])
    return cost_of(design, activity)


def versions() -> dict[str, str]:
    """Versions of the software that computes a result."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in _LIBRARIES}


class _Phases:
    """Calls a step, tells the live view its name, and notes its wall time in `phase_s`."""

    def __init__(self) -> None:
        self.phase_s: dict[str, float] = {}

    def __call__(self, phase: str, step: Callable[_Step, _Result], *args: _Step.args, **named: _Step.kwargs) -> _Result:
        say(phase)
        start = time.perf_counter()
        result = step(*args, **named)
        self.phase_s[phase] = time.perf_counter() - start
        return result
