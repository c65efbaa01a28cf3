"""What a study file says about the training of its networks."""

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, ValidationInfo, field_validator, model_serializer

from pipeline.data.spec import Augmentation
from pipeline.strict_model import StrictModel

Optimizer = Literal["adam", "sgd", "muon"]
_FIRST_KEYS = ("epochs", "batch_size", "learning_rate", "weight_decay", "noise_strength", "noise_ramp", "augment")


class TrainingSpec(StrictModel):
    """How each network is trained."""

    epochs: int = Field(30, ge=1, le=10_000)
    batch_size: int = Field(64, ge=2, le=65_536)
    optimizer: Optimizer = Field(
        "adam",
        description="sgd: with Nesterov momentum; muon: orthogonalised steps for the filters of convolutions, Adam for "
        "all else.",
    )
    learning_rate: float = Field(5e-3, gt=0, le=10, description="Peak of the one-cycle schedule.")
    warm_up: float = Field(0.3, gt=0, lt=1, description="Share of training over which the learning rate rises.")
    bias_rate: float = Field(
        1.0, gt=0, le=1000, description="Learning rate of batch-norm biases as a multiple of learning_rate."
    )
    weight_decay: float = Field(0.0, ge=0, le=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Share of each label that all classes divide.")
    ema: float = Field(
        0.0, ge=0, lt=1, description="Decay a step of the moving average that replaces the weights at the end; 0: none."
    )
    clip_weights: bool = Field(
        False, description="After each step, cut the weights of each layer at 2.5 times their root mean square."
    )
    unit_filters: bool = Field(
        False,
        description="Keep each filter of convolutions without a bias, which batch normalisation follows, at norm 1.",
    )
    noise_strength: float = Field(
        1.0, ge=0, le=100, description="Weight noise in training as a multiple of the device's own; 0: plain training."
    )
    noise_start: float = Field(0.0, ge=0, lt=1, description="Share of training before the noise sets in.")
    noise_ramp: float = Field(
        0.0, ge=0, le=1, description="Share of training over which the noise, once it sets in, rises linearly."
    )
    fresh_ranges: bool = Field(
        False,
        description="Have calibration choose the input ranges, in place of those that followed the batches of "
        "training, which large batches make too wide.",
    )
    augment: Augmentation = Field(
        "none",
        description="crop: shift training images by up to an eighth; crop_and_flip: also mirror half of them; "
        "shift_and_alternate: shift by up to a sixteenth with reflected edges, and mirror each in every second epoch.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Of products and activations in training. bfloat16 also lays images out channels last: faster on "
        "processors and GPUs that compute with it. The measurement stays in float32.",
    )

    @field_validator("learning_rate")
    @classmethod
    def _suits_the_optimizer(cls, rate: float, info: ValidationInfo) -> float:
        if info.data.get("optimizer") == "adam" and rate > 1:
            raise ValueError(f"must be at most 1 with optimizer adam, got {rate}")
        return rate

    @field_validator("noise_ramp")
    @classmethod
    def _noise_reaches_its_strength(cls, ramp: float, info: ValidationInfo) -> float:
        if info.data.get("noise_start", 0) + ramp > 1:
            raise ValueError(f"must not exceed 1 together with noise_start, got {info.data['noise_start']} and {ramp}")
        return ramp

    @model_serializer(mode="wrap")
    def _with_later_keys_that_are_set(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Keys that databases of earlier releases do not have are left out at their defaults."""
        fields = type(self).model_fields
        written: dict[str, Any] = write(self)
        return {key: value for key, value in written.items() if key in _FIRST_KEYS or value != fields[key].default}

    @property
    def changed_later_keys(self) -> list[str]:
        """Keys beside those that every training knows, supernets included, which are not at their defaults."""
        return [key for key in self.model_dump() if key not in _FIRST_KEYS]
