"""What all records that a study file fills are made of."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationInfo, field_validator
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

_PLAIN: set[Any] = {bool, int, float, str}


class StrictModel(BaseModel):
    """Unknown keys, infinite numbers, and flags or texts in the place of numbers are errors; a record does not change.

    YAML reads `yes` as a flag and `"3"` as a text. Pydantic would take both for numbers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _is_as_written(cls, value: Any, info: ValidationInfo) -> Any:
        assert info.field_name is not None
        kinds = _kinds(cls.model_fields[info.field_name].annotation)
        for each in value if isinstance(value, list) else [value]:
            if type(each) in (bool, str) and type(each) not in kinds and kinds & {int, float}:
                remedy = "; remove the quotes" if isinstance(each, str) else ", which is what YAML reads yes and no as"
                raise ValueError(f"must be a number, got {str(each)[:80]!r}{remedy}")
            if type(each) in (int, float, str) and type(each) not in kinds and bool in kinds:
                raise ValueError(f"must be true or false, got {str(each)[:80]!r}")
        return value


def _kinds(annotation: Any) -> set[type]:
    """The classes of values that an annotation names, also inside lists; of a Literal those of its values."""
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        return {type(part) for part in parts}
    return {kind for part in parts for kind in _kinds(part)} if parts else {annotation} & _PLAIN


@dataclasses.dataclass(frozen=True)
class KeyOf:
    """Marks a text that must be a key of `table`, which may grow."""

    table: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.table)}

    def _check(self, name: str) -> str:
        if name not in self.table:
            *others, last = map(repr, self.table)
            raise PydanticKnownError("literal_error", {"expected": f"{', '.join(others)} or {last}"})
        return name
