"""The hardware of a design file, or of a file with the accelerator alone. No torch."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from hw_models.accelerator import Accelerator
from pipeline.design.built_network import BuiltNetwork, Value
from pipeline.design.design_point import ImageSpec, card_beside
from pipeline.files import read_yaml


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class HardwareFile:
    """What a file says about hardware and, if it is a design file, about the network on it.

    Attributes:
        accelerator: The hardware.
        image: The design's input and outputs; None in a file with the accelerator alone.
        network: The design's network if a function builds it.
    """

    accelerator: Accelerator
    image: ImageSpec | None = None
    network: BuiltNetwork | None = None

    def network_of(
        self, builder: str, parameters: Mapping[str, Value], allow_digital: tuple[str, ...] = ()
    ) -> BuiltNetwork:
        """The network of a function, whose file is looked for in the working folder.

        If the design's network is built by a function of the same name in a file of the same name, its parameters and
        bits hold where `parameters` has no others.
        """
        own = self.network
        if own is None or Path(own.builder).name != Path(builder).name:
            return BuiltNetwork(builder=builder, parameters=tuple(parameters.items()), allow_digital=allow_digital)
        merged = tuple({**dict(own.parameters), **parameters}.items())
        allowed = (*own.allow_digital, *allow_digital)
        return BuiltNetwork(
            builder=builder, parameters=merged, weight_bits=own.weight_bits, allow_digital=allowed, folder=Path()
        )


def load_hardware(path: Path) -> HardwareFile:
    """Read the accelerator of a YAML or JSON file.

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
        return HardwareFile(
            accelerator=Accelerator.from_dict(parts),
            image=ImageSpec.from_dict(values["image"]) if values.get("image") else None,
            network=BuiltNetwork.from_dict(values["network"], path.parent) if values.get("network") else None,
        )
    except KeyError as error:
        raise ValueError(f"{path}: key {error.args[0]!r} of the accelerator is missing") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a hardware file: {str(error).split('__init__() ')[-1][:120]}") from error
    except ValueError as error:
        raise type(error)(f"{path}: {error}") from error
