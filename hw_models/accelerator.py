"""The hardware of a design in one frozen record. Cost and accuracy both read this record only."""

import dataclasses
import math
from pathlib import Path
from typing import Any, Literal, get_args

from hw_models.circuits.technology import technology
from hw_models.devices import CellDevice, Readout, load_device
from hw_models.errors import InfeasibleDesign, shown

AdcType = Literal["sar", "flash", "flash_voltage"]
WeightEncoding = Literal["offset", "differential"]
Mapping = Literal["novel", "conventional"]
InputDrive = Literal["voltage", "pulse_width"]
Wires = Literal["ideal", "resistive"]
SUPPLY_RANGE = (0.7, 1.2)  # assumed: supplies over the node's own at which its circuits still work as modelled
TECH_NODES_NM = (7, 10, 14, 22, 32, 45)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Accelerator:
    """A computing-in-memory accelerator: its memory cell, crossbar and converters.

    Attributes:
        device: The memory cell; in its place the name or the path of its card, such as "rram".
        tech_node_nm: Technology node of cells and logic, one of `TECH_NODES_NM`.
        crossbar_size: Wordlines of a crossbar, a power of two from 16 to 1024; and as many bitlines, unless
            `crossbar_columns` says otherwise.
        cell_bits: Bits stored in one cell, 1 to 8 and no more than the device holds.
        weight_bits: Bits of a weight, sign included, 2 to 16.
        weight_encoding: `offset` stores w + 2**(weight_bits - 1) in one group of cells and subtracts the offset
            digitally; `differential` stores |w| in one of two groups, by the sign of w.
        input_bits: Bits of an input, 1 to 16, applied `dac_bits` at a time.
        dac_bits: Bits of an input applied per cycle; 1 switches wordlines on or off.
        adc_bits: Resolution of the converters, 1 to 14; None is an ideal converter, for which there is no cost model.
            The readout `digital` has no converters and needs None.
        adc_type: `sar`, `flash` (current-mode comparators) or `flash_voltage` (voltage-mode comparators).
        cols_per_adc: Columns that share one converter (readout `digital`: one adder tree): a power of two from 1 to the
            crossbar's columns.
        mapping: `novel` gives each kernel position of the convolutions crossbars of its own, so that inputs are reused
            (`map_network` says in which layers); `conventional` unrolls every layer into one matrix.
        readout: How a column is summed: `current` (cells conduct into the column), `charge` (a capacitor per cell,
            whose charge the column shares), `discharge` (cells discharge the precharged bitline) or `digital` (gates
            and an adder tree; sums are exact). The device says which are possible (`CellDevice.readouts`).
        input_drive: How `dac_bits` above 1 reach a row: as a `voltage` from a converter of the row, or as a pulse of
            this width (`pulse_width`).
        combine_columns: Whether the columns of a weight (of each polarity) are weighed by their significance and added
            before one conversion, in analog.
        rows_at_once: Rows of a crossbar that are read together, a power of two; the others follow, with conversions of
            their own. None reads all rows.
        supply_v: Supply of the circuits around the cells, `SUPPLY_RANGE` times the node's own; None takes the node's.
        crossbar_columns: Bitlines of a crossbar, a power of two from 16 to 1024; None takes `crossbar_size`.
        wires: Whether the simulated chips lose current to the resistance of rows and columns (`hw_models.cost.wires`).
            `ideal` for SRAM cells, in which no steady current flows, whatever is given.

    `rows_at_once`, `supply_v` and `crossbar_columns` become None if they say what None says, so that equal hardware
    compares equal.

    Raises:
        ValueError: If a value is out of its range.
        InfeasibleDesign: If no chip can have this combination of valid values.
    """

    device: CellDevice
    tech_node_nm: int = 22
    crossbar_size: int
    cell_bits: int
    weight_bits: int
    weight_encoding: WeightEncoding = "offset"
    input_bits: int
    dac_bits: int = 1
    adc_bits: int | None
    adc_type: AdcType = "sar"
    cols_per_adc: int = 8
    mapping: Mapping = "novel"
    readout: Readout = "current"
    input_drive: InputDrive = "voltage"
    combine_columns: bool = False
    rows_at_once: int | None = None
    supply_v: float | None = None
    crossbar_columns: int | None = None
    wires: Wires = "ideal"

    def __post_init__(self) -> None:
        if isinstance(self.device, str | Path):
            object.__setattr__(self, "device", load_device(self.device))
        _check_values(self)
        _normalise(self)
        _check_size(self)
        _check_readout(self)

    @property
    def node_supply_v(self) -> float:
        """Supply of the technology node."""
        return technology(self.tech_node_nm).supply_v

    @property
    def columns(self) -> int:
        """Bitlines of a crossbar."""
        return self.crossbar_columns or self.crossbar_size

    @property
    def rows_read(self) -> int:
        """Rows of a crossbar that are read together."""
        return self.rows_at_once or self.crossbar_size

    @property
    def reads(self) -> int:
        """Reads of a crossbar, one after the other, until all its rows are read."""
        return self.crossbar_size // self.rows_read

    def slices(self, weight_bits: int | None = None) -> int:
        """Cells of one polarity of a weight: ceil(stored bits / cell_bits). None takes the accelerator's weight bits.

        The differential encoding stores a magnitude, which has one bit less than the weight.
        """
        bits = self.weight_bits if weight_bits is None else weight_bits
        return math.ceil((bits - (self.weight_encoding == "differential")) / self.cell_bits)

    @property
    def cells_per_weight(self) -> int:
        """Columns of one weight, with both polarities of the differential encoding."""
        return self.columns_per_weight(self.weight_bits)

    def columns_per_weight(self, weight_bits: int | None) -> int:
        """Columns of a weight of `weight_bits`; None takes the accelerator's."""
        return self.slices(weight_bits) * (2 if self.weight_encoding == "differential" else 1)

    def conversions_per_weight(self, weight_bits: int | None = None) -> int:
        """Conversions of a weight for each read and cycle, 0 in a digital macro. `weight_bits` None takes the
        accelerator's."""
        if self.readout == "digital":
            return 0
        columns = self.columns_per_weight(weight_bits)
        return columns // self.slices(weight_bits) if self.combine_columns else columns

    def columns_at_once(self, weight_bits: int | None = None) -> int:
        """Columns of a weight that one converter (or adder tree) takes at once; as `slices` for `weight_bits`."""
        if self.readout == "digital":
            return min(self.slices(weight_bits), self.cols_per_adc)
        return self.slices(weight_bits) if self.combine_columns else 1

    def steps(self, weight_bits: int | None = None) -> int:
        """Steps, one after the other, in which one converter (or adder tree) takes all its columns."""
        return math.ceil(self.cols_per_adc / self.columns_at_once(weight_bits))

    @property
    def input_cycles(self) -> int:
        """Cycles to apply one input vector, `dac_bits` of each input at a time."""
        return math.ceil(self.input_bits / self.dac_bits)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the device included; fields of `_LATER` only where they differ from their defaults.

        So a design keeps the form that it had before these fields existed.
        """
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        later = {f.name for f in dataclasses.fields(self) if f.name in _LATER and values[f.name] == f.default}
        kept = {name: value for name, value in values.items() if name not in later}
        return kept | {"device": self.device.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Accelerator":
        """The inverse of `to_dict`."""
        return cls(**(values | {"device": CellDevice(**values["device"])}))


_CHOICES = {
    "adc_type": AdcType,
    "weight_encoding": WeightEncoding,
    "mapping": Mapping,
    "readout": Readout,
    "input_drive": InputDrive,
    "wires": Wires,
}
_LATER = ("readout", "input_drive", "combine_columns", "rows_at_once", "supply_v", "crossbar_columns", "wires")


def _check_values(chip: Accelerator) -> None:
    """Whether each value is in its range."""
    if not isinstance(chip.device, CellDevice):
        raise ValueError(f"device must be a CellDevice, or the name or path of a card, got {shown(chip.device)}")
    if chip.tech_node_nm not in TECH_NODES_NM:
        raise ValueError(f"tech_node_nm must be one of {TECH_NODES_NM}, got {shown(chip.tech_node_nm)}")
    _within("crossbar_size", chip.crossbar_size, 16, 1024)
    _within("cell_bits", chip.cell_bits, 1, 8)
    _within("weight_bits", chip.weight_bits, 2, 16)
    _within("input_bits", chip.input_bits, 1, 16)
    _within("dac_bits", chip.dac_bits, 1, chip.input_bits)
    if chip.adc_bits is not None:
        _within("adc_bits", chip.adc_bits, 1, 14, "; use None (null in a file) for an ideal converter")
    for name, allowed in _CHOICES.items():
        if (value := getattr(chip, name)) not in get_args(allowed):
            raise ValueError(f"{name} must be one of {', '.join(get_args(allowed))}, got {shown(value)}")
    _within("cols_per_adc", chip.cols_per_adc, 1, 1024)
    if not isinstance(chip.combine_columns, bool):
        raise ValueError(f"combine_columns must be true or false, got {shown(chip.combine_columns)}")
    if chip.rows_at_once is not None:
        _within("rows_at_once", chip.rows_at_once, 1, 1024, "; use None to read all rows at once")
    if chip.crossbar_columns is not None:
        _within("crossbar_columns", chip.crossbar_columns, 16, 1024, "; use None for as many as wordlines")
    if chip.supply_v is not None and not (type(chip.supply_v) in (int, float) and 0.1 <= chip.supply_v <= 2):
        raise ValueError(f"supply_v must be 0.1 to 2 V, got {shown(chip.supply_v)}; use None for that of the node")
    for name in ("crossbar_size", "cols_per_adc", "rows_at_once", "crossbar_columns"):
        value = getattr(chip, name)
        if value is not None and value & (value - 1):
            raise ValueError(f"{name} must be a power of two, got {value}")


def _normalise(chip: Accelerator) -> None:
    """Turn a value that says what the default says into the default."""
    plain = {
        "rows_at_once": chip.crossbar_size,
        "crossbar_columns": chip.crossbar_size,
        "supply_v": chip.node_supply_v,
    }
    for name, value in plain.items():
        if getattr(chip, name) == value:
            object.__setattr__(chip, name, None)
    if chip.device.cell == "sram":
        object.__setattr__(chip, "wires", "ideal")


def _check_size(chip: Accelerator) -> None:
    """Whether a weight and its converter fit the crossbar and the cell."""
    if chip.cols_per_adc > chip.columns:
        raise InfeasibleDesign(f"cols_per_adc {chip.cols_per_adc} is more than the crossbar's {chip.columns} columns")
    if chip.cell_bits > chip.device.max_cell_bits:
        raise InfeasibleDesign(
            f"cell_bits {chip.cell_bits} is more than a {chip.device.name} cell holds ({chip.device.max_cell_bits})"
        )
    if chip.cells_per_weight > chip.columns:
        raise InfeasibleDesign(
            f"one weight takes {chip.cells_per_weight} columns, more than the crossbar's {chip.columns}: "
            "use a larger crossbar, fewer weight_bits or more cell_bits"
        )
    if chip.rows_read > chip.crossbar_size:
        raise InfeasibleDesign(
            f"rows_at_once {chip.rows_at_once} is more than the crossbar's {chip.crossbar_size} rows"
        )
    low, high = (share * chip.node_supply_v for share in SUPPLY_RANGE)
    if chip.supply_v is not None and not low <= chip.supply_v <= high:
        raise InfeasibleDesign(
            f"supply_v {chip.supply_v:g} is outside {low:.3g} to {high:.3g} V, the supplies that the model covers at "
            f"{chip.tech_node_nm} nm"
        )


def _check_readout(chip: Accelerator) -> None:
    """Whether the device can be read in this way, and the circuits around it fit the readout."""
    readout = chip.readout
    if readout not in chip.device.readouts:
        raise InfeasibleDesign(
            f"readout {readout} is impossible with {chip.device.name} cells, which are read by "
            f"{' or '.join(chip.device.readouts)}"
        )
    if readout == "digital" and chip.adc_bits is not None:
        raise ValueError(
            f"adc_bits must be None (null in a file) with the readout digital, without converters; got {chip.adc_bits}"
        )
    if readout == "digital" and (chip.dac_bits > 1 or chip.combine_columns):
        raise InfeasibleDesign(
            "the readout digital takes inputs bit by bit and adds columns digitally: "
            "dac_bits must be 1 and combine_columns false"
        )
    if readout not in ("current", "digital") and chip.adc_type == "flash":
        raise InfeasibleDesign(f"flash converters compare currents; the readout {readout} needs sar or flash_voltage")
    if chip.combine_columns and chip.adc_type == "flash":
        raise InfeasibleDesign(
            "flash converters compare currents, and combine_columns adds charges: use sar or flash_voltage"
        )
    if chip.combine_columns and chip.slices() == 1:
        raise InfeasibleDesign("combine_columns has nothing to add: a weight has one column of each polarity")
    if chip.combine_columns and chip.slices() > chip.cols_per_adc:
        raise InfeasibleDesign(
            f"combine_columns adds the {chip.slices()} columns of a weight before one converter, more than share one "
            f"(cols_per_adc {chip.cols_per_adc})"
        )
    if chip.input_drive == "pulse_width" and (chip.dac_bits == 1 or readout == "charge"):
        raise InfeasibleDesign(
            "input_drive pulse_width needs dac_bits above 1 and cells that conduct while they are read"
        )
    conducts = readout == "discharge" or (readout == "current" and chip.device.cell == "sram")
    if chip.input_drive == "voltage" and chip.dac_bits > 1 and conducts:
        raise InfeasibleDesign(
            "the current of a transistor is not linear in the voltage of its gate: sram cells that conduct (readout "
            f"{readout}) need input_drive pulse_width for dac_bits above 1"
        )


def _within(name: str, value: int, low: int, high: int, way_out: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} must be {low} to {high}, got {shown(value)}{way_out}")
