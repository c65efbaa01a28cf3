"""The hardware of a design file, or of a file with the accelerator alone. No torch."""

from pathlib import Path

from hw_models.accelerator import Accelerator
from pipeline.design.design_point import ImageSpec, card_beside
from pipeline.files import read_yaml


def load_hardware(path: Path) -> tuple[Accelerator, ImageSpec | None]:
    """Read the accelerator of a YAML or JSON file, and the design's input if the file has one.

    The file is a design file, or has the key `accelerator` alone, or the accelerator's own keys. `device` is a card's
    name, a path that starts in the file's folder, or a card's values.

    Raises:
        ValueError: If the file cannot be read, or a value is out of its range; names the file and the key.
    """
    values = read_yaml(path, "hardware")
    if not isinstance(values, dict):
        raise ValueError(f"{path}: not a hardware file; it must have the key accelerator, as a design file does")
    if "hardware" in values:
        raise ValueError(
            f"{path}: a study's choices are not one hardware; give a design file, which nacim export writes, or one "
            "with the key accelerator"
        )
    try:
        parts = dict(values.get("accelerator", values))
        if isinstance(parts["device"], str):
            parts["device"] = card_beside(path, parts["device"]).device.to_dict()
        image = ImageSpec.from_dict(values["image"]) if "image" in values else None
        return Accelerator.from_dict(parts), image
    except KeyError as error:
        raise ValueError(f"{path}: key {error.args[0]!r} of the accelerator is missing") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a hardware file: {str(error).split('__init__() ')[-1]}") from error
    except ValueError as error:
        raise type(error)(f"{path}: {error}") from error
