"""The network of a finished trial: as it is, trained anew, or on other hardware."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial
from torch import nn

from pipeline.analog.calibration import CALIBRATION_IMAGES, calibrate
from pipeline.analog.model import noisy_layers
from pipeline.compute_device import compute_device
from pipeline.data.batches import ImageSet, load_images
from pipeline.database.trials import checkpoint_of, weights_of
from pipeline.design.design_point import DesignPoint
from pipeline.files import checksum_of
from pipeline.follow_up.stored import design_of
from pipeline.seeds import seed32
from pipeline.study.study_spec import AccuracySpec, StudySpec
from pipeline.trial.evaluate import trained_network
from pipeline.trial.network import build_network, load_checkpoint, save_checkpoint


def finished_network(spec: StudySpec, trial: FrozenTrial, checkpoints: Path, images: ImageSet) -> nn.Module:
    """The trained and calibrated network of a trial: from its checkpoint, or trained again where that is gone.

    Raises:
        ValueError: If the checkpoint is damaged, or another file than the trial wrote.
    """
    design = design_of(spec, trial)
    path = weights_of(trial, checkpoints)
    return load_checkpoint(design, path) if path.is_file() else new_network(spec, draws_of(trial), design, images)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """A training after the search.

    Attributes:
        epochs: Trained alone for as many epochs; None: as in the search.
        seed: 0: with the random draws of the trial's own training; 1, 2, ...: with others.
        design: The trial's, or the same on another memory cell.
    """

    epochs: int | None
    seed: int
    design: DesignPoint

    def spec(self, spec: StudySpec) -> StudySpec:
        """The study `spec` as this training takes it.

        Raises:
            ValueError: If another seed would change nothing, because the search trained no network by itself.
        """
        if self.epochs is not None:
            training = spec.recipe.model_copy(update={"epochs": self.epochs})
            spec = spec.model_copy(update={"training": training, "accuracy": AccuracySpec()})
        elif self.seed:
            _check_trains(spec)
        return spec if not self.seed else spec.model_copy(update={"seed": seed32(spec.seed, "training", self.seed)})

    def file(self, trial: FrozenTrial, images: ImageSet) -> str:
        """Name of the file of its weights."""
        own = checkpoint_of(trial)
        parts = [Path(own).stem if own else str(trial.user_attrs["design_hash"])]
        parts += [f"{self.epochs}-epochs"] if self.epochs else []
        parts += [f"{len(images.train[1])}-images"] if self.epochs else []
        parts += [f"seed-{self.seed}"] if self.seed else []
        parts += [self.design.content_hash] if self.design.content_hash != trial.user_attrs["design_hash"] else []
        return f"{'-'.join(parts)}.pt"


def _check_trains(spec: StudySpec) -> None:
    if spec.training == "none" or spec.accuracy.source == "supernet":
        where = "are given (training: none)" if spec.training == "none" else "come from a supernet"
        raise ValueError(f"the weights of this study {where}, so that nothing is trained; add --epochs N")


def log_training(spec: StudySpec, trial: FrozenTrial, epochs: int | None, folder: Path) -> Path:
    """Train a trial's network as in the search, or alone for `epochs`, and write the course of the training.

    Returns:
        A CSV file with loss and learning rate of each step, in a folder of the trial in `folder`.

    Raises:
        ValueError: If the search trained no network by itself and `epochs` is None.
    """
    images, design = load_images(spec.dataset), design_of(spec, trial)
    training = Training(epochs=epochs, seed=0, design=design).spec(spec)
    if epochs is None:
        _check_trains(spec)
    log = folder / f"{trial.number}"
    trained_network(design, training, draws_of(trial), images, log=log)
    return log / "metrics.csv"


def retrained_network(
    spec: StudySpec,
    trial: FrozenTrial,
    checkpoints: Path,
    images: ImageSet,
    training: Training,
    known: Mapping[str, str],
) -> tuple[nn.Module, dict[str, str]]:
    """A trial's network trained again; kept beside its checkpoint, and read from there next time.

    Args:
        spec, trial, checkpoints, images, training: What is trained, and where it is kept.
        known: Name of a file -> its checksum, of those that were kept before.

    Returns:
        The network, and the name of its file with the file's checksum.

    Raises:
        ValueError: If the file is damaged, or another one than was kept.
    """
    path = checkpoints / training.file(trial, images)
    if path.is_file():
        checksum = checksum_of(path.read_bytes())
        if known.get(path.name, checksum) != checksum:
            raise ValueError(f"{path} is another file than was kept; put it back, or remove it to train it again")
        return load_checkpoint(training.design, path), {path.name: checksum}
    network = new_network(training.spec(spec), draws_of(trial), training.design, images)
    return network, {path.name: save_checkpoint(network, path)}


def draws_of(trial: FrozenTrial) -> int:
    """Number that seeded a trial's random draws: its own; for a late result, that of the trial given up."""
    return int(trial.user_attrs.get("late_result_of", trial.number))


def new_network(spec: StudySpec, number: int, design: DesignPoint, images: ImageSet) -> nn.Module:
    """Train and calibrate a design's network with the random draws of trial `number`; see `check_supernet`."""
    check_supernet(spec)
    network = trained_network(design, spec, number, images)
    calibrate(network, images.train[0][:CALIBRATION_IMAGES])
    return network


def check_supernet(spec: StudySpec) -> None:
    """Raise ValueError if the study takes weights from a supernet whose file is gone."""
    if spec.accuracy.source == "supernet" and spec.accuracy.checkpoint is None:
        raise ValueError("the supernet of this study is not in its output folder; keep supernet-*.pt there")


def moved_network(network: nn.Module, design: DesignPoint, images: ImageSet) -> nn.Module:
    """A trained network on a design's hardware, recalibrated if that is new; new cell errors alone keep the ranges."""
    moved = build_network(design).to(compute_device())
    moved.load_state_dict(network.state_dict())
    if noisy_layers(network)[0].accelerator != design.accelerator:
        calibrate(moved, images.train[0][:CALIBRATION_IMAGES])
    return moved.eval()


def with_device(design: DesignPoint, **changes: Any) -> DesignPoint:
    """The design with `changes` to its memory device. Raises ValueError if no cell can have them."""
    device = dataclasses.replace(design.accelerator.device, **changes)
    return dataclasses.replace(design, accelerator=dataclasses.replace(design.accelerator, device=device))


def scaled_sigma(design: DesignPoint, scale: float) -> DesignPoint:
    """The design with programming errors `scale` times the card's. Raises ValueError if no cell can have them."""
    device = design.accelerator.device
    if device.error_curves is not None:
        curves = tuple((u, tuple(scale * error for error in curve)) for u, curve in device.error_curves)
        return with_device(design, error_curves=curves)
    return with_device(design, programming_sigma=tuple(scale * coefficient for coefficient in device.programming_sigma))
