"""Memory cells: the physics of one cell (`CellDevice`), and the file that describes it (`DeviceCard`).

A card is a YAML file. Every value has a source: a publication, a data set, or the word "assumed"::

    name: my_rram
    description: one line
    values:
      cell: {value: 1t1r, source: "..."}
      g_on_siemens: {value: 4.0e-5, source: "..."}
      ...

In place of `programming_sigma`, `measured_cells` names a CSV file of measured conductances beside the card, and
`measured_spread` tells how they were measured (`hw_models.measured_cells`).

The project's own cards are in `hw_models/cards/`. `load_card` takes a name or a path.
"""

import dataclasses
import difflib
import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from hw_models.errors import CardError, shown
from hw_models.measured_cells import ErrorCurve, check_curves, curve_at, error_curves, spread_of

CellKind = Literal["sram", "1t1r", "fefet"]
Readout = Literal["current", "charge", "discharge", "digital"]
CARD_FOLDER = Path(__file__).parent / "cards"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CellDevice:
    """One memory cell: the input of both the cost model and the noise model, in SI units.

    A relative conductance is `u = g / g_on`, from `lowest_u` to 1.

    Attributes:
        name: Label.
        cell: `sram` (6T cell and digital bit), `1t1r` (resistor behind an access transistor) or
            `fefet` (ferroelectric transistor, no separate access transistor).
        g_on_siemens: Conductance of the highest level. None for SRAM: its transistors set its read current.
        on_off_ratio: `g_on / g_off`, above 1, at most 1e12. None for SRAM: its off state conducts nothing.
        conductance_levels: Distinct levels that programming reaches; the cell holds floor(log2(levels)) bits.
        cell_height_f, cell_width_f: Wordline pitch and bitline pitch, in units of the node. None takes the node's own
            layout, for SRAM only.
        read_voltage_v, read_pulse_s: Voltage across the cell, and duration, of one read.
        write_voltage_v, write_pulse_s, write_energy_j: Of one write pulse on one cell. No model reads `UNREAD_FIELDS`:
            the clock follows from the circuits, and nothing is written while a network runs.
        programming_sigma: Coefficients c of sigma(u) / g_on = c[0] + c[1] u + c[2] u^2 + ..., the standard deviation
            of the conductance after programming: device-to-device and programming variation, drawn once per chip.
        read_sigma: Standard deviation of one read relative to g_on, drawn at every read.
        drift_nu, drift_nu_sigma: Mean, and standard deviation over cells, of nu in g(t) = g(t0) (t / t0)^-nu.
        drift_t0_s: Time t0 after programming at which `programming_sigma` holds.
        stuck_on_rate, stuck_off_rate: Fractions of cells that stay at g_on and at g_off, whatever is written.
        drift_nu_law, drift_nu_sigma_law: (a, b, low, high) of mean and standard deviation of nu as functions of the
            conductance: a ln(u) + b, limited to low ... high. At u = 1 they must give `drift_nu` and `drift_nu_sigma`.
            None: the same at all conductances.
        capacitor_f, capacitor_sigma: Capacitor of an SRAM cell that is read by its charge, and the standard deviation
            of its value, relative to it, drawn once per chip. None: the cell has no capacitor.
        discharge_sigma: Standard deviation of the current with which an SRAM cell of its own read port discharges a
            bitline, relative to it, at the node's supply, drawn once per chip. None: the cell has no such port.
        error_curves, measured_spread: Programming errors as measured, in place of `programming_sigma`, which is then
            empty; and whether they were measured `device_to_device` (each cell written once), `cycle_to_cycle` (few
            cells written often, which leaves out how cells differ) or `both` (`hw_models.measured_cells`).

    Only values whose default is None may be missing from a card.

    Raises:
        ValueError: If a value is out of its range, or does not fit the kind of cell.
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
    capacitor_f: float | None = None
    capacitor_sigma: float | None = None
    discharge_sigma: float | None = None
    error_curves: tuple[ErrorCurve, ...] | None = None
    measured_spread: str | None = None

    def __post_init__(self) -> None:
        for name in ("programming_sigma", "drift_nu_law", "drift_nu_sigma_law"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.error_curves is not None:
            object.__setattr__(self, "error_curves", tuple((u, tuple(curve)) for u, curve in self.error_curves))
        _check_kinds(self)
        if self.cell not in get_args(CellKind):
            raise ValueError(f"cell must be one of {', '.join(get_args(CellKind))}, got {shown(self.cell)}")
        if self.cell == "sram":
            _check_sram(self)
        else:
            _check_resistive(self)
        for names, is_allowed, allowed in _RANGES:
            for name in names:
                _require(is_allowed(getattr(self, name)), self, name, allowed)
        for name, at_top in (("drift_nu_law", self.drift_nu), ("drift_nu_sigma_law", self.drift_nu_sigma)):
            if getattr(self, name) is not None:
                _check_drift_law(self, name, at_top)
        _check_errors(self)

    @property
    def readouts(self) -> tuple[Readout, ...]:
        """How the cell can be read. An SRAM cell with a capacitor or a read port is built for that readout."""
        if self.capacitor_f is not None:
            return ("charge",)
        if self.discharge_sigma is not None:
            return ("discharge",)
        return ("current", "digital") if self.cell == "sram" else ("current",)

    @property
    def lowest_u(self) -> float:
        """u = g / g_on of the lowest level, g_off / g_on; 0 if the off state conducts nothing."""
        return 0.0 if self.on_off_ratio is None else 1 / self.on_off_ratio

    @property
    def max_cell_bits(self) -> int:
        """Bits that one cell holds."""
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
        """u = g / g_on of a level, 0 to 2**cell_bits - 1. Levels are equally spaced from g_off to g_on."""
        return self.lowest_u + (1 - self.lowest_u) * level / ((1 << cell_bits) - 1)

    def sigma_at(self, u: float) -> float:
        """Standard deviation after programming, relative to g_on, at the relative conductance u.

        Measured errors count with their mean: it is their root mean square.
        """
        if self.error_curves is not None:
            return spread_of(curve_at(self.error_curves, u))
        return math.fsum(c * math.pow(u, power) for power, c in enumerate(self.programming_sigma))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `CellDevice(**values)` gives an equal device.

        Fields of `_LATER_FIELDS` are left out if None, so that a device keeps the form that it had before them.
        """
        values = {n: v for n, v in dataclasses.asdict(self).items() if v is not None or n not in _LATER_FIELDS}
        return {name: _as_lists(value) for name, value in values.items()}


def conductances_u(device: CellDevice, steps: int) -> list[float]:
    """`steps` + 1 relative conductances, evenly spaced from g_off to g_on."""
    return [device.lowest_u + (1 - device.lowest_u) * step / steps for step in range(steps + 1)]


def check_drift_time(device: CellDevice, time_s: float | None) -> None:
    """Raise ValueError if a cell drifts and its card tells nothing of `time_s` seconds after programming."""
    if time_s is not None and time_s < device.drift_t0_s and (device.drift_nu or device.drift_nu_sigma):
        raise ValueError(
            f"a drift time of {time_s:g} s is before drift_t0_s of {device.name}, {device.drift_t0_s:g} s, where what "
            f"its card says begins; use {device.drift_t0_s:g} s or more"
        )


def drift_note(device: CellDevice) -> str:
    """That the card tells of no drift, and what follows; empty if it does, or if the cell is digital."""
    if device.drift_nu or device.drift_nu_sigma or device.cell == "sram":
        return ""
    return (
        f"the card {device.name} names no drift (drift_nu 0), so that a later reading is the same: that its cells hold "
        "their values is not measured but left out"
    )


def _as_lists(value: Any) -> Any:
    return [_as_lists(each) for each in value] if isinstance(value, tuple) else value


_SRAM_FIELDS = ("capacitor_f", "capacitor_sigma", "discharge_sigma")
_LATER_FIELDS = (*_SRAM_FIELDS, "error_curves", "measured_spread")
UNREAD_FIELDS = ("read_pulse_s", "write_voltage_v", "write_pulse_s", "write_energy_j")
_LARGEST_RATIO = 1e12  # assumed: an off state of attoamperes
_RANGES: tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...] = (
    (("conductance_levels",), lambda value: 2 <= value <= 256, "2 to 256"),
    (("read_voltage_v", "write_voltage_v"), lambda value: 0 < value <= 20, "above 0, at most 20 V"),
    (("read_pulse_s", "write_pulse_s", "drift_t0_s"), lambda value: 0 < value < math.inf, "a finite number above 0 s"),
    (("write_energy_j", "drift_nu_sigma"), lambda value: 0 <= value < math.inf, "a finite number, 0 or more"),
    (("drift_nu",), lambda value: 0 <= value < 1, "0 up to, not including, 1"),
    (("read_sigma",), lambda value: 0 <= value <= 1, "0 to 1 (relative to g_on)"),
    (("stuck_on_rate", "stuck_off_rate"), lambda value: 0 <= value <= 0.5, "0 to 0.5"),
)


_TEXT_FIELDS = ("name", "cell", "measured_spread")


def _check_kinds(device: CellDevice) -> None:
    """Whether each field is a text, a number or numbers, as its name asks."""
    _require(isinstance(device.name, str), device, "name", "a text")
    for field in dataclasses.fields(device):
        value = getattr(device, field.name)
        if field.name in (*_TEXT_FIELDS, "error_curves") or value is None:
            continue
        for number in value if isinstance(value, tuple) else (value,):
            is_number = isinstance(number, int | float) and not isinstance(number, bool)
            _require(is_number and math.isfinite(number), device, field.name, "made of finite numbers")


def _check_sram(device: CellDevice) -> None:
    if device.conductance_levels != 2:
        raise ValueError(f"conductance_levels of an sram cell must be 2, got {device.conductance_levels}")
    if device.g_on_siemens is not None or device.on_off_ratio is not None:
        raise ValueError("g_on_siemens and on_off_ratio of an sram cell must be null: its transistors set its current")
    for name in ("cell_height_f", "cell_width_f"):
        size = getattr(device, name)
        _require(size is None or 1 <= size <= 1000, device, name, "1 to 1000 (units of the node), or null")
    capacitor, mismatch = device.capacitor_f, device.capacitor_sigma
    if (capacitor is None) != (mismatch is None):
        raise ValueError("capacitor_f and capacitor_sigma belong together; give both or none")
    if capacitor is not None and device.discharge_sigma is not None:
        raise ValueError("a cell has a capacitor or a read port: give capacitor_f or discharge_sigma, not both")
    _require(capacitor is None or 1e-17 <= capacitor <= 1e-12, device, "capacitor_f", "1e-17 to 1e-12 F")
    for name in ("capacitor_sigma", "discharge_sigma"):
        sigma = getattr(device, name)
        _require(sigma is None or 0 <= sigma <= 0.5, device, name, "0 to 0.5 (relative)")


def _check_resistive(device: CellDevice) -> None:
    for name in _SRAM_FIELDS:
        _require(
            getattr(device, name) is None, device, name, f"left out for a {device.cell} cell: it is for sram cells"
        )
    g_on, ratio = device.g_on_siemens, device.on_off_ratio
    _require(g_on is not None and 1e-9 <= g_on <= 1e-2, device, "g_on_siemens", "1e-9 to 1e-2")
    _require(ratio is not None and 1 < ratio <= _LARGEST_RATIO, device, "on_off_ratio", "above 1, at most 1e12")
    for name in ("cell_height_f", "cell_width_f"):
        size = getattr(device, name)
        _require(size is not None and 1 <= size <= 1000, device, name, "1 to 1000 (units of the node)")


def _check_errors(device: CellDevice) -> None:
    if device.error_curves is None:
        _require(device.measured_spread is None, device, "measured_spread", "left out without measured_cells")
        sigmas = [device.sigma_at(u) for u in conductances_u(device, 32)]
        _require(
            bool(device.programming_sigma) and min(sigmas) >= 0 and max(sigmas) <= 1,
            device,
            "programming_sigma",
            "coefficients whose polynomial stays within 0 to 1 from g_off to g_on",
        )
    else:
        _require(device.cell != "sram", device, "cell", "a resistive kind with measured_cells")
        _require(not device.programming_sigma, device, "programming_sigma", "left out with measured_cells")
        check_curves(device.error_curves, device.measured_spread)


def _check_drift_law(device: CellDevice, name: str, at_top: float) -> None:
    law = getattr(device, name)
    is_law = len(law) == 4 and 0 <= law[2] <= law[3] < 1
    _require(is_law, device, name, "(a, b, low, high) with 0 <= low <= high < 1")
    given = min(max(law[1], law[2]), law[3])  # a ln(1) + b, held within low to high
    agrees = math.isclose(given, at_top, abs_tol=1e-12)
    _require(agrees, device, name, f"a law that gives {at_top} at u = 1, as {name.removesuffix('_law')} says")


def _require(holds: bool, device: CellDevice, field: str, allowed: str) -> None:
    if not holds:
        raise ValueError(f"{field} must be {allowed}, got {shown(getattr(device, field))}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DeviceCard:
    """A `CellDevice` with the sources of its values.

    Attributes:
        device: The memory cell.
        description: One line for readers.
        sources: Field name -> paper, table, data set, or a sentence that starts with "assumed".
    """

    device: CellDevice
    description: str
    sources: Mapping[str, str]


_LONGEST_NAME = 80  # characters
_MOST_COEFFICIENTS = 8  # assumed: fits to measured levels have up to 5
_LARGEST_SIGMA = 0.5  # of g_on; assumed: cells of the literature stay below 0.15
MEASURED_CELLS = "measured_cells"  # of a card only: a device holds what the file says
_VALUE_FIELDS = (
    *(f.name for f in dataclasses.fields(CellDevice) if f.name not in ("name", "error_curves")),
    MEASURED_CELLS,
)
_OPTIONAL_FIELDS = (
    *(f.name for f in dataclasses.fields(CellDevice) if f.default is not dataclasses.MISSING),
    MEASURED_CELLS,
)
_LIST_FIELDS = ("programming_sigma", "drift_nu_law", "drift_nu_sigma_law")
_FIELDS_THAT_MAY_BE_EMPTY = ("g_on_siemens", "on_off_ratio", "cell_height_f", "cell_width_f")


def shipped_card_names() -> list[str]:
    """Names of the cards in `hw_models/cards/`, sorted."""
    return sorted(path.stem for path in CARD_FOLDER.glob("*.yaml"))


def load_card(name_or_path: str | Path) -> DeviceCard:
    """Read a card: one of the project's own by its name, any other by the path of its YAML file.

    Raises:
        CardError: If there is no such card (the message offers the nearest name), or if a field is missing, unknown,
            without a source, or out of its range.
    """
    name, path = str(name_or_path), Path(name_or_path)
    if name in shipped_card_names():
        path = CARD_FOLDER / f"{name}.yaml"
    elif path.suffix not in (".yaml", ".yml"):
        nearest = difflib.get_close_matches(name, shipped_card_names(), n=1)
        offer = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise CardError(
            f"device {shown(name)} does not exist{offer}; choose one of {', '.join(shipped_card_names())}, "
            "or give the path of a card (.yaml)"
        )
    elif not path.is_file():
        raise CardError(
            f"{path}: no such card file; give the path of a YAML card or one of {', '.join(shipped_card_names())}"
        )
    else:
        path = path.resolve()
    content = _content(_text_of(path), str(path))
    entry = content["values"].get(MEASURED_CELLS)
    if entry is None:
        return _card(_text_of(path), str(path), None)
    if not isinstance(entry, dict) or not isinstance(entry.get("value"), str):
        raise CardError(f"{path}: values.{MEASURED_CELLS} must name a CSV file, got {shown(entry)}")
    measured = path.parent / entry["value"]
    return _card(_text_of(path), str(path), (str(measured), _text_of(measured)))


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"{path}: cannot be read: {error}") from error


def load_device(name_or_path: str | Path) -> CellDevice:
    """The memory cell of a card, as `load_card` finds it. Raises CardError, as that does."""
    return load_card(name_or_path).device


@functools.lru_cache(maxsize=64)
def _content(text: str, origin: str) -> dict[str, Any]:
    """The card as plain values, its keys checked."""
    import yaml

    from hw_models.yaml_loaders import load_yaml

    try:
        content = load_yaml(text)
    except yaml.YAMLError as error:
        raise CardError(f"{origin}: cannot be read as YAML: {' '.join(str(error).split())[:160]}") from error
    if not isinstance(content, dict) or not isinstance(content.get("values"), dict):
        raise CardError(f"{origin}: a card has the keys name, description and values")
    if unknown := [key for key in content if key not in ("name", "description", "values")]:
        raise CardError(f"{origin}: unknown key {shown(unknown[0])}; a card has the keys name, description and values")
    name, description = content.get("name"), content.setdefault("description", "")
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise CardError(f"{origin}: name must be one line of 1 to {_LONGEST_NAME} characters, got {shown(name)}")
    if not isinstance(description, str):
        raise CardError(f"{origin}: description must be a text, got {shown(description)}")
    return content


@functools.lru_cache(maxsize=64)
def _card(text: str, origin: str, measured: tuple[str, str] | None) -> DeviceCard:
    """The card of a text; `measured` is the path and the text of its file of measured cells."""
    content = _content(text, origin)
    values = content["values"]
    _check_fields(values, origin, ("programming_sigma",) if measured else ())
    plain = {field: _typed(entry["value"], field, origin) for field, entry in values.items()}
    if plain.pop(MEASURED_CELLS, None) is not None:
        assert measured is not None, "a card that names a file comes with its text"
        plain.setdefault("programming_sigma", ())
        plain["error_curves"] = _curves(measured, plain, origin)
    try:
        device = CellDevice(name=content["name"], **plain)
        _check_plausible(device)
    except ValueError as error:
        raise CardError(f"{origin}: values.{error}") from error
    sources = {field: entry["source"] for field, entry in values.items()}
    return DeviceCard(device=device, description=content["description"], sources=sources)


def _check_fields(values: Mapping[Any, Any], origin: str, instead: tuple[str, ...]) -> None:
    """Each field must be known, there (but for those that `instead` names), and with a value and a source."""
    if unknown := [field for field in values if field not in _VALUE_FIELDS]:
        nearest = difflib.get_close_matches(str(unknown[0]), _VALUE_FIELDS, n=1)
        offer = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise CardError(f"{origin}: values has {shown(unknown[0])}, which is not a field of a card{offer}")
    needed = [field for field in _VALUE_FIELDS if field not in (*_OPTIONAL_FIELDS, *instead)]
    if missing := [field for field in needed if field not in values]:
        raise CardError(f"{origin}: values.{missing[0]} is missing; nacim devices show rram lists all that a card has")
    for field, entry in values.items():
        if not isinstance(entry, dict) or set(entry) != {"value", "source"}:
            raise CardError(f"{origin}: values.{field} must be written {{value: ..., source: ...}}, got {shown(entry)}")
        if not isinstance(entry["source"], str) or not entry["source"].strip():
            raise CardError(f'{origin}: values.{field} needs a source: a paper, a data set, or the word "assumed"')


def _check_plausible(device: CellDevice) -> None:
    """What a card must not say of a cell. A `CellDevice` may be worse, such as one scaled to find a limit."""
    count = len(device.programming_sigma)
    if 2 < count == device.conductance_levels or count > _MOST_COEFFICIENTS:
        raise ValueError(
            f"programming_sigma has {count} values, the cell {device.conductance_levels} levels: it takes up to "
            f"{_MOST_COEFFICIENTS} coefficients of a polynomial in u, not a value for each level, which measured_cells "
            "takes; if these are coefficients, add a 0"
        )
    largest = max(device.sigma_at(u) for u in conductances_u(device, 32))
    for name, sigma in (("read_sigma", device.read_sigma), ("programming_sigma", largest)):
        if sigma > _LARGEST_SIGMA:
            raise ValueError(f"{name} must be at most {_LARGEST_SIGMA} of g_on, where no level is told, is {sigma:.3g}")


def _curves(measured: tuple[str, str], plain: dict[str, Any], origin: str) -> tuple[ErrorCurve, ...]:
    g_on, ratio = plain["g_on_siemens"], plain["on_off_ratio"]
    if not g_on or not ratio or ratio <= 0:
        raise CardError(f"{origin}: values.{MEASURED_CELLS} needs g_on_siemens and on_off_ratio above 0")
    path, text = measured
    return error_curves(text, path, g_on, 1 / ratio)


def _typed(value: Any, field: str, origin: str) -> Any:
    if value is None and field not in _FIELDS_THAT_MAY_BE_EMPTY:
        raise CardError(f"{origin}: values.{field} must not be empty")
    if value is None or field in ("cell", MEASURED_CELLS, "measured_spread"):
        return value
    if field in _LIST_FIELDS:
        numbers = value if isinstance(value, list) else [value]
        return tuple(_number(number, field, origin) for number in numbers)
    number = _number(value, field, origin)
    if field == "conductance_levels":
        if number != int(number):
            raise CardError(f"{origin}: values.{field} must be a whole number, got {shown(value)}")
        return int(number)
    return number


def _number(value: Any, field: str, origin: str) -> float:
    # YAML 1.1 reads 4e-5 (without a dot) as text, so text that spells a number is accepted.
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise CardError(f"{origin}: values.{field} must be a number, got {shown(value)}")
    try:
        number = float(value)
    except ValueError:
        raise CardError(f"{origin}: values.{field} must be a number, got {shown(value)}") from None
    if not math.isfinite(number):
        raise CardError(f"{origin}: values.{field} must be finite, got {shown(value)}")
    return number
