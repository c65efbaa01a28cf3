"""Accuracy over simulated chips."""

from collections.abc import Iterator

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor, nn

from pipeline.analog_layers import Fidelity, program_chip
from pipeline.chips import Chip
from pipeline.results import VariationReport
from pipeline.study_spec import VariationSpec

_BATCH = 500  # images at a time; results do not depend on it


@torch.no_grad()
def accuracy_under_variation(
    model: nn.Module,
    splits: list[tuple[Tensor, Tensor]],
    spec: VariationSpec,
    study_seed: int,
    recalibration_images: Tensor | None = None,
) -> list[VariationReport]:
    """Accuracy of a calibrated model on simulated chips, one report for each split.

    Chips 0, 1, 2, ... of the study are tried until the 95 % interval of the first split's mean is within
    +-`spec.half_width`, at least `spec.min_chips` and at most `spec.max_chips` of them. All splits see the same chips.

    Args:
        model: A trained model with crossbar layers, after `analog_layers.calibrate`.
        splits: Pairs of images (n, channels, height, width) in 0 to 1 and labels (n,).
        spec: Number of chips, fidelity, drift time and so on.
        study_seed: The chips are functions of it and of their number.
        recalibration_images: With `spec.recalibrate_batch_norm`, the training images from which each chip's batch
            normalisation takes its statistics anew.
    """
    device = next(model.parameters()).device
    images = torch.cat([x for x, _ in splits]).to(device)
    labels = torch.cat([y for _, y in splits]).to(device)
    bounds = np.cumsum([0] + [len(y) for _, y in splits])

    def accuracies(chip: Chip, fidelity: Fidelity) -> list[float]:
        program_chip(model, chip, fidelity, spec.drift_time_s)
        if spec.recalibrate_batch_norm and recalibration_images is not None and not chip.ideal_cells:
            recalibrate_batch_norm(model, chip, recalibration_images.to(device))
        correct = torch.cat(
            [_logits(model, chip, images, part).argmax(1) == labels[part] for part in _parts(len(images))]
        )
        return [float(correct[a:b].float().mean()) for a, b in zip(bounds, bounds[1:], strict=False)]

    model.eval()
    statistics = {name: value.clone() for name, value in model.state_dict().items()}
    nominal = Chip.nominal()
    float_accuracy, noiseless = accuracies(nominal, "float"), accuracies(nominal, spec.fidelity)
    per_chip: list[list[float]] = []
    for index in range(spec.max_chips):
        per_chip.append(accuracies(Chip.number(study_seed, index), spec.fidelity))
        if spec.recalibrate_batch_norm:
            model.load_state_dict(statistics)
        if index + 1 >= spec.min_chips and _half_width([chip[0] for chip in per_chip]) <= spec.half_width:
            break
    return [
        summarize([chip[i] for chip in per_chip], noiseless[i], float_accuracy[i], len(y), spec)
        for i, (_, y) in enumerate(splits)
    ]


def summarize(
    per_chip: list[float], noiseless: float, float_accuracy: float, n_images: int, spec: VariationSpec
) -> VariationReport:
    """The statistics of a list of accuracies, one a chip."""
    mean = float(np.mean(per_chip))
    reach = _half_width(per_chip)
    good = None if spec.required_accuracy is None else float(np.mean(np.array(per_chip) >= spec.required_accuracy))
    return VariationReport(
        per_chip=tuple(per_chip),
        mean=mean,
        std=float(np.std(per_chip, ddof=1)) if len(per_chip) > 1 else 0.0,
        p05=float(np.percentile(per_chip, 5)),
        worst=min(per_chip),
        mean_low=max(0.0, mean - reach),
        mean_high=min(1.0, mean + reach),
        noiseless=noiseless,
        float_accuracy=float_accuracy,
        required=spec.required_accuracy,
        fraction_good=good,
        n_images=n_images,
        fidelity=spec.fidelity,
    )


@torch.no_grad()
def recalibrate_batch_norm(model: nn.Module, chip: Chip, images: Tensor) -> None:
    """Take batch-normalisation statistics anew on this chip: a digital correction of each column, no labels needed."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum, momentum = None, norm.momentum
        norm.train()
    for part in _parts(len(images)):
        _logits(model, chip, images, part)
    for norm in norms:
        norm.momentum = momentum
        norm.eval()


def _logits(model: nn.Module, chip: Chip, images: Tensor, part: slice) -> Tensor:
    chip.images = torch.arange(part.start, part.stop)
    logits: Tensor = model(images[part])
    return logits


def _parts(count: int) -> Iterator[slice]:
    for start in range(0, count, _BATCH):
        yield slice(start, min(start + _BATCH, count))


def _half_width(values: list[float]) -> float:
    """Half of the 95 % interval of the mean, Student's t; 1 for a single value, of which nothing is known."""
    if len(values) < 2:
        return 1.0
    return float(stdtrit(len(values) - 1, 0.975) * np.std(values, ddof=1) / np.sqrt(len(values)))
