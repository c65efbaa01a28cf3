"""A design of the search: the hardware and the network on it. Frozen, checked, to and from plain JSON."""

import dataclasses
import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

from hw_models.accelerator import Accelerator
from hw_models.devices import DeviceCard, load_card
from hw_models.errors import shown
from hw_models.number_format import FixedPoint, check_whole
from pipeline.design.built_network import BuiltNetwork
from pipeline.files import did_you_mean, read_yaml


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageSpec:
    """What the network sees and how many outputs it has.

    Attributes:
        channels, height, width: Of an image, in pixels. For an input with a `shape` they are its number of values, 1
            and 1: a fully connected network sees it as a vector.
        classes: Number of outputs: classes, or labels, or targets; 1 for a single logit.
        masks: Each pixel has outputs of its own (segmentation): the network is an encoder with its mirrored decoder.
        shape: Sizes of one input that is no image, such as (100, 12) for 100 steps of 12 values; None: an image.
        integers: The inputs are whole numbers, such as indices of words, which an embedding must look up.
    """

    channels: int
    height: int
    width: int
    classes: int
    masks: bool = False
    shape: tuple[int, ...] | None = None
    integers: bool = False

    def __post_init__(self) -> None:
        if self.shape is None:
            for field in ("channels", "height", "width"):
                check_whole(f"image {field}", getattr(self, field), 1, 4096)
        else:
            for size in self.shape:
                check_whole("each size of an input's shape", size, 1, 2**24)
            if (self.channels, self.height, self.width) != (math.prod(self.shape), 1, 1):
                raise ValueError(
                    f"an input of shape {self.shape} has channels {math.prod(self.shape)}, height 1 and width 1, got "
                    f"{self.channels}, {self.height} and {self.width}; use ImageSpec.of_shape"
                )
        check_whole("classes", self.classes, 1, 100_000)
        for field in ("masks", "integers"):
            _check_flag(f"image {field}", getattr(self, field))

    @classmethod
    def of_shape(cls, shape: tuple[int, ...], outputs: int, integers: bool = False) -> "ImageSpec":
        """The record of inputs that are no images, one of the sizes `shape`; attributes as above."""
        channels = math.prod(shape)
        return cls(channels=channels, height=1, width=1, classes=outputs, shape=tuple(shape), integers=integers)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Sizes of one input, without the dimension of the batch."""
        return (self.channels, self.height, self.width) if self.shape is None else self.shape

    @property
    def outputs(self) -> int:
        """Number of outputs of the network, for each pixel with `masks`."""
        return self.classes

    def to_dict(self) -> dict[str, Any]:
        """Plain values; what only inputs that are no images have is left out for images."""
        values = dataclasses.asdict(self)
        own = {} if self.shape is None else {"shape": list(self.shape), "integers": self.integers}
        return {name: value for name, value in values.items() if name not in ("shape", "integers")} | own

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ImageSpec":
        """The inverse of `to_dict`."""
        shape = values.get("shape")
        return cls(**(values | {"shape": None if shape is None else tuple(shape)}))


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
        _check_flag("pool", self.pool)


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
        convs, hidden: In order. A classifier with `image.outputs` outputs follows them.
        batch_norm: Whether a digital batch normalisation follows each layer but the classifier.
        network: A network that a function builds, in place of `convs` and what follows it; None: there is none.
    """

    accelerator: Accelerator
    image: ImageSpec
    convs: tuple[ConvSpec, ...] = ()
    hidden: tuple[HiddenSpec, ...] = ()
    classifier_format: FixedPoint | None = None
    batch_norm: bool = True
    network: BuiltNetwork | None = None

    def __post_init__(self) -> None:
        _check_flag("batch_norm", self.batch_norm)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; `from_dict` gives an equal design back."""
        parts = {"accelerator": self.accelerator.to_dict(), "image": self.image.to_dict()}
        if self.network is not None:
            return parts | {"network": self.network.to_dict()}
        plain = dataclasses.asdict(self) | parts
        del plain["network"]
        return plain

    @classmethod
    def from_dict(cls, values: dict[str, Any], folder: Path = Path()) -> "DesignPoint":
        """The inverse of `to_dict`. Unknown or missing keys raise a TypeError, values out of range a ValueError.

        `folder` is where the path of a network's file starts.
        """
        if unknown := [key for key in values if key not in {field.name for field in dataclasses.fields(cls)}]:
            raise TypeError(f"unexpected key {shown(unknown[0])}")
        built = values.get("network")
        return cls(
            accelerator=Accelerator.from_dict(values["accelerator"]),
            image=ImageSpec.from_dict(values["image"]),
            convs=tuple(ConvSpec(**(each | {"weight_format": _format(each)})) for each in values.get("convs", ())),
            hidden=tuple(HiddenSpec(**(each | {"weight_format": _format(each)})) for each in values.get("hidden", ())),
            classifier_format=_format(values, "classifier_format"),
            batch_norm=values.get("batch_norm", True),
            network=BuiltNetwork.from_dict(built, folder) if built else None,
        )

    @property
    def content_hash(self) -> str:
        """Twelve hexadecimal digits that two designs share only if all their values are equal."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def load_design(path: Path) -> DesignPoint:
    """Read a design file: YAML or JSON in the form of `DesignPoint.to_dict`.

    `accelerator.device` may be a card's name or path in place of its values. Paths start in the file's folder.

    Raises:
        ValueError: If the file cannot be read or a value is out of its range; names the file and the key.
    """
    values = read_yaml(path, "design")
    try:
        device = values["accelerator"]["device"]
        if isinstance(device, str):
            values["accelerator"]["device"] = card_beside(path, device).device.to_dict()
        return DesignPoint.from_dict(values, path.parent)
    except KeyError as error:
        raise ValueError(f"{path}: key {error.args[0]!r} is missing") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a design: {_in_terms_of_keys(str(error))}") from error
    except ValueError as error:
        raise type(error)(f"{path}: {error}") from error


def _in_terms_of_keys(problem: str) -> str:
    """Python's words on the arguments of a record, as a file's reader knows them."""
    told = problem.split("__init__() ")[-1][:120]
    if found := re.fullmatch(r"got an unexpected keyword argument '(\w+)'", told):
        known = [field.name for record in (Accelerator, ConvSpec, HiddenSpec) for field in dataclasses.fields(record)]
        return f"unknown key {found[1]!r}{did_you_mean(found[1], known)}"
    return re.sub(r"missing \d+ required keyword-only arguments?:", "missing:", told)


def card_beside(path: Path, name: str) -> DeviceCard:
    """The card that a study or design file names: one of nacim's, or a path relative to that file's folder.

    Raises:
        CardError: If there is no such card, or it is not valid.
    """
    return load_card(path.parent / name if Path(name).suffix in (".yaml", ".yml") else name)


def _check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {shown(value)}")


def _format(values: dict[str, Any], key: str = "weight_format") -> FixedPoint | None:
    return FixedPoint(**values[key]) if values.get(key) else None
