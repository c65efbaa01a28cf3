"""The base of all records that a study file fills."""

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """Unknown keys and infinite numbers are errors; a record does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
