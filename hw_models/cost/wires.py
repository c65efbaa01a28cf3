"""How much of a column's current is lost to the resistance of wires (IR drop).

A steady current flows from a row's driver along the row, through a cell, and down the column to its converter. On both
wires voltage is lost, more the farther a cell lies from the driver and from the converter. A row or column of equal
cells is a resistive line with a leak per cell, of which a length of n cells delivers tanh(k n) / (k n) of the ideal
current, k^2 = resistance from cell to cell x conductance of a cell (Ohm's law on the ladder; docs/cost_model.md,
"Wires").

Resistances from cell to cell are those of the cost model (`hw_models.circuits.cell`).
"""

import dataclasses
import math

from hw_models.accelerator import Accelerator
from hw_models.circuits.cell import Cell, cell_in_crossbar, element_siemens
from hw_models.cost.activity import LayerActivity, assumed_layer_activity
from hw_models.mapping import LayerMapping

TESTED_TO = 0.3  # drop up to which `Line.profile` was compared with nodal solutions (docs/noise_model.md)
TOLD_FROM = 0.05  # assumed: IR drop from which a reader is told, about the spread of the cells themselves


def in_words(drop: float, wires: str = "ideal") -> str:
    """What a reader has to know of an IR drop; empty below `TOLD_FROM`. `wires` is `Accelerator.wires`."""
    if drop < TOLD_FROM:
        return ""
    if wires == "resistive":
        beyond = "" if drop <= TESTED_TO else f"; the model of wires was tested to {TESTED_TO:.0%} only"
        return f"IR drop: wires take about {drop:.0%} of a column's current; accuracy knows, energy does not{beyond}"
    return (
        f"IR drop: wires would take about {drop:.0%} of a column's current, and neither accuracy nor energy knows; "
        "smaller crossbars, rows_at_once or cells of more resistance lose less"
    )


def ir_drop(cell: Cell, mapped: LayerMapping, activity: LayerActivity) -> float:
    """Mean share of the current of a layer's columns that its wires take, 0 to 1, on its fullest crossbar.

    All rows whose input bit is 1 conduct; the mean over the bit-planes is taken. Cells of a mean conductance stand for
    those of all levels. Where no steady current flows, it is 0: SRAM cells are sensed by a small swing of the bitline
    or by charge.

    It agrees with nodal solutions of random arrays of the shipped cells, up to 128 x 128, within 12 % of the drop, or
    0.01 (tests/test_wires.py).
    """
    if cell.device.cell == "sram":
        return 0.0
    row, column = _lines(cell, mapped, activity)
    return 1 - row.delivered * column.delivered


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """A wire with `cells` equal cells, of which each loses `k` per cell of length, as in the module's docstring."""

    k: float
    cells: int

    @property
    def delivered(self) -> float:
        """Share of the ideal current that all cells of the line deliver together."""
        length = self.k * self.cells
        return math.tanh(length) / length if length > 1e-6 else 1.0

    @property
    def profile(self) -> tuple[float, ...]:
        """Share that each cell delivers, the one next to the driver (row) or the converter (column) first.

        A cell stands for the middle of its piece of the line; cosh(k x) / cosh(k n) at the distance x from the far end.
        """
        whole = 1 + math.exp(-2 * self.k * self.cells)
        near = (self.k * (place + 0.5) for place in range(self.cells))  # cosh itself would be too large for a number
        return tuple((math.exp(-x) + math.exp(x - 2 * self.k * self.cells)) / whole for x in near)


def _lines(cell: Cell, mapped: LayerMapping, activity: LayerActivity) -> tuple[Line, Line]:
    """A row and a column of a layer's fullest crossbar, of cells with a current."""
    cell_siemens = 1 / (1 / element_siemens(cell, activity.level_shares) + cell.access_ohm)
    rows = min(mapped.rows_per_position, mapped.crossbar_size)
    mean_input = math.fsum(activity.means) / len(activity.means)
    active = mean_input * min(rows, mapped.rows_read) / rows
    along_row = Line(math.sqrt(cell.row_wire_ohm * cell_siemens), min(mapped.pack_columns, mapped.crossbar_columns))
    return along_row, Line(math.sqrt(cell.column_wire_ohm * cell_siemens * active), rows)


def wire_lines(accelerator: Accelerator, mapped: LayerMapping, *, is_first: bool) -> tuple[Line, Line] | None:
    """The (row, column) with which the forward pass weighs a layer's cells; None if it has ideal wires.

    The activity is that of `assumed_activity`, in which the first layer's inputs are denser.
    """
    if accelerator.wires == "ideal":
        return None
    activity = assumed_layer_activity(accelerator, mapped.layer, is_first=is_first)
    return _lines(cell_in_crossbar(accelerator), mapped, activity)
