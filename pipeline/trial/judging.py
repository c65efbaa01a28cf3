"""On what a network is judged: chips, images, and training images that calibrate it. In full, or quickly midway."""

import copy
import dataclasses

import torch
from torch import Tensor, nn

from pipeline.analog.calibration import CALIBRATION_IMAGES, calibrate
from pipeline.data.batches import ImageSet, Split
from pipeline.design.pareto import StoppingRule
from pipeline.design.results import VariationReport, accuracies
from pipeline.study.study_spec import StudySpec, VariationSpec
from pipeline.trial.batch_norm import RECALIBRATION_IMAGES
from pipeline.trial.variation import accuracy_under_variation

_MIDWAY_IMAGES = 200  # assumed: validation images of a look during training
_MIDWAY_CALIBRATION_IMAGES = 32  # assumed: training images that fix its ranges
_MIDWAY_CHIPS = 2  # assumed: chips of one


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Judging:
    """What a network is judged on.

    Attributes:
        calibration: Training images that fix ranges, (n, channels, height, width).
        recalibration: Training images of each chip's batch-norm recalibration, (n, channels, height, width).
        splits: Images and labels: validation, then test.
        variation: Chips, fidelity and so on.
        seed: Of the study; it decides the chips.
    """

    calibration: Tensor
    recalibration: Tensor
    splits: list[Split]
    variation: VariationSpec
    seed: int

    @classmethod
    def full(cls, images: ImageSet, spec: StudySpec) -> "Judging":
        """As the study file says, for a finished training."""
        return cls(
            calibration=images.train[0][:CALIBRATION_IMAGES],
            recalibration=images.train[0][:RECALIBRATION_IMAGES],
            splits=[images.validation, images.test],
            variation=spec.variation,
            seed=spec.seed,
        )

    @classmethod
    def midway(cls, images: ImageSet, spec: StudySpec) -> "Judging":
        """Fewer chips and images, for a network in training or one whose training was stopped."""
        x, labels = images.validation
        chips = {"min_chips": _MIDWAY_CHIPS, "max_chips": _MIDWAY_CHIPS}
        return dataclasses.replace(
            cls.full(images, spec),
            calibration=images.train[0][:_MIDWAY_CALIBRATION_IMAGES],
            splits=[(x[:_MIDWAY_IMAGES], labels[:_MIDWAY_IMAGES]), images.test],
            variation=spec.variation.model_copy(update=chips),
        )

    def reports(self, network: nn.Module) -> list[VariationReport]:
        """Accuracy of a calibrated network over chips, one report for each split."""
        return accuracy_under_variation(network, self.splits, self.variation, self.seed, self.recalibration)


class Midway:
    """Measures a network at a rule's checkpoints without changing its training.

    Attributes:
        curve: One record a checkpoint: `epoch` and the accuracies of `METRICS`, on few chips and images.
        stopped: The rule's verdict, or None.
    """

    def __init__(self, rule: StoppingRule | None, images: ImageSet, spec: StudySpec) -> None:
        self._rule, self._images, self._spec = rule, images, spec
        self.curve: list[dict[str, float]] = []
        self.stopped: dict[str, float] | None = None

    def __call__(self, network: nn.Module, epoch: int) -> bool:
        if self._rule is None or epoch not in self._rule.checkpoints:
            return False
        judging = Judging.midway(self._images, self._spec)
        judging = dataclasses.replace(judging, splits=judging.splits[:1])  # test images have no say
        with torch.random.fork_rng():
            network = copy.deepcopy(network)
            calibrate(network, judging.calibration)
            accuracy = accuracies(*judging.reports(network))
        self.curve.append({"epoch": epoch} | accuracy)
        self.stopped = self._rule.verdict(epoch, accuracy)
        return self.stopped is not None

    @property
    def judging(self) -> Judging:
        """On what the network is judged after its training: quickly if that was stopped."""
        return (Judging.midway if self.stopped else Judging.full)(self._images, self._spec)
