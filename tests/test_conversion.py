"""Any torch model onto crossbars, and back."""

import pytest
import torch
from test_analog_layers import design_with, run
from torch import nn

import pipeline
from pipeline.analog.calibration import calibrate
from pipeline.analog.model import noisy_layers, set_noise_strength
from pipeline.analog.simulated_chip import SimulatedChip
from pipeline.analog.tracing import UntraceableModel
from pipeline.seeds import derive_seed
from pipeline.study.study_spec import VariationSpec
from pipeline.trial.variation import accuracy_under_variation

HARDWARE = design_with("rram").accelerator
FINE = design_with("rram", quiet=True, input_bits=12, weight_bits=12, cell_bits=4, adc_bits=None).accelerator


class Block(nn.Module):
    """A residual block: two paths, one of them strided without padding."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 5, padding=2)
        self.norm2 = nn.BatchNorm2d(8)
        self.shortcut = nn.Conv2d(6, 8, 1, stride=2)

    def forward(self, x):
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


class Residual(nn.Module):
    """A user's network: some inputs of the last layers are negative, and `pixels` takes a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 4, stride=1, padding=0)
        self.block = Block()
        self.pixels = nn.Linear(8, 9)
        self.head = nn.Linear(9, 4)

    def forward(self, x):
        y = self.block(torch.relu(self.stem(x)))
        y = self.pixels(y.flatten(2).transpose(1, 2))  # (images, pixels, 9)
        return self.head(torch.tanh(y).mean(1))


@pytest.fixture
def digital() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    model, images = Residual(), torch.rand(32, 3, 11, 11)
    model(images)  # batch-norm statistics
    return model.eval(), images


def test_ideal_hardware_equals_the_users_network(digital):
    model, images = digital
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.uniform_(parameter, -0.3, 0.3)  # 1.7 times their rms: nothing is cut
    analog = pipeline.to_analog(model, FINE)
    calibrate(analog, images)
    plain = model(images).detach()
    torch.testing.assert_close(run(analog, images, SimulatedChip.nominal(), "float"), plain)
    for layer in noisy_layers(analog):
        layer.input_range.mul_(3)  # nothing is cut
    for fidelity in ("fast", "exact"):
        hardware = run(analog, images, SimulatedChip.number(0, 0), fidelity)
        torch.testing.assert_close(hardware, plain, rtol=0, atol=float(0.02 * plain.std()))


def test_state_dicts_go_both_ways(digital):
    model, images = digital
    analog = pipeline.to_analog(model, HARDWARE)
    fresh = pipeline.to_analog(Residual(), HARDWARE)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(
        run(fresh.eval(), images, SimulatedChip.nominal(), "float"),
        run(analog, images, SimulatedChip.nominal(), "float"),
    )
    back = pipeline.to_digital(analog)
    assert back.state_dict().keys() == model.state_dict().keys()
    assert not noisy_layers(back)
    assert torch.equal(back.eval()(images), model(images))
    calibrate(analog, images)
    fresh.load_state_dict(analog.state_dict())  # ranges included
    assert noisy_layers(fresh)[0].adc_full_scale == noisy_layers(analog)[0].adc_full_scale > 0


def test_signed_inputs_are_found_and_coded_in_twos_complement(digital):
    model, images = digital
    analog = pipeline.to_analog(model, HARDWARE)
    calibrate(analog, images)
    signed = {layer.name: bool(layer.signed_inputs) for layer in noisy_layers(analog)}
    assert signed == {
        "stem": False,
        "block.conv1": False,
        "block.conv2": False,
        "block.shortcut": False,
        "pixels": False,
        "head": True,
    }
    assert noisy_layers(analog)[-1].input_bounds == (-8, 7)  # 4 bits


@pytest.mark.filterwarnings("ignore:.*calibration inputs reach")  # one pass leaves batch-norm statistics behind
def test_converted_networks_train_and_are_measured_on_chips(digital):
    model, images = digital
    analog = pipeline.to_analog(model, HARDWARE).train()
    set_noise_strength(analog, 1.0)
    analog(images).square().mean().backward()
    assert all(parameter.grad is not None for parameter in analog.parameters())
    calibrate(analog, images)
    labels = model(images).argmax(1)
    (report,) = accuracy_under_variation(analog, [(images, labels)], VariationSpec(min_chips=2, max_chips=3), 0)
    assert len(report.per_chip) >= 2
    assert report.float_accuracy > 0.9
    for parameter in model.parameters():
        assert parameter.grad is None, "the user's model must not change"


def test_a_layer_used_twice_is_one_set_of_cells():
    torch.manual_seed(derive_seed("shared") % 2**31)
    shared = nn.Linear(6, 6)
    analog = pipeline.to_analog(nn.Sequential(shared, nn.ReLU(), shared), HARDWARE, torch.rand(1, 6))
    assert analog[0] is analog[2]
    assert len(noisy_layers(analog)) == 1


def test_a_model_without_matrices_is_refused():
    with pytest.raises(UntraceableModel, match="multiplies its input with no matrix"):
        pipeline.to_analog(nn.ReLU(), HARDWARE, torch.rand(1, 6))


def test_negative_inputs_without_bit_planes_are_refused():
    analog = pipeline.to_analog(nn.Linear(4, 4), design_with("rram", dac_bits=4).accelerator)
    with pytest.raises(ValueError, match="put a ReLU before the layer"):
        calibrate(analog, torch.randn(8, 4))
