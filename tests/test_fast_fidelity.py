"""How far `fast` may be from `exact`: each reduction is an identity or has its error bounded here."""

import dataclasses
import sys
from pathlib import Path

import pytest
import torch
from test_analog_layers import design_with, network_of, run

from hw_models.accelerator import Accelerator
from hw_models.devices import load_card
from pipeline.analog.base import FAST_ERROR_LIMIT
from pipeline.analog.calibration import calibrate
from pipeline.analog.model import noisy_layers
from pipeline.analog.simulated_chip import SimulatedChip
from pipeline.data.batches import load_images
from pipeline.data.spec import DatasetSpec
from pipeline.design.design_point import DesignPoint
from pipeline.design.topology import topology
from pipeline.study.study_spec import VariationSpec
from pipeline.trial.network import plain_network
from pipeline.trial.variation import accuracy_under_variation

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import fast_fidelity

POINT_AND_A_HALF = 0.015
CHIPS = {"min_chips": fast_fidelity.CHIPS, "max_chips": fast_fidelity.CHIPS}


@pytest.fixture(scope="module")
def digits():
    return load_images(DatasetSpec())


@pytest.fixture(scope="module")
def network(digits):
    return fast_fidelity.trained(digits)


def on_hardware(network, design, digits) -> torch.nn.Module:
    """The trained network, calibrated on a design's hardware."""
    on_chip = plain_network(topology(design), design.accelerator)
    on_chip.load_state_dict(network.state_dict())
    calibrate(on_chip, digits.train[0][:128])
    return on_chip


CASES = {  # of benchmarks/fast_fidelity.py, those with fast layers: device, cell bits, encoding, ADC bits, sigma
    "coarsest that is fast, offset": ("rram", 2, "offset", 6),
    "fine converters": ("pcm", 2, "offset", 8),
    "coarsest that is fast, differential": ("fefet", 4, "differential", 5),
    "first layer fast, others exact": ("fefet", 4, "differential", 4),
    "cells err much, offset": ("rram", 4, "offset", 8, 0.1),
    "cells err most, offset": ("rram", 4, "offset", 8, 0.2),
    "cells err, differential": ("rram", 4, "differential", 8, 0.05),
    "first layer exact, others fast": ("rram", 4, "differential", 8, 0.15),
}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_fast_is_within_a_point_and_a_half_of_exact_on_a_trained_network(network, digits, case):
    on_chip = on_hardware(network, fast_fidelity.hardware(*case), digits)
    assert any(layer.adc_error_ratio[1] <= FAST_ERROR_LIMIT for layer in noisy_layers(on_chip))
    fast, exact = (
        accuracy_under_variation(on_chip, [digits.validation], VariationSpec(**CHIPS, fidelity=fidelity), 0)[0].mean
        for fidelity in ("fast", "exact")
    )
    assert exact > 0.15  # chance is 0.1
    assert fast == pytest.approx(exact, abs=POINT_AND_A_HALF)


def read_by(device: str, of_cell: dict | None = None, **hardware) -> DesignPoint:
    """The design of benchmarks/fast_fidelity.py with another readout."""
    cell = dataclasses.replace(load_card(device).device, **(of_cell or {}))
    common = {"crossbar_size": 128, "cell_bits": 1, "weight_bits": 8, "input_bits": 4}
    design = fast_fidelity.hardware("rram", 2, "offset", 8)
    return dataclasses.replace(design, accelerator=Accelerator(device=cell, **(common | hardware)))


STUCK = {"stuck_on_rate": 0.003, "stuck_off_rate": 0.003}
READOUTS = {
    "charge, small capacitors": read_by(
        "sram_charge", {"capacitor_f": 2e-17}, readout="charge", adc_bits=5, weight_encoding="differential"
    ),
    "discharge": read_by("sram_discharge", readout="discharge", adc_bits=6, supply_v=0.7),
    "combined columns": read_by("rram", adc_bits=8, cell_bits=2, combine_columns=True),
    "digital": read_by("sram", STUCK, adc_bits=None, readout="digital"),
}


@pytest.mark.parametrize("design", [pytest.param(design, id=name) for name, design in READOUTS.items()])
def test_fast_is_within_a_point_and_a_half_of_exact_for_each_readout(network, digits, design):
    on_chip = on_hardware(network, design, digits)
    assert any(layer.adc_error_ratio[1] <= FAST_ERROR_LIMIT for layer in noisy_layers(on_chip))
    fast, exact = (
        accuracy_under_variation(on_chip, [digits.validation], VariationSpec(**CHIPS, fidelity=fidelity), 0)[0].mean
        for fidelity in ("fast", "exact")
    )
    assert exact > 0.15
    assert fast == pytest.approx(exact, abs=POINT_AND_A_HALF)


def test_converters_that_err_much_are_simulated_one_by_one(network, digits):
    on_chip = on_hardware(network, fast_fidelity.hardware("fefet", 4, "differential", 4), digits)
    errors = [float(layer.adc_error_ratio[1]) for layer in noisy_layers(on_chip)]
    assert min(errors) < FAST_ERROR_LIMIT < max(errors)
    run(on_chip, digits.train[0][:10], SimulatedChip.number(0, 0), "fast")
    for layer, error in zip(noisy_layers(on_chip), errors, strict=True):
        assert (layer.conversions > 0) == (error > FAST_ERROR_LIMIT)


@pytest.mark.parametrize("adc_bits", [3, 6])
def test_chips_of_digital_cells_are_all_alike(network, digits, adc_bits):
    """Their converters err, but each chip's in the same way: `fast` must not draw that error anew."""
    on_chip = on_hardware(network, fast_fidelity.hardware("sram", 1, "differential", adc_bits), digits)
    outputs = [run(on_chip, digits.train[0][:20], SimulatedChip.number(0, index), "fast") for index in range(2)]
    assert torch.equal(*outputs)
    reports = [
        accuracy_under_variation(on_chip, [digits.validation], VariationSpec(min_chips=3, fidelity=fidelity), 0)[0]
        for fidelity in ("fast", "exact")
    ]
    for report in reports:
        assert report.per_chip == (report.noiseless,) * 3
    assert reports[0].noiseless == reports[1].noiseless


@pytest.mark.parametrize("encoding", ["offset", "differential"])
def test_without_converters_and_read_noise_folding_the_cells_is_an_identity(encoding):
    design = design_with("rram", adc_bits=None, cell_bits=2, weight_encoding=encoding)
    cell = dataclasses.replace(load_card("rram").device, read_sigma=0.0)
    design = dataclasses.replace(design, accelerator=dataclasses.replace(design.accelerator, device=cell))
    network, images = network_of(design)
    chip = SimulatedChip.number(0, 0)
    fast, exact = run(network, images, chip, "fast"), run(network, images, chip, "exact")
    torch.testing.assert_close(fast, exact, rtol=1e-3, atol=float(1e-3 * exact.std()))
