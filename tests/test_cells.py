"""Weights in cells: digits, folding, and the statistics of what programming does."""

import dataclasses
import math

import pytest
import torch

from hw_models.accelerator import Accelerator
from hw_models.devices import load_card
from pipeline.analog.cells import CellCode, code_sigma, program

RRAM = load_card("rram").device
N_CELLS = 200_000


def code_of(weight_bits=8, cell_bits=2, weight_encoding="offset", device=RRAM) -> CellCode:
    hardware = Accelerator(
        device=device,
        crossbar_size=128,
        cell_bits=cell_bits,
        weight_bits=weight_bits,
        weight_encoding=weight_encoding,
        input_bits=4,
        adc_bits=8,
    )
    return CellCode(accelerator=hardware, weight_bits=weight_bits)


def device_with(**changes):
    plain = {"programming_sigma": (0.0,), "stuck_on_rate": 0.0, "stuck_off_rate": 0.0, "read_sigma": 0.0}
    return dataclasses.replace(RRAM, **(plain | changes))


@pytest.mark.parametrize("encoding", ["offset", "differential"])
@pytest.mark.parametrize(("weight_bits", "cell_bits"), [(8, 2), (8, 1), (6, 4), (5, 3), (2, 1)])
def test_slices_recombine_to_the_programmed_weight(encoding, weight_bits, cell_bits):
    code = code_of(weight_bits, cell_bits, encoding)
    codes = torch.arange(-code.max_code, code.max_code + 1)
    digits = code.digits(codes)
    assert digits.shape[0] == code.accelerator.cells_per_weight
    assert digits.min() >= 0
    assert digits.max() <= 2**cell_bits - 1
    assert torch.equal(code.fold(digits), codes.float())


@pytest.mark.parametrize(("encoding", "cells"), [("offset", 3), ("differential", 4)])
def test_a_layer_with_bits_of_its_own_takes_the_cells_that_those_need(encoding, cells):
    # 5 bits in cells of 2: three in one group; or four bits of magnitude, two cells in each of two groups
    code = dataclasses.replace(code_of(8, 2, encoding), weight_bits=5)
    codes = torch.arange(-15, 16)
    assert len(code.digits(codes)) == len(code.significance()) == cells
    assert torch.equal(code.fold(code.digits(codes)), codes.float())


def test_digits_by_hand():
    # 8 bits, offset 128: -3 + 128 = 125 = 1*64 + 3*16 + 3*4 + 1; lowest digit first
    assert code_of().digits(torch.tensor([-3]))[:, 0].tolist() == [1, 3, 3, 1]
    # differential, 7 bits of magnitude: 3 in the negative group, nothing in the positive one
    assert code_of(weight_encoding="differential").digits(torch.tensor([-3]))[:, 0].tolist() == [0, 0, 0, 0, 3, 0, 0, 0]


@pytest.mark.parametrize("level", [0, 1, 3])
def test_programming_error_has_the_cards_spread_at_each_level_and_is_independent_between_cells(level):
    device = device_with(programming_sigma=(0.01, 0.05))
    code = code_of(2, 2, device=device)  # one 2-bit cell per weight: code = level - 2
    levels = program(code, torch.full((N_CELLS,), level - 2), torch.Generator().manual_seed(1))[0]
    u = device.relative_conductance(level, 2)
    sigma = (0.01 + 0.05 * u) / code.step
    assert levels.mean() == pytest.approx(level, abs=4 * sigma / math.sqrt(N_CELLS))
    assert levels.std() == pytest.approx(sigma, rel=4 / math.sqrt(2 * N_CELLS))
    neighbours = torch.corrcoef(torch.stack([levels[:-1], levels[1:]]))[0, 1]
    assert abs(neighbours) < 4 / math.sqrt(N_CELLS)


@pytest.mark.parametrize("encoding", ["offset", "differential"])
def test_folded_error_has_the_variance_that_training_uses(encoding):
    device = device_with(programming_sigma=RRAM.programming_sigma)
    code = code_of(8, 2, encoding, device)
    for weight in (-127, -20, 0, 77):
        folded = code.fold(program(code, torch.full((N_CELLS,), weight), torch.Generator().manual_seed(2)))
        expected = code_sigma(code)[weight + code.max_code]
        assert folded.std() == pytest.approx(float(expected), rel=4 / math.sqrt(2 * N_CELLS))


def test_stuck_rates_are_met_within_binomial_bounds():
    code = code_of(2, 2, device=device_with(stuck_on_rate=0.02, stuck_off_rate=0.01))
    levels = program(code, torch.full((N_CELLS,), -1), torch.Generator().manual_seed(3))[0]
    for value, rate in ((3.0, 0.02), (0.0, 0.01)):
        bound = 4 * math.sqrt(rate * (1 - rate) / N_CELLS)
        assert (levels == value).float().mean() == pytest.approx(rate, abs=bound)


def test_drift_spreads_conductances_by_the_power_law_and_keeps_the_compensated_mean():
    device = device_with(drift_nu=0.05, drift_nu_sigma=0.01, drift_t0_s=20.0)
    code = code_of(2, 2, device=device)
    levels = program(code, torch.full((N_CELLS,), 1), torch.Generator().manual_seed(4), drift_time_s=20.0 * math.e**10)[
        0
    ]
    conductance = (levels + code.baseline) / (3 + code.baseline)
    # ln(g) = -nu_i ln(t/t0) has a standard deviation of 0.01 * 10; the compensation restores the mean
    assert conductance.log().std() == pytest.approx(0.1, rel=4 / math.sqrt(2 * N_CELLS))
    assert conductance.mean() == pytest.approx(1.0, rel=1e-4)


def test_stuck_cells_do_not_drift():
    code = code_of(device=device_with(drift_nu=0.1, drift_nu_sigma=0.0, stuck_on_rate=0.3, stuck_off_rate=0.3))
    codes = torch.full((4000,), 42)  # 128 + 42: the digit 2 in each of the four slices
    fresh = program(code, codes, torch.Generator().manual_seed(1))
    old = program(code, codes, torch.Generator().manual_seed(1), drift_time_s=1e6)
    stuck = (fresh == 0) | (fresh == 2**code.accelerator.cell_bits - 1)
    change = (old + code.baseline) / (fresh + code.baseline)
    restored = change[stuck].mean()  # the compensation, which all cells share
    assert change[stuck].std() < 1e-4
    assert change[~stuck].mean() == pytest.approx(float(restored) * (1e6 / code.accelerator.device.drift_t0_s) ** -0.1)


def test_the_drift_exponent_is_that_of_the_level_that_was_written():
    """Programming errors move a cell's conductance, not the exponent: cells of one level drift alike."""
    law = {"drift_nu": 0.01, "drift_nu_sigma": 0.0, "drift_nu_law": (-0.05, 0.01, 0.0, 0.9)}
    code = code_of(2, 2, device=device_with(programming_sigma=(0.05,), **law))
    codes = torch.full((4000,), -1)
    fresh = program(code, codes, torch.Generator().manual_seed(6))
    old = program(code, codes, torch.Generator().manual_seed(6), drift_time_s=1e6)
    change = (old + code.baseline) / (fresh + code.baseline)
    assert fresh.std() > 0.1
    assert change.std() < 1e-4


def test_low_conductances_of_pcm_drift_faster():
    # Nandakumar et al., 2019: nu = -0.0155 ln(u) + 0.0244 from 0.049 to 0.1, spread -0.0125 ln(u) - 0.0059 from 0.008
    device = device_with(
        **{
            name: getattr(load_card("pcm").device, name)
            for name in (
                "on_off_ratio",
                "drift_nu",
                "drift_nu_sigma",
                "drift_nu_law",
                "drift_nu_sigma_law",
                "drift_t0_s",
            )
        }
    )
    code = code_of(2, 2, device=device)
    codes = torch.tensor([-2, 1])[:, None].expand(2, N_CELLS)  # levels 0 (u = 0.08) and 3 (u = 1)
    levels = program(code, codes, torch.Generator().manual_seed(5), drift_time_s=20.0 * math.e**5)[0]
    low, high = torch.log((levels + code.baseline) / (torch.tensor([[0.0], [3.0]]) + code.baseline))
    nu = -0.0155 * math.log(0.08) + 0.0244
    spread = -0.0125 * math.log(0.08) - 0.0059
    assert (high.mean() - low.mean()) / 5 == pytest.approx(nu - 0.049, abs=5 * spread / math.sqrt(N_CELLS))
    assert low.std() / 5 == pytest.approx(spread, rel=0.01)
    assert high.std() / 5 == pytest.approx(0.008, rel=0.01)


def test_an_sram_cell_holds_exactly_what_is_written():
    code = code_of(8, 1, device=load_card("sram").device)
    codes = torch.arange(-127, 128)
    assert torch.equal(
        code.fold(program(code, codes, torch.Generator().manual_seed(0), drift_time_s=1e9)), codes.float()
    )
