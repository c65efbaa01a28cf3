"""The data of a study as arrays, and what a network sees of them. No torch here, so that a run can check them first."""

import dataclasses
from pathlib import Path

from pipeline.data.data_set import DataError, Part, data_folder
from pipeline.data.dataset_spec import Augmentation, DatasetSpec
from pipeline.data.sets import DATA_SETS
from pipeline.design.design_point import ImageSpec
from pipeline.files import did_you_mean

__all__ = ["Augmentation", "DatasetSpec", "check_augmentation", "check_data", "data_keys", "image_of", "read_parts"]


def data_keys(data: str) -> dict[str, str]:
    """The keys of a study's `dataset` that name what a command's `--data` does.

    Raises:
        ValueError: If it is no folder, no `FILE.py:FUNCTION` and no data set's name.
    """
    if ".py:" in data:
        return {"build": data}
    if data in DATA_SETS:
        return {"name": data}
    if Path(data).is_dir():
        return {"name": "image_folder", "data_dir": data}
    raise ValueError(
        f"--data {data!r} is no folder, no FILE.py:FUNCTION and no data set{did_you_mean(data, DATA_SETS)}; "
        f"the data sets are {', '.join(DATA_SETS)}"
    )


def image_of(spec: DatasetSpec) -> ImageSpec:
    """Size of a data set's inputs and number of outputs.

    Raises:
        DataError: If a folder's classes cannot be counted, a function gives no data set, or a task needs two classes.
    """
    if spec.build is not None:
        from pipeline.data.built import described

        return described(spec)
    image = spec.data_set.image
    found = image if isinstance(image, ImageSpec) else image(spec.data_dir, spec.image_size, spec.channels)
    if spec.the_task != "binary":
        return found
    if found.classes != 2:
        raise DataError(f"task binary needs 2 classes, {spec.name} has {found.classes}; use classification")
    return dataclasses.replace(found, classes=1)


def read_parts(spec: DatasetSpec) -> dict[str, Part]:
    """Inputs and labels of the splits `train`, `test` and maybe `validation`, or of `all` if there are no splits.

    Raises:
        DataError: If a file is missing or damaged, or a function of the user's gives no data set.
    """
    if spec.build is not None:
        from pipeline.data.built import built_parts

        return built_parts(spec)
    own = spec.data_set.folder
    folder = Path() if own is None else data_folder(spec.name, spec.data_dir) / own
    return spec.data_set.read(folder, image_of(spec))


def check_augmentation(augment: Augmentation, shape: tuple[int, ...]) -> None:
    """Raise ValueError if inputs of this shape, without the batch, cannot be augmented so."""
    if augment != "none" and len(shape) != 3:
        raise ValueError(
            f"training.augment {augment!r} moves images (channels, height, width), inputs have the shape "
            f"{tuple(shape)}; set it to none"
        )


def check_data(spec: DatasetSpec) -> None:
    """Raise DataError if a study's data set is missing or damaged, or a function gives other data at each call."""
    if spec.build is not None:
        from pipeline.data.built import check_built

        check_built(spec)
    elif spec.data_set.folder is not None:
        read_parts(spec)
