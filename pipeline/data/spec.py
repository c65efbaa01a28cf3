"""Which data set a study uses, and its images as arrays. No torch here, so that a run can check them first."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.data.data_set import DataSet, Part, data_folder
from pipeline.data.sets import DATA_SETS
from pipeline.design.design_point import ImageSpec
from pipeline.strict_model import KeyOf, StrictModel

Augmentation = Literal["none", "crop", "crop_and_flip"]


class DatasetSpec(StrictModel):
    """Images of a study. The counts limit each split; null takes all of it."""

    name: Annotated[str, KeyOf(DATA_SETS)] = "digits"
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

    @property
    def data_set(self) -> DataSet:
        return DATA_SETS[self.name]

    @model_validator(mode="after")
    def _options_suit_the_data_set(self) -> "DatasetSpec":
        if self.data_set.needs_side and self.image_size is None:
            raise ValueError("image_size is missing: name the side, in pixels, that pictures are resized to")
        for option in ("image_size", "channels"):
            if getattr(self, option) is not None and option not in self.data_set.options:
                takers = [name for name, data_set in DATA_SETS.items() if option in data_set.options]
                raise ValueError(f"{option} belongs to {' and '.join(sorted(takers))}, remove it from {self.name}")
        *others, last = self.data_set.sides or (None,)
        if self.image_size is not None and last is not None and self.image_size not in self.data_set.sides:
            allowed = f"{', '.join(map(str, others))} or {last}"
            raise ValueError(f"image_size of {self.name} must be {allowed}, got {self.image_size}")
        return self


def image_of(spec: DatasetSpec) -> ImageSpec:
    """Size of a data set's images and number of classes. Raises DataError if a folder's classes cannot be counted."""
    image = spec.data_set.image
    return image if isinstance(image, ImageSpec) else image(spec.data_dir, spec.image_size, spec.channels)


def read_parts(spec: DatasetSpec) -> dict[str, Part]:
    """Images and labels of the splits `train`, `test` and maybe `validation`, or of `all` if there are no splits.

    Raises:
        DataError: If a file is missing or damaged.
    """
    own = spec.data_set.folder
    folder = Path() if own is None else data_folder(spec.name, spec.data_dir) / own
    return spec.data_set.read(folder, image_of(spec))


def check_data(spec: DatasetSpec) -> None:
    """Raise DataError if a study's data set is missing or damaged."""
    if spec.data_set.folder is not None:
        read_parts(spec)
