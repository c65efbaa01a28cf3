"""The space of networks that a function builds: of one of nacim's families, or of a user's file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from pipeline.design.built_network import BuiltNetwork
from pipeline.file_function import hash_of
from pipeline.files import did_you_mean
from pipeline.networks.builders import FAMILIES, users_function
from pipeline.strict_model import StrictModel
from pipeline.study.spaces import Dimension, Scalar, Value, Whole


class BuiltSpace(StrictModel):
    """A network that a function builds from parameters. Each parameter is a value, a list of choices, or a range."""

    family: str | None = Field(
        None, description="One of nacim's families of networks.", json_schema_extra={"enum": [*FAMILIES]}
    )
    build: str | None = Field(
        None,
        description="FILE.py:FUNCTION in place of a family; the path starts in the study file's folder. The function "
        "gets the shape of an input, the number of outputs and the parameters by name, and returns a torch module.",
    )
    parameters: dict[str, Value] = Field({}, description="Arguments of the function, by name.")
    weight_bits: dict[str, Whole] = Field(
        {},
        description="Pattern of layer names, such as 'stages.2.*' -> bits of their weights. The first pattern that "
        "matches a layer decides; the others have hardware.weight_bits.",
    )
    allow_digital: list[str] = Field(
        [], description="Patterns of matrices that may stay digital; others that crossbars cannot compute are refused."
    )
    weights: str | None = Field(
        None,
        description="File of trained weights, written by torch.save(model.state_dict(), FILE). Training starts from "
        "them; with `training: none` they stay as they are.",
    )
    build_hash: SkipJsonSchema[str | None] = None  # of the file's content; this and what follows: set by `beside`
    weights_hash: SkipJsonSchema[str | None] = None
    folder: SkipJsonSchema[Path] = Field(Path(), exclude=True)  # of the study file

    @model_validator(mode="after")
    def _one_builder(self) -> "BuiltSpace":
        families = ", ".join(["plain", *FAMILIES])
        if (self.family is None) == (self.build is None):
            raise ValueError(f"name a family ({families}) or build: FILE.py:FUNCTION, exactly one of them")
        if self.family is not None and self.family not in FAMILIES:
            raise ValueError(f"no family {self.family!r}{did_you_mean(self.family, FAMILIES)}; choose from {families}")
        if self.build is not None:
            users_function(self.build)
        for pattern, dimension in self.weight_bits.items():
            for bits in dimension.values:
                if not 2 <= int(bits) <= 16:
                    raise ValueError(f"weight_bits of {pattern} must be 2 to 16, got {bits}")
        return self

    def beside(self, folder: Path) -> "BuiltSpace":
        """The space whose paths start in `folder`, with the hashes of its files as they are now.

        Raises:
            ValueError: If a file cannot be read.
        """
        known: dict[str, Any] = {"folder": folder}
        if self.build is not None:
            known["build_hash"] = hash_of(folder / users_function(self.build).file)
        if self.weights is not None:
            known["weights_hash"] = hash_of(folder / self.weights)
        return self.model_copy(update=known)

    def dimensions(self) -> dict[str, Dimension]:
        """Name of a search parameter -> its values."""
        parameters = {f"network_{name}": values for name, values in self.parameters.items()}
        return parameters | {f"weight_bits[{pattern}]": bits for pattern, bits in self.weight_bits.items()}

    def network(self, values: Mapping[str, Scalar], other_bits: int) -> BuiltNetwork:
        """The network of a set of values; `other_bits` are the bits of layers that no pattern matches."""
        bits = tuple((pattern, int(values[f"weight_bits[{pattern}]"])) for pattern in self.weight_bits)
        return BuiltNetwork(
            builder=str(self.family or self.build),
            file_hash=self.build_hash,
            parameters=tuple((name, values[f"network_{name}"]) for name in self.parameters),
            weight_bits=(*bits, ("*", other_bits)) if bits else (),
            allow_digital=tuple(self.allow_digital),
            folder=self.folder,
        )

    @property
    def weights_file(self) -> Path | None:
        """The file of trained weights, if the study names one."""
        return None if self.weights is None else self.folder / self.weights
