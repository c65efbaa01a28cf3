"""Which data set a study uses."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.data.data_set import DataSet
from pipeline.data.sets import DATA_SETS
from pipeline.strict_model import KeyOf, StrictModel

Augmentation = Literal["none", "crop", "crop_and_flip"]


class DatasetSpec(StrictModel):
    """Which images. The counts cut a split short; null takes all of it."""

    name: Annotated[str, KeyOf(DATA_SETS)] = "digits"
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

    @property
    def data_set(self) -> DataSet:
        """The data set named."""
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
