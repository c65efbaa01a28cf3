"""An analog model is still the user's model: its class, attributes, names, methods, parts, training."""

import copy
import functools
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from crossbar_checks import IDEAL, NOISY, attempt, error, on_chip
from test_analog_layers import design_with
from test_stale_state import images, two_layers
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils import parametrizations, weight_norm
from users_networks import Calls, MaskedLinear, StandardisedConv, UnusedInEvaluation

from pipeline.analog.calibration import calibrate
from pipeline.analog.conversion import to_analog
from pipeline.analog.model import noisy_layers, program_chip
from pipeline.analog.simulated_chip import SimulatedChip
from pipeline.study.study_spec import VariationSpec
from pipeline.trial.variation import accuracy_under_variation


class Encoder(nn.Module):
    """A model with methods beside forward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 6), nn.Linear(6, 5)

    def encode(self, x: Tensor) -> Tensor:
        return torch.relu(self.fc(torch.relu(self.conv(x)).mean((2, 3))))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encode(x))


def digital_layers(analog: nn.Module, x: Tensor, *layers: nn.Linear) -> list[nn.Linear]:
    """Those of the layers that compute what torch computes on a chip with errors."""
    seen = []
    hooks = [
        layer.register_forward_hook(
            lambda layer, inputs, output: seen.append((layer, inputs[0].clone(), output.clone()))
        )
        for layer in layers
    ]
    on_chip(analog, x, chip=SimulatedChip.number(0, 0))
    for hook in hooks:
        hook.remove()
    assert seen
    with torch.no_grad():
        return [layer for layer, x, y in seen if error(y, F.linear(x, layer.weight, layer.bias)) < 1e-5]


def encoder() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return Encoder().eval(), torch.randn(16, 3, 8, 8)


def test_attributes_of_layers_stay():
    model, x = encoder()
    analog = to_analog(model, IDEAL)
    calibrate(analog, x)
    assert isinstance(analog.conv, nn.Conv2d)
    assert isinstance(analog.fc, nn.Linear)
    assert (analog.fc.in_features, analog.fc.out_features) == (4, 6)
    assert (analog.conv.kernel_size, analog.conv.out_channels, analog.conv.groups) == ((3, 3), 4, 1)
    assert [name for name, _ in analog.named_parameters()] == [name for name, _ in model.named_parameters()]
    assert repr(analog.fc) == repr(model.fc)


def test_state_dicts_go_both_ways():
    model, x = encoder()
    analog = to_analog(Encoder(), IDEAL)
    analog.load_state_dict(model.state_dict())
    calibrate(analog, x)
    assert set(model.state_dict()) <= set(analog.state_dict())
    back = Encoder()
    back.load_state_dict({name: value for name, value in analog.state_dict().items() if name in back.state_dict()})
    assert torch.equal(back(x), model(x))


CALLS = {
    "call": lambda model, x: model(x),
    "forward": lambda model, x: model.forward(x),
    "method": lambda model, x: model.head(model.encode(x)),
    "parts": lambda model, x: model.head(F.relu(model.fc(F.relu(model.conv(x)).mean((2, 3))))),
    "as a part": lambda model, x: nn.Sequential(model, nn.Identity())(x),
    "functional_call": lambda model, x: torch.func.functional_call(model, dict(model.named_parameters()), (x,)),
    "data_parallel": lambda model, x: nn.DataParallel(model)(x),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_however_an_analog_model_is_called_it_runs_on_crossbars_or_says_no(call):
    model, x = encoder()
    analog = to_analog(model, NOISY)
    calibrate(analog, x)
    with torch.no_grad():
        right = on_chip(analog, x, chip=SimulatedChip.number(0, 0))
        assert error(right, model(x)) > 1e-3, "the chip has errors"
        found, refusal = attempt(lambda: call(analog, x))
    assert refusal or error(found, right) < 1e-6


@pytest.mark.parametrize("form", ["early_exit", "routed"])
def test_a_way_through_the_network_that_tracing_did_not_see_is_not_digital_in_silence(form):
    def early_exit(model, x):
        x = torch.relu(model.a(x))
        return model.b(x) if x.mean() > 1 else x

    def routed(model, x):
        return model.a(x) if x.mean() > 1 else model.b(x)

    torch.manual_seed(0)
    model = Calls({"early_exit": early_exit, "routed": routed}[form], a=nn.Linear(8, 8), b=nn.Linear(8, 8)).eval()
    analog, x = to_analog(model, NOISY), torch.rand(16, 8)
    calibrate(analog, x)
    assert not digital_layers(analog, x, analog.a, analog.b)
    digital, refusal = attempt(lambda: digital_layers(analog, 50 * x, analog.a, analog.b))
    assert not digital
    assert refusal is None or "calibrate" in refusal or "trace" in refusal


def test_a_new_head_on_an_analog_model_runs_on_crossbars_or_is_refused():
    model, x = encoder()
    analog = to_analog(model, NOISY)
    calibrate(analog, x)
    analog.head = nn.Linear(6, 9)
    _, refusal = attempt(lambda: calibrate(analog, x))
    assert refusal or not digital_layers(analog, x, analog.head)


def test_an_analog_model_can_be_copied_and_pickled():
    model, x = encoder()
    analog = to_analog(model, NOISY)
    calibrate(analog, x)
    right = on_chip(analog, x, chip=SimulatedChip.number(0, 0))
    for twin in (copy.deepcopy(analog), pickle.loads(pickle.dumps(analog))):
        assert error(on_chip(twin, x, chip=SimulatedChip.number(0, 0)), right) == 0


class Functions(nn.Module):
    """A model whose layers are used by functions that it holds."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.fc, self.head = nn.Linear(8, 8), nn.Linear(8, 5)
        layer = self.fc
        if kind == "function of self":
            self.block = lambda x: torch.relu(self.fc(x))
        elif kind == "function of a layer":
            self.block = lambda x: torch.relu(layer(x))
        elif kind == "default":
            self.block = lambda x, layer=layer: torch.relu(layer(x))
        elif kind == "list of functions":
            self.all = [lambda x: layer(x), torch.relu]
            self.block = lambda x: self.all[1](self.all[0](x))
        elif kind == "function of a function":
            inner = lambda x: layer(x)  # noqa: E731
            self.block = lambda x: torch.relu(inner(x))
        elif kind == "bound method":
            call = self.fc.forward
            self.block = lambda x: torch.relu(call(x))
        elif kind == "partial":
            self.block = functools.partial(lambda fc, x: torch.relu(fc(x)), self.fc)
        elif kind == "hook":
            self.block = nn.Identity()
            self.block.register_forward_hook(lambda module, inputs, output: torch.relu(layer(output)))
        elif kind == "forward":
            self.block, before = layer, self.forward
            self.forward = lambda x: before(x).relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(x))


HOLDERS = ("function of self", "function of a layer", "default", "list of functions", "function of a function")
HOLDERS += ("bound method", "partial", "hook", "forward")


@pytest.mark.parametrize("kind", HOLDERS)
def test_an_analog_model_uses_its_own_weights_where_functions_use_layers(kind):
    torch.manual_seed(0)
    model, x = Functions(kind).eval(), torch.randn(16, 8)
    with torch.no_grad():
        right = model(x)
    analog = to_analog(model, IDEAL)
    for own in analog.parameters():
        own.data.zero_()
    with torch.no_grad():
        assert error(model(x), right) == 0
    analog.load_state_dict(model.state_dict())
    for theirs in model.parameters():
        theirs.data.zero_()
    calibrate(analog, x)
    assert error(on_chip(analog, x), right) < 1e-3


# Two converted parts of one model.


def test_two_converted_parts_of_a_model_have_errors_of_their_own():
    torch.manual_seed(0)
    layer, x = nn.Linear(8, 8), torch.rand(32, 8)
    parts = nn.ModuleList(
        [to_analog(nn.Sequential(layer), NOISY), to_analog(nn.Sequential(copy.deepcopy(layer)), NOISY)]
    )
    for part in parts:
        calibrate(part, x)
    program_chip(parts, SimulatedChip.number(0, 0), "exact")
    with torch.no_grad():
        one, other = parts[0](x) - layer(x), parts[1](x) - layer(x)
    assert error(one, other) > 0.5


def test_a_part_alone_is_converted_and_the_rest_stays_digital():
    torch.manual_seed(0)
    model, x = two_layers(), images()
    with torch.no_grad():
        right = model(x)
    mixed = nn.Sequential(to_analog(model[:2], IDEAL), model[2])
    calibrate(mixed, x)
    assert error(on_chip(mixed, x), right) < 1e-3


def test_converting_twice_is_refused_or_the_same():
    analog = to_analog(two_layers(), IDEAL)
    again, refusal = attempt(lambda: to_analog(analog, IDEAL))
    if refusal:
        assert "analog already" in refusal
        return
    calibrate(again, images())
    with torch.no_grad():
        assert error(on_chip(again, images()), two_layers()(images())) < 1e-3


# Reused layers.


def test_a_reused_layer_has_the_range_of_all_its_uses():
    torch.manual_seed(0)
    model = Calls(lambda m, a, b: m.tower(a) - m.tower(b), tower=nn.Sequential(nn.Linear(8, 6), nn.ReLU())).eval()
    x = torch.rand(32, 8)
    for dark in (0.01, 0.0):
        for pair in ((dark * x, x), (x, dark * x)):
            analog = to_analog(model, IDEAL)
            calibrate(analog, *pair)
            with torch.no_grad():
                assert error(on_chip(analog, *pair), model(*pair)) < 1e-3


@pytest.mark.parametrize("fidelity", ["fast", "exact"])
def test_read_noise_is_fresh_at_each_use(fidelity):
    hardware = design_with("rram", input_bits=8, weight_bits=8, adc_bits=None).accelerator
    torch.manual_seed(0)
    model = Calls(lambda m, x: (m.layer(x), m.layer(x)), layer=nn.Linear(8, 6)).eval()
    analog, x = to_analog(model, hardware), torch.rand(16, 8)
    calibrate(analog, x)
    first, second = on_chip(analog, x, fidelity=fidelity, chip=SimulatedChip.number(0, 0))
    assert not torch.equal(first, second)
    again, _ = on_chip(analog, x, fidelity=fidelity, chip=SimulatedChip.number(0, 0))
    assert torch.equal(first, again), "a chip's noise can be drawn again"


def test_a_shared_matrix_is_one_set_of_cells():
    torch.manual_seed(0)
    shared = nn.Linear(6, 6)
    analog = to_analog(nn.Sequential(shared, nn.ReLU(), shared), IDEAL)
    calibrate(analog, torch.rand(8, 6))
    assert len(noisy_layers(analog)) == 1


# The batch is dimension 0 for chips alone.

CHIPS_AT_ONCE = {
    "attention inside": lambda: Calls(
        lambda m, x: m.fc(m.mha(*[x.transpose(0, 1)] * 3)[0].mean(0)),
        mha=nn.MultiheadAttention(8, 2),
        fc=nn.Linear(8, 5),
    ),
    "lstm inside": lambda: Calls(
        lambda m, x: m.fc(m.lstm(x.transpose(0, 1))[0][-1]), lstm=nn.LSTM(8, 6), fc=nn.Linear(6, 5)
    ),
    "steps beside images": lambda: Calls(
        lambda m, x: m.fc(x.reshape(-1, 8)).view(len(x), -1, 5).mean(1), fc=nn.Linear(8, 5)
    ),
    "steps before images": lambda: Calls(
        lambda m, x: m.fc(x.transpose(0, 1).reshape(-1, 8)).view(-1, len(x), 5).mean(0), fc=nn.Linear(8, 5)
    ),
    "weight on the left": lambda: Calls(lambda m, x: (m.w @ x.transpose(1, 2)).mean(2), w=torch.randn(5, 8)),
    "a constant through a layer": lambda: Calls(
        lambda m, x: m.fc(x).mean(1) + m.fc(torch.ones(1, 8)), fc=nn.Linear(8, 5)
    ),
}


@pytest.mark.parametrize("build", CHIPS_AT_ONCE.values(), ids=CHIPS_AT_ONCE)
def test_results_do_not_depend_on_how_many_chips_run_at_once(build):
    hardware = design_with("rram", input_bits=6, weight_bits=6, adc_bits=8).accelerator
    torch.manual_seed(0)
    model, x = build().eval(), torch.randn(24, 4, 8)
    labels = model(x).argmax(1)
    analog = to_analog(model, hardware)
    calibrate(analog, x)
    spec = VariationSpec(min_chips=4, max_chips=4)
    reports = [accuracy_under_variation(analog, [(x, labels)], spec, 0, chips_at_once=n)[0] for n in (1, 4, 3)]
    assert reports[0].per_chip == reports[1].per_chip == reports[2].per_chip


def test_the_order_of_batches_does_not_change_a_chips_read_noise():
    torch.manual_seed(0)
    model, x = CHIPS_AT_ONCE["lstm inside"]().eval(), torch.randn(8, 4, 8)
    analog = to_analog(model, NOISY)
    calibrate(analog, x)
    chip = SimulatedChip.number(0, 0)
    program_chip(analog, chip, "exact")
    with torch.no_grad():
        chip.images = torch.arange(8)
        whole = analog(x)
        parts = []
        for first in (0, 4):
            chip.images = torch.arange(first, first + 4)
            parts.append(analog(x[first : first + 4]))
    torch.testing.assert_close(torch.cat(parts), whole)


# Inputs without a batch.

UNBATCHED = {
    "linear": (lambda: nn.Linear(8, 5), (8,)),
    "conv": (lambda: nn.Conv2d(3, 4, 3), (3, 8, 8)),
    "conv_1d": (lambda: nn.Conv1d(3, 4, 3), (3, 9)),
    "conv_transposed": (lambda: nn.ConvTranspose2d(3, 4, 3), (3, 8, 8)),
    "lstm": (lambda: nn.LSTM(8, 6), (5, 8)),
    "attention": (lambda: Calls(lambda m, x: m.mha(x, x, x)[0], mha=nn.MultiheadAttention(8, 2)), (5, 8)),
}


@pytest.mark.parametrize(("build", "shape"), UNBATCHED.values(), ids=UNBATCHED)
def test_an_input_without_a_batch_is_computed_as_torch_does(build, shape):
    torch.manual_seed(0)
    model, x = build().eval(), 0.3 * torch.randn(shape)
    analog = to_analog(model, IDEAL)
    calibrate(analog, torch.randn(16, *shape) if "lstm" not in repr(model).lower() else torch.randn(5, 16, 8))
    for fidelity in ("fast", "exact"):
        found, refusal = attempt(lambda fidelity=fidelity: on_chip(analog, x, fidelity=fidelity))
        with torch.no_grad():
            assert refusal or error(found, model(x)) < 3e-3  # the range is that of other inputs
        assert refusal is None or "was not there when the model was traced" in refusal


def test_an_empty_batch_gives_an_empty_answer():
    model, x = encoder()
    analog = to_analog(model, IDEAL)
    calibrate(analog, x)
    for fidelity in ("fast", "exact"):
        assert on_chip(analog, x[:0], fidelity=fidelity).shape == (0, 5)


# What cannot be traced is refused by name.


def _quantised() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(8, 5)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "build",
    [
        lambda: torch.jit.script(nn.Linear(8, 5)),
        lambda: torch.jit.trace(nn.Linear(8, 5), torch.rand(2, 8)),
        lambda: nn.Sequential(torch.jit.script(nn.Linear(8, 5)), nn.ReLU()),
        lambda: Calls(lambda m, x: m.part(x) + m.fc(x), part=torch.jit.script(nn.Linear(8, 5)), fc=nn.Linear(8, 5)),
        _quantised,
    ],
    ids=["scripted", "traced", "scripted part", "scripted part beside", "quantised"],
)
def test_compiled_code_is_refused_by_name(build):
    analog, refusal = attempt(lambda: to_analog(build().eval(), IDEAL))
    if analog is not None:
        _, refusal = attempt(lambda: calibrate(analog, torch.rand(16, 8)))
    assert refusal
    assert any(word in refusal for word in ("script", "traced", "quantised"))


@pytest.mark.slow  # importing torch's compiler takes long
@pytest.mark.filterwarnings("ignore")
def test_a_model_for_torch_compile_is_refused_by_name():
    with pytest.raises(ValueError, match=r"torch\.compile"):
        to_analog(torch.compile(nn.Linear(8, 5), backend="eager"), IDEAL)


def test_a_model_without_a_matrix_is_refused():
    with pytest.raises(ValueError, match="nothing to put on crossbars"):
        calibrate(to_analog(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)).eval(), IDEAL), torch.rand(8, 3, 4, 4))


# Training.

TRAINED = {
    "plain": lambda: nn.Linear(8, 5),
    "masked": lambda: MaskedLinear(8, 5),
    "weight_norm": lambda: weight_norm(nn.Linear(8, 5)),
    "weight_norm_parametrization": lambda: parametrizations.weight_norm(nn.Linear(8, 5)),
    "spectral_norm_parametrization": lambda: parametrizations.spectral_norm(nn.Linear(8, 5)),
    "bare": lambda: Calls(lambda m, x: x @ m.w, w=torch.randn(8, 5)),
    "in a list": lambda: Calls(
        lambda m, x: m.all[1](torch.relu(m.all[0](x))), all=nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 5)])
    ),
    "tied": lambda: Calls(lambda m, x: torch.relu(m.fc(x)) @ m.fc.weight, fc=nn.Linear(8, 5)),
    "lstm": lambda: Calls(lambda m, x: m.lstm(x[None])[0][0], lstm=nn.LSTM(8, 5)),
    "attention": lambda: Calls(lambda m, x: m.mha(x, x, x)[0], mha=nn.MultiheadAttention(8, 2)),
    "batch_norm": lambda: nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 5)),
}


@pytest.mark.parametrize("build", TRAINED.values(), ids=TRAINED)
def test_training_sends_the_gradients_of_torch_to_the_users_parameters(build):
    torch.manual_seed(0)
    model, x = build().train(), torch.randn(64, 8)
    analog = to_analog(model, IDEAL)
    torch.manual_seed(1)
    model(x).square().mean().backward()
    torch.manual_seed(1)
    analog.train()
    analog(x).square().mean().backward()
    found = dict(analog.named_parameters())
    used = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    largest = max(float(gradient.norm()) for gradient in used.values())
    for name, gradient in used.items():
        assert float((found[name].grad - gradient).norm()) < 1e-2 * largest, name


@pytest.mark.parametrize("build", TRAINED.values(), ids=TRAINED)
def test_training_moves_the_weights_and_a_mask_stays_a_mask(build):
    torch.manual_seed(0)
    analog, x = to_analog(build(), IDEAL), torch.randn(64, 8)
    analog.train()
    target = torch.randn(64, analog(x).shape[1])
    optimizer, losses = torch.optim.Adam(analog.parameters(), lr=0.01), []
    for _ in range(10):
        optimizer.zero_grad()
        loss = F.mse_loss(analog(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_weight_standardisation_is_trained_as_such():
    torch.manual_seed(0)
    model, x = StandardisedConv(3, 4, 3), torch.randn(16, 3, 8, 8)
    analog = to_analog(model, IDEAL).train()
    analog(x).square().mean().backward()
    gradient = analog.weight.grad
    assert float(gradient.mean((1, 2, 3)).abs().max()) < 1e-5, "the gradient is orthogonal to a constant filter"


def test_an_auxiliary_head_trains_and_is_absent_from_evaluation():
    torch.manual_seed(0)
    model, x = UnusedInEvaluation(), torch.randn(16, 8)
    analog = to_analog(model, IDEAL)
    calibrate(analog, x)
    with pytest.warns(UserWarning, match="aux.weight is used in training only"):
        main, aux = analog.train()(x)
    (main.sum() + aux.sum()).backward()
    assert analog.aux.weight.grad is not None
    analog.eval()
    spec = VariationSpec(min_chips=2, max_chips=2)
    (report,) = accuracy_under_variation(analog, [(x, model.eval()(x).argmax(1))], spec, 0)
    assert report.noiseless == 1.0


# Other ways in which models are built and used.


@pytest.mark.parametrize("kind", ["exported", "beside a layer", "all kinds of convolution"])
def test_calls_of_torchs_own_operators_run_on_crossbars(kind):
    torch.manual_seed(0)
    x = torch.randn(16, 8)
    if kind == "exported":
        model = torch.export.export(two_layers(), (x,)).module()
        model.eval = model.train = lambda mode=True: model  # torch refuses these calls
    elif kind == "beside a layer":
        model = Calls(lambda m, x: torch.ops.aten.addmm.default(m.b.bias, m.a(x), m.b.weight.t()), **two_named())
    else:
        x = torch.randn(16, 8, 5)
        model = nn.Sequential(nn.Conv1d(8, 4, 3), nn.ConvTranspose1d(4, 6, 2))
        held = dict(model.named_parameters())
        model = make_fx(lambda x: torch.func.functional_call(model, held, (x,)))(x)
    with torch.no_grad():
        right = model(x)
    analog = to_analog(model, IDEAL)
    calibrate(analog, x)
    assert len(noisy_layers(analog)) == 2
    assert error(on_chip(analog, x), right) < 1e-3


def two_named() -> dict[str, nn.Module]:
    return {"a": nn.Linear(8, 8), "b": nn.Linear(8, 5)}


def rescaled(model: nn.Module, x: Tensor) -> Tensor:
    return F.linear(F.linear(x, model.a.weight * 0.5), model.a.weight * -3.0)


def rewritten(model: nn.Module, x: Tensor) -> Tensor:
    weight = model.a.weight.clone()
    x = F.linear(x, weight)
    weight.mul_(-20)
    return F.linear(x, weight)


def two_constants(model: nn.Module, x: Tensor) -> Tensor:
    return F.linear(x, torch.full((8, 8), 0.5)) + F.linear(model.a(x), torch.full((8, 8), 7.0))


@pytest.mark.parametrize(("forward", "matrices"), [(rescaled, 2), (rewritten, 2), (two_constants, 3)])
def test_weights_made_with_other_numbers_are_other_matrices(forward, matrices):
    torch.manual_seed(0)
    model, x = Calls(forward, a=nn.Linear(8, 8)).eval(), torch.randn(16, 8)
    analog = to_analog(model, IDEAL)
    calibrate(analog, x)
    assert len(noisy_layers(analog)) == matrices
    with torch.no_grad():
        assert error(on_chip(analog, x), model(x)) < 1e-3


@pytest.mark.parametrize("write", ["narrow", "view", "slice"])
def test_what_is_written_into_a_part_of_a_cache_is_an_input_of_the_next_layer(write):
    def forward(model, x):
        y = model.a(x)
        if write == "narrow":
            model.cache.narrow(1, 0, 8).copy_(y)
        elif write == "view":
            model.cache.view(-1).view(16, 12)[:, :8].copy_(y)
        else:
            model.cache[:, :8] = y
        return F.linear(model.cache, model.b.weight)

    torch.manual_seed(0)
    model, x = Calls(forward, a=nn.Linear(8, 8), b=nn.Linear(12, 5)).eval(), torch.randn(16, 8)
    model.register_buffer("cache", torch.zeros(16, 12))
    analog = to_analog(model, IDEAL, x)
    assert [layer.name for layer in noisy_layers(analog)] == ["a", "b"]


def test_a_slice_of_an_analog_model_runs_on_its_crossbars():
    analog, x = to_analog(two_layers(), NOISY), images()
    calibrate(analog, x)
    right = on_chip(analog, x, chip=SimulatedChip.number(0, 0))
    with torch.no_grad():
        assert error(analog[2:](analog[:2](x)), right) == 0


@pytest.mark.parametrize("copied", [False, True])
def test_parts_of_an_analog_model_in_another_model_are_on_that_models_chips(copied):
    analog, x = to_analog(two_layers(), NOISY), images()
    calibrate(analog, x)
    part = copy.deepcopy(analog[0]) if copied else analog[0]
    other = nn.Sequential(part, nn.ReLU())
    assert len(noisy_layers(other)) == 1
    chips = [on_chip(other, x, chip=SimulatedChip.number(0, number)) for number in range(2)]
    assert error(chips[0], chips[1]) > 1e-3


def test_threads_that_share_an_analog_model_get_what_one_gets():
    analog = to_analog(two_layers(), NOISY)
    calibrate(analog, images())
    program_chip(analog, SimulatedChip.number(0, 0), "exact")
    with torch.no_grad():
        right = [analog(images(seed)) for seed in range(16)]
    with torch.inference_mode(), ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            found = list(pool.map(lambda seed: analog(images(seed)).detach(), range(16)))
            assert all(error(one, other) < 1e-6 for one, other in zip(found, right, strict=True))


def test_names_of_matrices_do_not_depend_on_the_order_of_a_set():
    command = (
        "import torch; from torch import nn; from pipeline.analog.tracing import trace\n"
        "class Model(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.u, self.v, self.w = (nn.Parameter(torch.rand(3, 4)) for _ in range(3))\n"
        "    def forward(self, x): return x @ torch.cat([self.w, self.v, self.u]).t()\n"
        "print(trace(Model(), torch.rand(1, 4)).workload.layers[0].name)"
    )
    names = {
        subprocess.run(
            [sys.executable, "-c", command],
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(3)
    }
    assert names == {"u\n"}


def test_no_part_of_a_model_runs_digitally_before_its_matrices_are_known():
    model, x = nn.Sequential(nn.Linear(8, 6), nn.Sequential(nn.ReLU(), nn.Linear(6, 4))), torch.rand(6, 8)
    analog = to_analog(model, IDEAL)
    for part in (lambda: analog[0](x), lambda: analog[:1](x), lambda: analog[1](x[:, :6])):
        with pytest.raises(RuntimeError, match="not known before that model's first batch; calibrate it"):
            part()
    calibrate(analog, x)
    program_chip(analog, SimulatedChip.nominal(), "exact")
    torch.testing.assert_close(analog[1](analog[0](x)), analog(x))
    assert type(analog[1][0]) is nn.ReLU, "modules without products are the user's own again"
