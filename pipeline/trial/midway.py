"""A look at a network during its training."""

import copy

import torch
from torch import nn

from pipeline.analog.calibration import calibrate
from pipeline.data.batches import ImageSet, Split
from pipeline.design.results import accuracies
from pipeline.design.stopping_rule import StoppingRule
from pipeline.study.study_spec import StudySpec, VariationSpec
from pipeline.trial.batch_norm import RECALIBRATION_IMAGES
from pipeline.trial.variation import accuracy_under_variation

_MIDWAY_IMAGES = 200  # assumed: validation images of a look during training
MIDWAY_CALIBRATION_IMAGES = 32  # assumed: training images that fix its ranges
_MIDWAY_CHIPS = 2  # assumed: chips of one


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
        calibrate(network, train[:MIDWAY_CALIBRATION_IMAGES])
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
