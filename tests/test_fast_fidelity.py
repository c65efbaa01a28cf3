"""How far `fast` may be from `exact`: each reduction is an identity or has its error bounded here."""

import dataclasses

import pytest
import torch
from test_analog_layers import design_with, network_of, run

from hw_models.accelerator import Accelerator
from hw_models.devices import load_card
from pipeline.analog_layers import FAST_ERROR_LIMIT, calibrate, noisy_layers
from pipeline.chips import Chip
from pipeline.data import load_images
from pipeline.design_point import ConvSpec, DesignPoint, ImageSpec
from pipeline.network import build_network
from pipeline.study_spec import DatasetSpec, TrainingSpec, VariationSpec
from pipeline.topology import topology
from pipeline.training import train
from pipeline.variation import accuracy_under_variation

CHIPS = 6


def digits_design(device: str, adc_bits: int | None, cell_bits: int, encoding: str) -> DesignPoint:
    hardware = Accelerator(
        device=load_card(device).device,
        crossbar_size=128,
        cell_bits=cell_bits,
        weight_bits=8,
        weight_encoding=encoding,
        input_bits=4,
        adc_bits=adc_bits,
    )
    convs = (ConvSpec(filters=12, kernel=3), ConvSpec(filters=24, kernel=3, pool=True))
    return DesignPoint(accelerator=hardware, image=ImageSpec(channels=1, height=8, width=8, classes=10), convs=convs)


@pytest.fixture(scope="module")
def digits():
    return load_images(DatasetSpec())


@pytest.fixture(scope="module")
def weights(digits):
    """State dict of one network trained on digits."""
    design = digits_design("rram", 8, 2, "offset")
    torch.manual_seed(0)
    network = build_network(topology(design), design.accelerator)
    train(network, digits.train, TrainingSpec(epochs=10), 1)
    return network.state_dict()


def accuracy(digits, weights, fidelity, *design) -> float:
    point = digits_design(*design)
    network = build_network(topology(point), point.accelerator)
    network.load_state_dict(weights)
    calibrate(network, digits.train[0][:128])
    spec = VariationSpec(min_chips=CHIPS, max_chips=CHIPS, fidelity=fidelity)
    return accuracy_under_variation(network, [digits.validation], spec, 0)[0].mean


@pytest.mark.parametrize("adc_bits", [3, 4, 5, 8])
@pytest.mark.parametrize(
    "cells", [("rram", 2, "offset"), ("fefet", 4, "differential"), ("sram", 1, "differential")], ids=str
)
def test_fast_is_within_a_point_and_a_half_of_exact_on_a_trained_network(digits, weights, cells, adc_bits):
    device, cell_bits, encoding = cells
    fast, exact = (accuracy(digits, weights, f, device, adc_bits, cell_bits, encoding) for f in ("fast", "exact"))
    assert exact > 0.6
    assert fast == pytest.approx(exact, abs=0.015)


def test_converters_that_err_much_are_simulated_one_by_one(digits, weights):
    point = digits_design("rram", 4, 2, "offset")
    network = build_network(topology(point), point.accelerator)
    network.load_state_dict(weights)
    calibrate(network, digits.train[0][:128])
    errors = [float(layer.adc_error_ratio) for layer in noisy_layers(network)]
    assert min(errors) < FAST_ERROR_LIMIT < max(errors)
    run(network, digits.train[0][:10], Chip.number(0, 0), "fast")
    for layer, error in zip(noisy_layers(network), errors, strict=True):
        assert (layer.conversions > 0) == (error > FAST_ERROR_LIMIT)


@pytest.mark.parametrize("encoding", ["offset", "differential"])
def test_without_converters_and_read_noise_folding_the_cells_is_an_identity(encoding):
    design = design_with("rram", adc_bits=None, cell_bits=2, weight_encoding=encoding)
    cell = dataclasses.replace(load_card("rram").device, read_sigma=0.0)
    design = dataclasses.replace(design, accelerator=dataclasses.replace(design.accelerator, device=cell))
    network, images = network_of(design)
    chip = Chip.number(0, 0)
    fast, exact = run(network, images, chip, "fast"), run(network, images, chip, "exact")
    torch.testing.assert_close(fast, exact, rtol=1e-3, atol=float(1e-3 * exact.std()))
