"""What a study file says about its data: a data set's name or a function that makes one, and the task. No torch."""

from typing import Annotated, Any, Literal, get_args

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from hw_models.errors import shown
from pipeline.data.data_set import DataSet
from pipeline.data.sets import DATA_SETS
from pipeline.file_function import FileFunction
from pipeline.files import did_you_mean
from pipeline.strict_model import KeyOf, StrictModel

Augmentation = Literal["none", "crop", "crop_and_flip", "shift_and_alternate"]
TaskName = Literal["classification", "binary", "multilabel", "segmentation", "foreground_segmentation", "regression"]
SCORES: dict[str, str] = {  # what is measured, for people
    "classification": "accuracy",
    "binary": "accuracy",
    "multilabel": "mean average precision",
    "segmentation": "mean IoU",
    "foreground_segmentation": "mean IoU of class 1",
    "regression": "R2",
}
_EACH_INPUT = ("classification", "binary", "foreground_segmentation")  # whose score is a mean over inputs
_OF_MASKS = ("segmentation", "foreground_segmentation")
_OF_BUILT = ("parameters", "outputs")  # keys that belong to `build`
_OF_NAMED = ("name", "image_size", "channels")  # keys that do not


class OwnTask(StrictModel):
    """A user's own loss and score: `loss(outputs, labels)` gives a scalar tensor, `score(outputs, labels)` a number
    for all inputs or one for each, larger for better."""

    loss: FileFunction
    score: FileFunction

    def __str__(self) -> str:
        return self.score.written


class DatasetSpec(StrictModel):
    """Inputs of a study and what is learnt from them. The counts limit each split; null takes all of it."""

    name: Annotated[str, KeyOf(DATA_SETS)] = "digits"
    build: FileFunction | None = Field(
        None,
        description="In place of a name: FILE.py:FUNCTION that gives train, validation and test; see docs/data.md.",
    )
    parameters: dict[str, Any] = Field({}, description="Only with build: arguments of the function, by name.")
    task: TaskName | OwnTask | None = Field(
        None,
        description="What is learnt: loss and score. null: classification, or foreground_segmentation for nuclei.",
    )
    outputs: int | None = Field(
        None, ge=1, le=100_000, description="Only with build: outputs of the network; null: as the labels have it."
    )
    ignore_index: int | None = Field(None, description="Only for segmentation: value in masks that does not count.")
    data_dir: str | None = Field(
        None,
        description="Folder that `nacim data get` wrote; for image_folder, the folder with one folder of pictures for "
        "each class; not needed for digits.",
    )
    image_size: int | None = Field(
        None,
        ge=4,
        le=1024,
        description="Side in pixels. image_folder: pictures are resized to it. nuclei: 32, 64 or 128.",
    )
    channels: Literal[1, 3] | None = Field(
        None, description="Only for image_folder: 1 reads pictures as grey, 3 (or null) in colour."
    )
    train_images: int | None = Field(None, ge=1)
    validation_images: int | None = Field(None, ge=1)
    test_images: int | None = Field(None, ge=1)

    @field_validator("task", mode="before")
    @classmethod
    def _task_is_known(cls, task: Any, info: ValidationInfo) -> Any:
        """Pydantic's own messages about alternatives take several lines."""
        if isinstance(task, str) and task not in get_args(TaskName):
            known = get_args(TaskName)
            raise ValueError(f"must be one of {', '.join(known)}, got {shown(task)}{did_you_mean(task, known)}")
        if not isinstance(task, dict):
            return task
        if set(task) != {"loss", "score"}:
            raise ValueError(
                f"a task of your own is {{loss: FILE.py:FUNCTION, score: FILE.py:FUNCTION}}, got {shown(task)}"
            )
        folder = (info.context or {}).get("folder")
        return OwnTask(**{key: FileFunction.parse(value, folder) for key, value in task.items()})

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @property
    def title(self) -> str:
        """The data set's name, or the function that makes it."""
        return self.build.written if self.build else self.name

    @property
    def data_set(self) -> DataSet:
        """The named data set; there is none where a function builds the data."""
        assert self.build is None
        return DATA_SETS[self.name]

    @property
    def the_task(self) -> TaskName | OwnTask:
        """The task, the data set's own if the study names none."""
        if self.task is not None:
            return self.task
        return "foreground_segmentation" if self.build is None and self.data_set.masks else "classification"

    @property
    def score_name(self) -> str:
        """What is measured, for people: `accuracy`, `mean IoU` or the function of a user's score."""
        return self.the_task.score.function if isinstance(self.the_task, OwnTask) else SCORES[self.the_task]

    @property
    def scores_each_input(self) -> bool:
        """Whether the score is a mean of scores from 0 to 1 of each input."""
        return self.the_task in _EACH_INPUT

    @property
    def masks(self) -> bool:
        """Whether each pixel has a class, as far as the study file tells."""
        return self.the_task in _OF_MASKS or (self.build is None and self.data_set.masks)

    @property
    def is_users_own(self) -> bool:
        """Whether only its content identifies the data."""
        return self.build is not None or self.data_set.is_users_own

    @model_serializer(mode="wrap")
    def _without_keys_of_other_data(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Studies of named data sets are stored as they were before there were others."""
        values: dict[str, Any] = handler(self)
        left_out = _OF_NAMED if self.build else ("build", *_OF_BUILT)
        also = [name for name in ("task", "ignore_index") if values[name] is None]
        return {name: value for name, value in values.items() if name not in (*left_out, *also)}

    @model_validator(mode="after")
    def _options_suit_the_data_set(self) -> "DatasetSpec":
        for name in _OF_NAMED if self.build else _OF_BUILT:
            if name in self.model_fields_set and getattr(self, name) not in (None, {}):
                belongs = "a named data set, not to build" if self.build else "build, not to a named data set"
                raise ValueError(f"{name} belongs to {belongs}; remove it")
        if self.ignore_index is not None and self.the_task != "segmentation":
            raise ValueError("ignore_index belongs to task segmentation; remove it")
        if self.build is None:
            self._check_named(self.data_set)
        elif isinstance(self.task, OwnTask) and self.outputs is None:
            raise ValueError("outputs is missing: with a loss of your own, say how many outputs the network has")
        return self

    def _check_named(self, data_set: DataSet) -> None:
        """The options and the task that a named data set allows."""
        if data_set.needs_side and self.image_size is None:
            raise ValueError("image_size is missing: name the side, in pixels, that pictures are resized to")
        for option in ("image_size", "channels"):
            if getattr(self, option) is not None and option not in data_set.options:
                takers = [name for name, each in DATA_SETS.items() if option in each.options]
                raise ValueError(f"{option} belongs to {' and '.join(sorted(takers))}, remove it from {self.name}")
        *others, last = data_set.sides or (None,)
        if self.image_size is not None and last is not None and self.image_size not in data_set.sides:
            allowed = f"{', '.join(map(str, others))} or {last}"
            raise ValueError(f"image_size of {self.name} must be {allowed}, got {self.image_size}")
        tasks = _OF_MASKS if data_set.masks else ("classification", "binary")
        if not isinstance(self.the_task, OwnTask) and self.the_task not in tasks:
            raise ValueError(f"task of {self.name} must be {' or '.join(tasks)}, got {self.task}")
