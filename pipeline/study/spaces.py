"""What is searched: the values that each parameter may take, in the hardware and in the network."""

import dataclasses
import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import CoreSchema, core_schema

from hw_models.accelerator import Accelerator
from hw_models.devices import load_card
from hw_models.errors import InfeasibleDesign, shown
from pipeline.strict_model import StrictModel

ABSENT = "absent"
_MOST_VALUES = 10_000  # of one parameter; assumed
Scalar = str | int | float | bool
_TYPES: dict[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "boolean": (bool,),
    "scalar": (str, int, float, bool),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Dimension:
    """The values that one parameter may take. A single value is fixed and not searched.

    Attributes:
        values: All allowed values, in order: scalars, or None (`null`) where the rest of the hardware may decide.
        is_range: The study file writes {low, high, step}; Optuna gets an integer range instead of categories.
    """

    values: tuple[Any, ...]
    is_range: bool = False

    @property
    def is_fixed(self) -> bool:
        """Whether only one value is allowed."""
        return len(self.values) == 1

    def as_written(self) -> Any:
        """The values as the study file writes them."""
        if self.is_fixed:
            return self.values[0]
        if not self.is_range:
            return list(self.values)
        low, second = int(self.values[0]), int(self.values[1])
        return {"low": low, "high": int(self.values[-1]), "step": second - low}


@dataclasses.dataclass(frozen=True, slots=True)
class _Values:
    """Tells pydantic how to read a `Dimension` and how to describe it in the JSON schema."""

    item: str  # JSON type of one value; `scalar` is any
    low: int | None = None  # smallest allowed number
    allow_absent: bool = False
    allow_null: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        as_written = core_schema.plain_serializer_function_ser_schema(Dimension.as_written)
        return core_schema.no_info_plain_validator_function(self.parse, serialization=as_written)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        any_type = ["string", "integer", "number", "boolean"]
        item: dict[str, Any] = {"type": any_type if self.item == "scalar" else self.item}
        if self.allow_null:
            item = {"type": [self.item, "null"]}
        number = {"type": "integer"}
        bounds = {"type": "object", "properties": {"low": number, "high": number, "step": number}}
        has_ranges = self.item in ("integer", "scalar")
        ranges = [bounds | {"required": ["low", "high"], "additionalProperties": False}] if has_ranges else []
        choice = {"anyOf": [item, {"const": ABSENT}]} if self.allow_absent else item
        return {"anyOf": [choice, {"type": "array", "items": choice, "minItems": 1}, *ranges]}

    def parse(self, value: Any) -> Dimension:
        """Read a scalar, a list of choices, or {low, high, step}."""
        is_range = isinstance(value, dict)
        values = _range_values(value) if is_range else tuple(value) if isinstance(value, list) else (value,)
        if not values:
            raise ValueError("the list of choices is empty; name at least one")
        if len(values) > _MOST_VALUES:
            raise ValueError(f"the list has {len(values)} choices; name at most {_MOST_VALUES}")
        known: set[Scalar] = set()
        for choice in values:
            self._check(choice)
            if choice in known:
                raise ValueError(f"choice {shown(choice)} is listed twice")
            known.add(choice)
        return Dimension(values, is_range)

    def _check(self, choice: Any) -> None:
        if (self.allow_absent and choice == ABSENT) or (self.allow_null and choice is None):
            return
        if type(choice) not in _TYPES[self.item]:
            if self.item == "scalar":
                raise ValueError(f"each value must be a number, a text or a flag, got {shown(choice)}")
            also = f" or {ABSENT!r}" if self.allow_absent else " or null" if self.allow_null else ""
            raise ValueError(f"each value must be of type {self.item}{also}, got {shown(choice)}")
        if isinstance(choice, float) and not math.isfinite(choice):
            raise ValueError(f"each value must be finite, got {shown(choice)}")
        if self.low is not None and choice < self.low:
            raise ValueError(f"each value must be {self.low} or more, got {shown(choice)}")


def _range_values(bounds: dict[str, Any]) -> tuple[int, ...]:
    if not {"low", "high"} <= set(bounds) <= {"low", "high", "step"}:
        raise ValueError(f"a range is written {{low: ..., high: ..., step: ...}}, got {shown(bounds)}")
    low, high, step = bounds["low"], bounds["high"], bounds.get("step", 1)
    if not (type(low) is int and type(high) is int and type(step) is int and step >= 1):
        raise ValueError(f"low, high and step of a range must be whole, step 1 or more, got {shown(bounds)}")
    if low > high:
        raise ValueError(f"the range from {low} to {high} is empty; low must not be above high")
    if (high - low) // step >= _MOST_VALUES:
        raise ValueError(f"the range from {low} to {high} has more than {_MOST_VALUES} values; use a larger step")
    return tuple(range(low, high + 1, step))


Text = Annotated[Dimension, _Values("string")]
Flag = Annotated[Dimension, _Values("boolean")]
Whole = Annotated[Dimension, _Values("integer", low=1)]
WholeOrZero = Annotated[Dimension, _Values("integer", low=0)]
WholeOrNull = Annotated[Dimension, _Values("integer", low=1, allow_null=True)]
NumberOrNull = Annotated[Dimension, _Values("number", allow_null=True)]
WholeOrAbsent = Annotated[Dimension, _Values("integer", low=1, allow_absent=True)]
Value = Annotated[Dimension, _Values("scalar")]


class HardwareSpace(StrictModel):
    """The hardware. Each entry is one value (fixed), a list of choices, or {low, high, step}."""

    device: Text = Field(
        description="Names of nacim's cards (`nacim devices` lists them), or paths of card files (.yaml)."
    )
    tech_node_nm: Whole = Dimension((22,))
    crossbar_size: Whole = Dimension((128,))
    adc_bits: Whole = Dimension((8,))
    adc_type: Text = Dimension(("sar",))
    cols_per_adc: Whole = Dimension((8,))
    cell_bits: Whole = Field(Dimension((1,)), description="Bits of a cell, capped at what the device holds.")
    weight_bits: Whole = Field(Dimension((8,)), description="Bits of a weight in layers without a weight_format.")
    weight_encoding: Text = Dimension(("offset",))
    input_bits: Whole = Dimension((8,))
    mapping: Text = Dimension(("novel",))
    readout: Text = Field(
        Dimension(("current",)),
        description="How a column is summed: current, charge, discharge or digital. The card says which are possible; "
        "digital macros have no converters, whatever adc_bits says.",
    )
    dac_bits: Whole = Field(
        Dimension((1,)), description="Bits of an input that are applied at once, capped at input_bits."
    )
    input_drive: Text = Field(
        Dimension(("voltage",)), description="How dac_bits above 1 reach a row: voltage or pulse_width."
    )
    combine_columns: Flag = Field(
        Dimension((False,)), description="Whether the columns of a weight are added in analog before one conversion."
    )
    rows_at_once: WholeOrNull = Field(Dimension((None,)), description="Rows read together; null reads all rows.")
    supply_v: NumberOrNull = Field(
        Dimension((None,)), description="Supply of the circuits around the cells, in volt; null takes the node's."
    )
    crossbar_columns: WholeOrNull = Field(
        Dimension((None,)), description="Bitlines of a crossbar; null takes crossbar_size."
    )
    wires: Text = Field(
        Dimension(("ideal",)), description="ideal, or resistive: the simulated chips lose current to their wires."
    )

    @model_validator(mode="after")
    def _each_value_is_possible(self) -> "HardwareSpace":
        large = Accelerator(
            device=load_card("fefet").device, crossbar_size=1024, cell_bits=1, weight_bits=8, input_bits=16, adc_bits=8
        )
        for name in [field for field in type(self).model_fields if field != "device"]:
            for value in getattr(self, name).values:
                try:
                    dataclasses.replace(large, **{name: value})
                except InfeasibleDesign:  # possible, but not on this chip
                    continue
                except (ValueError, TypeError) as error:
                    reason = str(error).partition("; use None")[0]  # what a study cannot write
                    raise ValueError(f"{name}: {reason}") from error
        if not self.wires.is_fixed:
            raise ValueError("wires: name one value: ideal wires cost nothing, so that a search would choose them")
        return self


class WeightFormatSpace(StrictModel):
    """Fixed-point format of a layer's weights: sign, integer bits, fraction bits."""

    integer_bits: WholeOrZero = Dimension((0,))
    fraction_bits: WholeOrZero = Dimension((7,))


class ConvSpace(StrictModel):
    """A convolution. `filters: [absent, 16, 32]` lets the search leave it out, with its pooling and stride."""

    filters: WholeOrAbsent
    kernel: Whole = Dimension((3,))
    stride: Whole = Dimension((1,))
    pool: Flag = Dimension((False,))
    weight_format: WeightFormatSpace | None = None


class HiddenSpace(StrictModel):
    """A hidden fully connected layer. `units: [absent, 64]` lets the search leave it out."""

    units: WholeOrAbsent
    weight_format: WeightFormatSpace | None = None


class NetworkSpace(StrictModel):
    """Convolutions, hidden fully connected layers, and the classifier, whose size follows from the data set."""

    family: Literal["plain"] = Field("plain", exclude=True, description="May be left out.")
    convs: list[ConvSpace] = Field([])
    hidden: list[HiddenSpace] = Field([])
    classifier_format: WeightFormatSpace | None = None
    batch_norm: bool = Field(True, description="Digital batch normalisation after each layer but the classifier.")

    def layers(self) -> dict[str, ConvSpace | HiddenSpace]:
        """Name -> layer in order, without the classifier; parameters start with the layer's name (`conv1_filters`)."""
        convs = {f"conv{i}": conv for i, conv in enumerate(self.convs, start=1)}
        return convs | {f"fc{i}": hidden for i, hidden in enumerate(self.hidden, start=1)}
