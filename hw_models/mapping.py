"""How a network's weight matrices lie on crossbars, and how many conversions follow from that.

The hierarchy is chip > tiles > processing elements (PEs) > crossbars, each level square. There are two mappings:

* *conventional*: the unrolled matrix of `rows x columns` is cut into tiles, PEs and crossbars;
* *novel*: every kernel position has a PE of its own, whose rows are the input channels, so that neighbouring windows
  reuse inputs. It applies to layers with the network's most frequent square kernel and without groups.

The groups of a layer lie in *packs*. A pack is one matrix, with the weights of its groups along its diagonal and
weights of 0 elsewhere, which are cells like all others. As many groups share a crossbar as fit it along its diagonal
and divide the number of groups. A group that is larger than a crossbar is a pack of its own. Packs share tiles and PEs,
but no crossbar: each has inputs of its own.

The network's forward pass and the cost model read the same `LayerMapping`, so both convert a partial sum once per row
block, column, input cycle and window.

Source of the rules: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019), as described in docs/cost_model.md, "Floorplan".
"""

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from hw_models.accelerator import Accelerator, Mapping
from hw_models.floorplan import Floorplan, Matrix, copies, floorplan
from hw_models.layers import MvmLayer

RowOrder = Literal["channel_major", "kernel_major"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LayerMapping:
    """One layer on its tiles.

    Attributes:
        mapped_as: The mapping of this layer, which may differ from the accelerator's (see `map_network`).
        crossbar_size: Rows of a crossbar, and its columns unless `crossbar_columns` differs.
        crossbar_columns: Columns of a crossbar.
        rows_read: Rows of a crossbar that are read together.
        packs: Matrices of this layer, which share no crossbar and no input; 1 for a layer without groups.
        pack_columns: Used columns of a pack, with both polarities, group after group.
        kernel_positions: Kernel positions into which the novel mapping splits the rows; 1 for the conventional one.
        rows_per_position: Rows of a pack that belong to each kernel position.
        conversions_per_weight: Conversions of a weight for each block of rows and each cycle, of both polarities.
        input_cycles: Cycles to apply one input vector.
        tile_size, pe_size: Rows of a conventional tile and of its PEs; for a novel layer, both are the PE's. Both have
            as many crossbars along the columns as along the rows.
        row_tiles, col_tiles: Tiles along the rows and along the columns of a pack.
        pe_places, crossbar_places: (places along rows, places along columns) for a pack on the PEs of a tile, and on
            the crossbars of a PE.
        places: Places for a pack on a tile, or on the tiles that a larger pack needs.
        tiles: Tiles of this layer.
        speedup: Copies of the matrix, on the places that are left. They work in parallel: they divide the latency and
            change neither tiles nor energy.
    """

    layer: MvmLayer
    mapped_as: Mapping
    crossbar_size: int
    crossbar_columns: int
    rows_read: int
    packs: int
    pack_columns: int
    kernel_positions: int
    rows_per_position: int
    columns_per_weight: int
    conversions_per_weight: int
    input_cycles: int
    tile_size: int
    pe_size: int
    row_tiles: int
    col_tiles: int
    pe_places: tuple[int, int]
    crossbar_places: tuple[int, int]
    places: int
    tiles: int
    speedup: int

    @property
    def groups_per_pack(self) -> int:
        """Groups that share a crossbar; 1 for a layer without groups."""
        return self.layer.groups // self.packs

    @property
    def pack_rows(self) -> int:
        """Rows of a pack, group after group."""
        return self.rows_per_position * self.kernel_positions

    @property
    def columns(self) -> int:
        """Used columns, of all packs: `out_channels` x `columns_per_weight`, with both polarities."""
        return self.packs * self.pack_columns

    @property
    def row_order(self) -> RowOrder:
        """Order of the rows in `row_blocks`.

        `channel_major` is (channel, kernel row, kernel column), the order of `torch.nn.functional.unfold`, with the
        channels of a pack one group after the other; `kernel_major` is (kernel row, kernel column, channel).
        """
        return "kernel_major" if self.mapped_as == "novel" else "channel_major"

    @property
    def row_blocks(self) -> tuple[tuple[int, int], ...]:
        """(first, last + 1) of a pack's rows that are read together; each block has partial sums of its own."""
        return self._blocks(self.rows_read)

    @property
    def crossbar_blocks(self) -> tuple[tuple[int, int], ...]:
        """(first, last + 1) of a pack's rows that lie on the same crossbars: one or more of `row_blocks`."""
        return self._blocks(self.crossbar_size)

    def _blocks(self, step: int) -> tuple[tuple[int, int], ...]:
        part = self.rows_per_position
        return tuple(
            (position * part + start, position * part + min(start + step, part))
            for position in range(self.kernel_positions)
            for start in range(0, part, step)
        )

    @property
    def row_block_count(self) -> int:
        """`len(row_blocks)`, computed without the blocks."""
        return self.kernel_positions * math.ceil(self.rows_per_position / self.rows_read)

    @property
    def conversions(self) -> int:
        """Conversions of one inference: windows x input cycles x row blocks of a pack x converted columns."""
        weights = self.columns // self.columns_per_weight
        return self.layer.windows * self.input_cycles * self.row_block_count * weights * self.conversions_per_weight

    @property
    def tile_columns(self) -> int:
        """Columns of a tile."""
        return self.tile_size * self.crossbar_columns // self.crossbar_size

    @property
    def pe_columns(self) -> int:
        """Columns of a PE."""
        return self.pe_size * self.crossbar_columns // self.crossbar_size

    @property
    def cells(self) -> int:
        """Cells of this layer's tiles, used or not."""
        return self.tiles * self.kernel_positions * self.tile_size**2 * self.crossbar_columns // self.crossbar_size

    @property
    def utilisation(self) -> float:
        """Share of the cells of its tiles that hold weights, copies included; not the zeros beside groups."""
        return self.layer.rows * self.columns * self.speedup / self.cells


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NetworkMapping:
    """All layers on one chip, first layer first."""

    floorplan: Floorplan
    layers: tuple[LayerMapping, ...]
    tiles: int

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the grid of tiles, as square as possible."""
        rows = math.isqrt(self.tiles - 1) + 1
        return rows, math.ceil(self.tiles / rows)

    @property
    def cells(self) -> int:
        """Cells of the chip, used or not."""
        return sum(mapped.cells for mapped in self.layers)

    @property
    def crossbars(self) -> int:
        """Crossbars of the chip, used or not."""
        return self.cells // (self.layers[0].crossbar_size * self.layers[0].crossbar_columns)

    @property
    def conversions(self) -> int:
        """Column conversions of one inference."""
        return sum(mapped.conversions for mapped in self.layers)

    @property
    def utilisation(self) -> float:
        """Mean over tiles of the share of cells that hold weights, copies included.

        Quirk of NeuroSim: large and small tiles count alike.
        """
        return sum(mapped.utilisation * mapped.tiles for mapped in self.layers) / self.tiles


def _reusing_kernel(layer: MvmLayer) -> int:
    """Side of the kernel if the novel mapping can reuse inputs between its windows, else 1."""
    return layer.kernel if isinstance(layer.kernel, int) and layer.groups == 1 and layer.windows_overlap else 1


def _novel_layers(accelerator: Accelerator, layers: Sequence[MvmLayer]) -> list[bool]:
    if accelerator.mapping != "novel":
        return [False] * len(layers)
    kernels = [_reusing_kernel(layer) for layer in layers]
    frequent = Counter(kernel for kernel in kernels if kernel > 1).most_common(1)
    if not frequent:
        return [False] * len(layers)
    return [
        kernel == frequent[0][0] and layer.rows >= accelerator.crossbar_size
        for kernel, layer in zip(kernels, layers, strict=True)
    ]


@functools.lru_cache(maxsize=128)
def _map_network(accelerator: Accelerator, layers: tuple[MvmLayer, ...]) -> NetworkMapping:
    is_novel = _novel_layers(accelerator, layers)
    matrices = [_matrix(accelerator, layer, novel) for layer, novel in zip(layers, is_novel, strict=True)]
    plan = floorplan(
        accelerator.crossbar_size,
        novel=[m for m, novel in zip(matrices, is_novel, strict=True) if novel],
        conventional=[m for m, novel in zip(matrices, is_novel, strict=True) if not novel],
    )
    mapped = tuple(
        _map_layer(accelerator, plan, layer, matrix, novel)
        for layer, matrix, novel in zip(layers, matrices, is_novel, strict=True)
    )
    return NetworkMapping(floorplan=plan, layers=mapped, tiles=sum(each.tiles for each in mapped))


def map_network(accelerator: Accelerator, layers: Sequence[MvmLayer]) -> NetworkMapping:
    """Map a network onto the chip.

    With `accelerator.mapping == "novel"`, a layer is novel if its kernel is the most frequent one above 1 (the first on
    a tie) and its matrix has at least as many rows as a crossbar. All other layers are conventional, and so are all
    layers with groups, with kernels that are not square, or with windows that do not overlap.

    Raises:
        ValueError: If there is no layer.
    """
    if not layers:
        raise ValueError("a network needs at least one layer, got none")
    return _map_network(accelerator, tuple(layers))


def groups_per_pack(accelerator: Accelerator, layer: MvmLayer) -> int:
    """The largest divisor of `layer.groups` for which so many groups fit one crossbar along its diagonal, or 1."""
    if layer.groups == 1:
        return 1
    columns = layer.out_channels // layer.groups * accelerator.columns_per_weight(layer.weight_bits)
    largest = min(accelerator.crossbar_size // layer.rows, accelerator.columns // columns)
    return next((g for g in range(min(largest, layer.groups), 1, -1) if layer.groups % g == 0), 1)


def _matrix(accelerator: Accelerator, layer: MvmLayer, is_novel: bool) -> Matrix:
    positions = layer.positions if is_novel else 1
    packs = layer.groups // groups_per_pack(accelerator, layer)
    return Matrix(
        name=layer.name,
        rows=layer.groups // packs * layer.rows // positions,
        columns=_as_square(accelerator, _pack_columns(accelerator, layer, packs)),
        positions=positions,
        packs=packs,
    )


def _pack_columns(accelerator: Accelerator, layer: MvmLayer, packs: int) -> int:
    return layer.out_channels // packs * accelerator.columns_per_weight(layer.weight_bits)


def _as_square(accelerator: Accelerator, columns: int) -> int:
    """Columns that would fill as many square crossbars, in which the floorplan counts."""
    return math.ceil(columns * accelerator.crossbar_size / accelerator.columns)


def _map_layer(
    accelerator: Accelerator, plan: Floorplan, layer: MvmLayer, matrix: Matrix, is_novel: bool
) -> LayerMapping:
    tile_size, pe_size = plan.tile_size, plan.pe_size
    if is_novel:
        assert plan.novel_pe_size is not None, "a novel layer has a novel floorplan"
        tile_size, pe_size = plan.novel_pe_size, plan.novel_pe_size
    rows, columns = matrix.rows, matrix.columns
    pe_places, crossbar_places = (
        copies(rows, columns, side, part) for side, part in ((tile_size, pe_size), (pe_size, plan.crossbar_size))
    )
    places = math.prod(pe_places) * math.prod(crossbar_places)
    return LayerMapping(
        layer=layer,
        mapped_as="novel" if is_novel else "conventional",
        crossbar_size=plan.crossbar_size,
        crossbar_columns=accelerator.columns,
        rows_read=accelerator.rows_read,
        packs=matrix.packs,
        pack_columns=_pack_columns(accelerator, layer, matrix.packs),
        kernel_positions=matrix.positions,
        rows_per_position=rows,
        columns_per_weight=accelerator.columns_per_weight(layer.weight_bits),
        conversions_per_weight=accelerator.conversions_per_weight(layer.weight_bits),
        input_cycles=accelerator.input_cycles,
        tile_size=tile_size,
        pe_size=pe_size,
        row_tiles=math.ceil(rows / tile_size),
        col_tiles=math.ceil(columns / tile_size),
        pe_places=pe_places,
        crossbar_places=crossbar_places,
        places=places,
        tiles=matrix.tiles(tile_size, places),
        speedup=math.ceil(matrix.packs / places) * places // matrix.packs,
    )
