"""Statistics of the data on which energy depends: how often an input bit is 1, and how many cells hold each level.

`Activity` has one record per layer. The pipeline measures it on the trained network; `assumed_activity` is the default.

By default, and where only a mean bit density is known, the inputs of all layers but the first are modelled as a
rectified Gaussian. Its scale and the weights' spread come from the activity traces of NeuroSim's table
(docs/cost_model.md, "Activity").
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

from hw_models.accelerator import Accelerator
from hw_models.layers import MvmLayer
from hw_models.mapping import groups_per_pack

INPUT_SIGMA = 0.25  # standard deviation before rectification, relative to the largest code
EXACT_BITS = 12  # up to here, statistics of inputs count every code
WEIGHT_SIGMA = 0.3  # standard deviation of weights, relative to the largest code


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LayerActivity:
    """Statistics of one layer.

    Attributes:
        plane_densities: Share of ones in each bit-plane of the inputs, most significant first; 0 for a plane without
            ones, such as the sign of a rectified input. If a cycle has several bits: share of inputs above 0 in each.
        level_shares: Share of the used cells at each level, lowest conductance first; they sum to 1. The weights of 0
            beside groups (`hw_models.mapping`) are used cells.
        mean_inputs, mean_squares: If a cycle has several bits: mean of the inputs in each cycle, and of their squares,
            relative to the largest input. None for cycles of one bit, where both are `plane_densities`.

    Raises:
        ValueError: If a share is outside 0 to 1, or `level_shares` do not sum to 1.
    """

    plane_densities: tuple[float, ...]
    level_shares: tuple[float, ...]
    mean_inputs: tuple[float, ...] | None = None
    mean_squares: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("plane_densities", "level_shares", "mean_inputs", "mean_squares"):
            shares = getattr(self, name)
            if shares is None:
                continue
            if not shares or not all(0 <= share <= 1 for share in shares):
                raise ValueError(f"{name} must be shares from 0 to 1, got {shares}")
        if abs(sum(self.level_shares) - 1) > 1e-6:
            raise ValueError(f"level_shares must sum to 1, got {sum(self.level_shares)}")

    @classmethod
    def of_planes(cls, planes: Sequence[float], dac_bits: int, level_shares: tuple[float, ...]) -> "LayerActivity":
        """Statistics of cycles of `dac_bits` bits from the densities of bit-planes, as if bits were independent."""
        if dac_bits == 1:
            return cls(plane_densities=tuple(planes), level_shares=level_shares)
        lowest_first, full = list(reversed(planes)), 2**dac_bits - 1
        cycles = [lowest_first[start : start + dac_bits] for start in range(0, len(planes), dac_bits)]
        cycles.reverse()
        means = [math.fsum(2**place * share for place, share in enumerate(bits)) for bits in cycles]
        variances = [math.fsum(4**place * share * (1 - share) for place, share in enumerate(bits)) for bits in cycles]
        return cls(
            plane_densities=tuple(1 - math.prod(1 - share for share in bits) for bits in cycles),
            level_shares=level_shares,
            mean_inputs=tuple(mean / full for mean in means),
            mean_squares=tuple((m**2 + v) / full**2 for m, v in zip(means, variances, strict=True)),
        )

    @property
    def means(self) -> tuple[float, ...]:
        """Mean of the inputs in each cycle, relative to the largest."""
        return self.plane_densities if self.mean_inputs is None else self.mean_inputs

    @property
    def squares(self) -> tuple[float, ...]:
        """Mean square of the inputs in each cycle, relative to that of the largest."""
        return self.plane_densities if self.mean_squares is None else self.mean_squares

    @property
    def bit_density(self) -> float:
        """Share of ones over all input bits; of inputs above 0 over all cycles."""
        return sum(self.plane_densities) / len(self.plane_densities)

    @property
    def mean_level(self) -> float:
        """Mean level of the cells, relative to the highest level."""
        highest = len(self.level_shares) - 1
        return sum(level * share for level, share in enumerate(self.level_shares)) / highest


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Activity:
    """Statistics of all layers, first layer first."""

    layers: tuple[LayerActivity, ...]


def assumed_activity(accelerator: Accelerator, layers: Sequence[MvmLayer]) -> Activity:
    """The default, for a network whose activity is not measured.

    In the first layer, half of the input bits are 1. In the others, inputs are unsigned codes of a rectified Gaussian,
    half of them zero. Weights are normal, beside groups 0.
    """
    records = [assumed_layer_activity(accelerator, layer, is_first=not i) for i, layer in enumerate(layers)]
    return Activity(layers=tuple(records))


def assumed_layer_activity(accelerator: Accelerator, layer: MvmLayer, *, is_first: bool) -> LayerActivity:
    """One layer of `assumed_activity`."""
    bits, dac_bits = accelerator.input_bits, accelerator.dac_bits
    levels = assumed_levels(accelerator, layer)
    if is_first:
        return LayerActivity.of_planes((0.5,) * bits, dac_bits, levels)
    active, means, squares = rectified_cycles(bits, dac_bits)
    several = {"mean_inputs": means, "mean_squares": squares} if dac_bits > 1 else {}
    return LayerActivity(plane_densities=active, level_shares=levels, **several)


def spread_density(bit_density: float, bits: int, *, signed: bool = False) -> tuple[float, ...]:
    """Densities of the bit-planes of a rectified Gaussian whose mean bit density is `bit_density`.

    By default, half of the codes are zero. A lower density raises the rectification threshold; a higher one leaves
    fewer zeros. A density above that of a Gaussian without zeros is spread evenly over the planes. `signed` codes are
    two's complement: the most significant plane (the sign) is 0.
    """
    value_bits = bits - signed
    if value_bits == 0:
        return (0.0,)
    wanted = bit_density * bits / value_bits
    half_zero = rectified_planes(value_bits, 0.0)
    base = sum(half_zero) / value_bits
    if wanted > 2 * base:
        planes = (min(1.0, wanted),) * value_bits
    elif wanted >= base:
        planes = tuple(density * wanted / base for density in half_zero)
    else:
        planes = _thresholded(wanted, value_bits)
    return (0.0,) * signed + planes


def _thresholded(wanted: float, bits: int) -> tuple[float, ...]:
    """Planes at the threshold that gives the mean density `wanted`, interpolated between two thresholds."""
    above = rectified_planes(bits, 0.0)
    for step in range(1, 33):  # eighths of a standard deviation
        below = rectified_planes(bits, step / 8)
        high, low = sum(above) / bits, sum(below) / bits
        if wanted >= low:
            share = (wanted - low) / (high - low)
            return tuple(share * a + (1 - share) * b for a, b in zip(above, below, strict=True))
        above = below
    return tuple(density * wanted * bits / max(sum(above), 1e-30) for density in above)


@functools.lru_cache(maxsize=1024)
def rectified_planes(bits: int, threshold: float) -> tuple[float, ...]:
    """Share of ones per bit-plane of round(2**bits * INPUT_SIGMA * max(z - threshold, 0)), with z standard normal.

    The unsigned code has at most 16 bits. Planes below the twelfth have the density of the twelfth. `threshold` is in
    standard deviations; with 0, half of the codes are zero.
    """
    exact = min(bits, EXACT_BITS)
    densities = [0.0] * exact
    for code, share in _rectified_codes(exact, threshold):
        for plane in range(exact):
            if code >> (exact - 1 - plane) & 1:
                densities[plane] += share
    return tuple(densities) + (densities[-1],) * (bits - exact)


@functools.lru_cache(maxsize=256)
def rectified_cycles(bits: int, dac_bits: int) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """(share above 0, mean, mean square) of the inputs of `rectified_planes` in each cycle of `dac_bits` bits.

    Half of the codes are zero. Beyond 12 bits, the bits of a cycle are taken as independent.
    """
    if dac_bits == 1 or bits > EXACT_BITS:
        independent = LayerActivity.of_planes(rectified_planes(bits, 0.0), dac_bits, (1.0,))
        return independent.plane_densities, independent.means, independent.squares
    full, cycles = 2**dac_bits - 1, range(math.ceil(bits / dac_bits))
    active, means, squares = ([0.0 for _ in cycles] for _ in range(3))
    for code, share in _rectified_codes(bits, 0.0):
        for cycle in cycles:
            if digit := code >> dac_bits * (len(cycles) - 1 - cycle) & full:
                active[cycle] += share
                means[cycle] += share * digit / full
                squares[cycle] += share * (digit / full) ** 2
    return tuple(active), tuple(means), tuple(squares)


def _rectified_codes(bits: int, threshold: float) -> list[tuple[int, float]]:
    """(code, probability) of the codes above 0."""
    scale, top = INPUT_SIGMA * 2**bits, 2**bits - 1
    edges = [_normal_tail(threshold + (code - 0.5) / scale) for code in range(1, top + 1)] + [0.0]
    return [(code, edges[code - 1] - edges[code]) for code in range(1, top + 1)]


def _normal_tail(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))


def normal_levels(accelerator: Accelerator, weight_bits: int | None = None) -> tuple[float, ...]:
    """Share of cells at each level for normal weights; `weight_bits` None takes the accelerator's."""
    bits = accelerator.weight_bits if weight_bits is None else weight_bits
    return _normal_levels(bits, accelerator.cell_bits, accelerator.weight_encoding == "differential")


@functools.lru_cache(maxsize=256)
def _normal_levels(weight_bits: int, cell_bits: int, differential: bool) -> tuple[float, ...]:
    """Offset: digits of w + 2**(weight_bits - 1). Differential: digits of |w| in one polarity, zeros in the other."""
    half, levels = 2 ** (weight_bits - 1), 2**cell_bits
    digits = math.ceil((weight_bits - differential) / cell_bits)
    shares = [0.0] * levels
    for code, share in _normal_codes(weight_bits):
        for value in (max(code, 0), max(-code, 0)) if differential else (code + half,):
            for digit in range(digits):
                shares[value >> (digit * cell_bits) & (levels - 1)] += share
    total = sum(shares)
    return tuple(share / total for share in shares)


def _normal_codes(weight_bits: int) -> list[tuple[int, float]]:
    """(code, probability) of a normal weight, clipped at both ends. Beyond 10 bits, every 2**n-th code only."""
    half = 2 ** (weight_bits - 1)
    step = max(1, half // 512)
    codes = range(-half + step, half, step)
    tails = [_normal_tail((code - step / 2) / half / WEIGHT_SIGMA) for code in codes] + [0.0]
    tails[0] = 1.0
    # a step above 1 would leave the low digits zero; the product with an odd number spreads them evenly
    return [(code + code // step * 2654435761 % step, tails[i] - tails[i + 1]) for i, code in enumerate(codes)]


def assumed_levels(accelerator: Accelerator, layer: MvmLayer) -> tuple[float, ...]:
    """Share of a layer's used cells at each level: normal weights, and the weights of 0 beside its groups."""
    weights = normal_levels(accelerator, layer.weight_bits)
    together = groups_per_pack(accelerator, layer)
    if together == 1:
        return weights
    zeros = zero_levels(accelerator, layer.weight_bits)
    return tuple(weight / together + zero * (1 - 1 / together) for weight, zero in zip(weights, zeros, strict=True))


def zero_levels(accelerator: Accelerator, weight_bits: int | None = None) -> tuple[float, ...]:
    """Share of cells at each level for weights of 0; `weight_bits` None takes the accelerator's.

    Offset: the digits of 2**(weight_bits - 1), of which only the highest is not 0. Differential: zeros.
    """
    bits, cell_bits = accelerator.weight_bits if weight_bits is None else weight_bits, accelerator.cell_bits
    shares = [0.0] * 2**cell_bits
    shares[0] = 1.0
    if accelerator.weight_encoding == "offset":
        top = 1 / accelerator.slices(weight_bits)
        shares[0] -= top
        shares[1 << (bits - 1) % cell_bits] += top
    return tuple(shares)


def tilt_levels(level_shares: tuple[float, ...], mean_level: float) -> tuple[float, ...]:
    """Level shares with another mean: an equal share of every level's cells moves to the highest or lowest level."""
    highest = len(level_shares) - 1
    mean = sum(level * share for level, share in enumerate(level_shares)) / highest
    target = min(max(mean_level, 0.0), 1.0)
    end, moved = (highest, (target - mean) / (1 - mean)) if target > mean else (0, (mean - target) / mean)
    return tuple((1 - moved) * share + (moved if level == end else 0.0) for level, share in enumerate(level_shares))
