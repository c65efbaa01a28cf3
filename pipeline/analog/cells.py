"""From weight codes to cells and back: slices, conductances, and the errors of programming.

A weight is an integer code w from -(2**(bits-1) - 1) to 2**(bits-1) - 1; the offset encoding can also hold
-(2**(bits-1)). It is stored as `slices` digits of `cell_bits` bits, lowest first:

    offset:        w + 2**(bits-1)    in one group of cells; the offset times the sum of inputs is subtracted digitally
    differential:  max(w, 0) and max(-w, 0)    in a positive and a negative group

A digit l is stored as the relative conductance u = u_off + l * step with step = (1 - u_off) / (2**cell_bits - 1).
All conductances below are in *levels*: (u - u_off) / step, so that an ideal cell reads its digit.
Every active cell also adds the baseline u_off / step to its column. The controller knows how many wordlines were active
and subtracts it.

A weight has one column sum for each of its cells. Where columns are combined, it has one for each group: the sums of a
group's columns, weighed by 2**(cell_bits k) and added in analog, in levels of the lowest column.
"""

import dataclasses
import functools
import itertools
import math

import torch
from torch import Tensor

from hw_models.accelerator import Accelerator
from hw_models.mapping import LayerMapping
from hw_models.read_errors import device_as_read, read_errors
from pipeline.analog.measured_errors import measured_errors, measured_sigmas

_CODES_AT_ONCE = 2**18  # so that they stay in a processor's cache


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CellCode:
    """How the weights of one layer are stored in cells; `weight_bits` counts the sign."""

    accelerator: Accelerator
    weight_bits: int

    @property
    def max_code(self) -> int:
        """Largest weight code."""
        return int(2 ** (self.weight_bits - 1)) - 1

    @property
    def columns(self) -> int:
        """Cells of one weight, both polarities counted."""
        return self.accelerator.columns_per_weight(self.weight_bits)

    @property
    def sums(self) -> int:
        """Column sums of one weight, both polarities counted."""
        return self.columns // self.accelerator.slices(self.weight_bits) if self._combines else self.columns

    @property
    def _combines(self) -> bool:
        return self.accelerator.combine_columns

    @property
    def offset(self) -> int:
        """What is added to a code before it is stored; 0 in the differential encoding."""
        return int(2 ** (self.weight_bits - 1)) if self.accelerator.weight_encoding == "offset" else 0

    @property
    def baseline(self) -> float:
        """u_off / step: what an active cell of digit 0 adds to its column, in levels."""
        return self.accelerator.device.relative_conductance(0, self.accelerator.cell_bits) / self.step

    @property
    def step(self) -> float:
        """Distance of two neighbouring levels in units of g_on."""
        device, bits = self.accelerator.device, self.accelerator.cell_bits
        return device.relative_conductance(1, bits) - device.relative_conductance(0, bits)

    def significance(self) -> Tensor:
        """Value of each column of a weight in the digital sum, (columns,): 2**(cell_bits k), or its negative."""
        return self._powers() if self.offset else torch.cat([self._powers(), -self._powers()])

    def _powers(self) -> Tensor:
        powers: Tensor = 2.0 ** (self.accelerator.cell_bits * torch.arange(self.accelerator.slices(self.weight_bits)))
        return powers

    def sum_significance(self) -> Tensor:
        """Value of each column sum of a weight in the digital sum, (sums,)."""
        if not self._combines:
            return self.significance()
        return torch.tensor([1.0] if self.offset else [1.0, -1.0])

    @property
    def sum_baseline(self) -> float:
        """What an active row of cells of digit 0 adds to a column sum, in levels."""
        return self.baseline * (float(self._powers().sum()) if self._combines else 1.0)

    @property
    def noise_gain(self) -> float:
        """Noise of a column sum over that of one column: noise of combined columns is independent, weighed as they."""
        return float(self._powers().square().sum().sqrt()) if self._combines else 1.0

    def summed(self, levels: Tensor) -> Tensor:
        """What each row adds to the column sums, in levels, (columns, ...) -> (sums, ...)."""
        if not self._combines:
            return levels
        groups = levels.unflatten(0, (self.sums, -1))
        return torch.einsum("gk...,k->g...", groups, self._powers().to(levels))

    def digits(self, codes: Tensor) -> Tensor:
        """Digits of integer codes, shape (columns, *codes.shape), float."""
        bits, slices = self.accelerator.cell_bits, self.accelerator.slices(self.weight_bits)
        whole = codes.flatten()
        found = torch.empty(self.columns, len(whole), device=codes.device)
        for start in range(0, len(whole), _CODES_AT_ONCE):
            part = slice(start, start + _CODES_AT_ONCE)
            some = whole[part].int()
            groups = [some + self.offset] if self.offset else [some.clamp(min=0), (-some).clamp(min=0)]
            for column, (group, k) in enumerate(itertools.product(groups, range(slices))):
                found[column, part] = (group >> (bits * k)) & (2**bits - 1)
        return found.view(-1, *codes.shape)

    def fold(self, levels: Tensor) -> Tensor:
        """Weight codes that `levels` amount to, (columns, ...) -> (...): the inverse of `digits`, for real levels too.

        It is exact for a linear periphery, whose digital sum is linear in the conductances.
        """
        total: Tensor = torch.tensordot(self.significance().to(levels), levels, dims=1)
        return total - self.offset


def sigma_levels(code: CellCode, levels: Tensor) -> Tensor:
    """Standard deviation of cells at whole `levels` after programming, in levels, as the device has it."""
    device = device_as_read(code.accelerator)
    if device.error_curves is not None:
        return measured_sigmas(device, code.accelerator.cell_bits)[levels.long()] / code.step
    u = code.step * (levels + code.baseline)
    total = torch.zeros_like(u)
    for coefficient in reversed(device.programming_sigma):
        total = total * u + coefficient
    return total / code.step


@functools.lru_cache(maxsize=256)
def code_sigma(code: CellCode, lowest: int | None = None) -> Tensor:
    """Standard deviation of the folded weight for each code from `lowest` to `max_code`, in weight codes; None:
    -`max_code`.

    The cells of a weight err independently, so their variances add: var = sum over k of 4**(cell_bits k) var_k. So do
    the errors of the readout that are drawn once a chip: mismatch of what cells add, and of the gains of combined
    columns, which all rows of a crossbar share.
    """
    codes = torch.arange(-code.max_code if lowest is None else lowest, code.max_code + 1)
    digits, errors = code.digits(codes), read_errors(code.accelerator, code.weight_bits)
    variances = sigma_levels(code, digits) ** 2 + (errors.cell_sigma * digits) ** 2
    if errors.combiner_sigmas:
        gains = _of_columns(code, errors.combiner_sigmas)[:, None]
        variances = variances + (gains * (digits + code.baseline)) ** 2
    return torch.sqrt(torch.tensordot(code.significance() ** 2, variances, dims=1))


def _of_columns(code: CellCode, of_slices: tuple[float, ...]) -> Tensor:
    """A value for each column of a weight, (columns,), from those of the slices."""
    return torch.tensor(of_slices).repeat(code.columns // len(of_slices))


def program(code: CellCode, codes: Tensor, generator: torch.Generator, drift_time_s: float | None = None) -> Tensor:
    """Write `codes` into the cells of one simulated chip, shape (columns, *codes.shape), in levels.

    Each cell draws its own programming error, whether it is stuck, the mismatch of its capacitor or read port, and its
    drift exponent, from the chip's stream for this layer. Conductances are not clipped at 0, which would shift the
    mean. `drift_time_s` is the time since programming; None reads at the device's t0, before any drift.
    """
    device = device_as_read(code.accelerator)
    digits = code.digits(codes)
    errors = torch.randn(digits.shape, generator=generator)
    if device.error_curves is None:
        levels = digits + sigma_levels(code, digits) * errors
    else:
        levels = digits + measured_errors(device, code.accelerator.cell_bits, digits, errors) / code.step
    stuck = torch.zeros_like(levels, dtype=torch.bool)
    if device.stuck_on_rate or device.stuck_off_rate:
        fate = torch.rand(digits.shape, generator=generator)
        levels = torch.where(fate < device.stuck_on_rate, float(2**code.accelerator.cell_bits - 1), levels)
        levels = torch.where(fate > 1 - device.stuck_off_rate, 0.0, levels)
        stuck = (fate < device.stuck_on_rate) | (fate > 1 - device.stuck_off_rate)
    if mismatch := read_errors(code.accelerator).cell_sigma:
        levels = levels * (1 + mismatch * torch.randn(digits.shape, generator=generator))
    if drift_time_s is not None and (device.drift_nu or device.drift_nu_sigma):
        log_age = math.log(max(drift_time_s / device.drift_t0_s, 1.0))
        levels = _drifted(code, digits, levels, stuck, log_age, generator)
    return levels


def with_column_gains(code: CellCode, levels: Tensor, mapping: LayerMapping, generator: torch.Generator) -> Tensor:
    """`levels` (columns, outputs, ...) times the gain with which the combiner of each crossbar's column weighs them.

    A column of a crossbar has one gain for all its rows, whose digits and baselines it scales alike.
    """
    sigmas = read_errors(code.accelerator, code.weight_bits).combiner_sigmas
    if not sigmas:
        return levels
    blocks = mapping.crossbar_blocks
    errors = torch.randn(*levels.shape[:2], len(blocks), generator=generator)
    gains = 1 + _of_columns(code, sigmas)[:, None, None] * errors
    sizes = torch.tensor([stop - start for start, stop in blocks])
    of_rows = gains.repeat_interleave(sizes, -1)
    if is_kernel_major(levels, mapping):
        inputs, *kernel = levels.shape[2:]
        of_rows = of_rows.unflatten(-1, (*kernel, inputs)).movedim(-1, 2)
    return (levels + code.baseline) * of_rows.reshape(levels.shape) - code.baseline


def is_kernel_major(levels: Tensor, mapping: LayerMapping) -> bool:
    """Whether the rows of the matrix of `levels` (columns, outputs, inputs, *kernel) go kernel position first."""
    return levels.dim() == 5 and mapping.row_order == "kernel_major"


def _drifted(
    code: CellCode, digits: Tensor, levels: Tensor, stuck: Tensor, log_age: float, generator: torch.Generator
) -> Tensor:
    """`levels` after drift, g(t) = g(t0) (t / t0)**-nu, and after global drift compensation; stuck cells do not drift.

    The exponent nu follows from the level written (`digits`). The compensation is one factor per layer: total
    conductance written over total conductance read (Joshi et al., 2020).
    """
    device = device_as_read(code.accelerator)
    log_u = torch.log((code.step * (digits + code.baseline)).clamp(min=1e-6))
    mean = _by_law(device.drift_nu_law, log_u, device.drift_nu)
    spread = _by_law(device.drift_nu_sigma_law, log_u, device.drift_nu_sigma)
    nu = (mean + spread * torch.randn(digits.shape, generator=generator)).clamp(min=0)
    written = levels + code.baseline
    read = written * torch.where(stuck, 1.0, torch.exp(-nu * log_age))
    return read * (written.sum() / read.sum()) - code.baseline


def _by_law(law: tuple[float, ...] | None, log_u: Tensor, constant: float) -> Tensor:
    """a ln(u) + b, clamped to low and high, for a law (a, b, low, high); without a law the constant."""
    if law is None:
        return torch.full_like(log_u, constant)
    slope, intercept, low, high = law
    return (slope * log_u + intercept).clamp(low, high)
