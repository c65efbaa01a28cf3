"""The study file: what is searched, how networks are trained and judged. Typed and strict, with a JSON schema."""

import dataclasses
import difflib
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from hw_models.accelerator import Accelerator
from hw_models.devices import CellDevice, load_card
from hw_models.errors import InfeasibleDesign
from pipeline.constraints import Constraint
from pipeline.metrics import METRICS
from pipeline.yaml_file import read_yaml

ABSENT = "absent"
_MOST_VALUES = 10_000  # assumed: of one parameter
SCHEMA_VERSION = 2  # of what a database holds; raise it when stored values change their meaning
Scalar = str | int | bool
Augmentation = Literal["none", "crop", "crop_and_flip"]


@dataclasses.dataclass(frozen=True, slots=True)
class Dimension:
    """The values that one parameter may take: a single one is fixed and not searched.

    Attributes:
        values: All allowed values, in order.
        is_range: Written as {low, high, step}; suggested as an integer and not as a category.
    """

    values: tuple[Scalar, ...]
    is_range: bool = False

    @property
    def is_fixed(self) -> bool:
        """Only one value is allowed."""
        return len(self.values) == 1

    def as_written(self) -> Scalar | list[Scalar] | dict[str, Scalar]:
        """The form of the study file."""
        if self.is_fixed:
            return self.values[0]
        if not self.is_range:
            return list(self.values)
        low, second = int(self.values[0]), int(self.values[1])
        return {"low": low, "high": int(self.values[-1]), "step": second - low}


@dataclasses.dataclass(frozen=True, slots=True)
class _Values:
    """Annotation that lets pydantic read a `Dimension` and describe it in the JSON schema.

    Attributes:
        item: JSON type of one value.
        low: Smallest whole number, if values are whole numbers.
        allow_absent: Whether "absent" is one of the choices.
    """

    item: str
    low: int | None = None
    allow_absent: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        as_written = core_schema.plain_serializer_function_ser_schema(Dimension.as_written)
        return core_schema.no_info_plain_validator_function(self.parse, serialization=as_written)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        item: dict[str, Any] = {"type": self.item}
        number = {"type": "integer"}
        bounds = {"type": "object", "properties": {"low": number, "high": number, "step": number}}
        ranges = [bounds | {"required": ["low", "high"], "additionalProperties": False}] if item == number else []
        choice = {"anyOf": [item, {"const": ABSENT}]} if self.allow_absent else item
        return {"anyOf": [choice, {"type": "array", "items": choice, "minItems": 1}, *ranges]}

    def parse(self, value: Any) -> Dimension:
        """Read a scalar, a list of choices, or {low, high, step}."""
        if isinstance(value, dict):
            dimension = Dimension(_range_values(value), is_range=True)
        else:
            dimension = Dimension(tuple(value) if isinstance(value, list) else (value,))
        if not dimension.values:
            raise ValueError("the list of choices is empty; name at least one")
        for index, choice in enumerate(dimension.values):
            self._check(choice)
            if choice in dimension.values[:index]:
                raise ValueError(f"choice {choice!r} stands twice")
        return dimension

    def _check(self, choice: Any) -> None:
        if self.allow_absent and choice == ABSENT:
            return
        expected: type[Any] = {"integer": int, "string": str, "boolean": bool}[self.item]
        if type(choice) is not expected:
            also = f" or {ABSENT!r}" if self.allow_absent else ""
            raise ValueError(f"each value must be of type {self.item}{also}, got {choice!r}")
        if self.low is not None and choice < self.low:
            raise ValueError(f"each value must be {self.low} or more, got {choice!r}")


def _range_values(bounds: dict[str, Any]) -> tuple[int, ...]:
    if not {"low", "high"} <= set(bounds) <= {"low", "high", "step"}:
        raise ValueError(f"a range is written {{low: ..., high: ..., step: ...}}, got {bounds}")
    low, high, step = bounds["low"], bounds["high"], bounds.get("step", 1)
    if not (type(low) is int and type(high) is int and type(step) is int and step >= 1):
        raise ValueError(f"low, high and step of a range must be whole numbers, step 1 or more, got {bounds}")
    if low > high:
        raise ValueError(f"the range from {low} to {high} is empty; low must not be above high")
    if (high - low) // step >= _MOST_VALUES:
        raise ValueError(f"the range from {low} to {high} has more than {_MOST_VALUES} values; use a larger step")
    return tuple(range(low, high + 1, step))


Text = Annotated[Dimension, _Values("string")]
Flag = Annotated[Dimension, _Values("boolean")]
Whole = Annotated[Dimension, _Values("integer", low=1)]
WholeOrZero = Annotated[Dimension, _Values("integer", low=0)]
WholeOrAbsent = Annotated[Dimension, _Values("integer", low=1, allow_absent=True)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DatasetSpec(_Strict):
    """Which images. The counts cut a split short; null takes all of it."""

    name: Literal["digits", "mnist", "fashion_mnist", "cifar10", "nuclei", "image_folder"] = "digits"
    data_dir: str | None = Field(
        None,
        description="Folder that `nacim data get` wrote; of image_folder, the folder with one folder of pictures for "
        "each class; not needed for digits.",
    )
    image_size: int | None = Field(
        None,
        ge=4,
        le=1024,
        description="Pixels of a side: of image_folder, to which pictures are resized; of nuclei 32, 64 or 128.",
    )
    channels: Literal[1, 3] | None = Field(
        None, description="Only for image_folder: 1 reads pictures as grey, 3 (or null) in colour."
    )
    train_images: int | None = Field(None, ge=1)
    validation_images: int | None = Field(None, ge=1)
    test_images: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _size_of_image_folders(self) -> "DatasetSpec":
        if self.name == "image_folder" and self.image_size is None:
            raise ValueError("image_size is missing: name the side, in pixels, that pictures are resized to")
        if self.name == "nuclei" and self.image_size not in (None, 32, 64, 128):
            raise ValueError(f"image_size of nuclei must be 32, 64 or 128, got {self.image_size}")
        if self.name not in ("image_folder", "nuclei") and self.image_size:
            raise ValueError(f"image_size belongs to image_folder and nuclei, remove it from {self.name}")
        if self.name != "image_folder" and self.channels:
            raise ValueError(f"channels belongs to image_folder, remove it from {self.name}")
        return self


class HardwareSpace(_Strict):
    """What is searched of the hardware. Each entry is one value (fixed), a list of choices, or {low, high, step}."""

    device: Text = Field(description="Names of cards that come with nacim, or paths of card files (.yaml).")
    tech_node_nm: Whole = Dimension((22,))
    crossbar_size: Whole = Dimension((128,))
    adc_bits: WholeOrZero = Dimension((8,))
    adc_type: Text = Dimension(("sar",))
    cols_per_adc: Whole = Dimension((8,))
    cell_bits: Whole = Field(
        Dimension((1,)), description="Bits of a cell. A device that holds fewer is used at what it holds."
    )
    weight_bits: Whole = Field(
        Dimension((8,)), description="Not used by layers with a fixed-point format of their own."
    )
    weight_encoding: Text = Dimension(("offset",))
    input_bits: Whole = Dimension((8,))
    mapping: Text = Dimension(("novel",))

    @model_validator(mode="after")
    def _each_value_is_possible(self) -> "HardwareSpace":
        base = Accelerator(
            device=load_card("fefet").device, crossbar_size=1024, cell_bits=1, weight_bits=8, input_bits=8, adc_bits=8
        )
        for card in self.device.values:
            if not isinstance(card, str):
                raise ValueError(f"device: must be names or paths of cards, got {card!r}")
        for name in type(self).model_fields:
            for value in () if name == "device" else getattr(self, name).values:
                try:
                    dataclasses.replace(base, **{name: value})
                except InfeasibleDesign:
                    continue
                except (ValueError, TypeError) as error:
                    raise ValueError(f"{name}: {error}") from error
        return self


class WeightFormatSpace(_Strict):
    """Fixed-point format of a layer's weights: sign, integer bits, fraction bits."""

    integer_bits: WholeOrZero = Dimension((0,))
    fraction_bits: WholeOrZero = Dimension((7,))


class ConvSpace(_Strict):
    """One convolution. `filters: [absent, 16, 32]` lets the search leave it out, its pooling and stride included."""

    filters: WholeOrAbsent
    kernel: Whole = Dimension((3,))
    stride: Whole = Dimension((1,))
    pool: Flag = Dimension((False,))
    weight_format: WeightFormatSpace | None = None


class HiddenSpace(_Strict):
    """One hidden fully connected layer; `absent` among the units lets the search leave it out."""

    units: WholeOrAbsent
    weight_format: WeightFormatSpace | None = None


class NetworkSpace(_Strict):
    """Convolutions, then hidden fully connected layers, then the classifier, whose size follows from the data set."""

    convs: list[ConvSpace] = []
    hidden: list[HiddenSpace] = []
    classifier_format: WeightFormatSpace | None = None
    batch_norm: bool = Field(True, description="Digital batch normalisation after each layer but the classifier.")


class TrainingSpec(_Strict):
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


class AccuracySpec(_Strict):
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


class VariationSpec(_Strict):
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


class EarlyStoppingSpec(_Strict):
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


class SamplerSpec(_Strict):
    """What proposes designs: docs/samplers.md. `population_size` and what follows it are for nsga2 and nsga3 only."""

    name: Literal["nsga2", "nsga3", "tpe", "gp", "random", "reinforce"] = "nsga2"
    population_size: int = Field(10, ge=2, le=10_000)
    mutation_probability: float | None = Field(None, ge=0, le=1, description="Null: one over the number of parameters.")
    candidates: int = Field(
        20,
        ge=1,
        le=1000,
        description="Children bred for each trial; the most promising at its known cost is tried. 1: plain NSGA.",
    )

    @model_validator(mode="after")
    def _settings_suit_the_sampler(self) -> "SamplerSpec":
        fields = type(self).model_fields
        unsuited = sorted(n for n in self.model_fields_set - {"name"} if getattr(self, n) != fields[n].default)
        if unsuited and self.name not in ("nsga2", "nsga3"):
            raise ValueError(f"{unsuited[0]} is no setting of {self.name}; leave it out, or name nsga2 or nsga3")
        return self


class StudySpec(_Strict):
    """One study file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    question: str = Field("", description="What the study is to find out; shown in the report.")
    seed: int = Field(0, ge=0, lt=2**32)
    trials: int = Field(60, ge=1, description="Trials that one run adds to the study.")
    objectives: list[str] = ["accuracy_mean", "tops_per_watt"]
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
            if name in ("accuracy_worst", "accuracy_p05") and self.variation.min_chips != self.variation.max_chips:
                raise ValueError(
                    f"objectives: {name} falls with the number of chips; for a fair comparison set variation.min_chips "
                    f"({self.variation.min_chips}) equal to variation.max_chips ({self.variation.max_chips})"
                )
        return self


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """A study file with its device cards read: all that a trial depends on.

    Attributes:
        path: The file.
        spec: What it says.
        devices: What the file calls a device -> the cell.
        sources: What the file calls a device -> field -> source.
    """

    path: Path
    spec: StudySpec
    devices: dict[str, CellDevice]
    sources: dict[str, dict[str, str]]

    def identity(self) -> dict[str, Any]:
        """Everything that the meaning of a trial depends on; two runs with equal identities may share a database."""
        plain: dict[str, Any] = self.spec.model_dump(mode="json")
        for free in ("trials", "question"):
            del plain[free]
        del plain["dataset"]["data_dir"]
        plain["devices"] = {name: device.to_dict() for name, device in self.devices.items()}
        return plain

    def with_supernet(self, path: Path) -> "Study":
        """The same study with its trained supernet at hand, which its identity does not name."""
        accuracy = self.spec.accuracy.model_copy(update={"checkpoint": str(path)})
        return dataclasses.replace(self, spec=self.spec.model_copy(update={"accuracy": accuracy}))

    @property
    def identity_hash(self) -> str:
        """Twelve hexadecimal digits of `identity`."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()[:12]


def load_study(path: Path, seed: int | None = None, data_dir: str | None = None) -> Study:
    """Read and check a study file and its device cards.

    Args:
        path: A YAML file.
        seed: In place of the file's.
        data_dir: In place of the file's `dataset.data_dir`.

    Raises:
        ValueError: One line that names the file, the key, the value, what is allowed and the way out.
    """
    content = read_yaml(path, "study")
    if not isinstance(content, dict):
        raise ValueError(f"{path}: a study file is a mapping with the keys {', '.join(StudySpec.model_fields)}")
    if seed is not None:
        content["seed"] = seed
    if data_dir is not None and isinstance(content.setdefault("dataset", {}), dict):
        content["dataset"] = content["dataset"] | {"data_dir": data_dir}
    try:
        spec = StudySpec.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{path}: {_first_problem(error)}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if spec.accuracy.checkpoint is not None:
        raise ValueError(f"{path}: unknown key 'accuracy.checkpoint'; a run finds the supernet in its output folder")
    devices: dict[str, CellDevice] = {}
    sources: dict[str, dict[str, str]] = {}
    for name in map(str, spec.hardware.device.values):
        beside = path.parent / name
        try:
            card = load_card(beside if beside.suffix in (".yaml", ".yml") else name)
        except ValueError as error:
            raise ValueError(f"{path}: hardware.device: {error}") from error
        if twin := next((other for other, device in devices.items() if device.name == card.device.name), None):
            raise ValueError(
                f"{path}: hardware.device: {twin} and {name} are both named {card.device.name!r}; "
                "change `name:` in one card"
            )
        devices[name], sources[name] = card.device, dict(card.sources)
    return Study(path=path, spec=spec, devices=devices, sources=sources)


def study_schema() -> dict[str, Any]:
    """JSON schema of a study file, for editors that complete and check YAML."""
    return StudySpec.model_json_schema()


def _offer(word: str, known: Any) -> str:
    nearest = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""


def _first_problem(error: ValidationError) -> str:
    """The first of pydantic's findings as one line."""
    problem = error.errors()[0]
    model: Any = StudySpec
    fields = _fields(model)
    parts: list[str] = []
    for part in problem["loc"]:
        if part == model.__name__:  # pydantic names the alternatives of a key, the file does not
            continue
        parts.append(str(part))
        fields = _fields(model)
        if part in fields:
            annotation = fields[part].annotation
            candidates = [annotation, *get_args(annotation)]
            model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), model)
    place = ".".join(parts)
    if problem["type"] == "extra_forbidden":
        return f"unknown key {place!r}{_offer(parts[-1], fields)}; allowed here: {', '.join(fields)}"
    if problem["type"] == "missing":
        return f"{place} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    shown = "" if problem["type"] == "value_error" else f", got {problem['input']!r}"
    return f"{place + ': ' if place else ''}{message}{shown}"


def _fields(model: type[BaseModel]) -> dict[Any, FieldInfo]:
    """What a file may say, by its name there."""
    return {field.alias or name: field for name, field in model.model_fields.items() if not field.exclude}
