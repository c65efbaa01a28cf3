"""Memory cells: the physics of one cell (`CellDevice`) and the files that describe it (`DeviceCard`).

A card is a YAML file. Every value carries the place it was taken from, or the word "assumed"::

    name: my_rram
    description: one line
    values:
      cell: {value: 1t1r, source: "..."}
      g_on_siemens: {value: 4.0e-5, source: "..."}
      ...

The cards that come with the project lie in `hw_models/cards/`; `load_card` takes a name or a path.
"""

import dataclasses
import difflib
import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from hw_models.errors import CardError

CellKind = Literal["sram", "1t1r", "fefet"]
CARD_FOLDER = Path(__file__).parent / "cards"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CellDevice:
    """One memory cell as both the cost model and the variation model see it. SI units.

    Conductances are often given relative to `g_on_siemens`: `u = g / g_on`, from `1 / on_off_ratio` to 1.

    Attributes:
        name: Label, lower case.
        cell: `sram` (6T cell and digital bit), `1t1r` (resistor behind an access transistor) or
            `fefet` (ferroelectric transistor, no separate access transistor).
        g_on_siemens: Conductance of the highest level. None for SRAM, whose read current is set by its transistors.
        on_off_ratio: `g_on / g_off`, above 1. None: the off state conducts nothing (SRAM).
        conductance_levels: Levels that programming can tell apart; the cell holds floor(log2) of it in bits.
        cell_height_f, cell_width_f: Layout of one cell (wordline pitch, bitline pitch), in units of the node.
            None lets the node decide (SRAM, whose FinFET cells grow with the node).
        read_voltage_v, read_pulse_s: Voltage across the cell and time of one read.
        write_voltage_v, write_pulse_s, write_energy_j: Of one write pulse of one cell.
        programming_sigma: Coefficients c of sigma(u) / g_on = c[0] + c[1] u + c[2] u^2 + ..., the standard deviation
            of the conductance after programming. Drawn once a chip (device to device, and programming error).
        read_sigma: Standard deviation of one read relative to g_on. Drawn at every read.
        drift_nu, drift_nu_sigma: Mean and spread over cells of the exponent in g(t) = g(t0) (t / t0)^-nu.
        drift_t0_s: The time t0 after programming to which `programming_sigma` belongs.
        stuck_on_rate, stuck_off_rate: Fraction of cells that stay at g_on, at g_off, whatever is written.
        drift_nu_law, drift_nu_sigma_law: (a, b, low, high) of an exponent and a spread that depend on the conductance:
            a ln(u) + b, held within low to high; at u = 1 they give `drift_nu` and `drift_nu_sigma`. None: the same
            for all conductances. The only values that a card may leave out.
    """

    name: str
    cell: CellKind
    g_on_siemens: float | None
    on_off_ratio: float | None
    conductance_levels: int
    cell_height_f: float | None
    cell_width_f: float | None
    read_voltage_v: float
    read_pulse_s: float
    write_voltage_v: float
    write_pulse_s: float
    write_energy_j: float
    programming_sigma: tuple[float, ...]
    read_sigma: float
    drift_nu: float
    drift_nu_sigma: float
    drift_t0_s: float
    stuck_on_rate: float
    stuck_off_rate: float
    drift_nu_law: tuple[float, ...] | None = None
    drift_nu_sigma_law: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "programming_sigma", tuple(self.programming_sigma))
        if self.cell not in get_args(CellKind):
            raise ValueError(f"cell must be one of {', '.join(get_args(CellKind))}, got {self.cell!r}")
        if self.cell == "sram":
            if self.conductance_levels != 2:
                raise ValueError(f"conductance_levels of an sram cell must be 2, got {self.conductance_levels}")
            if self.g_on_siemens is not None or self.on_off_ratio is not None:
                raise ValueError(
                    "g_on_siemens and on_off_ratio of an sram cell must be null: its transistors set its current"
                )
        else:
            _require(
                self.g_on_siemens is not None and 1e-9 <= self.g_on_siemens <= 1e-2,
                self,
                "g_on_siemens",
                "1e-9 to 1e-2",
            )
            _require(
                self.on_off_ratio is not None and 1 < self.on_off_ratio < math.inf,
                self,
                "on_off_ratio",
                "a finite number above 1",
            )
            for name in ("cell_height_f", "cell_width_f"):
                size = getattr(self, name)
                _require(size is not None and 1 <= size <= 1000, self, name, "1 to 1000 (units of the node)")
        _require(2 <= self.conductance_levels <= 256, self, "conductance_levels", "2 to 256")
        for name in ("read_voltage_v", "write_voltage_v"):
            _require(0 < getattr(self, name) <= 20, self, name, "above 0, at most 20 V")
        for name in ("read_pulse_s", "write_pulse_s", "drift_t0_s"):
            _require(0 < getattr(self, name) < math.inf, self, name, "a finite number above 0 s")
        for name in ("write_energy_j", "drift_nu_sigma"):
            _require(0 <= getattr(self, name) < math.inf, self, name, "a finite number, 0 or more")
        _require(0 <= self.drift_nu < 1, self, "drift_nu", "0 up to, not including, 1")
        _require(0 <= self.read_sigma <= 1, self, "read_sigma", "0 to 1 (relative to g_on)")
        for name in ("stuck_on_rate", "stuck_off_rate"):
            _require(0 <= getattr(self, name) <= 0.5, self, name, "0 to 0.5")
        for name, at_top in (("drift_nu_law", self.drift_nu), ("drift_nu_sigma_law", self.drift_nu_sigma)):
            law = getattr(self, name)
            if law is not None:
                object.__setattr__(self, name, tuple(law))
                _require(
                    len(law) == 4 and 0 <= law[2] <= law[3] < 1,
                    self,
                    name,
                    "(a, b, low, high) with 0 <= low <= high < 1",
                )
                holds = math.isclose(_held(law, 1.0), at_top, abs_tol=1e-12)
                _require(holds, self, name, f"a law that gives {at_top} at u = 1, as {name.removesuffix('_law')} says")
        lowest = 0.0 if self.on_off_ratio is None else 1 / self.on_off_ratio
        sigmas = [self.sigma_at(lowest + (1 - lowest) * step / 32) for step in range(33)]
        _require(
            bool(self.programming_sigma) and min(sigmas) >= 0 and max(sigmas) <= 1,
            self,
            "programming_sigma",
            "coefficients whose polynomial stays within 0 to 1 from g_off to g_on",
        )

    @property
    def is_noisy(self) -> bool:
        """Whether a cell may hold or give anything but what was written. If not, all chips are alike."""
        rates = (self.read_sigma, self.stuck_on_rate, self.stuck_off_rate, self.drift_nu, self.drift_nu_sigma)
        return any((*self.programming_sigma, *rates))

    @property
    def max_cell_bits(self) -> int:
        """Whole bits that one cell holds."""
        return int(math.log2(self.conductance_levels))

    @property
    def r_on_ohm(self) -> float:
        """Resistance of the highest level, in ohm. Not defined for SRAM."""
        assert self.g_on_siemens is not None, "an sram cell has no g_on"
        return 1 / self.g_on_siemens

    @property
    def r_off_ohm(self) -> float:
        """Resistance of the lowest level, in ohm. Not defined for SRAM."""
        assert self.on_off_ratio is not None, "an sram cell has no g_off"
        return self.r_on_ohm * self.on_off_ratio

    def relative_conductance(self, level: int, cell_bits: int) -> float:
        """u = g / g_on of a level from 0 to 2**cell_bits - 1; levels are equally spaced from g_off to g_on."""
        lowest = 0.0 if self.on_off_ratio is None else 1 / self.on_off_ratio
        return lowest + (1 - lowest) * level / ((1 << cell_bits) - 1)

    def sigma_at(self, u: float) -> float:
        """Standard deviation after programming at the relative conductance u, relative to g_on."""
        return math.fsum(c * math.pow(u, power) for power, c in enumerate(self.programming_sigma))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; `CellDevice(**d)` gives the same device back."""
        values = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _held(law: tuple[float, ...], u: float) -> float:
    return min(max(law[0] * math.log(u) + law[1], law[2]), law[3])


def _require(holds: bool, device: CellDevice, field: str, allowed: str) -> None:
    if not holds:
        raise ValueError(f"{field} must be {allowed}, got {getattr(device, field)!r}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DeviceCard:
    """A `CellDevice` with where each of its values comes from.

    Attributes:
        device: The physics.
        description: One line for people.
        sources: Field name -> paper, table, data set, or a sentence that starts with "assumed".
    """

    device: CellDevice
    description: str
    sources: Mapping[str, str]


_VALUE_FIELDS = tuple(f.name for f in dataclasses.fields(CellDevice) if f.name != "name")
_OPTIONAL_FIELDS = tuple(f.name for f in dataclasses.fields(CellDevice) if f.default is not dataclasses.MISSING)
_INTEGER_FIELDS = ("conductance_levels",)
_LIST_FIELDS = ("programming_sigma", *_OPTIONAL_FIELDS)
_TEXT_FIELDS = ("cell",)


def shipped_card_names() -> list[str]:
    """Names of the cards in `hw_models/cards/`, sorted."""
    return sorted(path.stem for path in CARD_FOLDER.glob("*.yaml"))


def load_card(name_or_path: str | Path) -> DeviceCard:
    """Read a card, by the name of one that comes with the project or by the path of a YAML file.

    Raises:
        CardError: If there is no such card (the nearest name is offered) or a field is missing, unknown,
            without a source, or out of its range.
    """
    text = str(name_or_path)
    if text in shipped_card_names():
        return _read_card(CARD_FOLDER / f"{text}.yaml")
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise CardError(
                f"{path}: no such card file; give the path of a YAML card or one of {', '.join(shipped_card_names())}"
            )
        return _read_card(path.resolve())
    nearest = difflib.get_close_matches(text, shipped_card_names(), n=1)
    offer = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise CardError(
        f"device {text!r} does not exist{offer}; choose one of {', '.join(shipped_card_names())}, "
        "or give the path of a card (.yaml)"
    )


@functools.lru_cache(maxsize=64)
def _parse_card(text: str, origin: str) -> DeviceCard:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CardError(f"{origin}: not a YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not isinstance(content.get("values"), dict):
        raise CardError(f"{origin}: a card has the keys name, description and values")
    if unknown := set(content) - {"name", "description", "values"}:
        raise CardError(
            f"{origin}: unknown key {sorted(unknown)[0]!r}; a card has the keys name, description and values"
        )
    name, values = content.get("name"), content["values"]
    if not isinstance(name, str) or not name:
        raise CardError(f"{origin}: name must be a word, got {name!r}")
    if strangers := [field for field in values if field not in _VALUE_FIELDS]:
        nearest = difflib.get_close_matches(str(strangers[0]), _VALUE_FIELDS, n=1)
        offer = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise CardError(f"{origin}: values.{strangers[0]} is not a field of a card{offer}")
    needed = [field for field in _VALUE_FIELDS if field not in _OPTIONAL_FIELDS]
    if missing := [field for field in needed if field not in values]:
        raise CardError(f"{origin}: values.{missing[0]} is missing; a card names every one of {', '.join(needed)}")
    plain, sources = {}, {}
    for field, entry in values.items():
        if not isinstance(entry, dict) or set(entry) != {"value", "source"}:
            raise CardError(f"{origin}: values.{field} must be written {{value: ..., source: ...}}, got {entry!r}")
        if not isinstance(entry["source"], str) or not entry["source"].strip():
            raise CardError(f'{origin}: values.{field} needs a source: a paper, a data set, or the word "assumed"')
        plain[field] = _typed(entry["value"], field, origin)
        sources[field] = entry["source"]
    try:
        device = CellDevice(name=name, **plain)
    except ValueError as error:
        raise CardError(f"{origin}: values.{error}") from error
    return DeviceCard(device=device, description=str(content.get("description", "")), sources=sources)


def _typed(value: Any, field: str, origin: str) -> Any:
    if value is None or field in _TEXT_FIELDS:
        if value is None and field not in ("g_on_siemens", "on_off_ratio", "cell_height_f", "cell_width_f"):
            raise CardError(f"{origin}: values.{field} must not be empty")
        return value
    if field in _LIST_FIELDS:
        numbers = value if isinstance(value, list) else [value]
        return tuple(_number(number, field, origin) for number in numbers)
    number = _number(value, field, origin)
    if field in _INTEGER_FIELDS:
        if number != int(number):
            raise CardError(f"{origin}: values.{field} must be a whole number, got {value!r}")
        return int(number)
    return number


def _number(value: Any, field: str, origin: str) -> float:
    # YAML 1.1 reads 4e-5 (no dot) as text, so text that spells a number counts as one.
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise CardError(f"{origin}: values.{field} must be a number, got {value!r}")
    try:
        number = float(value)
    except ValueError:
        raise CardError(f"{origin}: values.{field} must be a number, got {value!r}") from None
    if not math.isfinite(number):
        raise CardError(f"{origin}: values.{field} must be finite, got {value!r}")
    return number


def _read_card(path: Path) -> DeviceCard:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"{path}: cannot be read: {error}") from error
    return _parse_card(text, str(path))
