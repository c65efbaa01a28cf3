"""How much of a column's current is lost to the resistance of wires (IR drop).

A steady current flows from a row's driver along the row, through a cell, and down the column to its converter. On both
wires voltage is lost, more the farther a cell lies from the driver and from the converter. A row or column of equal
cells is a resistive line with a leak per cell, of which a length of n cells delivers tanh(k n) / (k n) of the ideal
current, k^2 = resistance from cell to cell x conductance of a cell (Ohm's law on the ladder; docs/cost_model.md,
"Wires").

Resistances from cell to cell are those of the cost model (`hw_models.circuits.cell`).
"""

import math

from hw_models.accelerator import Accelerator
from hw_models.circuits.cell import cell_in_crossbar, element_siemens
from hw_models.cost.activity import LayerActivity
from hw_models.mapping import LayerMapping

TOLD_FROM = 0.05  # assumed: IR drop from which a reader is told, about the spread of the cells themselves


def in_words(drop: float) -> str:
    """What a reader has to know of an IR drop; empty below `TOLD_FROM`."""
    if drop < TOLD_FROM:
        return ""
    return (
        f"IR drop: wires would take about {drop:.0%} of a column's current, and neither accuracy nor energy knows; "
        "smaller crossbars, rows_at_once or cells of more resistance lose less"
    )


def ir_drop(accelerator: Accelerator, mapped: LayerMapping, activity: LayerActivity) -> float:
    """Mean share of the current of a layer's columns that its wires take, 0 to 1, on its fullest crossbar.

    All rows whose input bit is 1 conduct; the mean over the bit-planes is taken. Cells of a mean conductance stand for
    those of all levels. Where no steady current flows, it is 0: SRAM cells are sensed by a small swing of the bitline
    or by charge.

    It agrees with nodal solutions of random arrays of the shipped cells, up to 128 x 128, within 12 % of the drop, or
    0.01 (tests/test_wires.py).
    """
    if accelerator.device.cell == "sram":
        return 0.0
    cell = cell_in_crossbar(accelerator)
    cell_siemens = 1 / (1 / element_siemens(cell, activity.level_shares) + cell.access_ohm)
    rows = min(mapped.rows_per_position, mapped.crossbar_size)
    active = activity.bit_density * min(rows, mapped.rows_read) / rows
    along_row = _delivered(cell.row_wire_ohm * cell_siemens, min(mapped.pack_columns, mapped.crossbar_columns))
    along_column = _delivered(cell.column_wire_ohm * cell_siemens * active, rows)
    return 1 - along_row * along_column


def _delivered(loss_of_a_cell: float, cells: int) -> float:
    """Share of the ideal current that a line of `cells` delivers, each of which loses `loss_of_a_cell` = k^2."""
    length = math.sqrt(loss_of_a_cell) * cells
    return math.tanh(length) / length if length > 1e-6 else 1.0
