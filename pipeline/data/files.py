"""A study's images as files: found, checked and read into arrays. No torch here, so that a run can check them first."""

from pathlib import Path

from pipeline.data.data_set import Part, data_folder
from pipeline.data.spec import DatasetSpec
from pipeline.design.design_point import ImageSpec


def image_of(spec: DatasetSpec) -> ImageSpec:
    """Size of a data set's images and number of its classes.

    Raises:
        DataError: If the classes of an image folder cannot be counted.
    """
    image = spec.data_set.image
    return image if isinstance(image, ImageSpec) else image(spec.data_dir, spec.image_size, spec.channels)


def read_parts(spec: DatasetSpec) -> dict[str, Part]:
    """Images and labels of the parts `train`, `test` and maybe `validation`, or `all` of a set that has no parts.

    Raises:
        DataError: If a file is missing or damaged.
    """
    own = spec.data_set.folder
    folder = Path() if own is None else data_folder(spec.name, spec.data_dir) / own
    return spec.data_set.read(folder, image_of(spec))


def check_data(spec: DatasetSpec) -> None:
    """Make sure that a study's data set is there and whole.

    Raises:
        DataError: If it is not.
    """
    if spec.data_set.folder is not None:
        read_parts(spec)
