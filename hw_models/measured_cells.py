"""Programming errors as they were measured: a CSV file of conductances becomes error curves of a `CellDevice`.

Two kinds of file are read. *Raw* files have one row per measured cell: `conductance_siemens`, and what was meant,
either `target_siemens` or the number of a `level`. *Tables* have one row per level: `conductance_siemens` and
`sigma_siemens`.

An error curve gives the error of a cell, relative to g_on, as a function of a standard normal number z: the quantile of
the measured errors at the probability that a normal number is below z. So skewed and heavy-tailed errors stay as they
are, and normal errors are a straight line. Beyond the measured extremes a curve stays at them.
"""

import csv
import dataclasses
import io
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal, get_args

from hw_models.errors import CardError

Spread = Literal["device_to_device", "cycle_to_cycle", "both"]
ErrorCurve = tuple[float, tuple[float, ...]]  # relative conductance u of a level, and its error at each of `SCORES`
SCORES = tuple(step / 4 for step in range(-16, 17))  # normal numbers at which a curve is given
_FEWEST_CELLS = 20  # assumed: measured cells of a level, below which its quantiles say little
_MOST_ROWS, _MOST_LEVELS = 1_000_000, 256  # assumed: no card needs more
_REACH = 0.1  # assumed: how far the lowest and highest measured level may lie inside g_off ... g_on, over g_on
_TABLE, _RAW = {"conductance_siemens", "sigma_siemens"}, "conductance_siemens"
_WEIGHTS = tuple(math.exp(-z * z / 2) for z in SCORES)


@dataclasses.dataclass(frozen=True, slots=True)
class _Rows:
    """The numbers of a CSV file, by column."""

    origin: str
    columns: dict[str, list[float]]

    @classmethod
    def of(cls, text: str, origin: str) -> "_Rows":
        try:
            return cls._read(csv.reader(io.StringIO(text)), origin)
        except csv.Error as error:
            raise CardError(f"{origin}: cannot be read as CSV: {error}") from error

    @classmethod
    def _read(cls, reader: Iterator[list[str]], origin: str) -> "_Rows":
        names = [name.strip() for name in next(reader, [])]
        columns: dict[str, list[float]] = {name: [] for name in names}
        if len(columns) < len(names):
            raise CardError(f"{origin}: a column's name stands twice in {', '.join(names)}")
        for number, row in enumerate(reader, start=2):
            if not row:
                continue
            if len(row) != len(names) or number > _MOST_ROWS:
                raise CardError(
                    f"{origin}, line {number}: a line has {len(names)} values and a file at most {_MOST_ROWS} lines, "
                    f"got {len(row)} values"
                )
            for name, value in zip(names, row, strict=True):
                columns[name].append(_number(value, name, f"{origin}, line {number}"))
        return cls(origin, columns)


def _number(text: str, name: str, place: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise CardError(f"{place}: {name} must be a finite number, 0 or more, got {text[:40]!r}")
    return number


def error_curves(text: str, origin: str, g_on_siemens: float, lowest_u: float) -> tuple[ErrorCurve, ...]:
    """The curves of a CSV file's text, lowest level first; `lowest_u` is g_off / g_on of the card.

    Raises:
        CardError: If the file is no such file, has too few cells for a level, or its levels do not reach from g_off to
            g_on.
    """
    rows = _Rows.of(text, origin)
    names = set(rows.columns)
    if names == _TABLE:
        curves = _of_table(rows, g_on_siemens)
    elif names in ({_RAW, "target_siemens"}, {_RAW, "level"}):
        curves = _of_cells(rows, g_on_siemens)
    else:
        raise CardError(
            f"{origin}: the columns must be conductance_siemens and one of target_siemens, level or sigma_siemens, "
            f"got {', '.join(sorted(names)) or 'none'}"
        )
    if not 2 <= len(curves) <= _MOST_LEVELS or any(low == high for (low, _), (high, _) in pairwise(curves)):
        raise CardError(f"{origin}: 2 to {_MOST_LEVELS} different levels are needed, got {len(curves)}")
    low, high = curves[0][0], curves[-1][0]
    if low > lowest_u + _REACH or high < 1 - _REACH:
        raise CardError(
            f"{origin}: the measured levels reach from {low:.3g} to {high:.3g} of g_on, the card's cells from "
            f"{lowest_u:.3g} to 1; measure the ends, or change g_on_siemens and on_off_ratio"
        )
    return curves


def _of_table(rows: _Rows, g_on: float) -> tuple[ErrorCurve, ...]:
    levels = sorted(zip(rows.columns["conductance_siemens"], rows.columns["sigma_siemens"], strict=True))
    return tuple((mean / g_on, tuple(z * sigma / g_on for z in SCORES)) for mean, sigma in levels)


def _of_cells(rows: _Rows, g_on: float) -> tuple[ErrorCurve, ...]:
    wanted = "target_siemens" if "target_siemens" in rows.columns else "level"
    cells: defaultdict[float, list[float]] = defaultdict(list)
    for target, found in zip(rows.columns[wanted], rows.columns[_RAW], strict=True):
        cells[target].append(found / g_on)
    curves = []
    for target, found_u in cells.items():
        if len(found_u) < _FEWEST_CELLS:
            raise CardError(
                f"{rows.origin}: {wanted} {target:g} has {len(found_u)} measured cells; give {_FEWEST_CELLS} or more"
            )
        meant = target / g_on if wanted == "target_siemens" else math.fsum(found_u) / len(found_u)
        found_u.sort()
        curves.append((meant, tuple(_quantile(found_u, z) - meant for z in SCORES)))
    return tuple(sorted(curves))


def _quantile(ordered: Sequence[float], z: float) -> float:
    """The measured value at the probability of a normal number below z, between neighbours linearly."""
    place = 0.5 * math.erfc(-z / math.sqrt(2)) * len(ordered) - 0.5  # value i stands for the probability (i + 0.5) / n
    place = min(max(place, 0.0), len(ordered) - 1.0)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def curve_at(curves: Sequence[ErrorCurve], u: float) -> tuple[float, ...]:
    """The error curve at a relative conductance: between neighbouring levels linearly, beyond the last ones theirs."""
    if u <= curves[0][0]:
        return curves[0][1]
    for (low, below), (high, above) in pairwise(curves):
        if u <= high:
            share = (u - low) / (high - low)
            return tuple((1 - share) * a + share * b for a, b in zip(below, above, strict=True))
    return curves[-1][1]


def spread_of(curve: Sequence[float]) -> float:
    """Root mean square of a curve's errors over normal numbers, their mean included; relative to g_on."""
    squares = math.fsum(w * e * e for w, e in zip(_WEIGHTS, curve, strict=True))
    return math.sqrt(squares / math.fsum(_WEIGHTS))


def check_curves(curves: Sequence[ErrorCurve], spread: str | None) -> None:
    """Check what a `CellDevice` was given.

    Raises:
        ValueError: If there are fewer than two curves, one is not made of finite numbers or has not one error per
            score, errors are not in order or beyond g_on, or the kind of spread is not told.
    """
    if spread not in get_args(Spread):
        raise ValueError(f"measured_spread must be one of {', '.join(get_args(Spread))}, got {spread!r}")
    numbers = [number for u, curve in curves for number in (u, *curve)]
    if len(curves) < 2 or not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        raise ValueError("error_curves must give finite numbers, for two levels or more")
    for u, curve in curves:
        if len(curve) != len(SCORES) or any(b < a for a, b in pairwise(curve)) or max(map(abs, curve)) > 1:
            raise ValueError(
                f"error_curves must give {len(SCORES)} ascending errors within g_on for each level, got others at "
                f"{u:g} of g_on"
            )
    if list(curves) != sorted(curves):
        raise ValueError("error_curves must be in the order of their levels")
