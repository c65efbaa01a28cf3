"""What is derived from weights, ranges and hardware follows them, or the model refuses to run."""

import copy
from collections.abc import Callable

import pytest
import torch
from crossbar_checks import IDEAL, attempt, error, on_chip
from test_analog_layers import design_with
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune, vector_to_parameters

from pipeline.analog.calibration import calibrate
from pipeline.analog.conversion import to_analog
from pipeline.analog.model import program_chip
from pipeline.analog.simulated_chip import SimulatedChip
from pipeline.study.study_spec import VariationSpec
from pipeline.trial.variation import accuracy_under_variation

CONVERTING = {"quiet": True, "input_bits": 8, "weight_bits": 8, "adc_bits": 9}


def two_layers(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 5)).eval()


def images(seed: int = 1) -> Tensor:
    return torch.randn(64, 8, generator=torch.Generator().manual_seed(seed))


def fresh(analog: nn.Module, x: Tensor, hardware, fidelity: str) -> Tensor:
    """What the analog model's weights give when they are converted, calibrated and programmed anew."""
    model = two_layers()
    model.load_state_dict({name: value for name, value in analog.state_dict().items() if name in model.state_dict()})
    again = to_analog(model, hardware)
    calibrate(again, x)
    return on_chip(again, x, fidelity=fidelity)


def right_or_refused(run: Callable[[], Tensor], right: Tensor, limit: float) -> None:
    """The run's result is right, or it raises an error that says what to call."""
    found, refusal = attempt(run)
    if refusal:
        assert "calibrate" in refusal or "program_chip" in refusal
    else:
        assert error(found, right) <= limit


def _train(analog: nn.Module) -> None:
    optimizer = torch.optim.Adam(analog.parameters(), lr=0.02)
    analog.train()
    for _ in range(40):
        optimizer.zero_grad()
        (analog(images()) - 1).square().mean().backward()
        optimizer.step()
    analog.eval()


def _in_place(analog: nn.Module) -> None:
    with torch.no_grad():
        for weight in analog.parameters():
            weight.mul_(-2)


def _data(analog: nn.Module) -> None:
    for weight in analog.parameters():
        weight.data.mul_(-2)  # torch's version counter does not see this


def _new_data(analog: nn.Module) -> None:
    for weight in analog.parameters():
        weight.data = -2 * weight.data


def _one_value(analog: nn.Module) -> None:
    with torch.no_grad():
        analog[2].weight[0] = 3.0


def _parameter(analog: nn.Module) -> None:
    analog[2].weight = nn.Parameter(-analog[2].weight.detach())


def _vector(analog: nn.Module) -> None:
    vector_to_parameters(torch.randn(sum(p.numel() for p in analog.parameters())) / 3, analog.parameters())


def _state(analog: nn.Module) -> None:
    analog.load_state_dict(two_layers(7).state_dict())


def _state_assigned(analog: nn.Module) -> None:
    analog.load_state_dict(two_layers(7).state_dict(), assign=True)


def _state_of_a_part(analog: nn.Module) -> None:
    analog[0].load_state_dict(two_layers(7)[0].state_dict())


def _init(analog: nn.Module) -> None:
    nn.init.uniform_(analog[0].weight, -1, 1)


CHANGES = [_train, _in_place, _data, _new_data, _one_value, _parameter, _vector, _state, _state_assigned]
CHANGES += [_state_of_a_part, _init]


@pytest.mark.parametrize("fidelity", ["fast", "exact"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
def test_a_change_of_weights_after_calibration_is_seen_or_refused(change, fidelity):
    analog = to_analog(two_layers(), IDEAL)
    calibrate(analog, images())
    before = on_chip(analog, images(), fidelity=fidelity)
    change(analog)
    with torch.no_grad():
        right = two_layers()
        right.load_state_dict({k: v for k, v in analog.state_dict().items() if k in right.state_dict()})
        right = right(images())
    assert error(before, right) > 0.1, "the change must be one that matters"

    def at_once() -> Tensor:
        with torch.no_grad():
            return analog(images())

    limit = 1e-2 if change is _train else 1e-3  # ranges lag behind training
    right_or_refused(at_once, right, limit)
    right_or_refused(lambda: on_chip(analog, images(), fidelity=fidelity), right, limit)
    calibrate(analog, images())
    assert error(on_chip(analog, images(), fidelity=fidelity), right) < limit


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: prune.l1_unstructured(layer, "weight", 0.7),
        lambda layer: parametrizations.weight_norm(layer),
        lambda layer: parametrize.register_parametrization(layer, "weight", nn.Hardtanh(-0.1, 0.1)),
    ],
    ids=["prune", "weight_norm", "parametrization"],
)
def test_a_weight_that_is_computed_in_another_way_after_the_conversion_is_seen_or_refused(change):
    analog, plain = to_analog(two_layers(), IDEAL), two_layers()
    calibrate(analog, images())
    for model in (analog, plain):
        torch.manual_seed(0)
        change(model[2])
    with torch.no_grad():
        right = plain(images())
    _, refusal = attempt(lambda: calibrate(analog, images()))
    if refusal:
        assert "was not there when the model was traced" in refusal
    else:
        assert error(on_chip(analog, images()), right) < 1e-3


def test_an_evaluation_after_each_epoch_sees_that_epochs_weights():
    torch.manual_seed(0)
    x = torch.randn(200, 8)
    labels = (x @ torch.randn(8, 5)).argmax(1)
    analog = to_analog(two_layers(), IDEAL)
    calibrate(analog, x)
    optimizer, shares = torch.optim.Adam(analog.parameters(), lr=0.02), []
    for _ in range(3):
        analog.train()
        for _ in range(20):
            optimizer.zero_grad()
            nn.functional.cross_entropy(analog(x), labels).backward()
            optimizer.step()
        analog.eval()
        with torch.no_grad():
            shares.append(float((analog(x).argmax(1) == labels).float().mean()))
            digital = two_layers()
            digital.load_state_dict({k: v for k, v in analog.state_dict().items() if k in digital.state_dict()})
            assert shares[-1] == pytest.approx(float((digital(x).argmax(1) == labels).float().mean()), abs=0.02)
    assert shares[0] < shares[-1] > 0.7


@pytest.mark.parametrize("fidelity", ["fast", "exact"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"cell_bits": 1}, {"cell_bits": 4}),
        ({"crossbar_size": 32}, {"crossbar_size": 128}),
        ({"adc_bits": 9}, {"adc_bits": 6}),
        ({"input_bits": 8}, {"input_bits": 4}),
        ({"adc_bits": None}, {"adc_bits": 9}),
    ],
    ids=lambda hardware: "-".join(f"{key}{value}" for key, value in hardware.items()),
)
def test_ranges_of_other_hardware_are_refused_or_measured_anew(first, second, fidelity):
    one, other = (design_with("rram", **(CONVERTING | each)).accelerator for each in (first, second))
    analog = to_analog(two_layers(), one)
    calibrate(analog, images())
    moved = to_analog(two_layers(7), other)
    _, refusal = attempt(lambda: moved.load_state_dict(analog.state_dict()))
    if refusal:
        assert "calibrate" in refusal or "hardware" in refusal
        return
    right = fresh(analog, images(), other, fidelity)
    right_or_refused(lambda: on_chip(moved, images(), fidelity=fidelity), right, 1e-6)


@pytest.mark.parametrize("hardware", [IDEAL, design_with("rram", **CONVERTING).accelerator], ids=["ideal", "adc"])
@pytest.mark.parametrize(
    ("first", "then"),
    [(255.0, 1.0), (1.0, 255.0)],
    ids=["from 255 to 1", "from 1 to 255"],
)
def test_the_last_calibration_counts(first, then, hardware):
    once, again = to_analog(two_layers(), hardware), to_analog(two_layers(), hardware)
    calibrate(again, images() * first)
    for analog in (once, again):
        calibrate(analog, images() * then)
    assert error(on_chip(again, images() * then), on_chip(once, images() * then)) == 0


def test_a_calibration_on_signed_inputs_leaves_nothing_behind_for_unsigned_ones():
    once, again = to_analog(two_layers(), IDEAL), to_analog(two_layers(), IDEAL)
    calibrate(again, images())
    for analog in (once, again):
        calibrate(analog, images().abs())
    assert error(on_chip(again, images().abs()), on_chip(once, images().abs())) == 0


@pytest.mark.parametrize("fidelity", ["fast", "exact"])
def test_a_calibrated_models_state_restores_it_with_its_ranges(fidelity, tmp_path):
    hardware = design_with("rram", **CONVERTING).accelerator
    analog = to_analog(two_layers(), hardware)
    calibrate(analog, images())
    torch.save(analog.state_dict(), tmp_path / "weights.pt")
    again = to_analog(two_layers(7), hardware)
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert error(on_chip(again, images(), fidelity=fidelity), on_chip(analog, images(), fidelity=fidelity)) == 0


@pytest.mark.parametrize("load", [_state, _state_assigned, _train], ids=lambda load: load.__name__.strip("_"))
def test_accuracy_of_new_weights_is_theirs_or_refused(load):
    hardware = design_with("rram", **CONVERTING).accelerator
    x, analog = images(), to_analog(two_layers(), hardware)
    calibrate(analog, x)
    load(analog)
    digital = two_layers()
    digital.load_state_dict({k: v for k, v in analog.state_dict().items() if k in digital.state_dict()})
    labels = digital(x).argmax(1)
    spec = VariationSpec(min_chips=2, max_chips=2)

    def measured() -> Tensor:
        (report,) = accuracy_under_variation(analog, [(x, labels)], spec, 0)
        return torch.tensor(report.mean)

    right_or_refused(measured, torch.tensor(1.0), 0.06)


def test_a_copy_of_an_analog_model_has_weights_and_chips_of_its_own():
    analog = to_analog(two_layers(), IDEAL)
    calibrate(analog, images())
    before = on_chip(analog, images())
    twin = copy.deepcopy(analog)
    _in_place(twin)
    calibrate(twin, images())
    program_chip(twin, SimulatedChip.nominal(), "exact")
    with torch.no_grad():
        assert error(analog(images()), before) == 0
        assert error(twin(images()), before) > 0.1
