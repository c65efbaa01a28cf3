"""The hardware of a design in one frozen record. Cost and accuracy both read this record only."""

import dataclasses
import math
from typing import Any, Literal, get_args

from hw_models.devices import CellDevice
from hw_models.errors import InfeasibleDesign

AdcType = Literal["sar", "flash", "flash_voltage"]
WeightEncoding = Literal["offset", "differential"]
Mapping = Literal["novel", "conventional"]
TECH_NODES_NM = (7, 10, 14, 22, 32, 45)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Accelerator:
    """A computing-in-memory accelerator: its memory cell, crossbar and converters.

    Attributes:
        device: The memory cell.
        tech_node_nm: Technology node of cells and logic, one of `TECH_NODES_NM`.
        crossbar_size: Wordlines of a crossbar, and as many bitlines: a power of two from 16 to 1024.
        cell_bits: Bits stored in one cell, 1 to 8 and no more than the device holds.
        weight_bits: Bits of a weight, sign included, 2 to 16.
        weight_encoding: `offset` stores w + 2**(weight_bits - 1) in one group of cells and subtracts the offset
            digitally; `differential` stores |w| in one of two groups, by the sign of w.
        input_bits: Bits of an input, 1 to 16, applied `dac_bits` at a time.
        dac_bits: Bits of an input applied per cycle. The cost model covers 1 only (wordlines on or off).
        adc_bits: Resolution of the converters, 1 to 14; None is an ideal converter, for which there is no cost model.
        adc_type: `sar`, `flash` (current-mode comparators) or `flash_voltage` (voltage-mode comparators).
        cols_per_adc: Columns that share one converter: a power of two from 1 to the crossbar's columns.
        mapping: `novel` gives each kernel position of the convolutions crossbars of its own, so that inputs are reused
            (`map_network` says in which layers); `conventional` unrolls every layer into one matrix.

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

    def __post_init__(self) -> None:
        if self.tech_node_nm not in TECH_NODES_NM:
            raise ValueError(f"tech_node_nm must be one of {TECH_NODES_NM}, got {self.tech_node_nm}")
        _within("crossbar_size", self.crossbar_size, 16, 1024)
        _within("cell_bits", self.cell_bits, 1, 8)
        _within("weight_bits", self.weight_bits, 2, 16)
        _within("input_bits", self.input_bits, 1, 16)
        _within("dac_bits", self.dac_bits, 1, self.input_bits)
        if self.adc_bits is not None:
            _within("adc_bits", self.adc_bits, 1, 14, "; use None for an ideal converter")
        for name, allowed in (("adc_type", AdcType), ("weight_encoding", WeightEncoding), ("mapping", Mapping)):
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(f"{name} must be one of {', '.join(get_args(allowed))}, got {getattr(self, name)!r}")
        _within("cols_per_adc", self.cols_per_adc, 1, 1024)
        for name in ("crossbar_size", "cols_per_adc"):
            if getattr(self, name) & (getattr(self, name) - 1):
                raise ValueError(f"{name} must be a power of two, got {getattr(self, name)}")
        if self.cols_per_adc > self.crossbar_size:
            raise InfeasibleDesign(
                f"cols_per_adc {self.cols_per_adc} is more than the crossbar's {self.crossbar_size} columns"
            )
        if self.cell_bits > self.device.max_cell_bits:
            raise InfeasibleDesign(
                f"cell_bits {self.cell_bits} is more than a {self.device.name} cell holds ({self.device.max_cell_bits})"
            )
        if self.cells_per_weight > self.crossbar_size:
            raise InfeasibleDesign(
                f"one weight takes {self.cells_per_weight} columns, more than the crossbar's {self.crossbar_size}: "
                "use a larger crossbar, fewer weight_bits or more cell_bits"
            )

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

    @property
    def input_cycles(self) -> int:
        """Cycles to apply one input vector, `dac_bits` of each input at a time."""
        return math.ceil(self.input_bits / self.dac_bits)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the device included."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | {"device": self.device.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Accelerator":
        """The inverse of `to_dict`."""
        return cls(**(values | {"device": CellDevice(**values["device"])}))


def _within(name: str, value: int, low: int, high: int, way_out: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} must be {low} to {high}, got {value!r}{way_out}")
