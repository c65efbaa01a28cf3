"""Choose the sizes of tiles and processing elements (PEs) for a network, so that it uses their cells well.

Source of the rules: DNN+NeuroSim V1.3 (Peng et al., IEDM 2019); docs/cost_model.md, "Floorplan".
"""

import dataclasses
import math
from collections.abc import Iterator

# NeuroSim's smallest hierarchy: 2 x 2 crossbars in a PE and 2 x 2 PEs in a conventional tile. It refuses a network too
# small for that; we then take the smallest hierarchy (docs/cost_model.md).
_CROSSBARS_PER_PE_SIDE = 2
_PES_PER_TILE_SIDE = 2


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Floorplan:
    """The sizes of a chip's tiles, in cells per side.

    Attributes:
        tile_size, pe_size: Of a conventional tile, and of its PEs.
        novel_pe_size: Of a PE of a novel tile; None without novel layers.
        novel_kernel: Kernel of the novel layers; None without. A novel tile has one PE per kernel position.
        outside_reference: Why NeuroSim would refuse this network; empty if it would not.
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
class Matrix:
    """What a layer lays on crossbars: `packs` equal matrices, each of `positions` parts of `rows` x `columns` cells.

    A novel layer has one part per kernel position. Only a layer with groups has several packs, and it is conventional.
    """

    name: str
    rows: int
    columns: int
    positions: int = 1
    packs: int = 1

    def tiles(self, size: int, places: int) -> int:
        """Tiles of `size` cells along a side, each of which has room for `places` packs."""
        return math.ceil(self.rows / size) * math.ceil(self.columns / size) * math.ceil(self.packs / places)


def floorplan(crossbar_size: int, *, novel: list[Matrix], conventional: list[Matrix]) -> Floorplan:
    """Choose the sizes. All novel layers must have the same kernel.

    The largest candidate is the number of columns of the widest layer, rounded up to a power of two. The candidates are
    this size, half of it, and so on; the one with the highest utilisation wins.
    """
    smallest_pe = _CROSSBARS_PER_PE_SIDE * crossbar_size
    smallest_tile = _PES_PER_TILE_SIDE * smallest_pe
    wanted_pe, wanted_tile = _power_of_two_columns(novel), _power_of_two_columns(conventional)
    reasons = []
    if novel and wanted_pe < smallest_pe:
        reasons.append(
            f"the novel layers have fewer columns ({wanted_pe}) than a PE of 2 x 2 crossbars ({smallest_pe})"
        )
    if not novel and wanted_tile < smallest_tile:
        reasons.append(f"no layer has as many columns ({wanted_tile}) as a tile of 4 x 4 crossbars ({smallest_tile})")
    tile_size = _best_size(conventional, max(wanted_tile, smallest_tile), smallest_tile, crossbar_size)
    novel_pe_size = _best_size(novel, max(wanted_pe, smallest_pe), smallest_pe, crossbar_size)
    reasons += [
        f"the {matrix.columns} columns of novel layer {matrix.name} do not fill tiles of {novel_pe_size} evenly"
        for matrix in novel
        if matrix.columns > novel_pe_size and matrix.columns % novel_pe_size
    ]
    return Floorplan(
        crossbar_size=crossbar_size,
        tile_size=tile_size,
        pe_size=_best_pe_size([m for m in conventional if m.packs == 1], tile_size, smallest_pe),
        novel_pe_size=novel_pe_size if novel else None,
        novel_kernel=math.isqrt(novel[0].positions) if novel else None,
        outside_reference=tuple(reasons),
    )


def _power_of_two_columns(matrices: list[Matrix]) -> int:
    return max((2 ** math.ceil(math.log2(matrix.columns)) for matrix in matrices), default=0)


def _best_size(matrices: list[Matrix], largest: int, floor: int, crossbar_size: int) -> int:
    """The size of highest utilisation, among `largest`, `largest / 2`, ... above `floor`; the largest one on a tie.

    `floor` itself is a candidate only if it is `largest`.
    """
    sizes = [largest, *_halves_above(largest // 2, floor)]
    return max((_utilisation(matrices, size, crossbar_size), size) for size in sizes)[1]


def _halves_above(size: int, floor: int) -> Iterator[int]:
    while size > floor:
        yield size
        size //= 2


def _utilisation(matrices: list[Matrix], size: int, crossbar_size: int) -> float:
    used = cells = 0
    for m in matrices:
        used += m.rows * m.columns * m.positions * m.packs
        places = 1 if m.packs == 1 else math.prod(copies(m.rows, m.columns, size, crossbar_size))
        cells += m.tiles(size, places) * m.positions * size**2
    return used / cells if cells else 0.0


def _best_pe_size(matrices: list[Matrix], tile_size: int, floor: int) -> int:
    """Half the tile, or a smaller PE if copies of the matrices on the tile's PEs then use more cells.

    Layers of several packs have no say: PEs of any size have about as many places for them.
    """
    half = tile_size // _PES_PER_TILE_SIDE
    if half <= floor:
        return half
    candidates = [(_utilisation(matrices, tile_size, tile_size), half)]
    for size in _halves_above(half, floor):
        used = cells = 0
        for m in matrices:
            used += m.rows * m.columns * math.prod(copies(m.rows, m.columns, tile_size, size))
            cells += m.tiles(tile_size, 1) * tile_size**2
        candidates.append((used / cells if cells else 0.0, size))
    return max(candidates)[1]


def copies(rows: int, columns: int, side: int, part: int) -> tuple[int, int]:
    """(copies along rows, copies along columns) of a matrix on `side` x `side` cells, split into `part` x `part`."""
    if rows > side and columns > side:
        return 1, 1
    parts = side // part
    return max(1, parts // math.ceil(rows / part)), max(1, parts // math.ceil(columns / part))
