"""On what a network is judged: chips, images, and training images that calibrate it. In full, or quickly midway."""

import dataclasses
from pathlib import Path

from torch import Tensor, nn

from pipeline.analog.calibration import CALIBRATION_IMAGES
from pipeline.data.batches import ImageSet, Split
from pipeline.design.results import VariationReport
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
        keeps_weights: Whether the weights deserve a checkpoint.
    """

    calibration: Tensor
    recalibration: Tensor
    splits: list[Split]
    variation: VariationSpec
    seed: int
    keeps_weights: bool

    @classmethod
    def full(cls, images: ImageSet, spec: StudySpec) -> "Judging":
        """As the study file says, for a finished training."""
        return cls(
            calibration=images.train[0][:CALIBRATION_IMAGES],
            recalibration=images.train[0][:RECALIBRATION_IMAGES],
            splits=[images.validation, images.test],
            variation=spec.variation,
            seed=spec.seed,
            keeps_weights=True,
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
            keeps_weights=False,
        )

    def reports(self, network: nn.Module) -> list[VariationReport]:
        """Accuracy of a calibrated network over chips, one report for each split."""
        return accuracy_under_variation(network, self.splits, self.variation, self.seed, self.recalibration)

    def kept(self, checkpoint: Path | None) -> Path | None:
        """Where the weights are kept; None keeps none."""
        return checkpoint if self.keeps_weights else None
