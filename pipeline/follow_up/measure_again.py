"""A finished trial measured again (other chips, other noise, longer training), or trained again and compared."""

import dataclasses
import json
from typing import Any, Literal

import torch
from optuna.trial import FrozenTrial

from hw_models.devices import CellDevice
from pipeline.analog.model import noisy_layers
from pipeline.data.batches import load_images
from pipeline.database.trials import remeasured
from pipeline.design.design_point import DesignPoint
from pipeline.design.metrics import METRICS
from pipeline.design.pareto import StoppingRule
from pipeline.design.results import VariationReport, stored_cost, stored_values
from pipeline.follow_up import networks
from pipeline.follow_up.stored import StoredStudy, design_of
from pipeline.networks.workload import cost_of
from pipeline.study.study_spec import StudySpec
from pipeline.trial.batch_norm import RECALIBRATION_IMAGES
from pipeline.trial.evaluate import evaluate, versions
from pipeline.trial.variation import accuracy_under_variation


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How a trial is measured again. The fields' names are stored.

    Attributes:
        chips: Simulated chips, 2 or more.
        images_per_chip: Images of its own draw that each chip sees; None: all.
        fidelity: "exact" simulates every slice, cycle and conversion.
        sigma_scale: Factor on the card's programming errors. The network stays as trained for the card.
        drift_time_s: Time since programming in seconds; None: no drift.
        epochs: Train the network anew and alone for this many epochs; None: use it as it is.
        train_images, test_images: Number of images; None: all.
        device: Memory cell in place of the design's. The network stays as trained for its own card, unless `epochs` has
            it trained for this one.
        training_seed: 0: the trial's own training. 1, 2, ...: trained anew, with other initial weights, order of images
            and noise.
    """

    chips: int
    images_per_chip: int | None = None
    fidelity: Literal["fast", "exact"] = "fast"
    sigma_scale: float = 1.0
    drift_time_s: float | None = None
    epochs: int | None = None
    train_images: int | None = None
    test_images: int | None = None
    device: CellDevice | None = None
    training_seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as stored; the last two only where they differ from their defaults."""
        plain = dataclasses.asdict(self) | {"device": self.device and self.device.to_dict()}
        return {name: value for name, value in plain.items() if value or name not in ("device", "training_seed")}

    def hardware(self, design: DesignPoint) -> DesignPoint:
        """The design on these settings' memory cell.

        Raises:
            ValueError: If no cell can have that sigma, or the design cannot exist with it.
        """
        if self.device is not None:
            chip = dataclasses.replace(design.accelerator, device=self.device)
            design = dataclasses.replace(design, accelerator=chip)
        return design if self.sigma_scale == 1 else networks.scaled_sigma(design, self.sigma_scale)

    def changed(self, spec: StudySpec) -> StudySpec:
        """The study `spec` with these settings in place of its own."""
        images = {"train_images": self.train_images, "test_images": self.test_images}
        chips = {"min_chips": self.chips, "max_chips": self.chips, "images_per_chip": self.images_per_chip}
        variation = chips | {"fidelity": self.fidelity, "drift_time_s": self.drift_time_s}
        parts = {"dataset": spec.dataset.model_copy(update=images)}
        return spec.model_copy(update=parts | {"variation": spec.variation.model_copy(update=variation)})


def measure_again(
    stored: StoredStudy, trial: FrozenTrial, settings: Settings
) -> tuple[VariationReport, VariationReport, dict[str, str]]:
    """Accuracy over simulated chips of a finished trial, on validation and on test images.

    Without the trial's checkpoint its network is trained again, which gives the same weights on the same versions. The
    study's seed decides the chips.

    Returns:
        The two reports, and the file of a longer training with its checksum; empty without one.

    Raises:
        ValueError: If no cell can have that sigma, the design cannot exist on that cell, nothing is trained whose seed
            could be another, or weights are damaged or others than the trial's.
    """
    torch.set_num_threads(1)  # as in the workers: sums in the same order, the same weights
    spec = settings.changed(stored.spec)
    images = load_images(spec.dataset)
    own = design_of(spec, trial)
    hardware = settings.hardware(own)
    kept: dict[str, str] = {}
    if settings.epochs is None and not settings.training_seed:
        network = networks.finished_network(spec, trial, stored.checkpoints, images)
    else:
        trained_on = dataclasses.replace(settings, sigma_scale=1.0).hardware(own) if settings.epochs else own
        again = networks.Training(epochs=settings.epochs, seed=settings.training_seed, design=trained_on)
        entries = remeasured(stored.study.user_attrs, trial.number)
        known = {name: checksum for entry in entries for name, checksum in entry.get("weights", {}).items()}
        network, kept = networks.retrained_network(spec, trial, stored.checkpoints, images, again, known)
    if hardware.accelerator != noisy_layers(network)[0].accelerator:
        network = networks.moved_network(network, hardware, images)
    recalibration = images.train[0][:RECALIBRATION_IMAGES]
    splits = [images.validation, images.test]
    validation, test = accuracy_under_variation(
        network, splits, spec.variation, spec.seed, recalibration, task=images.task
    )
    return validation, test, kept


def own_epochs(spec: StudySpec) -> int | None:
    """Epochs for which the search trained each network; None if it took their weights from elsewhere."""
    training = spec.training if spec.accuracy.source == "training" else "none"
    return None if training == "none" else training.epochs


def measurement(stored: StoredStudy, trial: FrozenTrial, settings: Settings) -> dict[str, Any]:
    """`measure_again`, as `pipeline.database.trials` stores it."""
    validation, test, kept = measure_again(stored, trial, settings)
    entry = {
        "settings": settings.to_dict() | {"epochs": settings.epochs or own_epochs(stored.spec)},
        "validation": validation.to_dict(),
        "test": test.to_dict(),
        "versions": versions(),
    } | ({"weights": kept} if kept else {})
    if settings.device is None:
        return entry
    cost = cost_of(settings.hardware(design_of(stored.spec, trial)))
    known = {name: metric for name, metric in METRICS.items() if metric.source == "cost"}
    return entry | {"cost": {name: getattr(cost, metric.attribute) for name, metric in known.items()}}


def replay(spec: StudySpec, trial: FrozenTrial, rule: StoppingRule | None) -> dict[str, dict[str, tuple[Any, Any]]]:
    """Train a trial anew from its stored design and settings and compare everything that was measured.

    Args:
        spec: The study.
        trial: Evaluated or stopped early.
        rule: Stopping rule of the trial's training (`pipeline.run.stopping.stopping_rule`).

    Returns:
        "differing": name -> (stored value, new value), for each value that differs;
        "changed": library -> (version then, version now), for each that differs.
    """
    torch.set_num_threads(1)
    networks.check_supernet(spec)
    stored = trial.user_attrs
    result = evaluate(design_of(spec, trial), spec, networks.draws_of(trial), rule=rule)
    again = json.loads(json.dumps(dataclasses.asdict(result)))
    variation = {split: (stored["variation"][split], again[split]) for split in ("validation", "test")}
    known, cost = stored_values(stored), stored_cost(stored)  # a later release may measure more
    pairs: dict[str, tuple[Any, Any]] = {
        name: (known[name], value) for name, value in again["measured"].items() if name in known
    }
    pairs |= {f"{split}.{name}": (old[name], new[name]) for split, (old, new) in variation.items() for name in old}
    pairs |= {
        "cost": (cost, {name: again["cost"].get(name) for name in cost}),
        "learning_curve": (stored.get("learning_curve", []), again["learning_curve"]),
        "stopped_early": (stored.get("stopped_early"), again["stopped_early"]),
    }
    before, now = stored["versions"], again["versions"]
    libraries = {name: (before.get(name), now.get(name)) for name in before | now}
    compared = {"differing": pairs, "changed": libraries}
    return {what: {name: pair for name, pair in both.items() if pair[0] != pair[1]} for what, both in compared.items()}
