"""A design of the search: the hardware and the network on it. Frozen, checked, to and from plain JSON."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from hw_models.accelerator import Accelerator
from hw_models.devices import DeviceCard, load_card
from hw_models.number_format import FixedPoint, check_whole
from pipeline.files import read_yaml


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageSpec:
    """What the network sees: channels, height and width of an image in pixels, and the number of classes.

    With `masks` each pixel has a class of its own (segmentation): the network is an encoder with its mirrored decoder.
    """

    channels: int
    height: int
    width: int
    classes: int
    masks: bool = False

    def __post_init__(self) -> None:
        for field in ("channels", "height", "width"):
            check_whole(f"image {field}", getattr(self, field), 1, 4096)
        check_whole("classes", self.classes, 2, 100_000)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ConvSpec:
    """A convolution, its ReLU and, if `pool`, a 2x2 max pooling. Padding keeps the size at stride 1.

    Attributes:
        filters: Output channels, 1 to 4096.
        kernel: Side of the square kernel, odd, 1 to 15.
        stride: Step in pixels, 1 to 8.
        weight_format: None, in any layer, scales codes to the weights' rms.
    """

    filters: int
    kernel: int
    stride: int = 1
    pool: bool = False
    weight_format: FixedPoint | None = None

    def __post_init__(self) -> None:
        check_whole("filters", self.filters, 1, 4096)
        check_whole("kernel", self.kernel, 1, 15)
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, so that padding keeps the image centred, got {self.kernel}")
        check_whole("stride", self.stride, 1, 8)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class HiddenSpec:
    """A hidden fully connected layer with ReLU: `units` outputs, 1 to 65536. Layer i is stored as `fc{i}`."""

    units: int
    weight_format: FixedPoint | None = None

    def __post_init__(self) -> None:
        check_whole("units", self.units, 1, 65536)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DesignPoint:
    """The hardware and the network of one trial.

    Attributes:
        accelerator: The hardware; cost model and noisy layers read this same record.
        convs, hidden: In order. A classifier with `image.classes` outputs follows them.
        batch_norm: Whether a digital batch normalisation follows each layer but the classifier.
    """

    accelerator: Accelerator
    image: ImageSpec
    convs: tuple[ConvSpec, ...] = ()
    hidden: tuple[HiddenSpec, ...] = ()
    classifier_format: FixedPoint | None = None
    batch_norm: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; `from_dict` gives an equal design back."""
        return dataclasses.asdict(self) | {"accelerator": self.accelerator.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "DesignPoint":
        """The inverse of `to_dict`. Unknown or missing keys raise a TypeError, values out of range a ValueError."""
        return cls(
            accelerator=Accelerator.from_dict(values["accelerator"]),
            image=ImageSpec(**values["image"]),
            convs=tuple(ConvSpec(**(each | {"weight_format": _format(each)})) for each in values.get("convs", ())),
            hidden=tuple(HiddenSpec(**(each | {"weight_format": _format(each)})) for each in values.get("hidden", ())),
            classifier_format=_format(values, "classifier_format"),
            batch_norm=values.get("batch_norm", True),
        )

    @property
    def content_hash(self) -> str:
        """Twelve hexadecimal digits that two designs share only if all their values are equal."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def load_design(path: Path) -> DesignPoint:
    """Read a design file: YAML or JSON in the form of `DesignPoint.to_dict`.

    `accelerator.device` may be a card's name or path in place of its values.

    Raises:
        ValueError: If the file cannot be read or a value is out of its range; names the file and the key.
    """
    values = read_yaml(path, "design")
    try:
        device = values["accelerator"]["device"]
        if isinstance(device, str):
            values["accelerator"]["device"] = card_beside(path, device).device.to_dict()
        return DesignPoint.from_dict(values)
    except KeyError as error:
        raise ValueError(f"{path}: key {error.args[0]!r} is missing") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a design: {str(error).split('__init__() ')[-1]}") from error
    except ValueError as error:
        raise type(error)(f"{path}: {error}") from error


def card_beside(path: Path, name: str) -> DeviceCard:
    """The card that a study or design file names: one of nacim's, or a path relative to that file's folder.

    Raises:
        CardError: If there is no such card, or it is not valid.
    """
    return load_card(path.parent / name if Path(name).suffix in (".yaml", ".yml") else name)


def _format(values: dict[str, Any], key: str = "weight_format") -> FixedPoint | None:
    return FixedPoint(**values[key]) if values.get(key) else None
