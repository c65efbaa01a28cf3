"""What calibration fixes: full scales by the digital output's error, ranges over all uses, and when it is void."""

import copy
import dataclasses
import time
import warnings

import pytest
import torch
from test_analog_layers import QUIET, design_with, network_of, run
from torch import nn

from hw_models.accelerator import Accelerator
from hw_models.devices import load_card
from pipeline.analog import calibration
from pipeline.analog.calibration import calibrate
from pipeline.analog.conversion import to_analog
from pipeline.analog.model import noisy_layers, program_chip
from pipeline.analog.simulated_chip import SimulatedChip

NOMINAL = SimulatedChip.nominal()


def hardware(**values) -> Accelerator:
    """Quiet cells with an on/off ratio of 150."""
    cell = dataclasses.replace(load_card("rram").device, **(QUIET | {"on_off_ratio": 150.0}))
    settings = {"crossbar_size": 128, "cell_bits": 1, "weight_bits": 8, "input_bits": 8, "adc_bits": 6}
    return Accelerator(device=cell, **(settings | values))


def off_by(model: nn.Module, images: torch.Tensor, expected: torch.Tensor, fidelity: str = "exact") -> float:
    """Relative error of a model's outputs on the nominal chip."""
    found = run(model, images, NOMINAL, fidelity)
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("encoding", ["offset", "differential"])
@pytest.mark.parametrize("cell_bits", [1, 2])
def test_the_full_scale_has_the_least_error_of_the_digital_output(encoding, cell_bits):
    """Errors of the off state are the same in all columns and add up over slices and cycles."""
    torch.manual_seed(0)
    model, images, others = nn.Linear(256, 64), torch.rand(128, 256), torch.rand(200, 256)
    analog = to_analog(model, hardware(weight_encoding=encoding, cell_bits=cell_bits))
    calibrate(analog, images)
    (layer,) = noisy_layers(analog)
    expected = model(others).detach()
    chosen = off_by(analog, others, expected)
    full_scale, tried = layer.adc_full_scale.clone(), []
    for factor in torch.linspace(0.5, 1.5, 41):
        layer.adc_full_scale.copy_(factor * full_scale)
        tried.append(off_by(analog, others, expected))
    assert chosen < 0.06
    assert chosen < 1.1 * min(tried)


def test_layers_too_large_for_exact_passes_are_measured_on_samples(monkeypatch):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 48, 3, groups=3), nn.ReLU(), nn.Flatten(), nn.Linear(48 * 36, 64), nn.ReLU())
    images = torch.rand(64, 3, 8, 8)
    chip = design_with("rram", cell_bits=2, weight_bits=8, input_bits=8, crossbar_size=64, adc_bits=6).accelerator
    exact, sampled = to_analog(model, chip), to_analog(model, chip)
    calibrate(exact, images)
    monkeypatch.setattr(calibration, "_MANY_CELLS", 0)
    calibrate(sampled, images)
    for whole, some in zip(noisy_layers(exact), noisy_layers(sampled), strict=True):
        assert some.adc_full_scale / whole.adc_full_scale == pytest.approx(1, rel=0.1)
        for name in ("adc_error_ratio", "adc_std", "adc_common_std"):
            ratio = getattr(some, name).square().mean().sqrt() / getattr(whole, name).square().mean().sqrt()
            assert ratio == pytest.approx(1, rel=0.35), name
    assert torch.equal(
        run(sampled, images, SimulatedChip.number(0, 0), "float"),
        run(exact, images, SimulatedChip.number(0, 0), "float"),
    )


@pytest.mark.slow
def test_calibrating_the_largest_layer_of_vgg16_takes_seconds():
    torch.manual_seed(0)
    chip = design_with("rram", cell_bits=2, weight_bits=8, input_bits=8, crossbar_size=128, adc_bits=6).accelerator
    analog, images = to_analog(nn.Linear(25088, 4096), chip), torch.randn(128, 25088).relu()
    start = time.process_time()
    calibrate(analog, images)
    assert time.process_time() - start < 30  # 8 s where nothing else runs
    (layer,) = noisy_layers(analog)
    assert 0 < layer.adc_error_ratio.max() < 0.2


def test_calibrating_again_sets_the_range_again():
    torch.manual_seed(0)
    model, images = nn.Linear(60, 20), torch.rand(64, 60)
    analog = to_analog(model, hardware(adc_bits=None))
    calibrate(analog, images * 255 - 100)
    calibrate(analog, images)
    assert not noisy_layers(analog)[0].signed_inputs
    assert off_by(analog, images, model(images).detach()) < 0.01


def test_a_range_from_training_stays_and_images_scaled_otherwise_are_told():
    torch.manual_seed(0)
    analog, images = to_analog(nn.Linear(60, 20), hardware(adc_bits=None)), torch.rand(64, 60)
    analog.train()(images)
    (layer,) = noisy_layers(analog)
    trained = layer.input_range.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calibrate(analog, images * 0.9)
    assert layer.input_range == trained
    with pytest.warns(UserWarning, match=r"calibration inputs reach 0\.0039 times the input range that training set"):
        calibrate(analog, images / 255)
    assert layer.input_range == trained
    calibrated = to_analog(nn.Linear(60, 20), hardware(adc_bits=None))
    calibrate(calibrated, images)
    calibrated.train()(images)  # now it is of training
    assert not noisy_layers(calibrated)[0].calibrated_range


def test_what_is_cut_is_told_by_name():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(60, 50), nn.ReLU(), nn.Linear(50, 20))
    nn.init.normal_(model[0].weight)
    analog = to_analog(model, hardware(weight_bits=2, adc_bits=None))
    with pytest.warns(UserWarning, match=r"layer 0.*: \d\.\d% of the energy of its weights lies beyond"):
        calibrate(analog, torch.rand(64, 60))


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 20))

    def forward(self, pair):
        return self.tower(pair[:, 0]) - self.tower(pair[:, 1])


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into, self.back = nn.Linear(10, 30), nn.Linear(30, 30)

    def forward(self, x):
        state = torch.zeros(len(x), 30)
        for step in range(x.shape[1]):
            state = torch.relu(self.into(x[:, step]) + self.back(state))
        return state


@pytest.mark.parametrize("adc_bits", [None, 8])
def test_ranges_hold_for_all_uses_of_a_layer(adc_bits):
    torch.manual_seed(0)
    dark = torch.rand(64, 2, 40) * torch.tensor([0.01, 1.0])[:, None]
    growing = torch.rand(64, 5, 10) * torch.tensor([0.01, 0.1, 1.0, 3.0, 5.0])[:, None]
    for model, images in ((Siamese(), dark), (Recurrent(), growing)):
        analog = to_analog(model, hardware(adc_bits=adc_bits, cell_bits=2))
        calibrate(analog, images)
        assert off_by(analog, images, model(images).detach()) < (0.15 if adc_bits else 0.03)


def test_in_training_the_range_of_a_reused_layer_follows_the_use_that_reaches_furthest():
    torch.manual_seed(0)
    dark = torch.rand(64, 2, 40) * torch.tensor([0.01, 1.0])[:, None]
    model = Siamese()
    analog = to_analog(model, hardware(adc_bits=None)).train()
    for _ in range(20):
        analog(dark)
    assert 0.85 < noisy_layers(analog)[0].input_range <= 1
    analog.eval()
    calibrate(analog, dark)
    assert off_by(analog, dark, model(dark).detach()) < 0.1


def calibrated(chip: Accelerator, seed: int = 0) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(seed)
    analog, images = to_analog(nn.Sequential(nn.Linear(60, 50), nn.ReLU(), nn.Linear(50, 20)), chip), torch.rand(64, 60)
    calibrate(analog, images)
    return analog, images


@pytest.mark.parametrize("fidelity", ["fast", "exact"])
def test_converter_ranges_of_other_weights_are_refused(fidelity):
    analog, images = calibrated(hardware())
    other, _ = calibrated(hardware(), seed=1)
    run(analog, images, NOMINAL, fidelity)
    digital = {name: value for name, value in other.state_dict().items() if name.endswith(("weight", "bias"))}
    analog.load_state_dict(digital, strict=False)
    with pytest.raises(RuntimeError, match="weights of layer 0 have changed since calibrate; call calibrate again"):
        run(analog, images, NOMINAL, fidelity)
    calibrate(analog, images)
    run(analog, images, NOMINAL, fidelity)
    analog.load_state_dict(other.state_dict())  # with ranges of its own
    run(analog, images, NOMINAL, fidelity)


def test_converter_ranges_of_other_hardware_are_refused():
    analog, images = calibrated(hardware(cell_bits=4))
    other, _ = calibrated(hardware(cell_bits=1))
    analog.load_state_dict(other.state_dict())
    for fidelity in ("fast", "exact"):
        with pytest.raises(RuntimeError, match="ranges of layer 0 were calibrated on other hardware; call calibrate"):
            run(analog, images, NOMINAL, fidelity)
    calibrate(analog, images)
    run(analog, images, NOMINAL, "exact")
    noisier = hardware(cell_bits=4)
    device = dataclasses.replace(noisier.device, programming_sigma=(0.03,))
    again, _ = calibrated(dataclasses.replace(noisier, device=device))
    again.load_state_dict(analog.state_dict())  # errors of cells do not change what a converter must span
    run(again, images, NOMINAL, "exact")


def test_a_change_of_type_and_a_checkpoint_that_does_not_say_its_hardware_keep_the_ranges():
    analog, images = calibrated(hardware())
    expected = run(analog, images, NOMINAL, "exact")
    half = copy.deepcopy(analog).to(torch.bfloat16)
    found = run(half, images.bfloat16(), NOMINAL, "exact")
    assert (found.float() - expected).norm() < 0.1 * expected.norm()
    early = {name: value for name, value in analog.state_dict().items() if ".calibrated_" not in name}
    again, _ = calibrated(hardware(), seed=1)
    again.load_state_dict(early)
    assert torch.equal(run(again, images, NOMINAL, "exact"), expected)


def test_networks_of_studies_keep_the_flow_of_training_calibrating_and_training_on():
    network, images = network_of(design_with("rram", adc_bits=6))
    calibrate(network, images)
    again, _ = network_of(design_with("rram", adc_bits=6), seed=1)
    again.to(memory_format=torch.channels_last).load_state_dict(network.state_dict())
    run(again, images, NOMINAL, "exact")
    trained_on = copy.deepcopy(network).train()
    for parameter in trained_on.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    trained_on(images)
    program_chip(trained_on.eval(), NOMINAL, "float")
    trained_on(images)
    with pytest.raises(RuntimeError, match="call calibrate again"):
        run(trained_on, images, NOMINAL, "exact")
    calibrate(trained_on, images)
    run(trained_on, images, NOMINAL, "exact")
    run(network, images, NOMINAL, "exact")
