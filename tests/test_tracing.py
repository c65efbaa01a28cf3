"""Matrices are found wherever a model multiplies, lie on crossbars as they are charged, and give what torch gives."""

import copy
import io
import warnings

import pytest
import torch
import torch.nn.functional as F
from test_analog_layers import design_with, run
from torch import nn
from torch.nn.utils import prune
from torch.utils.flop_counter import FlopCounterMode

from pipeline.analog.calibration import calibrate
from pipeline.analog.conversion import to_analog, to_digital
from pipeline.analog.model import noisy_layers, program_chip
from pipeline.analog.simulated_chip import SimulatedChip
from pipeline.analog.tracing import UntraceableModel, trace

FINE = design_with("rram", quiet=True, input_bits=12, weight_bits=12, cell_bits=4, adc_bits=None).accelerator
COARSE = design_with("rram", quiet=True).accelerator


class Call(nn.Module):
    """A model that is one function of its parameters and its input."""

    def __init__(self, function, **held) -> None:
        super().__init__()
        self.function = function
        for name, value in held.items():
            setattr(self, name, nn.Parameter(value) if isinstance(value, torch.Tensor) else value)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def of(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


# name -> model, shape of a batch of inputs
PRODUCTS = {
    "x @ w": (lambda: Call(lambda s, x: x @ s.w, w=of(8, 5)), (6, 8)),
    "x @ vector": (lambda: Call(lambda s, x: x @ s.w, w=of(8)), (6, 8)),
    "w @ x.T": (lambda: Call(lambda s, x: (s.w @ x.T).T, w=of(5, 8)), (6, 8)),
    "w @ x, mixing tokens": (lambda: Call(lambda s, x: s.w @ x, w=of(5, 6)), (3, 6, 8)),
    "batch of matrices": (lambda: Call(lambda s, x: (x.view(-1, 4, 1, 2) @ s.w).flatten(1), w=of(4, 2, 3)), (6, 8)),
    "bmm of an expanded matrix": (
        lambda: Call(lambda s, x: torch.bmm(x.view(6, 4, 2), s.w.expand(6, 2, 3)), w=of(2, 3)),
        (6, 8),
    ),
    "einsum": (lambda: Call(lambda s, x: torch.einsum("bnd,hde->bhne", x, s.w), w=of(4, 8, 5)), (3, 6, 8)),
    "einsum with an ellipsis": (lambda: Call(lambda s, x: torch.einsum("...d,ed", x, s.w), w=of(5, 8)), (3, 6, 8)),
    "einsum of groups": (lambda: Call(lambda s, x: torch.einsum("bgi,goi->bgo", x, s.w), w=of(4, 5, 2)), (3, 4, 2)),
    "tensordot": (lambda: Call(lambda s, x: torch.tensordot(x, s.w, ([2, 1], [0, 1])), w=of(8, 6, 5)), (3, 6, 8)),
    "addmm": (lambda: Call(lambda s, x: torch.addmm(s.b, x, s.w, beta=0.5, alpha=2), w=of(8, 5), b=of(5)), (6, 8)),
    "bilinear": (lambda: Call(lambda s, x: F.bilinear(x, x, s.w), w=of(5, 8, 8)), (6, 8)),
    "grouped Conv1d": (lambda: nn.Conv1d(8, 12, 3, groups=4, padding=1, stride=2, dilation=2), (3, 8, 20)),
    "uneven Conv2d": (lambda: nn.Conv2d(4, 6, (3, 1), padding=(0, 2), stride=(1, 2), dilation=(2, 1)), (3, 4, 9, 10)),
    "depthwise Conv2d": (lambda: nn.Conv2d(24, 24, 3, groups=24, padding=1), (3, 24, 7, 7)),
    "Conv2d padded to the same size": (lambda: nn.Conv2d(3, 4, 4, padding="same"), (3, 3, 7, 7)),
    "Conv2d with reflected borders": (lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), (3, 3, 7, 7)),
    "grouped Conv3d": (
        lambda: nn.Conv3d(4, 6, (2, 3, 1), groups=2, padding=(1, 0, 2), stride=(2, 1, 1), dilation=(1, 2, 1)),
        (3, 4, 6, 7, 5),
    ),
    "ConvTranspose1d": (
        lambda: nn.ConvTranspose1d(8, 6, 4, stride=2, groups=2, padding=1, output_padding=1),
        (3, 8, 7),
    ),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 3, (4, 3), stride=(2, 1), dilation=(2, 1)), (3, 4, 7, 6)),
    "LSTM": (lambda: Call(lambda s, x: s.m(x)[0], m=nn.LSTM(8, 5, batch_first=True)), (3, 6, 8)),
    "two-layer GRU in both directions, steps first": (
        lambda: Call(lambda s, x: s.m(x)[0], m=nn.GRU(8, 5, 2, bidirectional=True)),
        (6, 3, 8),
    ),
    "attention": (lambda: Call(lambda s, x: s.m(x, x, x)[0], m=nn.MultiheadAttention(8, 2)), (6, 3, 8)),
    "Transformer encoder": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (3, 6, 8)),
}


def model_of(name: str) -> tuple[nn.Module, torch.Tensor]:
    build, shape = PRODUCTS[name]
    torch.manual_seed(0)
    return build().eval(), torch.rand(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.filterwarnings("ignore:Using padding")  # torch's own, of the first such call
def test_ideal_crossbars_give_what_torch_gives(name):
    model, x = model_of(name)
    analog = to_analog(model, FINE)
    calibrate(analog, x)
    wanted = model(x).detach()
    for fidelity in ("fast", "exact"):
        found = run(analog, x, SimulatedChip.nominal(), fidelity)
        assert (found - wanted).norm() < 5e-3 * wanted.norm()
    set_equal = run(analog, x, SimulatedChip.nominal(), "float")
    torch.testing.assert_close(set_equal, wanted)


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.filterwarnings("ignore:Using padding")  # torch's own, of the first such call
def test_conversions_and_cycles_made_are_those_charged(name):
    model, x = model_of(name)
    analog = to_analog(model, COARSE, x)  # the workload is that of all of x, as steps may come first
    calibrate(analog, x)
    program_chip(analog, SimulatedChip.nominal(), "exact")
    with torch.no_grad():
        analog(x)
    layers = trace(model, x).workload.layers
    for layer, described in zip(noisy_layers(analog), layers, strict=True):
        windows = described.windows
        blocks, columns = len(layer.mapping.row_blocks), layer.mapping.columns
        assert layer.conversions == windows * layer.accelerator.input_cycles * blocks * columns
        assert layer.cycles == windows * layer.accelerator.input_cycles


_NOT_COUNTED_BY_TORCH = (  # fused kernels, vectors
    "x @ vector",
    "bilinear",
    "LSTM",
    "two-layer GRU in both directions, steps first",
    "Transformer encoder",
)


@pytest.mark.parametrize("name", [name for name in PRODUCTS if name not in _NOT_COUNTED_BY_TORCH])
@pytest.mark.filterwarnings("ignore:Using padding")  # torch's own, of the first such call
def test_macs_are_torchs_own_count(name):
    model, x = model_of(name)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    found = trace(model, x).workload
    digital = sum(each.count for each in found.digital if each.kind == "multiply_accumulate")
    assert 2 * (found.macs + digital) == counter.get_total_flops()


def test_macs_of_an_lstm():
    found = trace(nn.LSTM(8, 5, batch_first=True), torch.rand(1, 6, 8)).workload
    assert found.macs == 6 * (8 + 5) * 4 * 5
    assert {(each.kind, each.count) for each in found.digital} == {
        ("add", 6 * (20 + 5)),
        ("multiply", 6 * 3 * 5),
        ("lookup", 6 * 5 * 5),
    }


def test_attention_is_counted():
    tokens, features, heads = 6, 8, 2
    model = Call(lambda s, x: s.m(x, x, x)[0], m=nn.MultiheadAttention(features, heads, batch_first=True))
    counts = {}
    for each in trace(model, torch.rand(1, tokens, features)).workload.digital:
        counts[each.kind] = counts.get(each.kind, 0) + each.count
    scores = heads * tokens**2
    assert counts["multiply_accumulate"] == 2 * tokens**2 * features
    assert counts["lookup"] == counts["divide"] == scores  # softmax


def test_relu_and_pooling_after_a_layer_are_the_layers_own():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)
    )
    found = trace(model, torch.rand(1, 1, 8, 8)).workload
    assert [(each.name, each.relu, each.pooled) for each in found.layers] == [("0", True, True), ("5", False, False)]
    assert found.digital == ()
    added = trace(Call(lambda s, x: torch.relu(s.a(x) + x), a=nn.Linear(4, 4)), torch.rand(1, 4)).workload
    assert not added.layers[0].relu
    assert {(each.kind, each.count) for each in added.digital} == {("add", 4), ("compare", 4)}


class Elsewhere(nn.Module):
    """Weights that are no parameters of the model, and a path and a head that evaluation does not take."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.table = [nn.Linear(8, 8)], torch.randn(8, 8)
        self.fc, self.auxiliary, self.rare = nn.Linear(8, 4), nn.Linear(8, 4), nn.Linear(8, 4)

    def features(self, x):
        return self.layers[0](x) @ self.table

    def forward(self, x, rarely=False):
        x = self.features(x)
        y = self.rare(x) if rarely else self.fc(x)
        return (y, self.auxiliary(x)) if self.training else y


def test_weights_outside_the_model_are_found_and_paths_that_were_not_traced_are_told():
    torch.manual_seed(0)
    model, x = Elsewhere().eval(), torch.rand(6, 8)
    analog = to_analog(model, FINE)
    calibrate(analog, x)
    assert [layer.name for layer in noisy_layers(analog)] == ["Linear outside the model", "table", "fc"]
    assert (analog(x) - model(x)).norm() < 5e-3 * model(x).norm()
    with pytest.raises(UntraceableModel, match="trace with inputs that take this path"):
        analog(x, rarely=True)
    with pytest.warns(UserWarning, match="auxiliary.* used in training only"):
        analog.train()(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once is enough
        analog(x)


def test_parts_methods_and_copies_run_on_crossbars_too():
    torch.manual_seed(0)
    model, x = Elsewhere().eval(), torch.rand(6, 8)
    analog = to_analog(model, design_with("rram", adc_bits=4).accelerator)
    calibrate(analog, x)
    program_chip(analog, SimulatedChip.number(0, 0), "exact")
    with torch.no_grad():
        y = analog(x)
        assert not torch.equal(y, model(x))
        assert torch.equal(analog.fc(analog.features(x)), y)
        assert torch.equal(analog.forward(x), y)
        assert torch.equal(copy.deepcopy(analog)(x), y)
        assert torch.equal(to_digital(analog)(x), model(x))
        assert torch.equal(model(x), Elsewhere.forward(model, x)), "the user's model must not change"
    assert isinstance(analog, Elsewhere)
    assert analog.fc.in_features == 8


def test_whole_analog_models_can_be_saved():
    analog = to_analog(nn.Sequential(nn.Linear(8, 5)), COARSE, torch.rand(1, 8))
    calibrate(analog, torch.rand(6, 8))
    file = io.BytesIO()
    torch.save(analog, file)
    file.seek(0)
    again, x = torch.load(file, weights_only=False), torch.rand(6, 8)
    assert torch.equal(again(x), analog(x))


def test_ranges_loaded_before_the_trace_are_kept_and_foreign_keys_are_told():
    x = torch.rand(16, 8)
    first = to_analog(nn.Sequential(nn.Linear(8, 5)), COARSE)
    calibrate(first, x)
    second = to_analog(nn.Sequential(nn.Linear(8, 5)), COARSE)
    second.load_state_dict(first.state_dict())
    assert torch.equal(
        run(second.eval(), x, SimulatedChip.nominal(), "exact"), run(first, x, SimulatedChip.nominal(), "exact")
    )
    third = to_analog(nn.Sequential(nn.Linear(8, 5)), COARSE)
    third.load_state_dict(first.state_dict() | {"1.input_range": torch.tensor(1.0)})
    with pytest.raises(RuntimeError, match=r"keys of no layer: 1\.input_range"):
        third(x)


def test_bits_per_matrix_and_matrices_that_may_stay_digital():
    model, x = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4)), torch.rand(1, 8)
    analog = to_analog(model, COARSE, x, weight_bits={"2": 3})
    assert [layer.code.weight_bits for layer in noisy_layers(analog)] == [6, 3]
    with pytest.raises(UntraceableModel, match="no matrix is named 'head'; there are 0, 2"):
        to_analog(model, COARSE, x, weight_bits={"head": 3})
    partly = to_analog(model, COARSE, x, allow_digital=["0"])
    assert [layer.name for layer in noisy_layers(partly)] == ["2"]
    calibrate(partly, torch.rand(6, 8))
    assert partly.eval()(x).shape == (1, 4)
    counts = {each.kind: each.count for each in trace(model, x, allow_digital=["0"]).workload.digital}
    assert counts["multiply_accumulate"] == 48


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (torch.jit.script(nn.Linear(8, 5)), "it is scripted; give the Python model"),
        (nn.Sequential(torch.jit.script(nn.Linear(8, 5))), "its module '0' is scripted"),
        (nn.ReLU(), "multiplies its input with no matrix"),
        (Call(lambda s, x: torch.cdist(x, s.w), w=of(5, 8)), r"torch\.cdist has a static matrix \(w\)"),
        (Call(lambda s, x: torch.vmap(lambda row: row @ s.w)(x), w=of(8, 8)), "vmap hides how many vectors"),
    ],
)
def test_what_cannot_be_put_on_crossbars_is_refused_by_name(model, complaint):
    with pytest.raises(UntraceableModel, match=complaint):
        to_analog(model, COARSE, torch.rand(1, 8))


@pytest.mark.parametrize(
    "reparametrised",
    [
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    ],
    ids=["weight_norm by hooks", "spectral_norm by hooks", "weight_norm", "spectral_norm", "pruned"],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_weights_computed_from_parameters_train_on_crossbars(reparametrised):
    torch.manual_seed(0)
    model, x = nn.Sequential(reparametrised(nn.Linear(8, 5))), torch.rand(6, 8)
    model(x).sum().backward()  # the computed weight now has a history, which torch does not copy
    analog = to_analog(model, FINE).train()
    optimizer, losses = torch.optim.SGD(analog.parameters(), 0.1), []
    for _ in range(20):
        optimizer.zero_grad()
        losses.append(loss := analog(x).square().mean())
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]
    calibrate(analog, x)
    back = to_digital(analog).eval()
    assert (analog(x) - back(x)).norm() < 5e-3 * back(x).norm()
