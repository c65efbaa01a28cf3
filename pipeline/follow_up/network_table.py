"""A network as the table that DNN+NeuroSim reads, its NetWork.csv."""

import csv
from pathlib import Path

from hw_models.layers import MvmLayer
from pipeline.design.design_point import DesignPoint
from pipeline.design.topology import topology
from pipeline.networks.workload import workload_of

TABLE_COLUMNS = (
    *("IFM length", "IFM width", "IFM channel depth"),
    *("kernel length", "kernel width", "kernel depth"),
    *("followed by pooling", "stride"),
)


def write_table(design: DesignPoint, path: Path) -> None:
    """Write one row a layer, no header. NeuroSim's manual describes the columns, which leave out zero padding.

    The table has the matrices alone: sums of branches and attention, which are digital, have no place in it.

    Raises:
        ValueError: If the table cannot describe a layer; names it.
    """
    rows = [_row(layer, stride) for layer, stride in _strides(design)]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _row(mvm: MvmLayer, stride: int) -> list[int]:
    image = [mvm.in_height, mvm.in_width, mvm.in_channels]
    return [*image, *mvm.kernel_sides, mvm.out_channels, int(mvm.pooled), stride]


def _strides(design: DesignPoint) -> list[tuple[MvmLayer, int]]:
    if design.network is None:
        return [(layer.mvm, layer.stride) for layer in topology(design)]
    return [(layer, _stride_of(layer)) for layer in workload_of(design).layers]


def _stride_of(layer: MvmLayer) -> int:
    """The stride that gives a layer's windows, with padding that keeps the size at stride 1 or without any."""
    if layer.groups > 1 or len(layer.kernel_sides) != 2:
        raise ValueError(
            f"NeuroSim's table knows neither groups nor kernels of other than two sides: layer {layer.name} has "
            f"{layer.groups} groups and a kernel of {layer.kernel_sides}"
        )
    sides = layer.in_height, layer.in_width
    for stride in range(1, max(sides) + 1):
        padded = [-(-side // stride) for side in sides]
        inside = [(side - kernel) // stride + 1 for side, kernel in zip(sides, layer.kernel_sides, strict=True)]
        if layer.windows in (padded[0] * padded[1], inside[0] * inside[1]):
            return stride
    raise ValueError(
        f"NeuroSim's table knows no stride that gives layer {layer.name} {layer.windows} input vectors of "
        f"{sides[0]} x {sides[1]} pixels"
    )
