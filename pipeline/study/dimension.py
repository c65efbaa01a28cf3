"""The values that one parameter of a study may take."""

import dataclasses
from typing import Annotated, Any

from pydantic_core import CoreSchema, core_schema

ABSENT = "absent"
_MOST_VALUES = 10_000  # of one parameter; assumed
Scalar = str | int | bool


@dataclasses.dataclass(frozen=True, slots=True)
class Dimension:
    """The values that one parameter may take. A single value is fixed and not searched.

    Attributes:
        values: All allowed values, in order.
        is_range: The study file writes {low, high, step}; Optuna gets an integer range instead of categories.
    """

    values: tuple[Scalar, ...]
    is_range: bool = False

    @property
    def is_fixed(self) -> bool:
        """Only one value is allowed."""
        return len(self.values) == 1

    def as_written(self) -> Scalar | list[Scalar] | dict[str, Scalar]:
        """The values as the study file writes them."""
        if self.is_fixed:
            return self.values[0]
        if not self.is_range:
            return list(self.values)
        low, second = int(self.values[0]), int(self.values[1])
        return {"low": low, "high": int(self.values[-1]), "step": second - low}


@dataclasses.dataclass(frozen=True, slots=True)
class _Values:
    """Tells pydantic how to read a `Dimension` and how to describe it in the JSON schema.

    Attributes:
        item: JSON type of one value.
        low: Smallest allowed number, if values are whole numbers.
        allow_absent: Whether "absent" is one of the choices.
    """

    item: str
    low: int | None = None
    allow_absent: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        as_written = core_schema.plain_serializer_function_ser_schema(Dimension.as_written)
        return core_schema.no_info_plain_validator_function(self.parse, serialization=as_written)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        item: dict[str, Any] = {"type": self.item}
        number = {"type": "integer"}
        bounds = {"type": "object", "properties": {"low": number, "high": number, "step": number}}
        ranges = [bounds | {"required": ["low", "high"], "additionalProperties": False}] if item == number else []
        choice = {"anyOf": [item, {"const": ABSENT}]} if self.allow_absent else item
        return {"anyOf": [choice, {"type": "array", "items": choice, "minItems": 1}, *ranges]}

    def parse(self, value: Any) -> Dimension:
        """Read a scalar, a list of choices, or {low, high, step}."""
        if isinstance(value, dict):
            dimension = Dimension(_range_values(value), is_range=True)
        else:
            dimension = Dimension(tuple(value) if isinstance(value, list) else (value,))
        if not dimension.values:
            raise ValueError("the list of choices is empty; name at least one")
        for index, choice in enumerate(dimension.values):
            self._check(choice)
            if choice in dimension.values[:index]:
                raise ValueError(f"choice {choice!r} stands twice")
        return dimension

    def _check(self, choice: Any) -> None:
        if self.allow_absent and choice == ABSENT:
            return
        expected: type[Any] = {"integer": int, "string": str, "boolean": bool}[self.item]
        if type(choice) is not expected:
            also = f" or {ABSENT!r}" if self.allow_absent else ""
            raise ValueError(f"each value must be of type {self.item}{also}, got {choice!r}")
        if self.low is not None and choice < self.low:
            raise ValueError(f"each value must be {self.low} or more, got {choice!r}")


def _range_values(bounds: dict[str, Any]) -> tuple[int, ...]:
    if not {"low", "high"} <= set(bounds) <= {"low", "high", "step"}:
        raise ValueError(f"a range is written {{low: ..., high: ..., step: ...}}, got {bounds}")
    low, high, step = bounds["low"], bounds["high"], bounds.get("step", 1)
    if not (type(low) is int and type(high) is int and type(step) is int and step >= 1):
        raise ValueError(f"low, high and step of a range must be whole numbers, step 1 or more, got {bounds}")
    if low > high:
        raise ValueError(f"the range from {low} to {high} is empty; low must not be above high")
    if (high - low) // step >= _MOST_VALUES:
        raise ValueError(f"the range from {low} to {high} has more than {_MOST_VALUES} values; use a larger step")
    return tuple(range(low, high + 1, step))


Text = Annotated[Dimension, _Values("string")]
Flag = Annotated[Dimension, _Values("boolean")]
Whole = Annotated[Dimension, _Values("integer", low=1)]
WholeOrZero = Annotated[Dimension, _Values("integer", low=0)]
WholeOrAbsent = Annotated[Dimension, _Values("integer", low=1, allow_absent=True)]
