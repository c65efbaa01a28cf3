"""How a network's weight matrices lie on crossbars, and how often each converter fires because of it.

The hierarchy is chip > tiles > processing elements (PEs) > crossbars, each level square. Two mappings exist:

* *conventional*: the unrolled matrix of `rows x columns` is cut into tiles, PEs and crossbars;
* *novel*: every kernel position has a PE of its own, which then sees only the input channels, so that inputs are
  reused between neighbouring windows. It is used for the kernel size that most layers have.

The network's forward pass reads the same `LayerMapping` as the cost model: a partial sum is converted once per
row block, column, input cycle and window.

Source of the rules: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019), as described in docs/cost_model.md, "Floorplan".
"""

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from hw_models.accelerator import Accelerator, Mapping
from hw_models.layers import MvmLayer

RowOrder = Literal["channel_major", "kernel_major"]

# Smallest hierarchy of the reference: 2 x 2 crossbars in a PE and 2 x 2 PEs in a conventional tile. Where the
# reference would refuse a network too small for that, we keep the smallest hierarchy (docs/cost_model.md).
_CROSSBARS_PER_PE_SIDE = 2
_PES_PER_TILE_SIDE = 2


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Floorplan:
    """Sizes that all tiles of a chip share. Sizes are in cells per side.

    Attributes:
        crossbar_size: Cells per side of a crossbar.
        tile_size, pe_size: Of a conventional tile and its PEs.
        novel_pe_size: Of a PE of a novel tile; None without novel layers.
        novel_kernel: Kernel of the novel layers (a novel tile has one PE per kernel position); None without.
        outside_reference: Why the reference would refuse this network; empty if it would not.
    """

    crossbar_size: int
    tile_size: int
    pe_size: int
    novel_pe_size: int | None
    novel_kernel: int | None
    outside_reference: tuple[str, ...] = ()

    @property
    def pes_per_tile_side(self) -> int:
        """PEs along one side of a conventional tile."""
        return self.tile_size // self.pe_size

    @property
    def pes_per_novel_tile(self) -> int:
        """PEs of a novel tile, one per kernel position; 0 without novel layers."""
        return 0 if self.novel_kernel is None else self.novel_kernel**2


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LayerMapping:
    """One layer on its tiles.

    Attributes:
        layer: The layer.
        mapped_as: The mapping this layer has, which may differ from the accelerator's (see `map_network`).
        crossbar_size: Cells per side of a crossbar.
        columns: Used columns, `out_channels` times the columns of one weight.
        columns_per_weight: Columns of one weight, both polarities counted.
        input_cycles: Cycles that apply one input vector.
        tile_size, pe_size: Cells per side of the layer's tiles (novel: of a kernel position's PE) and PEs.
        row_tiles, col_tiles: Tiles that the matrix needs along its rows and its columns.
        pe_copies: Copies of the matrix over the PEs of a tile, along rows and along columns.
        crossbar_copies: Copies over the crossbars of a PE, along rows and along columns.
    """

    layer: MvmLayer
    mapped_as: Mapping
    crossbar_size: int
    columns: int
    columns_per_weight: int
    input_cycles: int
    tile_size: int
    pe_size: int
    row_tiles: int
    col_tiles: int
    pe_copies: tuple[int, int]
    crossbar_copies: tuple[int, int]

    @property
    def row_order(self) -> RowOrder:
        """Order of the rows that `row_blocks` counts.

        `channel_major` is (channel, kernel row, kernel column), the order of `torch.nn.functional.unfold`;
        `kernel_major` is (kernel row, kernel column, channel).
        """
        return "kernel_major" if self.mapped_as == "novel" else "channel_major"

    @property
    def kernel_positions(self) -> int:
        """Parts into which the novel mapping cuts the rows before anything else; 1 for the conventional one."""
        return self.layer.kernel**2 if self.mapped_as == "novel" else 1

    @property
    def rows_per_position(self) -> int:
        """Rows of one such part."""
        return self.layer.rows // self.kernel_positions

    @property
    def row_blocks(self) -> tuple[tuple[int, int], ...]:
        """Half-open ranges of rows, one per crossbar along the rows; each gives a partial sum of its own."""
        part, step = self.rows_per_position, self.crossbar_size
        return tuple(
            (position * part + start, position * part + min(start + step, part))
            for position in range(self.kernel_positions)
            for start in range(0, part, step)
        )

    @property
    def row_block_count(self) -> int:
        """`len(row_blocks)`, without making them."""
        return self.kernel_positions * math.ceil(self.rows_per_position / self.crossbar_size)

    @property
    def conversions(self) -> int:
        """Column conversions of one inference: windows x input cycles x row blocks x used columns."""
        return self.layer.windows * self.input_cycles * self.row_block_count * self.columns

    @property
    def tiles(self) -> int:
        """Tiles of this layer."""
        return self.row_tiles * self.col_tiles

    @property
    def cells(self) -> int:
        """Cells of this layer's tiles, used or not."""
        return self.tiles * self.kernel_positions * self.tile_size**2

    @property
    def speedup(self) -> int:
        """Copies of the matrix that work side by side. They divide the latency; they cost no tiles and no energy."""
        return math.prod(self.pe_copies) * math.prod(self.crossbar_copies)

    @property
    def utilisation(self) -> float:
        """Share of the cells of its tiles that hold weights, copies counted."""
        return self.layer.rows * self.columns * self.speedup / self.cells


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NetworkMapping:
    """All layers on one chip.

    Attributes:
        floorplan: Sizes of tiles and PEs.
        layers: One mapping per layer, in order.
    """

    floorplan: Floorplan
    layers: tuple[LayerMapping, ...]

    @property
    def tiles(self) -> int:
        """Tiles of the chip."""
        return sum(mapped.tiles for mapped in self.layers)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the grid of tiles, as square as it gets."""
        rows = math.isqrt(self.tiles - 1) + 1
        return rows, math.ceil(self.tiles / rows)

    @property
    def cells(self) -> int:
        """Cells of the chip, used or not."""
        return sum(mapped.cells for mapped in self.layers)

    @property
    def crossbars(self) -> int:
        """Crossbars of the chip, used or not."""
        return self.cells // self.floorplan.crossbar_size**2

    @property
    def conversions(self) -> int:
        """Column conversions of one inference."""
        return sum(mapped.conversions for mapped in self.layers)

    @property
    def utilisation(self) -> float:
        """Share of cells that hold weights, copies counted: the mean over tiles.

        Every tile counts once, a novel one with its `kernel**2` PEs as much as a conventional one (as the reference).
        """
        return sum(mapped.utilisation * mapped.tiles for mapped in self.layers) / self.tiles


@functools.lru_cache(maxsize=128)
def _map_network(accelerator: Accelerator, layers: tuple[MvmLayer, ...]) -> NetworkMapping:
    matrices = [(layer, layer.out_channels * accelerator.columns_per_weight(layer.weight_bits)) for layer in layers]
    novel_kernel = _novel_kernel(accelerator, layers)
    is_novel = [layer.kernel == novel_kernel and layer.rows >= accelerator.crossbar_size for layer in layers]
    floorplan = _floorplan(
        accelerator.crossbar_size,
        novel=[m for m, novel in zip(matrices, is_novel, strict=True) if novel],
        conventional=[m for m, novel in zip(matrices, is_novel, strict=True) if not novel],
    )
    mapped = tuple(
        (_map_novel if novel else _map_conventional)(accelerator, floorplan, layer, columns)
        for (layer, columns), novel in zip(matrices, is_novel, strict=True)
    )
    return NetworkMapping(floorplan=floorplan, layers=mapped)


def map_network(accelerator: Accelerator, layers: Sequence[MvmLayer]) -> NetworkMapping:
    """Lay a network out on the chip.

    With `accelerator.mapping == "novel"` a layer is mapped so if its kernel is the most frequent one above 1 (the
    first on a tie) and its matrix has at least as many rows as a crossbar; all other layers are conventional.

    Args:
        accelerator: The hardware.
        layers: The network, first layer first.

    Raises:
        ValueError: If there is no layer.
    """
    if not layers:
        raise ValueError("a network needs at least one layer, got none")
    return _map_network(accelerator, tuple(layers))


def _novel_kernel(accelerator: Accelerator, layers: Sequence[MvmLayer]) -> int | None:
    kernels = Counter(layer.kernel for layer in layers if layer.kernel > 1)
    if accelerator.mapping == "conventional" or not kernels:
        return None
    kernel, _ = kernels.most_common(1)[0]
    has_rows = any(layer.kernel == kernel and layer.rows >= accelerator.crossbar_size for layer in layers)
    return kernel if has_rows else None


_Matrix = tuple[MvmLayer, int]  # a layer and its used columns


def _floorplan(crossbar_size: int, *, novel: list[_Matrix], conventional: list[_Matrix]) -> Floorplan:
    smallest_pe = _CROSSBARS_PER_PE_SIDE * crossbar_size
    smallest_tile = _PES_PER_TILE_SIDE * smallest_pe
    wanted_pe, wanted_tile = _power_of_two_columns(novel), _power_of_two_columns(conventional)
    reasons = []
    if novel and wanted_pe < smallest_pe:
        reasons.append(f"the novel layers have fewer columns ({wanted_pe}) than a PE of 2 x 2 crossbars ({smallest_pe})")
    if not novel and wanted_tile < smallest_tile:
        reasons.append(f"no layer has as many columns ({wanted_tile}) as a tile of 4 x 4 crossbars ({smallest_tile})")
    tile_size, utilisation = _best_size(conventional, max(wanted_tile, smallest_tile), smallest_tile)
    novel_pe_size, _ = _best_size(novel, max(wanted_pe, smallest_pe), smallest_pe, per_position=True)
    reasons += [
        f"the {columns} columns of novel layer {layer.name} do not fill tiles of {novel_pe_size} evenly"
        for layer, columns in novel
        if columns > novel_pe_size and columns % novel_pe_size
    ]
    return Floorplan(
        crossbar_size=crossbar_size,
        tile_size=tile_size,
        pe_size=_best_pe_size(conventional, tile_size, utilisation, smallest_pe),
        novel_pe_size=novel_pe_size if novel else None,
        novel_kernel=novel[0][0].kernel if novel else None,
        outside_reference=tuple(reasons),
    )


def _power_of_two_columns(matrices: list[_Matrix]) -> int:
    return max((2 ** math.ceil(math.log2(columns)) for _, columns in matrices), default=0)


def _best_size(matrices: list[_Matrix], largest: int, floor: int, *, per_position: bool = False) -> tuple[int, float]:
    """Size with the highest utilisation among `largest`, `largest / 2`, ..., all above `floor`; the first on a tie.

    Gives the size and its utilisation; `floor` itself is a candidate only as `largest`.
    """
    best, best_utilisation = largest, _utilisation(matrices, largest, per_position)
    size = largest // 2
    while size > floor:
        if (utilisation := _utilisation(matrices, size, per_position)) > best_utilisation:
            best, best_utilisation = size, utilisation
        size //= 2
    return best, best_utilisation


def _utilisation(matrices: list[_Matrix], size: int, per_position: bool) -> float:
    used = cells = 0
    for layer, columns in matrices:
        positions = layer.kernel**2 if per_position else 1
        used += layer.rows * columns
        cells += math.ceil(layer.rows // positions / size) * math.ceil(columns / size) * positions * size**2
    return used / cells if cells else 0.0


def _best_pe_size(matrices: list[_Matrix], tile_size: int, utilisation: float, floor: int) -> int:
    """Half the tile, or the smaller PE that uses most cells once the matrices are copied over the tile's PEs."""
    best = size = tile_size // _PES_PER_TILE_SIDE
    while size > floor:
        used = cells = 0
        for layer, columns in matrices:
            used += layer.rows * columns * math.prod(_copies(layer.rows, columns, tile_size, size))
            cells += math.ceil(layer.rows / tile_size) * math.ceil(columns / tile_size) * tile_size**2
        if used / cells > utilisation:
            best, utilisation = size, used / cells
        size //= 2
    return best


def _copies(rows: int, columns: int, side: int, part: int) -> tuple[int, int]:
    """Copies of a matrix along rows and columns of a square of `side` cells that is made of parts of `part` cells."""
    if rows > side and columns > side:
        return 1, 1
    parts = side // part
    return max(1, parts // math.ceil(rows / part)), max(1, parts // math.ceil(columns / part))


def _map_novel(accelerator: Accelerator, floorplan: Floorplan, layer: MvmLayer, columns: int) -> LayerMapping:
    size = floorplan.novel_pe_size
    assert size is not None, "a novel layer has a novel floorplan"
    return LayerMapping(
        layer=layer,
        mapped_as="novel",
        crossbar_size=floorplan.crossbar_size,
        columns=columns,
        columns_per_weight=accelerator.columns_per_weight(layer.weight_bits),
        input_cycles=accelerator.input_cycles,
        tile_size=size,
        pe_size=size,
        row_tiles=math.ceil(layer.in_channels / size),
        col_tiles=math.ceil(columns / size),
        pe_copies=(1, 1),
        crossbar_copies=_copies(layer.in_channels, columns, size, floorplan.crossbar_size),
    )


def _map_conventional(accelerator: Accelerator, floorplan: Floorplan, layer: MvmLayer, columns: int) -> LayerMapping:
    return LayerMapping(
        layer=layer,
        mapped_as="conventional",
        crossbar_size=floorplan.crossbar_size,
        columns=columns,
        columns_per_weight=accelerator.columns_per_weight(layer.weight_bits),
        input_cycles=accelerator.input_cycles,
        tile_size=floorplan.tile_size,
        pe_size=floorplan.pe_size,
        row_tiles=math.ceil(layer.rows / floorplan.tile_size),
        col_tiles=math.ceil(columns / floorplan.tile_size),
        pe_copies=_copies(layer.rows, columns, floorplan.tile_size, floorplan.pe_size),
        crossbar_copies=_copies(layer.rows, columns, floorplan.pe_size, floorplan.crossbar_size),
    )
