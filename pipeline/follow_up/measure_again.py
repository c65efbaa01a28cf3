"""Measure a finished trial again: other chips, other noise, longer training; or train it anew and compare."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from optuna.trial import FrozenTrial
from torch import nn

from pipeline.analog.calibration import CALIBRATION_IMAGES, calibrate
from pipeline.analog.model import noisy_layers
from pipeline.compute_device import compute_device
from pipeline.data.batches import ImageSet, load_images
from pipeline.design.design_point import DesignPoint
from pipeline.design.results import VariationReport
from pipeline.design.stopping_rule import StoppingRule
from pipeline.design.topology import topology
from pipeline.study.study_spec import AccuracySpec, StudySpec, VariationSpec
from pipeline.trial.batch_norm import RECALIBRATION_IMAGES
from pipeline.trial.checkpoint import load_checkpoint, save_checkpoint
from pipeline.trial.evaluate import evaluate, trained_network
from pipeline.trial.network import build_network
from pipeline.trial.variation import accuracy_under_variation


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """What training a trial anew gave.

    Attributes:
        differing: Name of each value that is not what the database holds -> both, the stored one first.
        changed: Library -> its version then and now, where they differ.
    """

    differing: dict[str, tuple[Any, Any]]
    changed: dict[str, tuple[str | None, str | None]]


def reevaluate(
    spec: StudySpec,
    trial: FrozenTrial,
    checkpoints: Path,
    variation: VariationSpec,
    sigma_scale: float = 1.0,
    epochs: int | None = None,
) -> tuple[VariationReport, VariationReport]:
    """Accuracy over simulated chips of a finished trial, on validation and test images.

    Args:
        spec: The study; its seed decides the chips.
        trial: An evaluated trial.
        checkpoints: Folder of trained weights; without the trial's file its network is trained again, which gives the
            same weights on the same versions.
        variation: Chips, fidelity and drift time of this measurement.
        sigma_scale: Programming errors, times the card's. The network stays as trained for the card's.
        epochs: Train the network anew and on its own, for so long; None takes it as it is.

    Raises:
        ValueError: If no cell can be with that sigma.
    """
    torch.set_num_threads(1)  # as in the workers: sums in the same order, the same weights
    images = load_images(spec.dataset)
    if epochs is None:
        network = finished_network(spec, trial, checkpoints, images)
    else:
        network = retrained_network(spec, trial, checkpoints, images, epochs)
    if sigma_scale != 1:
        design = DesignPoint.from_dict(trial.user_attrs["design"])
        network = moved_network(network, scaled_sigma(design, sigma_scale), images)
    recalibration = images.train[0][:RECALIBRATION_IMAGES]
    splits = [images.validation, images.test]
    validation, test = accuracy_under_variation(network, splits, variation, spec.seed, recalibration)
    return validation, test


def replay(spec: StudySpec, trial: FrozenTrial, rule: StoppingRule | None) -> Replay:
    """Train a trial anew from its stored design and settings and compare everything that was measured.

    Args:
        spec: The study.
        trial: Evaluated or stopped early.
        rule: That the trial was trained under (`pipeline.run.stopping.stopping_rule`).
    """
    torch.set_num_threads(1)
    _check_supernet(spec)
    stored = trial.user_attrs
    result = evaluate(DesignPoint.from_dict(stored["design"]), spec, draws_of(trial), rule=rule)
    again = json.loads(json.dumps(dataclasses.asdict(result)))
    variation = {split: (stored["variation"][split], again[split]) for split in ("validation", "test")}
    pairs = {name: (stored.get(name), value) for name, value in again["measured"].items()}
    pairs |= {f"{split}.{name}": (old[name], new[name]) for split, (old, new) in variation.items() for name in old}
    pairs |= {
        "cost": (stored["cost"], again["cost"]),
        "learning_curve": (stored.get("learning_curve", []), again["learning_curve"]),
        "stopped_early": (stored.get("stopped_early"), again["stopped_early"]),
    }
    before, now = stored["versions"], again["versions"]
    return Replay(
        differing={name: pair for name, pair in pairs.items() if pair[0] != pair[1]},
        changed={name: (before.get(name), now.get(name)) for name in before | now if before.get(name) != now.get(name)},
    )


def finished_network(spec: StudySpec, trial: FrozenTrial, checkpoints: Path, images: ImageSet) -> nn.Module:
    """The trained and calibrated network of a trial: from its checkpoint, or trained again where that is gone."""
    design = DesignPoint.from_dict(trial.user_attrs["design"])
    path = checkpoints / str(trial.user_attrs["checkpoint"])
    return load_checkpoint(design, path) if path.is_file() else new_network(spec, draws_of(trial), design, images)


def retrained_network(
    spec: StudySpec, trial: FrozenTrial, checkpoints: Path, images: ImageSet, epochs: int
) -> nn.Module:
    """A trial's network trained on its own for so many epochs; kept beside its checkpoint and taken from there."""
    design = DesignPoint.from_dict(trial.user_attrs["design"])
    stem = Path(str(trial.user_attrs["checkpoint"])).stem
    path = checkpoints / f"{stem}-{epochs}-epochs-{len(images.train[1])}-images.pt"
    if path.is_file():
        return load_checkpoint(design, path)
    training = spec.training.model_copy(update={"epochs": epochs})
    longer = spec.model_copy(update={"training": training, "accuracy": AccuracySpec()})
    network = new_network(longer, draws_of(trial), design, images)
    save_checkpoint(network, path)
    return network


def draws_of(trial: FrozenTrial) -> int:
    """The number whose draws a trial had: its own, or of a late result that of the trial which was given up."""
    return int(trial.user_attrs.get("late_result_of", trial.number))


def new_network(spec: StudySpec, number: int, design: DesignPoint, images: ImageSet) -> nn.Module:
    """A network of a design, trained with the draws of trial `number`, and calibrated.

    Raises:
        ValueError: If it should inherit from a supernet whose file is gone.
    """
    _check_supernet(spec)
    network = trained_network(design, spec, number, images)
    calibrate(network, images.train[0][:CALIBRATION_IMAGES])
    return network


def _check_supernet(spec: StudySpec) -> None:
    if spec.accuracy.source == "supernet" and spec.accuracy.checkpoint is None:
        raise ValueError("the supernet of this study is not in its output folder; keep supernet-*.pt there")


def moved_network(network: nn.Module, design: DesignPoint, images: ImageSet) -> nn.Module:
    """A trained network on other hardware, calibrated anew where it differs (cells of other errors: same ranges)."""
    moved = build_network(topology(design), design.accelerator).to(compute_device())
    moved.load_state_dict(network.state_dict())
    if noisy_layers(network)[0].accelerator != design.accelerator:
        calibrate(moved, images.train[0][:CALIBRATION_IMAGES])
    return moved.eval()


def with_device(design: DesignPoint, **changes: Any) -> DesignPoint:
    """The design with other values of its memory device.

    Raises:
        ValueError: If no cell can have them.
    """
    device = dataclasses.replace(design.accelerator.device, **changes)
    return dataclasses.replace(design, accelerator=dataclasses.replace(design.accelerator, device=device))


def scaled_sigma(design: DesignPoint, scale: float) -> DesignPoint:
    """The design with programming errors `scale` times the card's.

    Raises:
        ValueError: If they leave what a cell can have.
    """
    card = design.accelerator.device.programming_sigma
    return with_device(design, programming_sigma=tuple(scale * coefficient for coefficient in card))
