"""Fit the constants of the silicon estimate to measured chips, and say how far it is from chips that it has not seen.

python benchmarks/silicon_fit.py FOLDER            print the tables
python benchmarks/silicon_fit.py FOLDER --write    also write hw_models/tables/silicon_*.csv and docs/silicon.md

FOLDER holds Benchmarking_Data.csv and, for the anchors, measured_curves.csv; tests/golden has a small copy of both.
Every figure is of a chip that was left out of the fit, with the papers on the same chip.
"""

import argparse
import csv
import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from markdown_tables import table, write_block
from scipy.optimize import least_squares

from hw_models.silicon import formulas, gates
from hw_models.silicon.estimate import ALL, DENSITY, EFFICIENCY, REACHED, WITHIN_CHIP, Bars, silicon_estimate
from hw_models.silicon.macro import Family, Macro
from hw_models.silicon.measured import (
    BENCHMARK,
    CURVES,
    MeasuredMacro,
    benchmark_macros,
    curve_chip,
    measured_area_m2,
)
from hw_models.silicon.tables import BARS, CONSTANTS, COVERED
from hw_models.validation.neurosim_input import read_rows
from hw_models.validation.silicon import read_measured_chips

FAMILIES = ("charge", "discharge", "divider", "conducting", "digital")
FIELDS = ("node_nm", "supply_v", "inputs", "input_bits", "weight_bits", "adc_bits", "use_s")
LATER = Path(__file__).with_name("silicon_later.csv")  # chips of other sources, in no fit
ROOT = Path(__file__).parents[1]
PAGE, FRONT_PAGES = ROOT / "docs" / "silicon.md", (ROOT / "README.md", ROOT / "docs" / "index.md")
_WORDS = {
    "conducting": "cells that conduct: RRAM, PCM, MRAM, flash (none is FeFET)",
    "divider": "SRAM read by current",
    "charge": "SRAM with a capacitor per cell (charge)",
    "discharge": "SRAM that discharges a bit line",
    "digital": "digital adder trees",
}
SHARES = (0.5, 0.8, 0.9)
SCATTER = 0.8  # spread of ln(model / chip) at which a residual begins to count linearly instead of squared; assumed


@dataclasses.dataclass(frozen=True)
class Chips:
    """Measured totals and the terms of the model, a row per figure, a column per constant.

    Attributes:
        terms: Terms with a time of one use of 1 s.
        use_s: Time of one use; nan where it is not listed.
        log_input_bits: ln(B_x) where the term grows with it, else 0.
        log_total: ln of the measured energy or area.
    """

    names: list[str]
    terms: np.ndarray
    timed: np.ndarray
    use_s: np.ndarray
    log_input_bits: np.ndarray
    is_processor: np.ndarray
    log_total: np.ndarray
    chips: np.ndarray
    families: np.ndarray
    prior: np.ndarray
    spread: np.ndarray

    def __len__(self) -> int:
        return len(self.log_total)


def _priors(quantity: str) -> dict[str, tuple[float, float]]:
    rows = [row for row in read_rows(CONSTANTS) if row["quantity"] == quantity]
    return {row["name"]: (float(row["prior"]), float(row["prior_spread"])) for row in rows}


def _chips(measured: Sequence[MeasuredMacro], totals: Sequence[float], quantity: str) -> Chips:
    priors = _priors(quantity)
    factor = formulas.PROCESSOR if quantity == "energy" else formulas.AREA_PROCESSOR
    names = [name for name in priors if name not in (factor, formulas.INPUT_EXPONENT)]
    of = (lambda macro: formulas.energy_terms(macro, 1.0)) if quantity == "energy" else formulas.area_terms
    found = [of(each.macro) for each in measured]
    grows = np.array([name in formulas.GROWS_WITH_INPUT_BITS for name in names])
    log_bits = np.log([each.macro.input_bits for each in measured])
    ends = [factor] + ([formulas.INPUT_EXPONENT] if formulas.INPUT_EXPONENT in priors else [])
    is_log = np.array([name != formulas.INPUT_EXPONENT for name in (*names, *ends)])
    centre, spread = np.array([priors[name] for name in (*names, *ends)]).T
    return Chips(
        names=[*names, *ends],
        terms=np.array([[each.get(name, 0.0) for name in names] for each in found]),
        timed=np.array([name in formulas.TIMED for name in names]),
        use_s=np.array([math.nan if each.macro.use_s is None else each.macro.use_s for each in measured]),
        log_input_bits=np.outer(log_bits, grows),
        is_processor=np.array([each.macro.is_processor for each in measured], float),
        log_total=np.log(totals),
        chips=np.array([each.chip for each in measured]),
        families=np.array([each.macro.family for each in measured]),
        prior=np.where(is_log, np.log(centre), centre),
        spread=np.where(is_log, np.log(spread), spread),
    )


def energies(measured: Sequence[MeasuredMacro]) -> Chips:
    """The energies of one conversion of measured macros."""
    return _chips(measured, [each.energy_per_conversion_j for each in measured], "energy")


def use_times(data: Chips, train: np.ndarray) -> np.ndarray:
    """Time of one use; where it is not listed, the median of the family's figures in `train`."""
    times, medians = data.use_s.copy(), {}
    for row in np.flatnonzero(np.isnan(data.use_s)):
        family = data.families[row]
        if family not in medians:
            known = data.use_s[train & (data.families == family)]
            medians[family] = np.nanmedian(known)
        times[row] = medians[family]
    return times


def _log_model(theta: np.ndarray, data: Chips, rows: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ln of the model's totals of `rows`, and its derivatives by `theta`."""
    linear = data.terms.shape[1]
    exponent = theta[linear + 1] if len(theta) > linear + 1 else 0.0
    scaled = data.terms[rows] * np.where(data.timed, times[rows, None], 1.0)
    parts = scaled * np.exp(theta[:linear] + exponent * data.log_input_bits[rows])
    total = parts.sum(1)
    shares = parts / total[:, None]
    slopes = [shares, data.is_processor[rows, None]]
    if len(theta) > linear + 1:
        slopes.append((shares * data.log_input_bits[rows]).sum(1, keepdims=True))
    return np.log(total) + theta[linear] * data.is_processor[rows], np.hstack(slopes)


def _figures_of_chip(chips: np.ndarray) -> np.ndarray:
    """Per figure, the number of figures of its chip."""
    _, which, counts = np.unique(chips, return_inverse=True, return_counts=True)
    return counts[which]


def fit(data: Chips, train: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """Constants (logarithms, and the exponent) from the figures of `train`; each chip counts once.

    The least sum of squares of ln(model / chip), linear beyond `SCATTER`, and of the distances from the priors.
    """
    rows, times = np.flatnonzero(train), use_times(data, train)
    weight = 1 / np.sqrt(_figures_of_chip(data.chips[rows])) / SCATTER

    def scaled(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        total, slopes = _log_model(theta, data, rows, times)
        distance = (total - data.log_total[rows]) * weight
        root = np.sqrt(1 + distance**2)
        robust = np.sign(distance) * np.sqrt(2 * (root - 1))
        steep = np.sqrt((root + 1) / 2) / root  # derivative of `robust` by `distance`
        return np.concatenate([robust, (theta - data.prior) / data.spread]), np.vstack(
            [slopes * (steep * weight)[:, None], np.diag(1 / data.spread)]
        )

    last: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}  # both callables ask for the same point, one after the other

    def at(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        key = theta.tobytes()
        if key not in last:
            last.clear()
            last[key] = scaled(theta)
        return last[key]

    begin = data.prior if start is None else start
    found = least_squares(
        lambda theta: at(theta)[0], begin, jac=lambda theta: at(theta)[1], method="lm", ftol=1e-7, xtol=1e-6
    )
    return found.x


def left_out(data: Chips, groups: np.ndarray) -> np.ndarray:
    """ln(measured / model) of every total, in other words of model / measured efficiency, its group left out."""
    errors, start = np.zeros(len(data)), fit(data, np.full(len(data), True))
    for group in sorted(set(groups)):
        train = groups != group
        theta = fit(data, train, start)
        rows = np.flatnonzero(~train)
        errors[rows] = data.log_total[rows] - _log_model(theta, data, rows, use_times(data, train))[0]
    return errors


def bar(errors: np.ndarray, chips: np.ndarray, share: float) -> float:
    """The error that holds `share` of the chips, each of which counts once; inf if there are too few chips for it.

    Of n chips, the error of rank k holds a further chip with probability k / (n + 1); in between, it is interpolated.
    """
    order = np.argsort(np.abs(errors))
    held = np.cumsum(1 / _figures_of_chip(chips)[order]) / (len(set(chips)) + 1)
    return math.inf if share > held[-1] + 1e-9 else float(np.interp(share, held, np.abs(errors)[order]))


def family_bar(errors: np.ndarray, data: Chips, family: str, share: float) -> float:
    """`bar` of a family; with too few chips, its largest error or the bar of all chips, whichever is larger."""
    mine = data.families == family
    found = bar(errors[mine], data.chips[mine], share)
    if math.isfinite(found):
        return found
    return max(float(np.abs(errors[mine]).max()), bar(errors, data.chips, share))


def nested_hits(data: Chips) -> np.ndarray:
    """Whether each figure lies within its family's bars (columns: `SHARES`), which have not seen its chip.

    Neither the fit nor any error behind a bar has seen it: errors of the other chips of the family are those of fits
    without both chips. Only a bar that a family has too few chips for takes plain errors of other families.
    """
    start, own = fit(data, np.full(len(data), True)), left_out(data, data.chips)
    hits = np.zeros((len(data), len(SHARES)), bool)
    for family in FAMILIES:
        chips = sorted(set(data.chips[data.families == family]))
        errors = {chip: own.copy() for chip in chips}
        for one, other in itertools.combinations(chips, 2):
            train = (data.chips != one) & (data.chips != other)
            theta, times = fit(data, train, start), use_times(data, train)
            for seen, unseen in ((one, other), (other, one)):
                rows = np.flatnonzero(data.chips == unseen)
                errors[seen][rows] = data.log_total[rows] - _log_model(theta, data, rows, times)[0]
        for chip in chips:
            rest, rows = data.chips != chip, np.flatnonzero(data.chips == chip)
            kept = dataclasses.replace(data, families=data.families[rest], chips=data.chips[rest])
            bars = np.array([family_bar(errors[chip][rest], kept, family, share) for share in SHARES])
            hits[rows] = np.abs(own[rows, None]) <= bars
    return hits


def within_chip(errors: np.ndarray, chips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Errors of a chip's other figures where one of them is known, and the chips of these pairs."""
    pairs = [
        (errors[one] - errors[other], chips[one])
        for one, other in itertools.permutations(range(len(errors)), 2)
        if chips[one] == chips[other]
    ]
    return np.array([each for each, _ in pairs]), np.array([chip for _, chip in pairs])


def within_chip_hits(errors: np.ndarray, chips: np.ndarray) -> np.ndarray:
    """Whether each pair of `within_chip` lies within the bars (columns: `SHARES`) from pairs of other chips."""
    pairs, owners = within_chip(errors, chips)
    bars = {
        chip: [bar(pairs[owners != chip], owners[owners != chip], share) for share in SHARES] for chip in set(owners)
    }
    return np.array([[abs(pair) <= end for end in bars[owner]] for pair, owner in zip(pairs, owners, strict=True)])


def near_pairs(measured: Sequence[MeasuredMacro]) -> np.ndarray:
    """ln of the ratio of 1-bit TOPS/W of chips that differ hardly in what a macro is described by."""
    nearly = {"node_nm": 1.3, "supply_v": 1.15, "inputs": 2.0, "input_bits": 2.0, "weight_bits": 2.0}

    def alike(one: Macro, other: Macro) -> bool:
        steps = (abs(math.log(getattr(one, name) / getattr(other, name))) - math.log(nearly[name]) for name in nearly)
        converters = abs((one.adc_bits or 0) - (other.adc_bits or 0)) <= 1
        return one.family == other.family and converters and max(steps) < 1e-9

    return np.array(
        [
            math.log(one.tops_per_watt_1bit / other.tops_per_watt_1bit)
            for one, other in itertools.combinations(measured, 2)
            if one.chip != other.chip and alike(one.macro, other.macro)
        ]
    )


def later(data: Chips, years: np.ndarray, last: int) -> np.ndarray:
    """Errors of chips published after `last`, of a fit to those published by then."""
    train = years <= last
    rows = np.flatnonzero(~train & ~np.isin(data.chips, data.chips[train]))
    return data.log_total[rows] - _log_model(fit(data, train), data, rows, use_times(data, train))[0]


def family_medians(measured: Sequence[MeasuredMacro], data: Chips) -> np.ndarray:
    """Errors of the simplest model: the median 1-bit TOPS/W of the family's other chips."""
    logs = np.log([each.tops_per_watt_1bit for each in measured])
    return np.array(
        [
            np.median(logs[(data.chips != chip) & (data.families == family)]) - own
            for own, chip, family in zip(logs, data.chips, data.families, strict=True)
        ]
    )


def from_gates(measured: Sequence[MeasuredMacro]) -> np.ndarray:
    """Errors of digital macros whose energy is computed from gates, nothing fitted."""
    digital = [each for each in measured if each.macro.family == "digital"]
    return np.log([each.energy_per_conversion_j / gates.digital_energy_j(each.macro) for each in digital])


def anchor_errors(folder: Path, data: Chips, errors: np.ndarray, listed: Sequence[int]) -> np.ndarray:
    """Errors of all figures that `nacim cost --anchors` describes, each chip left out.

    Args:
        listed: Per row of the benchmark, its place in `data`; -1 for a row that is not there.
    """
    found: list[float] = []
    for anchor in read_measured_chips(folder):
        if anchor.benchmark_row is not None:
            found.append(errors[listed[anchor.benchmark_row]])
            continue
        chip = curve_chip(anchor.chip.split(" (")[0])
        train = data.chips != chip
        values = named(data, fit(data, train))
        if (estimated := anchor.estimated(values)) is not None:
            found.append(math.log(estimated / anchor.measured))
    return np.array(found)


def named(data: Chips, theta: np.ndarray) -> dict[str, float]:
    """Fitted constants by name."""
    return {
        name: float(value if name == formulas.INPUT_EXPONENT else math.exp(value))
        for name, value in zip(data.names, theta, strict=True)
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """Measured macros and the errors, ln(estimated / measured), of fits that had not seen the chip."""

    measured: list[MeasuredMacro]
    energy: Chips
    errors: np.ndarray
    density: Chips
    density_errors: np.ndarray
    anchors: np.ndarray

    @property
    def is_macro(self) -> np.ndarray:
        return self.energy.is_processor == 0

    @property
    def is_flagged(self) -> np.ndarray:
        return np.array([bool(each.flags) for each in self.measured])

    def of(self, *families: str) -> np.ndarray:
        """Errors of some families."""
        return self.errors[np.isin(self.energy.families, families)]


def judge(folder: Path) -> Judged:
    """Fit without each chip in turn, and judge it."""
    rows = read_rows(folder / BENCHMARK)
    found = benchmark_macros(rows)
    measured = [each for each in found if each]
    energy = energies(measured)
    errors = left_out(energy, energy.chips)
    sized = [
        (each, area_m2)
        for each, row in zip(found, rows, strict=True)
        if each and each.macro.stored_bits and (area_m2 := measured_area_m2(row))
    ]
    density = _chips([each for each, _ in sized], [area_m2 for _, area_m2 in sized], "density")
    places = iter(range(len(measured)))
    listed = [next(places) if each else -1 for each in found]
    return Judged(
        measured=measured,
        energy=energy,
        errors=errors,
        density=density,
        density_errors=left_out(density, density.chips),
        anchors=anchor_errors(folder, energy, errors, listed),
    )


def median_factor(errors: np.ndarray) -> float:
    """Median of the factor (1 or more) between model and chip."""
    return float(np.exp(np.median(np.abs(errors))))


def within(errors: np.ndarray, factor: float) -> float:
    """Share of figures within a factor."""
    return float(np.mean(np.abs(errors) < math.log(factor)))


def goals(judged: Judged, hits: np.ndarray) -> list[tuple[str, float, str, bool]]:
    """(what is asked, value, limit, whether it is met)."""
    asked = [
        *((f"{family}: median factor", median_factor(judged.of(family)), 0.0, 1.5) for family in ("charge", "digital")),
        *((f"{family}: within 3x", within(judged.of(family), 3), 0.88, 1.0) for family in ("charge", "digital")),
        ("all macros: median factor", median_factor(judged.errors[judged.is_macro]), 0.0, 1.75),
        ("all macros: within 3x", within(judged.errors[judged.is_macro], 3), 0.85, 1.0),
        ("macros and processors: median factor", median_factor(judged.errors), 0.0, 1.75),
        ("macros and processors: within 3x", within(judged.errors, 3), 0.85, 1.0),
        ("anchors: median factor", median_factor(judged.anchors), 0.0, 1.85),
        ("80 % bars, nested coverage", float(hits[:, 1].mean()), 0.75, 0.85),
        ("digital from gates: median factor", median_factor(from_gates(judged.measured)), 0.0, 1.9),
    ]
    return [
        (words, value, f"{low:g} to {high:g}" if low else f"at most {high:g}", low <= value <= high)
        for words, value, low, high in asked
    ]


def _line(name: str, errors: np.ndarray, chips: int | str = "", factors: Sequence[float] = ()) -> list[str]:
    shares = [f"{100 * within(errors, factor):.0f} %" for factor in (2, 3)]
    numbers = [*shares, *([f"{factor:.1f}" for factor in factors] or [""] * len(SHARES))]
    return [name, str(len(errors)), str(chips), f"{median_factor(errors):.2f}", *numbers]


def _family_lines(data: Chips, errors: np.ndarray) -> list[list[str]]:
    lines = []
    for family in FAMILIES:
        mine = data.families == family
        factors = [math.exp(family_bar(errors, data, family, share)) for share in SHARES]
        lines.append(_line(family, errors[mine], len(set(data.chips[mine])), factors))
    return lines


def accuracy_table(judged: Judged) -> str:
    """How far the estimate is from chips it has not seen, in Markdown."""
    data, errors, years = judged.energy, judged.errors, np.array([each.year for each in judged.measured])
    is_macro, flagged = judged.is_macro, judged.is_flagged
    pairs, pair_chips = within_chip(errors, data.chips)

    def count(rows: np.ndarray) -> int:
        return len(set(data.chips[rows]))

    return table(
        ("leave one chip out", "figures", "chips", "median factor", "within 2x", "within 3x", "50 %", "80 %", "90 %"),
        [
            *_family_lines(data, errors),
            _line("all", errors, len(set(data.chips))),
            _line("macros", errors[is_macro], count(is_macro)),
            _line("processors", errors[~is_macro], count(~is_macro)),
            _line("not flagged", errors[~flagged], count(~flagged)),
            _line("flagged", errors[flagged], count(flagged)),
            _line("anchors of `nacim cost --anchors`", judged.anchors),
            _line("trained on chips up to 2021, asked about later ones", later(data, years, 2021)),
            _line(
                "one figure of a chip known, its others",
                pairs,
                len(set(pair_chips)),
                [math.exp(bar(pairs, pair_chips, share)) for share in SHARES],
            ),
            _line("digital from gates, nothing fitted", from_gates(judged.measured)),
            _line("baseline: median of the family's 1-bit TOPS/W", family_medians(judged.measured, data)),
            _line("two chips that hardly differ in their description", near_pairs(judged.measured)),
        ],
    )


def density_table(judged: Judged) -> str:
    """The same for the density, with the time of one use given."""
    heads = ("TOPS/mm2", "figures", "chips", "median factor", "within 2x", "within 3x", "50 %", "80 %", "90 %")
    data, errors = judged.density, judged.density_errors
    return table(heads, [*_family_lines(data, errors), _line("all", errors, len(set(data.chips)))])


def families_table() -> str:
    """For the front page, from the tables of hw_models: family, chips, median factor and 80 % bar."""
    heads = ("family", "measured chips", "off by (median)", "80 of 100 chips within")
    bars = [(words, Bars.of(EFFICIENCY, family)) for family, words in _WORDS.items()]
    return table(heads, [(w, b.chips, f"{b.median_factor:.1f}x", f"{b.factor_80:.1f}x") for w, b in bars])


def pair_differences(measured: Sequence[MeasuredMacro]) -> str:
    """In what the figures of one chip differ, over all pairs."""
    pairs = [(a.macro, b.macro) for a, b in itertools.combinations(measured, 2) if a.chip == b.chip]
    counts = {name: sum(getattr(a, name) != getattr(b, name) for a, b in pairs) for name in FIELDS}
    return f"{len(pairs)} pairs of figures of one chip differ in: " + ", ".join(f"{n} {k}" for n, k in counts.items())


def later_chips() -> list[tuple[str, Macro, float]]:
    """(chip, macro, measured TOPS/W) of chips that are in no fit: `silicon_later.csv`."""
    found = []
    for row in read_rows(LATER):
        numbers = {name: float(row[name]) for name in FIELDS if row[name]}
        macro = Macro(family=cast(Family, row["family"]), **numbers)
        found.append((row["chip"], macro, float(row["tops_per_watt"])))
    return found


def later_table() -> str:
    """What the tables of hw_models estimate for chips that are in no fit."""
    lines = []
    for chip, macro, measured in later_chips():
        found = silicon_estimate(macro).tops_per_watt
        is_held = found.low(80) <= measured <= found.high(80)
        numbers = (f"{value:.3g}" for value in (measured, found.value, found.value / measured))
        setting = f"{macro.inputs:g} inputs, {macro.weight_bits:g}-bit weights, {macro.supply_v:g} V"
        lines.append((chip, macro.family, setting, *numbers, "yes" if is_held else "no"))
    heads = ("chip", "family", "setting", "measured TOPS/W", "estimated", "ratio", "in the 80 % bar")
    return table(heads, lines)


def write_tables(judged: Judged) -> None:
    """Write constants, bars and the ranges that each family's chips cover."""
    values = {}
    for data in (judged.energy, judged.density):
        values |= named(data, fit(data, np.full(len(data), True)))
    rows = [row | {"value": f"{values[row['name']]:.4g}"} for row in read_rows(CONSTANTS)]
    _write(CONSTANTS, rows)
    bars = [
        _bar_row(quantity, family, errors[data.families == family], data.chips[data.families == family], factors)
        for quantity, data, errors in (
            (EFFICIENCY, judged.energy, judged.errors),
            (DENSITY, judged.density, judged.density_errors),
        )
        for family in FAMILIES
        for factors in [[math.exp(family_bar(errors, data, family, share)) for share in SHARES]]
    ]
    pairs, chips = within_chip(judged.errors, judged.energy.chips)
    bars.append(_bar_row(WITHIN_CHIP, ALL, pairs, chips, [math.exp(bar(pairs, chips, share)) for share in SHARES]))
    _write(BARS, bars)
    _write(COVERED, [row for family in FAMILIES for row in _covered(family, judged.measured)])


def _bar_row(
    quantity: str, family: str, errors: np.ndarray, chips: np.ndarray, factors: Sequence[float]
) -> dict[str, object]:
    return {
        "quantity": quantity,
        "family": family,
        "figures": len(errors),
        "chips": len(set(chips)),
        "median_factor": f"{median_factor(errors):.3f}",
        **{f"factor_{round(100 * share)}": f"{factor:.3f}" for share, factor in zip(SHARES, factors, strict=True)},
    }


def _covered(family: str, measured: Sequence[MeasuredMacro]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for field in FIELDS:
        listed = [
            getattr(each.macro, field)
            for each in measured
            if each.macro.family == family and field not in each.assumed and not each.supply_is_doubtful
        ]
        if known := [value for value in listed if value is not None]:
            rows.append(_range_row(family, field, known))
    reached = [each.tops_per_watt_1bit for each in measured if each.macro.family == family and not each.flags]
    return [*rows, _range_row(family, REACHED, reached)]


def _range_row(family: str, field: str, known: Sequence[float]) -> dict[str, object]:
    ends = (min(known), float(np.median(known)), max(known))
    named_ends = zip(("lowest", "median", "highest"), (f"{end:.4g}" for end in ends), strict=True)
    return {"family": family, "field": field, **dict(named_ends)}


def _write(path: Path, rows: Sequence[dict[str, object]] | Sequence[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help=f"folder of {BENCHMARK} and {CURVES}")
    parser.add_argument("--write", action="store_true", help="also write the tables that hw_models reads")
    options = parser.parse_args()
    judged = judge(options.folder)
    if options.write:
        write_tables(judged)
        write_block(PAGE, "silicon", accuracy_table(judged))
        write_block(PAGE, "density", density_table(judged))
        write_block(PAGE, "later", later_table())  # of the tables as they were read: once written, run it again
        for page in FRONT_PAGES:
            write_block(page, "silicon", families_table())
    hits = nested_hits(judged.energy)
    print(accuracy_table(judged), density_table(judged), later_table(), sep="\n\n")
    print("\nnested coverage of the 50, 80 and 90 % bars:")
    for who, held in (
        ("all", hits),
        ("macros", hits[judged.is_macro]),
        ("processors", hits[~judged.is_macro]),
        ("other figures of a chip, in the bars between designs", within_chip_hits(judged.errors, judged.energy.chips)),
    ):
        print(f"  {who}: {', '.join(f'{100 * share:.0f} %' for share in held.mean(0))}")
    print(f"\n{pair_differences(judged.measured)}\n")
    for words, value, limit, is_met in goals(judged, hits):
        print(f"{'met   ' if is_met else 'MISSED'}  {words}: {value:.3g} ({limit})")
    print("\nflagged, in the fit all the same:")
    for each in judged.measured:
        for reason in each.flags + each.density_flags:
            print(f"  {each.title[:60]} ({each.year}): {reason}")


if __name__ == "__main__":
    main()
