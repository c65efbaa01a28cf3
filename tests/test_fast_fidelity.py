"""How far `fast` may be from `exact`: each reduction is an identity or has its error bounded here."""

import dataclasses
import sys
from pathlib import Path

import pytest
import torch
from test_analog_layers import design_with, network_of, run

from hw_models.devices import load_card
from pipeline.analog.base import FAST_ERROR_LIMIT
from pipeline.analog.calibration import calibrate
from pipeline.analog.model import noisy_layers
from pipeline.analog.simulated_chip import SimulatedChip
from pipeline.data.batches import load_images
from pipeline.data.spec import DatasetSpec
from pipeline.design.topology import topology
from pipeline.study.study_spec import VariationSpec
from pipeline.trial.network import build_network
from pipeline.trial.variation import accuracy_under_variation

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import fast_fidelity

POINT_AND_A_HALF = 0.015


@pytest.fixture(scope="module")
def digits():
    return load_images(DatasetSpec())


@pytest.fixture(scope="module")
def network(digits):
    return fast_fidelity.trained(digits)


def fast_and_exact(network, design, digits) -> tuple[float, float]:
    fast, exact = (fast_fidelity.accuracy(network, design, digits, fidelity) for fidelity in ("fast", "exact"))
    return fast, exact


@pytest.mark.parametrize("adc_bits", fast_fidelity.ADC_BITS)
@pytest.mark.parametrize("cells", fast_fidelity.CELLS, ids=str)
def test_fast_is_within_a_point_and_a_half_of_exact_on_a_trained_network(network, digits, cells, adc_bits):
    fast, exact = fast_and_exact(network, fast_fidelity.hardware(*cells, adc_bits), digits)
    assert exact > 0.15  # chance is 0.1
    assert fast == pytest.approx(exact, abs=POINT_AND_A_HALF)


@pytest.mark.parametrize("sigma", fast_fidelity.SIGMAS)
@pytest.mark.parametrize("encoding", fast_fidelity.ENCODINGS)
def test_fast_is_as_near_where_cells_err_much(network, digits, encoding, sigma):
    fast, exact = fast_and_exact(network, fast_fidelity.hardware("rram", 4, encoding, 8, sigma), digits)
    assert fast == pytest.approx(exact, abs=POINT_AND_A_HALF)


def test_converters_that_err_much_are_simulated_one_by_one(network, digits):
    design = fast_fidelity.hardware("fefet", 4, "differential", 4)
    on_chip = build_network(topology(design), design.accelerator)
    on_chip.load_state_dict(network.state_dict())
    calibrate(on_chip, digits.train[0][:128])
    errors = [float(layer.adc_error_ratio[1]) for layer in noisy_layers(on_chip)]
    assert min(errors) < FAST_ERROR_LIMIT < max(errors)
    run(on_chip, digits.train[0][:10], SimulatedChip.number(0, 0), "fast")
    for layer, error in zip(noisy_layers(on_chip), errors, strict=True):
        assert (layer.conversions > 0) == (error > FAST_ERROR_LIMIT)


@pytest.mark.parametrize("adc_bits", [3, 6])
def test_chips_of_digital_cells_are_all_alike(network, digits, adc_bits):
    """Their converters err, but each chip's in the same way: `fast` must not draw that error anew."""
    design = fast_fidelity.hardware("sram", 1, "differential", adc_bits)
    on_chip = build_network(topology(design), design.accelerator)
    on_chip.load_state_dict(network.state_dict())
    calibrate(on_chip, digits.train[0][:128])
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
