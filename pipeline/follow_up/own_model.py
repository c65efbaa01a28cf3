"""A trained model of the user's own, which no study knows: its accuracy under variation, and its cost."""

import dataclasses
import warnings
from pathlib import Path

from hw_models.cost import CostReport
from pipeline.analog.calibration import CALIBRATION_IMAGES, calibrate
from pipeline.compute_device import compute_device
from pipeline.data.batches import load_images
from pipeline.data.dataset_spec import DatasetSpec
from pipeline.design.design_point import DesignPoint
from pipeline.design.results import VariationReport
from pipeline.networks.workload import cost_of, traced_network
from pipeline.study.study_spec import VariationSpec
from pipeline.trial.activity import measured_activity
from pipeline.trial.batch_norm import RECALIBRATION_IMAGES
from pipeline.trial.evaluate import ACTIVITY_IMAGES
from pipeline.trial.network import build_network
from pipeline.trial.variation import accuracy_under_variation


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class OwnMeasurement:
    """What was measured.

    Attributes:
        score: Name of the score that the reports hold, such as accuracy.
        validation, test: Over the simulated chips.
        cost: At the activity measured on training images; None: an ideal converter, which has no cost.
        uncounted: Digital operations whose cost is not known, and not charged.
    """

    score: str
    validation: VariationReport
    test: VariationReport
    cost: CostReport | None
    uncounted: tuple[str, ...]


def measure_own_model(
    design: DesignPoint, weights: Path, dataset: DatasetSpec, variation: VariationSpec, seed: int
) -> OwnMeasurement:
    """Put a trained model on a design's crossbars, calibrate it on training images, and measure it.

    Args:
        design: Hardware, input, and the function that builds the model.
        weights: Its state dict, as `torch.save(model.state_dict(), path)` writes it.
        dataset: Training images calibrate; validation and test images judge.
        variation: Number of chips, fidelity and so on.
        seed: With a chip's number it seeds the chip.

    Raises:
        ValueError: If the model or its weights cannot be read, or outputs or labels do not suit the task.
    """
    assert design.network is not None, "a function builds the model"
    images = load_images(dataset)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is not charged is in the result
        uncounted = traced_network(design.network, design.image).uncounted
    network = build_network(design, weights).to(compute_device()).eval()
    calibrate(network, images.train[0][:CALIBRATION_IMAGES])
    cost = None
    if design.accelerator.adc_bits is not None or design.accelerator.readout == "digital":
        cost = cost_of(design, measured_activity(network, images.train[0][:ACTIVITY_IMAGES]))
    splits = [images.validation, images.test]
    recalibration = images.train[0][:RECALIBRATION_IMAGES]
    validation, test = accuracy_under_variation(network, splits, variation, seed, recalibration, task=images.task)
    return OwnMeasurement(
        score=images.task.score_name, validation=validation, test=test, cost=cost, uncounted=uncounted
    )
