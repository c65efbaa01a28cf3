"""A layer's matrix cut into the parts that its tiles, processing elements and crossbars hold."""

import dataclasses

from hw_models.mapping import LayerMapping


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """A part of the weight matrix on one tile or PE, and how many alike there are."""

    rows: int
    columns: int
    count: int


def cut(length: int, size: int) -> list[tuple[int, int]]:
    """Lengths and counts of the pieces when `length` is cut at multiples of `size`: whole ones first."""
    whole, rest = divmod(length, size)
    return ([(size, whole)] if whole else []) + ([(rest, 1)] if rest else [])


def pieces(rows: int, columns: int, size: int) -> list[Piece]:
    """A matrix cut into squares of `size`, equal ones together, whole ones first."""
    return [Piece(r, c, n * m) for r, n in cut(rows, size) for c, m in cut(columns, size)]


def tiles_of(mapped: LayerMapping) -> list[Piece]:
    """What the layer's tiles hold; of a novel one each of its PEs."""
    return pieces(mapped.rows_per_position, mapped.columns, mapped.tile_size)


def pes_of(mapped: LayerMapping, tile: Piece, side: int) -> list[Piece]:
    """What the PEs of a tile hold, `side` PEs along each side of a conventional one."""
    if mapped.mapped_as == "novel":
        return [Piece(tile.rows, tile.columns, mapped.kernel_positions)]
    used = pieces(tile.rows, tile.columns, mapped.pe_size)
    return used + _phantom_pes(mapped, tile, side) if mapped.speedup == 1 else used


def _phantom_pes(mapped: LayerMapping, tile: Piece, side: int) -> list[Piece]:
    """Quirk: without copies, a PE that holds no weights costs the energy of the last one before it that does."""
    rows, columns = cut(tile.rows, mapped.pe_size), cut(tile.columns, mapped.pe_size)
    used_rows, used_columns = (sum(count for _, count in lengths) for lengths in (rows, columns))
    beside = [Piece(r, columns[-1][0], n * (side - used_columns)) for r, n in rows]
    below = Piece(rows[-1][0], columns[-1][0], (side - used_rows) * side)
    return [piece for piece in (*beside, below) if piece.count]
