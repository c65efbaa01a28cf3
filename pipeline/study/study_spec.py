"""The study file: what is searched, how networks are trained and judged. Typed and strict, with a JSON schema."""

import difflib
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from pipeline.data.spec import Augmentation, DatasetSpec
from pipeline.design.constraints import Constraint
from pipeline.design.metrics import METRICS
from pipeline.strict_model import StrictModel
from pipeline.study.sampler_spec import SamplerSpec
from pipeline.study.spaces import HardwareSpace, NetworkSpace


class TrainingSpec(StrictModel):
    """How each network is trained."""

    epochs: int = Field(30, ge=1, le=10_000)
    batch_size: int = Field(64, ge=2, le=65_536)
    learning_rate: float = Field(5e-3, gt=0, le=1, description="Peak of the one-cycle schedule (Adam).")
    weight_decay: float = Field(0.0, ge=0, le=1)
    noise_strength: float = Field(
        1.0, ge=0, le=100, description="Weight noise in training, times the device's own; 0 is plain training."
    )
    noise_ramp: float = Field(
        0.0, ge=0, le=1, description="Share of the training over which the noise rises linearly to its strength."
    )
    augment: Augmentation = Field(
        "none", description="Shift each training image by up to an eighth of its side; and mirror half of them."
    )


class AccuracySpec(StrictModel):
    """Where the weights come from with which a design is judged."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    source: Literal["training", "supernet"] = Field(
        "training",
        alias="from",
        description="training: each network is trained on its own; supernet: it inherits from one training of all.",
    )
    supernet_epochs: int = Field(100, ge=1, le=100_000, description="Epochs of the supernet; one network a step.")
    fine_tune_epochs: int = Field(0, ge=0, le=1000, description="Epochs that each network is trained on from there.")
    checkpoint: str | None = Field(None, exclude=True, description="Set by the run: the trained supernet's file.")


class VariationSpec(StrictModel):
    """How accuracy under variation is measured."""

    min_chips: int = Field(8, ge=2)
    max_chips: int = Field(32, ge=2)
    half_width: float = Field(
        0.005, ge=0, lt=1, description="Chips are added until the 95 % interval of the mean is this narrow."
    )
    images_per_chip: int | None = Field(
        None, ge=1, description="Each chip classifies that many images of its own draw; null: all images."
    )
    fidelity: Literal["fast", "exact"] = "fast"
    drift_time_s: float | None = Field(
        None, gt=0, description="Time since programming; null: when the device's statistics hold."
    )
    recalibrate_batch_norm: bool = Field(False, description="Each chip takes its batch-normalisation statistics anew.")
    required_accuracy: float | None = Field(None, ge=0, le=1, description="Accuracy from which a chip counts as good.")

    @model_validator(mode="after")
    def _chips_in_order(self) -> "VariationSpec":
        if self.min_chips > self.max_chips:
            raise ValueError(f"min_chips {self.min_chips} must not be above max_chips {self.max_chips}")
        return self


class EarlyStoppingSpec(StrictModel):
    """When training is not worth going on: see docs/search.md."""

    quantile: float = Field(
        0.9,
        gt=0,
        le=1,
        description="Of what finished designs still gained after a checkpoint; a design that gains this much and would "
        "still be dominated is stopped.",
    )
    checkpoints: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        [0.2, 0.4, 0.6], min_length=1, description="Shares of the training after which accuracy is looked at."
    )


class StudySpec(StrictModel):
    """One study file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    question: str = Field("", description="What the study is to find out; shown in the report.")
    seed: int = Field(0, ge=0, lt=2**32)
    trials: int = Field(60, ge=1, description="Trials that one run adds to the study.")
    objectives: list[str] = Field(["accuracy_mean", "tops_per_watt"])
    constraints: list[str] = Field(
        [],
        description="Limits on what is known before training, such as 'area_mm2 <= 2.5'; a design that breaks one is "
        "not trained.",
    )
    dataset: DatasetSpec = DatasetSpec()
    hardware: HardwareSpace
    network: NetworkSpace
    training: TrainingSpec = TrainingSpec()
    accuracy: AccuracySpec = AccuracySpec()
    early_stopping: EarlyStoppingSpec | Literal[False] = Field(
        False, description="Settings ({} for the defaults), or false."
    )
    variation: VariationSpec = VariationSpec()
    sampler: SamplerSpec = SamplerSpec()

    @field_validator("constraints")
    @classmethod
    def _constraints_are_known(cls, texts: list[str]) -> list[str]:
        return [str(Constraint.parse(text)) for text in texts]

    @model_validator(mode="after")
    def _masks_need_convolutions(self) -> "StudySpec":
        if self.dataset.name == "nuclei" and (self.network.hidden or not self.network.convs):
            raise ValueError("network: masks come from convolutions; name convs and remove hidden")
        return self

    @model_validator(mode="after")
    def _objectives_are_measured(self) -> "StudySpec":
        if not self.objectives:
            raise ValueError(f"objectives: name at least one of {', '.join(METRICS)}")
        for index, name in enumerate(self.objectives):
            if name not in METRICS:
                raise ValueError(
                    f"objectives: {name!r} is not measured{_offer(name, METRICS)}; choose from {', '.join(METRICS)}"
                )
            if name in self.objectives[:index]:
                raise ValueError(f"objectives: {name!r} stands twice")
            if METRICS[name].falls_with_chips and self.variation.min_chips != self.variation.max_chips:
                raise ValueError(
                    f"objectives: {name} falls with the number of chips; for a fair comparison set variation.min_chips "
                    f"({self.variation.min_chips}) equal to variation.max_chips ({self.variation.max_chips})"
                )
        return self


def _offer(word: str, known: Any) -> str:
    nearest = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""
