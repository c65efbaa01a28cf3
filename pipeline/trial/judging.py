"""The chips and images on which a network is judged: all of them after training, fewer midway."""

import dataclasses

import torch
from torch import Tensor, nn

from pipeline.analog.calibration import CALIBRATION_IMAGES, calibrate
from pipeline.analog.copies import copy_of
from pipeline.data.batches import ImageSet
from pipeline.design.pareto import StoppingRule
from pipeline.design.results import VariationReport, accuracies
from pipeline.study.study_spec import StudySpec
from pipeline.trial.batch_norm import RECALIBRATION_IMAGES
from pipeline.trial.variation import accuracy_under_variation

_MIDWAY_IMAGES = 200  # assumed: validation images per checkpoint during training
_MIDWAY_CALIBRATION_IMAGES = 32  # assumed: training images that calibrate the network for it
_MIDWAY_CHIPS = 2  # assumed: chips per checkpoint


@dataclasses.dataclass(frozen=True, slots=True)
class Judging:
    """The chips and images on which a network is judged: those of the study file, or midway fewer."""

    images: ImageSet
    spec: StudySpec
    midway: bool

    @property
    def calibration(self) -> Tensor:
        """Training images that fix ranges, (n, channels, height, width)."""
        return self.images.train[0][: _MIDWAY_CALIBRATION_IMAGES if self.midway else CALIBRATION_IMAGES]

    def reports(self, network: nn.Module, test: bool = True) -> list[VariationReport]:
        """Accuracy of a calibrated network over chips, one report for each split: validation, and test if asked for."""
        (x, labels), variation = self.images.validation, self.spec.variation
        if self.midway:
            chips = {"min_chips": _MIDWAY_CHIPS, "max_chips": _MIDWAY_CHIPS}
            x, labels, variation = x[:_MIDWAY_IMAGES], labels[:_MIDWAY_IMAGES], variation.model_copy(update=chips)
        splits = [(x, labels), self.images.test] if test else [(x, labels)]
        recalibration = self.images.train[0][:RECALIBRATION_IMAGES]
        task = self.images.task
        return accuracy_under_variation(network, splits, variation, self.spec.seed, recalibration, None, task)


class Midway:
    """Measures a network at a rule's checkpoints without changing its training.

    Attributes:
        curve: One record a checkpoint: `epoch` and the accuracies of `METRICS`, on few chips and images.
        stopped: The rule's verdict that stopped the training, or None.
    """

    def __init__(self, rule: StoppingRule | None, images: ImageSet, spec: StudySpec) -> None:
        self._rule, self._images, self._spec = rule, images, spec
        self.curve: list[dict[str, float]] = []
        self.stopped: dict[str, float] | None = None

    def __call__(self, network: nn.Module, epoch: int) -> bool:
        if self._rule is None or epoch not in self._rule.checkpoints:
            return False
        judging = Judging(self._images, self._spec, midway=True)
        with torch.random.fork_rng():
            network = copy_of(network)
            calibrate(network, judging.calibration)
            accuracy = accuracies(*judging.reports(network, test=False))  # test images must not steer the search
        self.curve.append({"epoch": epoch} | accuracy)
        self.stopped = self._rule.verdict(epoch, accuracy)
        return self.stopped is not None

    @property
    def judging(self) -> Judging:
        """How to judge the network after its training: as midway if the training was stopped."""
        return Judging(self._images, self._spec, midway=self.stopped is not None)
