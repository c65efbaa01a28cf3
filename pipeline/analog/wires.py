"""Cells weighed by what the resistance of their wires leaves of their current (`hw_models.cost.wires`)."""

import torch
from torch import Tensor

from hw_models.cost.wires import wire_lines
from hw_models.mapping import LayerMapping
from pipeline.analog.cells import CellCode, is_kernel_major


def with_wires(code: CellCode, levels: Tensor, mapping: LayerMapping, index: int) -> Tensor:
    """`levels` (columns, outputs, ...) of layer `index` as the converters see them through resistive wires.

    A cell counts for the product of what its place on the row and its place on the column leave, over the mean of all
    places: one factor a layer scales the converters' reference, as for drift. If the levels are those of some outputs
    only, these are taken to be spread evenly over the columns.
    """
    lines = wire_lines(code.accelerator, mapping, is_first=index == 0)
    if lines is None:
        return levels
    row, column = (torch.tensor(line.profile) / line.delivered for line in lines)
    blocks = mapping.crossbar_blocks
    of_rows = torch.cat([column[: stop - start] for start, stop in blocks])
    if is_kernel_major(levels, mapping):
        inputs, *kernel = levels.shape[2:]
        of_rows = of_rows.unflatten(-1, (*kernel, inputs)).movedim(-1, 0)
    else:
        of_rows = of_rows.reshape(levels.shape[2:])
    places = _places_on_row(code, levels, mapping)
    weights = row[places][(...,) + (None,) * of_rows.dim()] * of_rows
    return (levels + code.baseline) * weights - code.baseline


def _places_on_row(code: CellCode, levels: Tensor, mapping: LayerMapping) -> Tensor:
    """Places along the rows of a crossbar, (columns of a weight, outputs): a weight's columns lie side by side."""
    outputs, pack_outputs = levels.shape[1], mapping.pack_columns // code.columns
    output = torch.arange(outputs) * max(1, pack_outputs // outputs) % pack_outputs
    place = output * code.columns + torch.arange(code.columns)[:, None]
    return place % min(mapping.pack_columns, mapping.crossbar_columns)
