"""The compiled path of crossbar layers against the torch path that defines it."""

import dataclasses
import hashlib
from pathlib import Path

import pytest
import torch
from numba.core.dispatcher import Dispatcher
from test_analog_layers import design_with, network_of, run

from hw_models.devices import load_card
from pipeline.analog.calibration import calibrate
from pipeline.analog.kernels import bit_serial as kernels
from pipeline.analog.kernels import vector_code
from pipeline.analog.kernels import windows as window_kernels
from pipeline.analog.model import noisy_layers, program_chip
from pipeline.analog.simulated_chip import SimulatedChip


def both_paths(network, images, chip):
    outputs = []
    for compiled in (True, False):
        for layer in noisy_layers(network):
            layer.compiled = compiled
        outputs.append(run(network, images, chip, "exact"))
        counts = [(layer.conversions, layer.cycles) for layer in noisy_layers(network)]
    return *outputs, counts


CASES = {
    "noisy cells, noisy reads, bit-serial": {"device": "pcm", "cell_bits": 2},
    "blocks inside kernel positions": {"device": "rram", "mapping": "novel", "crossbar_size": 16, "image": (20, 8, 8)},
    "blocks across channels": {"device": "rram", "mapping": "conventional", "crossbar_size": 16, "image": (3, 9, 11)},
    "two columns of cells": {"device": "fefet", "weight_encoding": "differential", "cell_bits": 3},
    "whole inputs at once": {"device": "rram", "dac_bits": 4, "quiet": True},
    "whole inputs at once, noisy reads": {"device": "rram", "dac_bits": 4},
    "two input bits a cycle": {"device": "rram", "dac_bits": 2},
    "no converters": {"device": "rram", "adc_bits": None},
    "more active rows than a byte counts": {"device": "rram", "crossbar_size": 512, "image": (40, 6, 6)},
    "whole inputs, many columns": {"device": "rram", "dac_bits": 4, "quiet": True, "weight_encoding": "differential"},
}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_compiled_and_torch_paths_give_the_same_outputs(case):
    network, images = network_of(design_with(**case))
    calibrate(network, images)
    compiled, plain, counts = both_paths(network, images, SimulatedChip.number(3, 1))
    # Sums are added in another order; a sum on the edge between two ADC codes may fall either way.
    step = (compiled - plain).abs() / plain.std()
    assert (step > 1e-4).float().mean() < 0.02
    assert step.max() < 0.1
    assert counts == [(layer.conversions, layer.cycles) for layer in noisy_layers(network)]


@pytest.mark.parametrize("input_bits", [1, 11, 12])  # looked up 1, 1 and 6 cycles at once
def test_any_number_of_cycles_gives_the_same_outputs(input_bits):
    network, images = network_of(design_with("rram", input_bits=input_bits))
    calibrate(network, images)
    layer = noisy_layers(network)[1]
    layer.program_chips([SimulatedChip.number(0, 0)])
    codes = torch.randint(0, 2**input_bits, (5, 6, 4, 4), generator=torch.Generator().manual_seed(0)).float()
    outputs = []
    for layer.compiled in (True, False):
        outputs.append(layer.exact(codes))
    far = (outputs[0] - outputs[1]).abs() > 1e-5 * outputs[1].std()
    assert far.float().mean() < 0.02


@pytest.mark.parametrize("hardware", [{}, {"dac_bits": 4, "quiet": True}], ids=["bit-serial", "whole inputs"])
def test_exact_outputs_are_the_same_bits_whatever_the_batch(hardware):
    network, images = network_of(design_with("rram", image=(3, 9, 11), **hardware))
    calibrate(network, images)
    chip = SimulatedChip.number(1, 0)
    whole = run(network, images, chip, "exact")
    parts = []
    for part in torch.arange(len(images)).split(7):
        chip.images = part
        parts.append(network(images[part]))
    assert torch.equal(torch.cat(parts), whole)


def test_fast_outputs_of_both_paths_are_the_same():
    network, images = network_of(design_with("rram", adc_bits=7, image=(20, 8, 8)))
    calibrate(network, images)
    outputs = []
    for compiled in (True, False):
        for layer in noisy_layers(network):
            layer.compiled = compiled
            layer.adc_error_ratio.fill_(0)  # all layers stay fast
        outputs.append(run(network, images, SimulatedChip.number(3, 1), "fast"))
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=float(1e-4 * outputs[1].std()))


@pytest.mark.parametrize("fidelity", ["exact", "fast"])
def test_a_programmed_network_runs_without_image_numbers_and_with_gradients_on(fidelity):
    network, images = network_of(design_with("rram"))
    calibrate(network, images)
    numbered = run(network, images, SimulatedChip.number(3, 1), fidelity)
    program_chip(network, SimulatedChip.number(3, 1), fidelity)
    assert torch.equal(network(images), numbered)


@pytest.mark.parametrize("file", [kernels, window_kernels], ids=lambda file: file.__name__)
def test_compiled_loops_are_renewed_when_their_vector_code_changes(file):
    """Numba keeps a loop under its qualified name and looks at the loop's own file alone."""
    kept = [loop for loop in vars(file).values() if isinstance(loop, Dispatcher) and loop._cache.cache_path]
    state = hashlib.sha256(Path(vector_code.__file__).read_bytes()).hexdigest()[:8]
    assert len(kept) > 3
    assert all(loop.py_func.__qualname__.endswith(state) for loop in kept)


def test_digital_cells_give_the_same_codes_to_the_last_bit():
    network, images = network_of(design_with("sram", adc_bits=3, crossbar_size=64))
    calibrate(network, images)
    layer = noisy_layers(network)[1]
    layer.program_chips([SimulatedChip.nominal()])
    codes = torch.randint(0, 16, (5, 6, 4, 4), generator=torch.Generator().manual_seed(0)).float()
    compiled = layer.exact(codes)
    layer.compiled = False
    torch.testing.assert_close(compiled, layer.exact(codes), rtol=1e-5, atol=1e-2)  # of thousands


def test_one_layer_reads_images_of_two_sizes():
    network, images = network_of(design_with("rram", image=(3, 9, 11)))
    calibrate(network, images)
    layer = noisy_layers(network)[0]
    layer.program_chips([SimulatedChip.number(0, 0)])
    for size in ((9, 11), (6, 7)):
        codes = torch.randint(0, 16, (4, 3, *size), generator=torch.Generator().manual_seed(0)).float()
        outputs = []
        for layer.compiled in (True, False):
            outputs.append(layer.exact(codes))
        far = (outputs[0] - outputs[1]).abs() > 1e-4 * outputs[1].std()
        assert far.float().mean() < 0.02


def test_negative_inputs_take_the_same_two_paths():
    design = design_with("rram")
    network, images = network_of(design)
    network.train()
    network(images - 0.5)
    network.eval()
    assert noisy_layers(network)[0].signed_inputs
    assert not noisy_layers(network)[1].signed_inputs
    calibrate(network, images - 0.5)
    compiled, plain, _ = both_paths(network, images - 0.5, SimulatedChip.number(3, 1))
    assert ((compiled - plain).abs() > 1e-4 * plain.std()).float().mean() < 0.02


def test_read_noise_of_both_paths_is_the_same_draw():
    cell = dataclasses.replace(
        load_card("rram").device, programming_sigma=(0.0,), stuck_on_rate=0.0, stuck_off_rate=0.0
    )
    design = dataclasses.replace(
        design_with(crossbar_size=16),
        accelerator=dataclasses.replace(design_with().accelerator, device=cell, adc_bits=14),
    )
    network, images = network_of(design)
    calibrate(network, images)
    layer = noisy_layers(network)[2]
    codes = torch.rand(20, 28).mul(15).round()
    layer.program_chips([SimulatedChip.number(0, 0)])
    layer.programmed[0].chip.images = torch.arange(20)
    compiled = layer.exact(codes)
    layer.compiled = False
    plain = layer.exact(codes)
    noise = plain - torch.nn.functional.linear(codes, layer.weight_codes()).unsqueeze(1)
    assert noise.std() > 1
    assert (compiled - plain).std() < 0.02 * noise.std()
