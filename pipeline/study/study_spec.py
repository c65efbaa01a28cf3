"""What a study file says: the search, the training and the measurement. Typed and strict, with a JSON schema."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from hw_models.errors import shown
from hw_models.silicon import Macro
from pipeline.data.spec import DatasetSpec
from pipeline.design.constraints import Constraint
from pipeline.design.metrics import METRICS
from pipeline.files import did_you_mean, listed
from pipeline.strict_model import StrictModel
from pipeline.study.built_space import BuiltSpace
from pipeline.study.calibrate_spec import CalibrateSpec
from pipeline.study.sampler_spec import SamplerSpec
from pipeline.study.spaces import HardwareSpace, NetworkSpace
from pipeline.study.training_spec import TrainingSpec

_NAME_LENGTH = 120  # its files' names add up to 120 characters; the usual file systems allow 255


class AccuracySpec(StrictModel):
    """Where a network's weights come from before its accuracy is measured."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    source: Literal["training", "supernet"] = Field(
        "training", alias="from", description="training: train each network; supernet: slice them from one supernet."
    )
    supernet_epochs: int = Field(100, ge=1, le=100_000, description="Each step trains one network of the supernet.")
    fine_tune_epochs: int = Field(0, ge=0, le=1000, description="Of each network, after its weights are sliced.")
    checkpoint: str | None = Field(None, exclude=True, description="File of the trained supernet; the run sets it.")


class VariationSpec(StrictModel):
    """How accuracy under variation is measured."""

    min_chips: int = Field(8, ge=2)
    max_chips: int = Field(32, ge=2)
    half_width: float = Field(
        0.005, ge=0, lt=1, description="Chips are added until the mean's 95 % interval is at most this on each side."
    )
    images_per_chip: int | None = Field(None, ge=1, description="Random images that each chip classifies; null: all.")
    fidelity: Literal["fast", "exact"] = "fast"
    drift_time_s: float | None = Field(
        None, gt=0, description="Time from programming to reading; null: the card's drift_t0_s."
    )
    recalibrate_batch_norm: bool = Field(False, description="Measure batch-norm statistics again on each chip.")
    required_accuracy: float | None = Field(None, ge=0, le=1, description="Chips that reach it count as good.")

    @model_validator(mode="after")
    def _chips_in_order(self) -> "VariationSpec":
        if self.min_chips > self.max_chips:
            raise ValueError(f"min_chips {self.min_chips} must not be above max_chips {self.max_chips}")
        return self


class EarlyStoppingSpec(StrictModel):
    """When a training ends early: docs/search.md."""

    quantile: float = Field(
        0.9,
        gt=0,
        le=1,
        description="Quantile of what finished designs gained after a checkpoint. A design that would be dominated "
        "even with such a gain is stopped.",
    )
    checkpoints: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        [0.2, 0.4, 0.6], min_length=1, description="Shares of the training after which accuracy is measured."
    )


def _kind_of_network(value: Any) -> str:
    """Which class reads a network: `BuiltSpace` if a function builds it."""
    if isinstance(value, dict):
        return "BuiltSpace" if "build" in value or value.get("family", "plain") != "plain" else "NetworkSpace"
    return type(value).__name__ if isinstance(value, BuiltSpace) else "NetworkSpace"


AnyNetwork = Annotated[
    Annotated[NetworkSpace, Tag("NetworkSpace")] | Annotated[BuiltSpace, Tag("BuiltSpace")],
    Discriminator(_kind_of_network),
]


class StudySpec(StrictModel):
    """One study file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=_NAME_LENGTH)
    question: str = Field("", description="What the study should find out; the report shows it.")
    seed: int = Field(0, ge=0, lt=2**32)
    trials: int = Field(60, ge=1, le=1_000_000, description="Trials that each run adds.")
    objectives: list[str] = Field(["accuracy_mean", "tops_per_watt"])
    constraints: list[str] = Field(
        [], description="Limits on cost, such as 'area_mm2 <= 2.5'. Designs that break one are not trained."
    )
    dataset: DatasetSpec = DatasetSpec()
    hardware: HardwareSpace
    network: AnyNetwork
    training: TrainingSpec | Literal["none"] = Field(
        TrainingSpec(), description="Settings, or none: the weights of network.weights stay as they are."
    )
    accuracy: AccuracySpec = AccuracySpec()
    floor: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Accuracy (mean over chips) below which a design is on no front and counts for no superlative, "
        "ranking, importance or hypervolume; null: half-way from chance to the best found. It changes no trial.",
    )
    early_stopping: EarlyStoppingSpec | Literal[False] = Field(False, description="Settings ({}: defaults), or false.")
    variation: VariationSpec = VariationSpec()
    calibrate: CalibrateSpec | None = Field(
        None, description="A measured macro of your own, to which the silicon estimate of its family is scaled."
    )
    sampler: SamplerSpec = SamplerSpec()

    @field_validator("objectives")
    @classmethod
    def _objectives_are_metrics(cls, names: list[str]) -> list[str]:
        allowed = listed(METRICS)
        if not names:
            raise ValueError(f"name at least one of {allowed}")
        for name in names:
            if name not in METRICS:
                raise ValueError(f"{shown(name)} is not measured{did_you_mean(name, METRICS)}; choose from {allowed}")
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is listed twice")
        return names

    @field_validator("constraints")
    @classmethod
    def _constraints_are_known(cls, texts: list[str]) -> list[str]:
        return [str(Constraint.parse(text)) for text in texts]

    @model_validator(mode="after")
    def _parts_suit_one_another(self) -> "StudySpec":
        plain = self.network if isinstance(self.network, NetworkSpace) else None
        if self.dataset.masks and plain and (plain.hidden or not plain.convs):
            raise ValueError("network: masks come from convolutions; name convs and remove hidden")
        if self.training == "none":
            self._check_without_training()
        elif self.dataset.train_images == 1:
            raise ValueError("dataset.train_images must be 2 or more, got 1: batch normalisation compares images")
        if self.recipe.label_smoothing and self.dataset.the_task != "classification":
            raise ValueError(
                f"training: label_smoothing needs classes of whole inputs, got the task {self.dataset.the_task}; leave "
                "it out"
            )
        if self.accuracy.source == "supernet" and not plain:
            raise ValueError(
                "accuracy: a supernet slices its weights for the layers of the family plain alone; train each network "
                "(accuracy: {from: training}), or describe the network by convs and hidden"
            )
        if self.accuracy.source == "supernet" and (keys := self.recipe.changed_later_keys):
            raise ValueError(
                f"training: a supernet is trained by Adam and knows no {keys[0]}; leave it out, or train each network "
                "(accuracy: {from: training})"
            )
        low, high = self.variation.min_chips, self.variation.max_chips
        for name in self.objectives:
            if METRICS[name].falls_with_chips and low != high:
                raise ValueError(
                    f"objectives: {name} falls with the number of chips; for a fair comparison set "
                    f"variation.min_chips ({low}) equal to variation.max_chips ({high})"
                )
        return self

    def _check_without_training(self) -> None:
        if not isinstance(self.network, BuiltSpace) or self.network.weights is None:
            raise ValueError("training: none needs trained weights; name their file as network.weights, beside build")
        if self.early_stopping:
            raise ValueError("early_stopping: there is no training that could be stopped; leave it out")

    @property
    def calibrated_by(self) -> dict[Macro, float]:
        """Measured macros that scale the silicon estimate."""
        return self.calibrate.measured if self.calibrate else {}

    @property
    def recipe(self) -> TrainingSpec:
        """How a network is trained; the defaults if the study trains none, for follow-ups that do."""
        return TrainingSpec() if self.training == "none" else self.training
