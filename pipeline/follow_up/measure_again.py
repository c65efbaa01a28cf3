"""A finished trial measured again (other chips, other noise, longer training), or trained again and compared."""

import dataclasses
import json
from typing import Any, Literal

import torch
from optuna.trial import FrozenTrial

from pipeline.data.batches import load_images
from pipeline.design.pareto import StoppingRule
from pipeline.design.results import VariationReport, stored_cost, stored_values
from pipeline.follow_up import networks
from pipeline.follow_up.stored import StoredStudy, design_of
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
    """

    chips: int
    images_per_chip: int | None = None
    fidelity: Literal["fast", "exact"] = "fast"
    sigma_scale: float = 1.0
    drift_time_s: float | None = None
    epochs: int | None = None
    train_images: int | None = None
    test_images: int | None = None

    def changed(self, spec: StudySpec) -> StudySpec:
        """The study `spec` with these settings in place of its own."""
        images = {"train_images": self.train_images, "test_images": self.test_images}
        chips = {"min_chips": self.chips, "max_chips": self.chips, "images_per_chip": self.images_per_chip}
        variation = chips | {"fidelity": self.fidelity, "drift_time_s": self.drift_time_s}
        parts = {"dataset": spec.dataset.model_copy(update=images)}
        return spec.model_copy(update=parts | {"variation": spec.variation.model_copy(update=variation)})


def measure_again(stored: StoredStudy, trial: FrozenTrial, settings: Settings) -> tuple[VariationReport, ...]:
    """Accuracy over simulated chips of a finished trial, on validation and on test images.

    Without the trial's checkpoint its network is trained again, which gives the same weights on the same versions. The
    study's seed decides the chips.

    Raises:
        ValueError: If no cell can have that sigma.
    """
    torch.set_num_threads(1)  # as in the workers: sums in the same order, the same weights
    spec = settings.changed(stored.spec)
    images = load_images(spec.dataset)
    if settings.epochs is None:
        network = networks.finished_network(spec, trial, stored.checkpoints, images)
    else:
        network = networks.retrained_network(spec, trial, stored.checkpoints, images, settings.epochs)
    if settings.sigma_scale != 1:
        design = design_of(spec, trial)
        network = networks.moved_network(network, networks.scaled_sigma(design, settings.sigma_scale), images)
    recalibration = images.train[0][:RECALIBRATION_IMAGES]
    splits = [images.validation, images.test]
    return tuple(accuracy_under_variation(network, splits, spec.variation, spec.seed, recalibration, task=images.task))


def measurement(stored: StoredStudy, trial: FrozenTrial, settings: Settings) -> dict[str, Any]:
    """`measure_again`, as `pipeline.database.trials` stores it."""
    validation, test = measure_again(stored, trial, settings)
    training = stored.spec.training if stored.spec.accuracy.source == "training" else "none"
    own_epochs = None if training == "none" else training.epochs
    return {
        "settings": dataclasses.asdict(settings) | {"epochs": settings.epochs or own_epochs},
        "validation": validation.to_dict(),
        "test": test.to_dict(),
        "versions": versions(),
    }


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
