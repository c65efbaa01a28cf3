"""The step of least squared error for values that are rounded to whole steps and cut at the last code."""

import functools
import math

import torch
from torch import Tensor

_NARROWEST = 1 / 128  # assumed: narrowest clip tried, over the largest value
_CLIPS = 96  # assumed: clips tried, in equal ratios
_GRIDS = 256  # assumed: grids tried of up to so many steps; finer ones lose next to nothing by rounding
_PROBES = 64  # assumed: values that a grid must hold before it is tried on all
_ON_GRID = 1e-3  # assumed: distance from a whole step, in steps, that float rounding explains
_EXACT = 1e-10  # assumed: share of the energy below which an error is float rounding
_FEW_CODES = 15  # assumed: up to this code all grids are tried, since values near a grid lose much off it
_AT_ONCE = 2**17  # candidates x values compared in one piece, so that they stay in a processor's cache
SAMPLE = 2**16  # assumed: values on which a step of least error is searched
_TRAINING_SAMPLE = 1024  # assumed: the same in training
_SEARCH_EVERY = 4  # assumed: training passes from one search to the next; between them clips follow the largest value


class StepSearch:
    """Steps of least error for a layer's weights and inputs, found anew at each call, or seldom in training.

    Attributes:
        passes: Training passes so far.
    """

    def __init__(self) -> None:
        self.passes = 0
        self._step_over_top: dict[tuple[bool, tuple[int, int]], Tensor] = {}  # in training, at the last search

    def step(
        self,
        x: Tensor,
        ends: tuple[Tensor, Tensor],
        bounds: tuple[int, int],
        training: bool,
        variance: Tensor | None = None,
    ) -> Tensor:
        """`best_step` for the values `x`, from `ends[0]` to `ends[1]`; only weights have a `variance`."""
        if not training:
            return best_step(spread(x, SAMPLE), ends, bounds, variance)
        top, key = torch.maximum(ends[1], -ends[0]).float(), (variance is None, bounds)
        if self.passes % _SEARCH_EVERY == 0 or key not in self._step_over_top:
            step = best_step(spread(x, _TRAINING_SAMPLE), ends, bounds, variance, quick=True)
            self._step_over_top[key] = step / top.clamp(min=1e-30)
        return top * self._step_over_top[key]


def spread(x: Tensor, count: int) -> Tensor:
    """Up to `count` values of `x`, (values,), float32, spread over all of it; the same ones for each tensor of a size.

    Their places follow the golden ratio: an even stride could meet one channel only.
    """
    values = x.detach()
    dense = values.is_contiguous() or (x.dim() == 4 and values.is_contiguous(memory_format=torch.channels_last))
    flat = values.as_strided((values.numel(),), (1,)) if dense else values.reshape(-1)
    return (flat if len(flat) <= count else flat[_places(len(flat), count, flat.device)]).float()


def cut_energy(x: Tensor, step: Tensor, bounds: tuple[int, int]) -> float:
    """Share of the energy (sum of squares) of `x` that lies beyond the last codes, rounding apart; from a sample."""
    values = torch.cat([spread(x, SAMPLE), *(end.float()[None] for end in torch.aminmax(x.detach()))])
    low, high = ((bound + half) * step for bound, half in zip(bounds, (-0.5, 0.5), strict=True))
    cut = values - torch.maximum(torch.minimum(values, high), low)
    return float(cut.square().sum() / values.square().sum().clamp(min=1e-30))


@functools.lru_cache(maxsize=256)
def _places(total: int, count: int, device: torch.device) -> Tensor:
    turns = torch.arange(count, dtype=torch.float64) * ((math.sqrt(5) - 1) / 2)
    return ((turns - turns.floor()) * total).long().clamp_(max=total - 1).to(device)


def best_step(
    values: Tensor,
    ends: tuple[Tensor, Tensor],
    bounds: tuple[int, int],
    variance: Tensor | None = None,
    quick: bool = False,
) -> Tensor:
    """The step, scalar, with the least squared error of `values` rounded to steps and cut to codes within `bounds`.

    Candidates are clips from the largest magnitude to 1/128 of it, and steps of which the largest magnitude is a whole
    number, up to 256: values on such a grid come out exact. Of several exact steps it is the finest, whose codes are
    the largest, so that a cell's error weighs least. Zeros give 0.

    Args:
        values: Values, (n,), float32.
        ends: Least and greatest of all values, those not in `values` included, scalars.
        bounds: Lowest and highest code.
        variance: Of the error that each code suffers later, from the lowest on, in codes squared, (codes,): wide steps
            make it weigh more. None: there is no such error.
        quick: For training: a third of the clips, and grids only where codes are few.
    """
    low, high = bounds
    extremes = torch.stack(ends).float()
    top = extremes.abs().max()
    unit = torch.cat([values, extremes]) / top.clamp(min=1e-30)
    counts = _clips(high, _CLIPS // 3 if quick else _CLIPS, unit.device)
    if not quick:
        counts = torch.cat([_finest_grid(unit, low, high), counts])
    errors = torch.cat(
        [_errors(unit, part, low, high, variance) for part in counts.split(max(1, _AT_ONCE // len(unit)))]
    )
    errors = torch.where(errors < _EXACT * unit.square().sum(), 0.0, errors)
    step: Tensor = top / counts.take(errors.argmin())  # an index in brackets would wait for a GPU
    return step


@functools.lru_cache(maxsize=64)
def _clips(high: int, clips: int, device: torch.device) -> Tensor:
    """Steps in the largest magnitude, finest first: those of the clips, and all whole numbers where codes are few."""
    cut = high * torch.logspace(math.log10(1 / _NARROWEST), 0, clips, dtype=torch.float64).float()
    whole = torch.arange(high + 1, 0, -1.0) if high <= _FEW_CODES else torch.tensor([float(high)])
    return torch.cat([cut, whole]).sort(descending=True).values.to(device)


def _finest_grid(unit: Tensor, low: int, high: int) -> Tensor:
    """The finest grid that a few of the values lie on, or as many steps as codes, (1,)."""
    probes = unit[unit != 0]
    probes = torch.cat([probes[:: max(1, len(probes) // _PROBES)], unit[-2:]])
    counts = torch.arange(high + 1, max(0, high + 1 - _GRIDS), -1.0, device=unit.device)
    steps = probes * counts[:, None]
    off = (steps - steps.round().clamp(low, high)).abs().amax(1)
    return torch.where((off < _ON_GRID).any(), counts[(off < _ON_GRID).int().argmax()], float(high))[None]


def _errors(unit: Tensor, counts: Tensor, low: int, high: int, variance: Tensor | None) -> Tensor:
    """Summed squared error for each number of steps, in units of the largest magnitude squared."""
    steps = unit * counts[:, None]
    codes = steps.round().clamp_(low, high).nan_to_num_(low)
    error = (codes - steps).square_()
    if variance is not None:
        error += variance[codes.sub_(low).int()]
    return error.sum(1) / counts.square()
