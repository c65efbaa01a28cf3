"""Statistical checks that a simulator of device variation must pass, written against a small interface.

A simulator is an adapter with a name and `chip(weight, conditions, seed, inputs)`; see `conformance_simulators.py`.
`python tests/conformance_simulators.py` prints the score card of every simulator that is installed.

Tolerances are 4 to 5 standard errors of the statistic, so that a sound simulator fails about once in ten thousand runs
of other seeds; seeds are fixed.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

OUTPUTS, ROWS = 300, 64
N_WEIGHTS = OUTPUTS * ROWS


class NotOffered(Exception):
    """The simulator has no such effect."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conditions:
    """What a simulated chip suffers from. Standard deviations are in units of the weights, whose largest is 1.

    Attributes:
        sigma: Error of a weight, drawn once a chip, the same for all weights.
        read_sigma: Error of a weight at each read.
        stuck_on, stuck_off: Share of cells that stay at their highest, lowest conductance.
        drift_nu_sigma: Spread over cells of the drift exponent, mean 0.06.
        log_age: ln(t / t0).
        adc_bits: Resolution of the converters; None converts nothing.
        sliced: A weight lies in several cells.
        readout: `current`; `charge` and `digital` store each of the seven bits of a magnitude in an SRAM cell, positive
            weights in one group of cells and negative ones in another. So do `combined` columns in resistive cells.
        mismatch: Of a stored bit 1, relative to what it adds, drawn once a chip (`charge`).
        thermal: Noise of each conversion of a column, in units of what one cell adds (`charge`).
        combined: The columns of a weight, of each sign, are weighed by 1, 2, 4, ... and added before one conversion;
            inputs go in at once. A column's weight errs by `COMBINER_SIGMA` over the root of it.
        rows_at_once: Rows that are read together; None: all.
    """

    sigma: float = 0.0
    read_sigma: float = 0.0
    stuck_on: float = 0.0
    stuck_off: float = 0.0
    drift_nu_sigma: float = 0.0
    log_age: float = 0.0
    adc_bits: int | None = None
    sliced: bool = False
    readout: Literal["current", "charge", "digital"] = "current"
    mismatch: float = 0.0
    thermal: float = 0.0
    combined: bool = False
    rows_at_once: int | None = None


COMBINER_SIGMA = 0.01
Chip = Callable[[Tensor], Tensor]


class Simulator(Protocol):
    """Adapter of one simulator."""

    name: str

    def chip(self, weight: Tensor, conditions: Conditions, seed: int, inputs: Tensor) -> Chip:
        """A simulated chip: a function from input vectors (n, rows) to outputs (n, outputs).

        Args:
            weight: (outputs, rows), multiples of 1/128 between -1 and 1.
            conditions: What to simulate.
            seed: Equal seeds are equal chips.
            inputs: What ranges may be calibrated on, (n, rows), multiples of 1/255 between 0 and 1.

        Raises:
            NotOffered: If the simulator does not have one of the conditions.
        """
        ...


def weights(seed: int = 1) -> Tensor:
    return torch.randint(-127, 128, (OUTPUTS, ROWS), generator=torch.Generator().manual_seed(seed)) / 128


def vectors(count: int = 40, seed: int = 2) -> Tensor:
    return torch.randint(0, 256, (count, ROWS), generator=torch.Generator().manual_seed(seed)) / 255


def read_weights(chip: Chip) -> Tensor:
    """The weights that a chip really has, (outputs, rows), one row driven at a time."""
    return chip(torch.eye(ROWS)).t()


def close(value: Tensor | float, expected: float, tolerance: float, what: str) -> None:
    assert abs(float(value) - expected) <= tolerance, (
        f"{what} is {float(value):.5g}, expected {expected:.5g} ± {tolerance:.2g}"
    )


def ideal_hardware_equals_torch(simulator: Simulator) -> None:
    weight, x = weights(), vectors()
    error = simulator.chip(weight, Conditions(), 0, x)(x) - F.linear(x, weight)
    assert error.abs().max() < 1e-4, f"outputs differ from torch by up to {float(error.abs().max()):.2g}"


def equal_seeds_are_equal_chips(simulator: Simulator) -> None:
    weight, x, noisy = weights(), vectors(), Conditions(sigma=0.05)
    first, again, other = (simulator.chip(weight, noisy, seed, x)(x) for seed in (0, 0, 1))
    assert torch.equal(first, again), "the same seed gave another chip"
    assert not torch.equal(first, other), "another seed gave the same chip"


def errors_are_frozen_within_a_chip(simulator: Simulator) -> None:
    x = vectors()
    chip = simulator.chip(weights(), Conditions(sigma=0.05), 0, x)
    first = chip(x)
    torch.testing.assert_close(chip(x), first, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.cat([chip(part) for part in x.split(7)]), first, rtol=1e-5, atol=1e-5)


def errors_are_independent_between_cells(simulator: Simulator) -> None:
    weight, sigma = weights(), 0.05
    chips = [read_weights(simulator.chip(weight, Conditions(sigma=sigma), seed, vectors())) - weight for seed in (0, 1)]
    error = chips[0]
    bound = 4.5 / math.sqrt(N_WEIGHTS)
    close(error.std(), sigma, sigma * bound, "standard deviation of the weights")
    close(error.mean(), 0.0, sigma * bound, "mean error")
    pairs = {
        "neighbours along the rows": (error[:, 1:], error[:, :-1]),
        "neighbours along the outputs": (error[1:], error[:-1]),
        "two chips": (error, chips[1]),
        "error and weight": (error, weight),
    }
    for name, (a, b) in pairs.items():
        close(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1], 0.0, bound, f"correlation of {name}")
    for level in (-127, 0, 127):  # one scalar a level would give all cells of a level the same error
        same = error[weight == level / 128]
        assert len(same) < 2 or same.std() > 0.3 * sigma, f"all cells of level {level} share one error"


def output_variance_is_that_of_theory(simulator: Simulator) -> None:
    weight, x, sigma = weights(), vectors(8), 0.05
    noisy = torch.stack([simulator.chip(weight, Conditions(sigma=sigma), seed, x)(x) for seed in range(10)])
    error = noisy - F.linear(x, weight)
    for i in range(len(x)):
        theory = sigma * float(x[i].square().sum().sqrt())
        close(error[:, i].std(), theory, 4.5 * theory / math.sqrt(2 * 10 * OUTPUTS), "standard deviation of outputs")


def read_noise_is_fresh_at_every_read(simulator: Simulator) -> None:
    weight, sigma = weights(), 0.02
    x = vectors(1).expand(60, -1).contiguous()
    chip = simulator.chip(weight, Conditions(read_sigma=sigma), 0, x)
    error = chip(x) - F.linear(x, weight)
    theory = sigma * float(x[0].square().sum().sqrt())
    close(error.std(), theory, 5 * theory / math.sqrt(2 * error.numel()), "standard deviation of reads")
    close(error.mean(), 0.0, 5 * theory / math.sqrt(error.numel()), "mean of reads")
    for a, b, name in ((error[1:], error[:-1], "two reads"), (error[:, 1:], error[:, :-1], "two columns")):
        rho = torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
        close(rho, 0.0, 5 / math.sqrt(error.numel()), f"correlation of {name}")


def stuck_rates_are_met(simulator: Simulator) -> None:
    # Weights at the top: one cell of a pair at its highest level, the other at its lowest; either fault cancels them.
    weight = torch.full((OUTPUTS, ROWS), 127 / 128)
    for rate, conditions in ((0.02, Conditions(stuck_on=0.02)), (0.01, Conditions(stuck_off=0.01))):
        read = read_weights(simulator.chip(weight, conditions, 0, vectors()))
        share = (read < 0.5).float().mean()
        close(share, rate, 4.5 * math.sqrt(rate * (1 - rate) / N_WEIGHTS), "share of stuck cells")


def drift_is_a_power_law_with_frozen_exponents(simulator: Simulator) -> None:
    weight, spread = torch.full((OUTPUTS, ROWS), 127 / 128), 0.01
    logs = []
    for log_age in (2.0, 8.0):
        conditions = Conditions(drift_nu_sigma=spread, log_age=log_age)
        ratio = (read_weights(simulator.chip(weight, conditions, 0, vectors())) / weight).log()
        logs.append(ratio - ratio.mean())
        close(ratio.std(), spread * log_age, 0.03 * spread * log_age, f"spread of ln(g) at ln(t/t0) = {log_age:g}")
    torch.testing.assert_close(logs[1], 4 * logs[0], rtol=0.02, atol=2e-3)


def adc_range_is_frozen_across_batches(simulator: Simulator) -> None:
    x = vectors()
    chip = simulator.chip(weights(), Conditions(adc_bits=6), 0, x)
    alone = chip(x[:1])
    beside = chip(torch.cat([x[:1], torch.ones(5, ROWS)]))[:1]
    torch.testing.assert_close(beside, alone, rtol=1e-5, atol=1e-5)
    fainter = chip(torch.cat([x[:1], x[1:] / 255]))[:1]
    torch.testing.assert_close(fainter, alone, rtol=1e-5, atol=1e-5)


def adc_saturates(simulator: Simulator) -> None:
    # Calibrated on inputs a fifth as large: all-one inputs to equal weights drive every column beyond the range.
    weight = torch.full((OUTPUTS, ROWS), 127 / 128)
    chip = simulator.chip(weight, Conditions(adc_bits=6), 0, (vectors() * 51).round() / 255)
    full, half = chip(torch.ones(1, ROWS)), chip(torch.full((1, ROWS), 153 / 255))
    torch.testing.assert_close(full, half, rtol=1e-3, atol=0)
    assert full.max() < 0.6 * ROWS, f"a column of {ROWS} is read as {float(full.max()):.1f}: nothing saturates"


def adc_has_its_resolution(simulator: Simulator) -> None:
    # One column and no negative cells: the output is a multiple of one step, at most 2**bits of them.
    weight = torch.full((OUTPUTS, ROWS), 127 / 128)
    x = (torch.arange(256)[:, None] / 255).expand(-1, ROWS).contiguous()
    levels = simulator.chip(weight, Conditions(adc_bits=4), 0, x)(x)[:, 0]
    found = len(torch.unique((levels * 1e4).round()))
    assert 8 <= found <= 16, f"a 4-bit converter gave {found} different values"


def sigma_zero_is_the_quantised_network(simulator: Simulator) -> None:
    x = vectors()
    first, other = (simulator.chip(weights(), Conditions(adc_bits=8), seed, x)(x) for seed in (0, 1))
    torch.testing.assert_close(first, other, rtol=0, atol=0)
    error = first - F.linear(x, weights())
    assert error.std() < 0.05 * F.linear(x, weights()).std(), "8-bit converters lose more than 5 % of the signal"


def slices_recombine_to_the_programmed_weight(simulator: Simulator) -> None:
    read = read_weights(simulator.chip(weights(), Conditions(sliced=True), 0, vectors()))
    torch.testing.assert_close(read, weights(), rtol=0, atol=1e-5)


def stored_bits(weight: Tensor) -> Tensor:
    """Bits of each weight's magnitude in both groups of cells, lowest first, positive group first, (..., 14)."""
    whole = (weight * 128).round().int()
    groups = torch.stack([whole.clamp(min=0), (-whole).clamp(min=0)], -1)
    return ((groups[..., None] >> torch.arange(7)) & 1).flatten(-2).double()


def mismatch_is_that_of_the_stored_ones(simulator: Simulator) -> None:
    weight, mismatch = weights(), 0.1
    conditions = Conditions(readout="charge", mismatch=mismatch)
    error = (read_weights(simulator.chip(weight, conditions, 0, vectors())) - weight).double()
    variances = (stored_bits(weight) * (4.0 ** torch.arange(7)).repeat(2)).sum(-1)
    theory = mismatch / 128 * variances.sqrt()
    assert error[weight == 0].abs().max() < 5e-3, "a weight without a stored 1 errs"
    scores = (error / theory)[weight != 0]
    bound = 4.5 / math.sqrt(len(scores))
    close(scores.std(), 1.0, bound, "standard deviation of the weights, over that of theory")
    close(scores.mean(), 0.0, bound, "mean error, over its standard deviation")
    ones = weight.abs() == 64 / 128  # one stored bit
    assert error[ones].unique().numel() == ones.sum(), "cells share an error"


def thermal_noise_is_fresh_at_every_conversion(simulator: Simulator) -> None:
    weight, thermal = weights(), 0.2
    for rows_at_once, reads in ((None, 1), (16, 4)):
        conditions = Conditions(readout="charge", thermal=thermal, rows_at_once=rows_at_once)
        # A bit of the input and a bit of the weight are converted each for itself, and count by their significance.
        conversions = reads * sum(4**i for i in range(8)) * 2 * sum(4**k for k in range(7))
        theory = thermal * math.sqrt(conversions) / 255 / 128
        for x in (vectors(1), torch.zeros(1, ROWS)):  # it does not depend on what is converted
            chip = simulator.chip(weight, conditions, 0, vectors())
            error = chip(x.expand(60, -1).contiguous()) - F.linear(x, weight)
            close(error.std(), theory, 5 * theory / math.sqrt(2 * error.numel()), "standard deviation of reads")
            close(error.mean(), 0.0, 5 * theory / math.sqrt(error.numel()), "mean of reads")
            for a, b, name in ((error[1:], error[:-1], "two reads"), (error[:, 1:], error[:, :-1], "two outputs")):
                rho = torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
                close(rho, 0.0, 5 / math.sqrt(error.numel()), f"correlation of {name}")


def gains_of_combined_columns_are_shared_by_their_rows(simulator: Simulator) -> None:
    weight, powers = weights(), (2.0 ** torch.arange(7)).double().repeat(2)
    error = (read_weights(simulator.chip(weight, Conditions(combined=True), 0, vectors())) - weight).double() * 128
    signs = torch.ones(2).repeat_interleave(7) * torch.tensor([1.0, -1.0]).repeat_interleave(7)
    columns = stored_bits(weight) * (powers * signs)
    gains = torch.linalg.lstsq(columns, error[..., None]).solution[..., 0]  # errors of gains, (outputs, columns)
    rest = error - (columns @ gains[..., None])[..., 0]
    assert rest.abs().max() < 0.02, "rows of a column see different gains"
    scores = gains * powers.sqrt() / COMBINER_SIGMA
    close(scores.std(), 1.0, 4.5 / math.sqrt(2 * scores.numel()), "standard deviation of gains, over that of theory")
    for k in range(14):
        close(scores[:, k].std(), 1.0, 4.5 / math.sqrt(2 * OUTPUTS), f"that of column {k}")
    for a, b, name in ((scores[1:], scores[:-1], "outputs"), (scores[:, 1:], scores[:, :-1], "columns")):
        rho = torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
        close(rho, 0.0, 4.5 / math.sqrt(a.numel()), f"correlation of neighbouring {name}")


def combined_columns_are_converted_once(simulator: Simulator) -> None:
    weight = torch.full((OUTPUTS, ROWS), 127 / 128)
    x = (torch.arange(256)[:, None] / 255).expand(-1, ROWS).contiguous()
    outputs = simulator.chip(weight, Conditions(combined=True, adc_bits=4), 0, x)(x)[:, 0]
    found = len(torch.unique((outputs * 1e4).round()))
    assert 8 <= found <= 16, f"a 4-bit converter gave {found} different values"


def digital_sums_are_exact_but_for_stuck_bits(simulator: Simulator) -> None:
    weight, x, errs = weights(), vectors(), Conditions(readout="digital", sigma=0.05, read_sigma=0.05)
    error = simulator.chip(weight, errs, 0, x)(x) - F.linear(x, weight)
    assert error.abs().max() < 1e-4, f"outputs differ from torch by up to {float(error.abs().max()):.2g}"
    stuck = dataclasses.replace(errs, stuck_on=0.01, stuck_off=0.02)
    change = (read_weights(simulator.chip(weight, stuck, 0, x)) - weight) * 128
    close((change - change.round()).abs().max(), 0.0, 5e-3, "distance of the changes from whole codes")
    bits = stored_bits(weight)
    expected = float((1 - (1 - 0.01 * (1 - bits) - 0.02 * bits).prod(-1)).mean())
    close((change.abs() > 0.5).double().mean(), expected, 4.5 * 0.5 / math.sqrt(N_WEIGHTS), "share of changed weights")


CHECKS: list[Callable[[Simulator], None]] = [
    ideal_hardware_equals_torch,
    equal_seeds_are_equal_chips,
    errors_are_frozen_within_a_chip,
    errors_are_independent_between_cells,
    output_variance_is_that_of_theory,
    read_noise_is_fresh_at_every_read,
    stuck_rates_are_met,
    drift_is_a_power_law_with_frozen_exponents,
    adc_range_is_frozen_across_batches,
    adc_saturates,
    adc_has_its_resolution,
    sigma_zero_is_the_quantised_network,
    slices_recombine_to_the_programmed_weight,
    mismatch_is_that_of_the_stored_ones,
    thermal_noise_is_fresh_at_every_conversion,
    gains_of_combined_columns_are_shared_by_their_rows,
    combined_columns_are_converted_once,
    digital_sums_are_exact_but_for_stuck_bits,
]


def score_card(simulators: list[Simulator]) -> str:
    """A table: checks down, simulators across, and the reasons below."""
    lines = [f"| check | {' | '.join(s.name for s in simulators)} |", "| --- " * (len(simulators) + 1) + "|"]
    reasons = []
    for check in CHECKS:
        cells = []
        for simulator in simulators:
            try:
                check(simulator)
                cells.append("pass")
            except NotOffered as missing:
                cells.append("not offered")
                reasons.append(f"- {check.__name__}, {simulator.name}: {missing}")
            except AssertionError as failure:
                cells.append("**fail**")
                reasons.append(f"- {check.__name__}, {simulator.name}: {' '.join(str(failure).split())[:160]}")
        lines.append(f"| {check.__name__.replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *reasons])
