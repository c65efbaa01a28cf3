"""Reads the tables that `benchmarks/silicon_fit.py` writes: constants, bars and what each family's chips cover."""

import csv
import functools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypedDict

FOLDER = Path(__file__).parents[1] / "tables"
CONSTANTS, BARS, COVERED = (FOLDER / f"silicon_{name}.csv" for name in ("constants", "bars", "covered"))


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@functools.cache
def constants() -> Mapping[str, float]:
    """The fitted constants by name, in the units of the table: SI, or numbers without a unit."""
    return MappingProxyType({row["name"]: float(row["value"]) for row in _rows(CONSTANTS)})


class BarRow(TypedDict):
    """A row of the table of bars, as `Bars` takes it."""

    factor_50: float
    factor_80: float
    factor_90: float
    chips: int
    median_factor: float


@functools.cache
def bars() -> Mapping[tuple[str, str], BarRow]:
    """(quantity, family) -> the factors that hold 50, 80 and 90 % of chips, and what is behind them."""
    return MappingProxyType(
        {
            (row["quantity"], row["family"]): BarRow(
                factor_50=float(row["factor_50"]),
                factor_80=float(row["factor_80"]),
                factor_90=float(row["factor_90"]),
                chips=int(row["chips"]),
                median_factor=float(row["median_factor"]),
            )
            for row in _rows(BARS)
        }
    )


@functools.cache
def covered() -> Mapping[tuple[str, str], tuple[float, float, float]]:
    """(family, field of `Macro`) -> lowest, median and highest value of its chips."""
    return MappingProxyType(
        {
            (row["family"], row["field"]): (float(row["lowest"]), float(row["median"]), float(row["highest"]))
            for row in _rows(COVERED)
        }
    )
