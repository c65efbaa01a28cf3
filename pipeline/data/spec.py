"""Which data set a study uses."""

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from pipeline.strict_model import StrictModel

Part = tuple[np.ndarray, np.ndarray]


class DataError(ValueError):
    """A data set that is missing or damaged; the message names the file and the way out."""


Augmentation = Literal["none", "crop", "crop_and_flip"]


class DatasetSpec(StrictModel):
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
