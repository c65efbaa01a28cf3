"""The parts of a layer's matrix on tiles, processing elements (PEs) and crossbars. Equal parts are listed once."""

import dataclasses

from hw_models.mapping import LayerMapping


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """A part of the weight matrix on one tile or PE, and the number of equal parts."""

    rows: int
    columns: int
    count: int


def cut(length: int, size: int) -> list[tuple[int, int]]:
    """Cut `length` at multiples of `size`: (length, count) of the whole pieces, then of the rest."""
    whole, rest = divmod(length, size)
    return ([(size, whole)] if whole else []) + ([(rest, 1)] if rest else [])


def pieces(rows: int, columns: int, size: int) -> list[Piece]:
    """Cut a matrix into squares of `size`; whole pieces come first."""
    return [Piece(r, c, n * m) for r, n in cut(rows, size) for c, m in cut(columns, size)]


def tiles_of(mapped: LayerMapping) -> list[Piece]:
    """The pieces on the layer's tiles. On a novel tile, each PE holds such a piece."""
    return pieces(mapped.rows_per_position, mapped.columns, mapped.tile_size)


def pes_of(mapped: LayerMapping, tile: Piece, side: int) -> list[Piece]:
    """The pieces on the PEs of a tile; a conventional tile has `side` x `side` PEs."""
    if mapped.mapped_as == "novel":
        return [Piece(tile.rows, tile.columns, mapped.kernel_positions)]
    used = pieces(tile.rows, tile.columns, mapped.pe_size)
    return used + _phantom_pes(mapped, tile, side) if mapped.speedup == 1 else used


def _phantom_pes(mapped: LayerMapping, tile: Piece, side: int) -> list[Piece]:
    """Quirk: without copies, each PE without weights costs the energy of the last PE before it that has weights."""
    rows, columns = cut(tile.rows, mapped.pe_size), cut(tile.columns, mapped.pe_size)
    used_rows, used_columns = (sum(count for _, count in lengths) for lengths in (rows, columns))
    beside = [Piece(r, columns[-1][0], n * (side - used_columns)) for r, n in rows]
    below = Piece(rows[-1][0], columns[-1][0], (side - used_rows) * side)
    return [piece for piece in (*beside, below) if piece.count]
