"""Measure a finished trial again, from its checkpoint or by training it again with the same draws."""

from pathlib import Path

import torch
from optuna.trial import FrozenTrial

from pipeline.analog_layers import calibrate
from pipeline.data import load_images
from pipeline.design_point import DesignPoint
from pipeline.objective import CALIBRATION_IMAGES, RECALIBRATION_IMAGES, load_checkpoint, trained_network
from pipeline.results import VariationReport
from pipeline.study_spec import StudySpec, VariationSpec
from pipeline.variation import accuracy_under_variation


def reevaluate(
    spec: StudySpec, trial: FrozenTrial, checkpoints: Path, variation: VariationSpec
) -> tuple[VariationReport, VariationReport]:
    """Accuracy over simulated chips of a finished trial, on validation and test images.

    Args:
        spec: The study; its seed decides the chips.
        trial: A complete trial.
        checkpoints: Folder of trained weights; without the trial's file its network is trained again, which gives the
            same weights on the same versions.
        variation: Chips, fidelity and drift time of this measurement.
    """
    torch.set_num_threads(1)  # as in the workers: sums in the same order, the same weights
    design = DesignPoint.from_dict(trial.user_attrs["design"])
    images = load_images(spec.dataset)
    path = checkpoints / str(trial.user_attrs["checkpoint"])
    if path.is_file():
        network = load_checkpoint(design, path)
    else:
        number = trial.user_attrs.get("late_result_of", trial.number)  # whose draws it had
        network = trained_network(design, spec, number, images)
        calibrate(network, images.train[0][:CALIBRATION_IMAGES])
    recalibration = images.train[0][:RECALIBRATION_IMAGES]
    splits = [images.validation, images.test]
    validation, test = accuracy_under_variation(network, splits, variation, spec.seed, recalibration)
    return validation, test
