"""Fixed-point formats of weights."""

import dataclasses

from hw_models.errors import shown


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FixedPoint:
    """A signed fixed-point format: sign, `integer_bits` before and `fraction_bits` after the binary point."""

    integer_bits: int
    fraction_bits: int

    def __post_init__(self) -> None:
        check_whole("integer_bits", self.integer_bits, 0, 8)
        check_whole("fraction_bits", self.fraction_bits, 0, 14)
        check_whole("1 + integer_bits + fraction_bits", self.bits, 2, 16)

    @property
    def bits(self) -> int:
        """Bits of a weight, sign included."""
        return 1 + self.integer_bits + self.fraction_bits


def check_whole(name: str, value: int, low: int, high: int) -> None:
    """Raise a ValueError that names `name`, unless `value` is a whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, got {shown(value)}")
