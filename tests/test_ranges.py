"""Steps and ranges chosen by error: values on a grid come out exact, and what is cut is told."""

import pytest
import torch
from test_analog_layers import design_with, run
from torch import nn

from pipeline.analog.calibration import calibrate
from pipeline.analog.conversion import to_analog
from pipeline.analog.layers import NoisyLinear
from pipeline.analog.model import noisy_layers
from pipeline.analog.simulated_chip import SimulatedChip
from pipeline.analog.step_search import best_step, spread


def ideal(**hardware):
    """Hardware without errors: quiet cells, no converter."""
    return design_with(quiet=True, **({"adc_bits": None, "input_bits": 8} | hardware)).accelerator


def outputs(model: nn.Module, hardware, x: torch.Tensor, fidelity: str = "exact") -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs on calibrated hardware, and those of the model."""
    analog = to_analog(model.eval(), hardware)
    calibrate(analog, x)
    return run(analog, x, SimulatedChip.nominal(), fidelity), model(x).detach()


def pruned(shape: tuple[int, int]) -> torch.Tensor:
    weight = torch.randn(shape)
    return weight * (weight.abs() >= weight.abs().flatten().quantile(0.95))


WEIGHTS = {
    "+-1 at 2 bits": (2, lambda shape: torch.randn(shape).sign()),
    "ternary at 2 bits": (2, lambda shape: torch.randint(-1, 2, shape) * 0.037),
    "int4 at 4 bits": (4, lambda shape: torch.randint(-7, 8, shape) * 0.01),
    "int4 with its lowest code": (4, lambda shape: torch.randint(-8, 8, shape) * 0.3),
    "int4 at 8 bits": (8, lambda shape: torch.randint(-7, 8, shape) * 0.01),
    "one weight in a thousand": (4, lambda shape: (torch.rand(shape) < 1e-3) * -2.0),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_on_a_grid_are_exact(name):
    torch.manual_seed(0)
    bits, drawn = WEIGHTS[name]
    layer, x = nn.Linear(300, 200), torch.randint(0, 256, (16, 300)).float()
    layer.weight.data = drawn((200, 300))
    hardware, plain = outputs(layer, ideal(weight_bits=bits), x)
    torch.testing.assert_close(hardware, plain, rtol=1e-5, atol=float(1e-4 * plain.abs().max()))


def test_every_kept_weight_of_a_pruned_layer_survives():
    torch.manual_seed(0)
    layer, x = nn.Linear(300, 200), torch.randint(0, 256, (16, 300)).float()
    layer.weight.data = pruned((200, 300))
    hardware, plain = outputs(layer, ideal(weight_bits=8), x)
    assert (hardware - plain).norm() < 0.01 * plain.norm()


INPUTS = {
    "one-hot of 256": (4, lambda: torch.eye(256)),
    "one-hot, rare": (4, lambda: torch.eye(4096, 256)),
    "0 and 1": (4, lambda: (torch.rand(64, 256) < 0.3).float()),
    "bytes": (8, lambda: torch.randint(0, 256, (64, 256)).float()),
    "small integers": (8, lambda: torch.randint(0, 12, (64, 256)) / 4),
    "signed integers": (4, lambda: torch.randint(-8, 7, (64, 256)).float()),
    "signed bytes": (8, lambda: torch.randint(-128, 100, (64, 256)).float()),
}


@pytest.mark.parametrize("name", INPUTS)
def test_inputs_on_a_grid_are_exact(name):
    torch.manual_seed(0)
    bits, drawn = INPUTS[name]
    layer = nn.Linear(256, 20)
    layer.weight.data = torch.randint(-7, 8, (20, 256)).float()
    hardware, plain = outputs(layer, ideal(weight_bits=4, input_bits=bits), drawn())
    torch.testing.assert_close(hardware, plain, rtol=1e-5, atol=float(1e-5 * plain.abs().max()))


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("quick", [True, False])
def test_no_step_on_a_fine_scale_has_a_smaller_error(bits, quick):
    torch.manual_seed(0)
    x, high = torch.randn(20_000), 2 ** (bits - 1) - 1
    found = best_step(spread(x, 2**14), torch.aminmax(x), (-high, high), quick=quick)

    def error(step):
        return ((x / step).round().clamp(-high, high) * step - x).square().mean()

    least = min(error(x.abs().max() * fraction / high) for fraction in torch.linspace(0.05, 1, 400))
    assert error(found) < (1.15 if quick else 1.01) * least


def test_the_sample_of_a_tensor_meets_every_channel_and_the_extremes_count():
    channels = torch.arange(64.0).expand(1024, 64).contiguous()
    assert len(spread(channels, 1024).unique()) == 64
    rare = torch.zeros(100_000)
    rare[77] = 5.0
    assert best_step(spread(rare, 100), torch.aminmax(rare), (0, 15)) == pytest.approx(5 / 15)
    assert best_step(spread(rare * 0, 100), torch.aminmax(rare * 0), (0, 15)) == 0


def test_training_sees_binary_weights_and_one_hot_inputs_unchanged():
    torch.manual_seed(0)
    layer = nn.Linear(256, 20)
    layer.weight.data = torch.randn(20, 256).sign()
    analog = to_analog(layer, ideal(weight_bits=2, input_bits=4)).train()
    torch.testing.assert_close(analog(torch.eye(256)), layer(torch.eye(256)))


DTYPES = {"double": torch.float64, "half": torch.float16, "bfloat16": torch.bfloat16}


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("fidelity", ["exact", "fast"])
@pytest.mark.parametrize("adc_bits", [None, 10])
def test_other_types_give_what_float32_gives_within_their_rounding(name, fidelity, adc_bits):
    torch.manual_seed(0)
    dtype = DTYPES[name]
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)).to(dtype)
    hardware, x = ideal(weight_bits=12, input_bits=12, cell_bits=4, adc_bits=adc_bits), torch.rand(8, 3, 8, 8).to(dtype)
    wanted = to_analog(model, hardware).float()
    analog = to_analog(model.float(), hardware).to(dtype)  # ranges must not take the type
    for each, images in ((wanted, x.float()), (analog, x)):
        calibrate(each, images)
    found = run(analog, x, SimulatedChip.nominal(), fidelity)
    assert found.dtype == dtype
    reference = run(wanted, x.float(), SimulatedChip.nominal(), fidelity)
    rounding = 4 * max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps * 100)  # of two layers
    assert (found.float() - reference).norm() < (rounding + 2e-3 * bool(adc_bits)) * reference.norm()
    analog.train()(x).sum().backward()
    assert all(each.weight.grad.dtype == dtype for each in (analog[0], analog[3]))


def test_autocast_leaves_codes_and_sums_in_float32():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(60, 50), nn.ReLU(), nn.Linear(50, 5)), torch.rand(20, 60)
    analog = to_analog(model, ideal(weight_bits=12, input_bits=12, cell_bits=4))
    calibrate(analog, x)
    plain = run(analog, x, SimulatedChip.nominal(), "fast")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(run(analog, x, SimulatedChip.nominal(), "fast"), plain)
        half = analog(x.bfloat16())
        analog.train()(x).sum().backward()
    assert half.dtype == torch.bfloat16


def test_layers_keep_the_rule_of_rms_unless_they_are_told():
    layer = NoisyLinear(30, 20, accelerator=ideal(), mapping=None)
    assert layer.range_rule == "rms"
    assert layer.weight_step == 2.5 * layer.weight.detach().square().mean().sqrt() / layer.code.max_code
    layer.observe_range(x := torch.rand(50, 30).square(), 1.0)
    assert layer.input_range == torch.minimum(x.max(), 4 * torch.linalg.vector_norm(x) / 1500**0.5)


@pytest.mark.filterwarnings("ignore:.*of the energy of its weights")
@pytest.mark.parametrize(("device", "cell_bits"), [("rram", 2), ("pcm", 4), ("stt_mram", 1)])
def test_on_cells_that_err_the_weights_are_cut_where_it_pays(device, cell_bits):
    """A wide clip makes the cells' errors weigh more."""
    torch.manual_seed(0)
    layer, x = nn.Linear(256, 64), torch.rand(64, 256)
    nn.init.normal_(layer.weight)
    hardware = design_with(device, cell_bits=cell_bits, weight_bits=8, input_bits=8, adc_bits=None).accelerator
    errors = {}
    for rule in ("rms", "error"):
        analog = to_analog(layer, hardware, x)
        noisy_layers(analog)[0].range_rule = rule
        calibrate(analog, x)
        found = torch.stack([run(analog, x, SimulatedChip.number(0, chip), "exact") for chip in range(4)])
        errors[rule] = (found - layer(x).detach()).norm()
    assert errors["error"] < 1.02 * errors["rms"]
