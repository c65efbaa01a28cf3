"""Layers on crossbars against plain torch, against arithmetic by hand, and against what the cost model charges."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from hw_models.accelerator import Accelerator
from hw_models.devices import load_card
from hw_models.layers import MvmLayer
from hw_models.mapping import map_network
from hw_models.number_format import FixedPoint
from pipeline.analog.adc import adc_step, convert
from pipeline.analog.calibration import calibrate
from pipeline.analog.cells import code_sigma
from pipeline.analog.converter_errors import ErrorSums
from pipeline.analog.layers import NoisyConv2d, NoisyLinear
from pipeline.analog.model import noisy_layers, program_chip, set_noise_strength
from pipeline.analog.quantise import quantised
from pipeline.analog.simulated_chip import SimulatedChip
from pipeline.design.design_point import ConvSpec, DesignPoint, HiddenSpec, ImageSpec
from pipeline.design.topology import mvm_layers, topology
from pipeline.trial.network import plain_network

QUIET = {"programming_sigma": (0.0,), "read_sigma": 0.0, "stuck_on_rate": 0.0, "stuck_off_rate": 0.0}


def design_with(device="rram", image=(1, 8, 8), quiet=False, **hardware) -> DesignPoint:
    cell = load_card(device).device
    cell = dataclasses.replace(cell, **QUIET) if quiet else cell
    defaults = {
        "crossbar_size": 32,
        "cell_bits": 1,
        "weight_bits": 6,
        "input_bits": 4,
        "adc_bits": 8,
        "cols_per_adc": 4,
    }
    return DesignPoint(
        accelerator=Accelerator(device=cell, **(defaults | hardware)),
        image=ImageSpec(channels=image[0], height=image[1], width=image[2], classes=5),
        convs=(ConvSpec(filters=6, kernel=3, pool=True), ConvSpec(filters=7, kernel=3, stride=2)),
        hidden=(HiddenSpec(units=9),),
    )


def network_of(design: DesignPoint, seed: int = 0) -> tuple[torch.nn.Sequential, torch.Tensor]:
    """A network with random weights and known input ranges, and images for it."""
    torch.manual_seed(seed)
    network = plain_network(topology(design), design.accelerator)
    images = torch.rand(20, design.image.channels, design.image.height, design.image.width)
    network.train()
    network(images)  # input ranges and batch-norm statistics
    return network.eval(), images


def run(network: torch.nn.Module, images: torch.Tensor, chip: SimulatedChip, fidelity: str) -> torch.Tensor:
    program_chip(network, chip, fidelity)
    chip.images = torch.arange(len(images))
    with torch.no_grad():
        return network(images)


@pytest.mark.parametrize("encoding", ["offset", "differential"])
@pytest.mark.parametrize("mapping", ["novel", "conventional"])
@pytest.mark.parametrize("device", ["sram", "stt_mram"])
def test_ideal_converters_and_quiet_cells_give_the_quantised_product(encoding, mapping, device):
    design = design_with(device, quiet=True, weight_encoding=encoding, mapping=mapping, adc_bits=None, input_bits=5)
    network, images = network_of(design)
    exact = run(network, images, SimulatedChip.number(0, 0), "exact")
    x = images
    for module in network:
        if isinstance(module, NoisyConv2d | NoisyLinear):
            codes = module.input_codes(x) * module.input_step
            weight = module.weight_codes() * module.weight_step
            if isinstance(module, NoisyConv2d):
                x = F.conv2d(codes, weight, module.bias, module.stride, module.padding)
            else:
                x = F.linear(codes, weight, module.bias)
        else:
            x = module(x)
    torch.testing.assert_close(exact, x.detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(run(network, images, SimulatedChip.number(0, 0), "fast"), exact, rtol=1e-4, atol=1e-4)


def test_many_bits_without_noise_approach_plain_torch():
    design = design_with(quiet=True, weight_bits=14, input_bits=14, adc_bits=None, cell_bits=4)
    network, images = network_of(design)
    for layer in noisy_layers(network):
        layer.weight.data.uniform_(-1, 1)  # 1.7 times its rms: nothing is cut
    network.train()
    network(images)
    network.eval()
    for layer in noisy_layers(network):
        layer.input_range.mul_(4)  # no activation is cut either
    hardware, plain = (
        run(network, images, SimulatedChip.nominal(), "exact"),
        run(network, images, SimulatedChip.nominal(), "float"),
    )
    torch.testing.assert_close(hardware, plain, rtol=0, atol=float(0.005 * plain.std()))


@pytest.mark.parametrize("mapping", ["novel", "conventional"])
@pytest.mark.parametrize("encoding", ["offset", "differential"])
@pytest.mark.parametrize("crossbar_size", [16, 32, 256])
def test_the_network_makes_the_conversions_that_the_cost_model_charges(mapping, encoding, crossbar_size):
    design = design_with(
        mapping=mapping, weight_encoding=encoding, crossbar_size=crossbar_size, image=(3, 9, 11), cell_bits=2
    )
    network, images = network_of(design)
    calibrate(network, images)
    run(network, images, SimulatedChip.number(0, 0), "exact")
    charged = map_network(design.accelerator, mvm_layers(design)).layers
    assert len(charged) == len(noisy_layers(network)) == 4
    for layer, place in zip(noisy_layers(network), charged, strict=True):
        assert layer.conversions == place.conversions * len(images)
        assert layer.cycles == place.layer.windows * place.input_cycles * len(images)


def test_a_layer_with_bits_of_its_own_makes_the_conversions_that_are_charged_for_them():
    design = design_with(cell_bits=2, weight_bits=8)
    own = tuple(
        dataclasses.replace(conv, weight_format=FixedPoint(integer_bits=0, fraction_bits=3)) for conv in design.convs
    )
    design = dataclasses.replace(design, convs=own)
    network, images = network_of(design)
    calibrate(network, images)
    run(network, images, SimulatedChip.number(0, 0), "exact")
    charged = map_network(design.accelerator, mvm_layers(design)).layers
    made = [layer.conversions for layer in noisy_layers(network)]
    assert made == [place.conversions * len(images) for place in charged]


def test_adc_saturates_and_its_range_is_frozen_over_batches():
    network, images = network_of(design_with(adc_bits=5))
    calibrate(network, images)
    layer = noisy_layers(network)[0]
    full_scale = layer.adc_full_scale.clone()
    sums = torch.linspace(0, float(10 * full_scale), 10_000)
    codes = convert(sums, full_scale, 5)
    assert torch.equal(codes.unique(), torch.arange(32.0))
    assert (codes[sums > full_scale] == 31).all()
    assert ((codes * adc_step(full_scale, 5) - sums)[sums < full_scale].abs() <= 0.501 * adc_step(full_scale, 5)).all()
    run(network, images * 0.3, SimulatedChip.number(0, 0), "exact")
    assert torch.equal(layer.adc_full_scale, full_scale)


def test_errors_of_converters_are_summed_over_parts():
    torch.manual_seed(0)
    error, ideal = torch.randn(600, 3) * torch.tensor([1.0, 2.0, 3.0]) + 0.5, torch.randn(600, 3) * 20
    sums = ErrorSums(None)
    for part in (slice(0, 100), slice(100, 600)):
        sums.add(error[part], ideal[part])
    ratio, bias, std, common_std = sums.statistics()
    common = error.mean(1, keepdim=True)
    near = {"rtol": 0.01, "atol": 1e-6, "check_dtype": False}
    expected = error.var(0).mean().sqrt() / ideal.var(0).mean().sqrt()
    torch.testing.assert_close(ratio, expected, **near)
    torch.testing.assert_close(bias, error.mean(0), **near)
    torch.testing.assert_close(std, (error - common).std(0), **near)
    torch.testing.assert_close(common_std, common.std(), **near)


def test_a_checkpoint_with_one_converter_error_is_read():
    network, images = network_of(design_with(adc_bits=5))
    calibrate(network, images)
    early = {
        name: value[0]
        if name.rsplit(".", 1)[-1] in ("adc_bias", "adc_std", "adc_common_std", "adc_error_ratio")
        else value
        for name, value in network.state_dict().items()
    }
    again, _ = network_of(design_with(adc_bits=5))
    again.load_state_dict(early)
    for layer, old in zip(noisy_layers(again), noisy_layers(network), strict=True):
        assert torch.equal(layer.adc_std, old.adc_std[:1].expand(2, -1))
        assert torch.equal(layer.adc_full_scale, old.adc_full_scale)


def test_the_full_scale_comes_from_all_calibration_images():
    """In a layer too large to look at every input vector too: bright images count wherever they stand."""
    design = design_with(image=(3, 40, 40), adc_bits=5)
    network, images = network_of(design)
    images = torch.cat([images] * 8)
    images[: len(images) // 2] *= 0.05

    def full_scales(images):
        calibrate(network, images)
        return torch.stack([layer.adc_full_scale.clone() for layer in noisy_layers(network)])

    dark_first, bright_first = full_scales(images), full_scales(images.flip(0))
    looked_at = 2**23 // noisy_layers(network)[1].weight.numel()
    assert looked_at < len(images) // 2 * 20 * 20  # of a layer behind one pooling
    torch.testing.assert_close(dark_first, bright_first, rtol=0.1, atol=0)


def test_device_errors_stay_the_same_within_a_chip_and_differ_between_chips():
    network, images = network_of(design_with("rram"))
    calibrate(network, images)
    program_chip(network, SimulatedChip.number(0, 4))
    layer = noisy_layers(network)[1]
    first = layer.programmed[0].levels.clone()
    run(network, images, layer.programmed[0].chip, "exact")
    program_chip(network, SimulatedChip.number(0, 5))
    other = layer.programmed[0].levels.clone()
    program_chip(network, SimulatedChip.number(0, 4))
    assert torch.equal(layer.programmed[0].levels, first)
    assert not torch.equal(other, first)


@pytest.mark.parametrize("fidelity", ["fast", "exact"])
def test_results_do_not_depend_on_how_images_are_cut_into_batches(fidelity):
    network, images = network_of(design_with("pcm"))
    calibrate(network, images)
    whole = run(network, images, SimulatedChip.number(1, 0), fidelity)
    chip = SimulatedChip.number(1, 0)
    program_chip(network, chip, fidelity)
    parts = []
    for part in torch.arange(len(images)).split(7):
        chip.images = part
        with torch.no_grad():
            parts.append(network(images[part]))
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fidelity", ["fast", "exact"])
def test_read_noise_is_fresh_for_every_read_and_has_the_variance_of_theory(fidelity):
    cell = dataclasses.replace(load_card("rram").device, **(QUIET | {"read_sigma": 0.02}))
    hardware = Accelerator(
        device=cell, crossbar_size=32, cell_bits=2, weight_bits=4, input_bits=3, adc_bits=None, cols_per_adc=4
    )
    design = DesignPoint(
        accelerator=hardware, image=ImageSpec(channels=1, height=1, width=40, classes=50), batch_norm=False
    )
    network = plain_network(topology(design), hardware).eval()
    layer = noisy_layers(network)[0]
    layer.input_range.fill_(1.0)
    n_images = 400
    images = torch.rand(1, 1, 1, 40).expand(n_images, -1, -1, -1).contiguous()
    noisy = run(network, images, SimulatedChip.number(2, 0), fidelity)
    quiet = run(network, images, SimulatedChip.nominal(), fidelity)
    error = ((noisy - quiet) / (layer.input_step * layer.weight_step)).flatten()
    codes = layer.input_codes(images[0]).flatten().int()
    cycles = sum(4**i * ((codes >> i) & 1).sum().item() for i in range(3))
    slices = 1 + 4**2  # two 2-bit slices: (2**0)**2 + (2**2)**2
    sigma = 0.02 / layer.code.step * math.sqrt(cycles * slices)
    assert error.std().item() == pytest.approx(sigma, rel=0.05)
    assert error.mean().item() == pytest.approx(0, abs=5 * sigma / math.sqrt(error.numel()))
    assert not torch.equal(noisy[0], noisy[1])


def two_layers(adc_bits=None, **device) -> list[NoisyLinear]:
    """Layers 0 and 1 of a chip, with the same weights and input ranges."""
    cell = dataclasses.replace(load_card("rram").device, **(QUIET | device))
    hardware = dataclasses.replace(design_with(adc_bits=adc_bits).accelerator, device=cell)
    torch.manual_seed(0)
    matrix = MvmLayer(name="", in_height=1, in_width=1, in_channels=40, kernel=1, out_channels=50, windows=1)
    places = map_network(hardware, [matrix, matrix]).layers
    layers = [NoisyLinear(40, 50, accelerator=hardware, mapping=place, index=i) for i, place in enumerate(places)]
    layers[1].load_state_dict(layers[0].state_dict())
    for layer in layers:
        layer.eval().input_range.fill_(1.0)
    return layers


def test_layers_of_a_chip_have_cells_of_their_own():
    layers = two_layers(programming_sigma=(0.05,))
    for layer in layers:
        program_chip(layer, SimulatedChip.number(0, 0))
    written = layers[0].code.fold(layers[0].code.digits(layers[0].weight_codes()))
    errors = torch.stack([(layer.programmed[0].folded - written).flatten() for layer in layers])
    assert errors.std() > 0.1
    assert abs(torch.corrcoef(errors)[0, 1]) < 5 / math.sqrt(errors.shape[1])


@pytest.mark.parametrize("fidelity", ["fast", "exact"])
@pytest.mark.parametrize(("compiled", "adc_bits"), [(True, 14), (False, None)])  # kernels always convert
def test_layers_of_a_chip_have_read_noise_of_their_own(fidelity, compiled, adc_bits):
    layers, images = two_layers(adc_bits, read_sigma=0.05), torch.rand(1, 40).expand(100, -1)
    noises = []
    for layer in layers:
        layer.compiled = compiled
        calibrate(layer, images)
        layer.adc_error_ratio.zero_()  # `fast` is fast
        noisy, quiet = (
            run(layer, images, SimulatedChip.number(0, 0), fidelity),
            run(layer, images, SimulatedChip.nominal(), "exact"),
        )
        noises.append((noisy - quiet).flatten())
    assert noises[0].std() > 0
    assert abs(torch.corrcoef(torch.stack(noises))[0, 1]) < 5 / math.sqrt(len(noises[0]))


@pytest.mark.parametrize("compiled", [True, False])
def test_fast_adds_the_mean_error_of_the_converters(compiled):
    layer, images = two_layers(6, programming_sigma=(0.05,))[0], torch.rand(30, 40)
    layer.compiled = compiled
    program_chip(layer, SimulatedChip.number(0, 0))
    with torch.no_grad():
        without = layer(images)
        layer.adc_bias[0] += 9.0  # of chips with ideal cells: not of this one
        layer.adc_bias[1] += torch.arange(50.0)
        added = (layer(images) - without) / layer.output_step
    torch.testing.assert_close(added, torch.arange(50.0).expand(30, -1), rtol=1e-3, atol=1e-2)


def test_noise_strength_switches_weight_noise_in_training():
    network, images = network_of(design_with("rram"))
    network.train()
    set_noise_strength(network, 0.0)
    assert torch.equal(network(images), network(images))
    set_noise_strength(network, 1.0)
    assert not torch.equal(network(images), network(images))


def test_training_noise_is_independent_between_weights_and_has_the_devices_strength():
    accelerator = design_with(weight_bits=4, input_bits=8).accelerator
    layer = NoisyLinear(300, 200, False, accelerator=accelerator, mapping=None).train()
    one = torch.eye(300)  # reads the weights
    layer(one)
    clean = layer(one)
    layer.noise_strength = 2.0
    noise = (layer(one) - clean) / layer.input_range
    codes = (layer.weight_codes() + layer.code.max_code).long().t()
    sigma = 2.0 * code_sigma(layer.code)[codes] * layer.weight_step
    scores = (noise / sigma).detach()
    error = 1 / math.sqrt(scores.numel())
    assert scores.std().item() == pytest.approx(1, abs=5 * error)
    assert abs((scores[:, 1:] * scores[:, :-1]).mean().item()) < 5 * error


def test_gradients_pass_where_nothing_was_cut():
    x = torch.tensor([-4.0, -3.4, 0.2, 3.4, 3.6], requires_grad=True)
    quantised(x, torch.tensor(1.0), -3, 3).sum().backward()
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]


def test_training_reaches_every_weight():
    network, images = network_of(design_with("rram"))
    network.train()
    set_noise_strength(network, 1.0)
    network(images).square().sum().backward()
    for layer in noisy_layers(network):
        assert layer.weight.grad is not None
        assert layer.weight.grad.abs().sum() > 0


def test_a_layer_without_a_programmed_chip_says_so():
    network, images = network_of(design_with())
    with pytest.raises(RuntimeError, match="program_chip"):
        network(images)


def test_a_converter_that_is_finer_than_a_level_loses_nothing_of_digital_cells():
    network, images = network_of(design_with("sram", adc_bits=8))
    calibrate(network, images)
    for layer in noisy_layers(network):
        assert (layer.adc_error_ratio < 1e-5).all()
        step = adc_step(layer.adc_full_scale, 8)
        assert (1 / step).round().item() == pytest.approx(1 / step.item(), rel=1e-5)
    ideal, same_images = network_of(design_with("sram", adc_bits=None))
    exact = run(network, images, SimulatedChip.nominal(), "exact")
    torch.testing.assert_close(exact, run(ideal, same_images, SimulatedChip.nominal(), "exact"), rtol=1e-5, atol=1e-5)


def test_programmed_weights_keep_the_memory_format_that_decides_how_a_convolution_rounds():
    network, _ = network_of(design_with(), seed=1)
    network = network.to(memory_format=torch.channels_last)  # one input channel: torch cannot tell the format
    program_chip(network, SimulatedChip.number(0, 0))
    for layer in noisy_layers(network):
        assert all(cells.folded.stride() == layer.weight.stride() for cells in layer.programmed)
