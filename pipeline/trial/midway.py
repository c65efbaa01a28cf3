"""A look at a network during its training."""

import copy
import dataclasses

import torch
from torch import nn

from pipeline.analog.calibration import calibrate
from pipeline.data.batches import ImageSet
from pipeline.design.pareto import StoppingRule
from pipeline.design.results import accuracies
from pipeline.study.study_spec import StudySpec
from pipeline.trial.judging import Judging


class Midway:
    """Measures a network at a rule's checkpoints without changing its training.

    Attributes:
        curve: One record a checkpoint: `epoch` and the accuracies of `METRICS`, on few chips and images.
        stopped: The rule's verdict, or None.
    """

    def __init__(self, rule: StoppingRule | None, images: ImageSet, spec: StudySpec) -> None:
        self._rule = rule
        judging = Judging.midway(images, spec)
        self._judging = dataclasses.replace(judging, splits=judging.splits[:1])  # test images have no say
        self.curve: list[dict[str, float]] = []
        self.stopped: dict[str, float] | None = None

    def __call__(self, network: nn.Module, epoch: int) -> bool:
        if self._rule is None or epoch not in self._rule.checkpoints:
            return False
        with torch.random.fork_rng():
            accuracy = self._accuracies(copy.deepcopy(network))
        self.curve.append({"epoch": epoch} | accuracy)
        self.stopped = self._rule.verdict(epoch, accuracy)
        return self.stopped is not None

    def _accuracies(self, network: nn.Module) -> dict[str, float]:
        calibrate(network, self._judging.calibration)
        (report,) = self._judging.reports(network)
        return accuracies(report)
