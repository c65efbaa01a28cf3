"""A network that a function builds from parameters, as a design holds it: frozen, to and from plain JSON."""

import dataclasses
import fnmatch
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hw_models.errors import shown
from hw_models.number_format import check_whole

_LONGEST_NAME = 120  # characters; assumed
Value = str | int | float | bool  # of a parameter


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BuiltNetwork:
    """A network of one of nacim's families, or of a function in a user's file. `pipeline.networks` builds it.

    Attributes:
        builder: A family's name, such as `resnet`, or `FILE.py:FUNCTION`.
        file_hash: Twelve hexadecimal digits of the file's content; None for a family, or to take the file as it is.
        parameters: (name, value) pairs in the order of the names; the function's defaults hold for others.
        weight_bits: (pattern, bits) pairs. The first pattern that matches a layer's name decides about its weights;
            without one they have the accelerator's bits. Patterns are those of shells: `stages.2.*`.
        allow_digital: Patterns of matrices that may stay digital, as in `pipeline.analog.to_analog`.
        folder: Where FILE's path starts. It is no part of the design: files may move.

    Raises:
        ValueError: If a value is no text, flag or finite number, or bits are not 2 to 16.
    """

    builder: str
    file_hash: str | None = None
    parameters: tuple[tuple[str, Value], ...] = ()
    weight_bits: tuple[tuple[str, int], ...] = ()
    allow_digital: tuple[str, ...] = ()
    folder: Path = dataclasses.field(default=Path(), compare=False)

    def __post_init__(self) -> None:
        names = [name for name, _ in (*self.parameters, *self.weight_bits)]
        for name in (self.builder, self.file_hash or "", *self.allow_digital, *names):
            if not isinstance(name, str) or len(name) > _LONGEST_NAME:
                most = f"of at most {_LONGEST_NAME} characters"
                raise ValueError(f"a builder, hash, name or pattern must be a text {most}, got {shown(name)}")
        for name, value in self.parameters:
            if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
                raise ValueError(f"parameter {name} must be a text, a flag or a finite number, got {shown(value)}")
        for pattern, bits in self.weight_bits:
            check_whole(f"weight_bits of {pattern}", bits, 2, 16)
        object.__setattr__(self, "parameters", tuple(sorted(self.parameters)))

    def bits_of(self, layer: str) -> int | None:
        """Bits of a layer's weights; None: those of the accelerator."""
        found = (bits for pattern, bits in self.weight_bits if fnmatch.fnmatchcase(layer, pattern))
        return next(found, None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; `from_dict` gives an equal network back."""
        return {
            "builder": self.builder,
            "file_hash": self.file_hash,
            "parameters": dict(self.parameters),
            "weight_bits": [list(pair) for pair in self.weight_bits],  # their order counts
            "allow_digital": list(self.allow_digital),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], folder: Path = Path()) -> "BuiltNetwork":
        """The inverse of `to_dict`, for a file whose path starts in `folder`.

        Raises:
            TypeError: If a key is unknown or missing.
            ValueError: If a value is out of its range.
        """
        lists = {
            "parameters": tuple(values.get("parameters", {}).items()),
            "weight_bits": tuple((pattern, bits) for pattern, bits in values.get("weight_bits", ())),
            "allow_digital": tuple(values.get("allow_digital", ())),
        }
        return cls(**{**values, **lists, "folder": folder})
