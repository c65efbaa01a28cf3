"""A macro of one's own that was measured: the one point at which the silicon estimate is calibrated. No torch."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, ValidationInfo, model_validator

from hw_models.errors import shown
from hw_models.silicon import Macro, measured_macro
from pipeline.design.hardware_file import load_hardware
from pipeline.files import did_you_mean, read_yaml
from pipeline.strict_model import StrictModel

_LONGEST_NAME = 150  # characters; assumed: a longer name makes a message that nobody reads
_FIELDS = {field.name: field for field in dataclasses.fields(Macro)}


class CalibrateSpec(StrictModel):
    """A measured macro, at the bits of one conversion. A file of hardware that `design` names is read at once."""

    design: str | dict[str, float | str | bool | None] = Field(
        description="The macro: values of hw_models.silicon.Macro, or a YAML file with them or with an accelerator."
    )
    tops_per_watt: float = Field(
        gt=0,
        description="Measured: at the bits of one conversion, or for an accelerator at its own bits, all rows driven.",
    )

    @model_validator(mode="before")
    @classmethod
    def _without_files(cls, values: Any, info: ValidationInfo) -> Any:
        """Put the macro in place of a file, so that a study's identity holds what was measured, not a path."""
        if not isinstance(values, dict) or not isinstance(values.get("design"), str):
            return values
        name = values["design"]
        if not name.isprintable() or len(name) > _LONGEST_NAME:
            raise ValueError(f"design: {shown(name)} is no name of a file")
        path = Path((info.context or {}).get("folder", "")) / name
        content = read_yaml(path, "calibration")
        if isinstance(content, dict) and "family" in content:
            return values | {"design": content}
        measured = values.get("tops_per_watt")
        if isinstance(measured, bool) or not isinstance(measured, int | float):
            return values  # what is wrong with it is said by its own field
        macro, tops_per_watt = measured_macro(load_hardware(path).accelerator, measured)
        told = {name: value for name, value in dataclasses.asdict(macro).items() if value != _FIELDS[name].default}
        return {"design": told, "tops_per_watt": tops_per_watt}

    @model_validator(mode="after")
    def _is_a_macro(self) -> "CalibrateSpec":
        self.macro  # noqa: B018  # raises what is wrong with it
        return self

    @property
    def macro(self) -> Macro:
        """The measured macro.

        Raises:
            ValueError: If a value is missing, unknown or out of its range.
        """
        values = self.design
        if isinstance(values, str):
            raise ValueError(f"design: {shown(values)} is no mapping and no file of a macro")
        for name in values:
            if name not in _FIELDS:
                raise ValueError(
                    f"design: unknown key {shown(name)}{did_you_mean(name, _FIELDS)}; allowed: {', '.join(_FIELDS)}"
                )
        needed = [name for name, field in _FIELDS.items() if field.default is dataclasses.MISSING]
        if missing := [name for name in needed if name not in values]:
            raise ValueError(f"design: {missing[0]} is missing; a macro needs {', '.join(needed)}")
        try:
            return Macro(**values)  # type: ignore[arg-type]  # it checks them itself
        except ValueError as error:
            raise ValueError(f"design: {error}") from error

    @property
    def measured(self) -> dict[Macro, float]:
        """The macro and its TOPS/W, as `silicon_estimate` takes them."""
        return {self.macro: self.tops_per_watt}


def load_calibration(path: Path) -> Mapping[Macro, float]:
    """Read a file with the keys `design` and `tops_per_watt`, or a study file with the key `calibrate`.

    Raises:
        ValueError: If it cannot be read, or a value is out of its range; names the file.
    """
    content = read_yaml(path, "calibration")
    if isinstance(content, dict) and ("hardware" in content or "calibrate" in content):
        if "calibrate" not in content:
            raise ValueError(f"{path}: the study has no key calibrate")
        content = content["calibrate"]
    try:
        return CalibrateSpec.model_validate(content, context={"folder": path.parent}).measured
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        told = problem["msg"].removeprefix("Value error, ")
        if problem["type"] not in ("value_error", "missing", "extra_forbidden"):
            told += f", got {shown(problem['input'])}"
        raise ValueError(f"{path}: {place + ': ' if place else ''}{told}") from error
