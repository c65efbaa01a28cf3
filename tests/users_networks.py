"""Tiny networks of the forms that users write: `FORMS` gives each a builder and its inputs.

Each holds one thing that a simulator gets wrong if it looks at the classes of modules and not at what they compute.
"""

import math
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune, rnn, spectral_norm, weight_norm

Build = Callable[[], nn.Module]
FORMS: dict[str, tuple[Build, Callable[[], tuple[Any, ...]]]] = {}
VECTORS = (6, 8)
PICTURES = (4, 3, 9, 9)
SEQUENCES = (5, 4, 8)  # steps, batch, features


def form(*shapes: tuple[int, ...] | Callable[[], Any], name: str | None = None) -> Callable[[Any], Any]:
    """Add a builder (a class or a function) to `FORMS`; a shape makes a signed input, a function makes any other."""

    def add(build: Any) -> Any:
        def inputs() -> tuple[Any, ...]:
            return tuple(torch.randn(shape) if isinstance(shape, tuple) else shape() for shape in shapes)

        FORMS[name or build.__name__] = build, inputs
        return build

    return add


def add_forms(shape: Any, **builders: Build) -> None:
    for name, build in builders.items():
        form(*(shape if isinstance(shape, list) else [shape]), name=name)(build)


class Calls(nn.Module):
    """Its forward is a function of the module and the inputs; `parts` become attributes."""

    def __init__(self, forward: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, Tensor) else part)
        self.run = forward

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.run(self, *inputs, **named)


def _w(*shape: int) -> Tensor:
    return torch.randn(shape) / math.sqrt(shape[-1])


# Layers with a forward of their own: the weight of the product is computed.


class StandardisedConv(nn.Conv2d):
    """Weight standardisation with a learnt gain, as in nf_resnet."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.gain = nn.Parameter(torch.full((self.out_channels, 1, 1, 1), 1.7))

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.weight.mean((1, 2, 3), keepdim=True), self.weight.var((1, 2, 3), keepdim=True)
        fan_in = self.weight[0].numel()
        weight = (self.weight - mean) * self.gain * torch.rsqrt((var * fan_in).clamp(min=1e-4))
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class MaskedLinear(nn.Linear):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("mask", (torch.rand(outputs, inputs) > 0.5).float())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class EqualisedLinear(nn.Linear):
    """Equalised learning rate, as in StyleGAN: the weight is large, its scale is applied at run time."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        nn.init.normal_(self.weight, std=100.0)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * (0.01 / math.sqrt(self.in_features)), self.bias)


class BinaryLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.abs().mean() * self.weight.sign()
        return F.linear(x, self.weight + (weight - self.weight).detach(), self.bias)


class TwoBitLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        step = self.weight.abs().max() / 2
        return F.linear(x, (self.weight / step).round().clamp(-2, 1) * step, self.bias)


class LowRankLinear(nn.Linear):
    """LoRA: the layer and a product of two thin matrices beside it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.down, self.up = nn.Parameter(_w(2, inputs)), nn.Parameter(_w(outputs, 2))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x @ self.down.T @ self.up.T


class SamePadConv(nn.Conv2d):
    """TensorFlow's padding: one side may get more."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (0, 1, 0, 1)))


class OwnConvForward(nn.Conv2d):
    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(x, weight - weight.mean(), bias)


class TwoOutputs(nn.Linear):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = super().forward(x)
        return y, y.square()


class Scaled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight * 3 - 0.1


def layer_with(change: Callable[[Any], Any], layer: Build = lambda: nn.Linear(8, 5)) -> Build:
    """A builder of ReLU between two layers, the first of which was changed."""

    def build() -> nn.Module:
        first = layer()
        changed = change(first)
        return nn.Sequential(changed if isinstance(changed, nn.Module) else first, nn.ReLU())

    return build


add_forms(
    PICTURES,
    weight_standardisation=lambda: nn.Sequential(StandardisedConv(3, 6, 3, padding=1), nn.ReLU()),
    same_padding=lambda: SamePadConv(3, 4, 3, 2),
    own_conv_forward=lambda: OwnConvForward(3, 4, 3),
    weight_norm_conv=layer_with(weight_norm, lambda: nn.Conv2d(3, 4, 3)),
    spectral_norm_conv=layer_with(spectral_norm, lambda: nn.Conv2d(3, 4, 3)),
)
add_forms(
    VECTORS,
    masked=lambda: MaskedLinear(8, 5),
    equalised_learning_rate=lambda: EqualisedLinear(8, 5),
    binary=lambda: BinaryLinear(8, 5),
    two_bits=lambda: TwoBitLinear(8, 5),
    low_rank=lambda: LowRankLinear(8, 5),
    two_outputs=lambda: TwoOutputs(8, 5),
    weight_norm=layer_with(weight_norm),
    weight_norm_parametrization=layer_with(parametrizations.weight_norm),
    spectral_norm=layer_with(spectral_norm),
    spectral_norm_parametrization=layer_with(parametrizations.spectral_norm),
    orthogonal_parametrization=layer_with(parametrizations.orthogonal),
    own_parametrization=layer_with(lambda layer: parametrize.register_parametrization(layer, "weight", Scaled())),
    pruned=layer_with(lambda layer: prune.l1_unstructured(layer, "weight", 0.5)),
    pruned_filters=layer_with(lambda layer: prune.ln_structured(layer, "weight", 0.4, 2, 0)),
    pruned_for_good=layer_with(lambda layer: prune.remove(prune.random_unstructured(layer, "weight", 0.5), "weight")),
)

# Hooks, on layers, and on the model.


def _hooked(kind: str, hook: Callable[..., Any], **settings: Any) -> Build:
    def build() -> nn.Module:
        model = nn.Sequential(nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 3))
        getattr(model[2], kind)(hook, **settings)
        return model

    return build


def _whole(kind: str, hook: Callable[..., Any]) -> Build:
    def build() -> nn.Module:
        model = nn.Sequential(nn.Linear(8, 7))
        getattr(model, kind)(hook)
        return model

    return build


add_forms(
    VECTORS,
    hook_on_inputs=_hooked("register_forward_pre_hook", lambda layer, inputs: (inputs[0] * 3 + 1,)),
    hook_on_outputs=_hooked("register_forward_hook", lambda layer, inputs, output: output.abs() - 2),
    hook_with_names=_hooked(
        "register_forward_hook", lambda layer, inputs, named, output: output * len(inputs) * 5, with_kwargs=True
    ),
    hook_with_a_product=_hooked("register_forward_hook", lambda layer, inputs, output: output @ layer.weight),
    hook_on_the_model=_whole("register_forward_hook", lambda layer, inputs, output: {"scores": output * 2}),
    hook_before_the_model=_whole("register_forward_pre_hook", lambda layer, inputs: (inputs[0] ** 2,)),
)

# Products that are no layer at all.

add_forms(
    VECTORS,
    function_linear=lambda: Calls(lambda m, x: F.linear(x, m.w, m.b), w=_w(5, 8), b=_w(5)),
    matmul_operator=lambda: Calls(lambda m, x: x @ m.w, w=_w(8, 5)),
    weight_on_the_left=lambda: Calls(lambda m, x: m.w @ x.T, w=_w(5, 8)),
    matmul_method=lambda: Calls(lambda m, x: x.matmul(m.w), w=_w(8, 5)),
    mm=lambda: Calls(lambda m, x: torch.mm(x, m.w), w=_w(8, 5)),
    mm_method=lambda: Calls(lambda m, x: m.w.mm(x.t()), w=_w(5, 8)),
    addmm=lambda: Calls(lambda m, x: torch.addmm(m.b, x, m.w, beta=0.5, alpha=2), w=_w(8, 5), b=_w(5)),
    addmm_method=lambda: Calls(lambda m, x: (x[:, :5] * 2).addmm(x, m.w), w=_w(8, 5)),
    matrix_and_vector=lambda: Calls(lambda m, x: torch.stack([torch.mv(m.w, row) for row in x]), w=_w(5, 8)),
    addmv=lambda: Calls(lambda m, x: torch.stack([torch.addmv(m.b, m.w, row) for row in x]), w=_w(5, 8), b=_w(5)),
    dot=lambda: Calls(lambda m, x: torch.stack([torch.dot(row, m.w) for row in x]), w=_w(8)),
    vector_weight=lambda: Calls(lambda m, x: x @ m.w, w=_w(8)),
    inner=lambda: Calls(lambda m, x: torch.inner(x, m.w), w=_w(5, 8)),
    tensordot=lambda: Calls(lambda m, x: torch.tensordot(x, m.w, dims=([1], [1])), w=_w(5, 8)),
    einsum=lambda: Calls(lambda m, x: torch.einsum("bi,oi->bo", x, m.w), w=_w(5, 8)),
    einsum_weight_first=lambda: Calls(lambda m, x: torch.einsum("oi,bi->ob", m.w, x), w=_w(5, 8)),
    einsum_heads=lambda: Calls(lambda m, x: torch.einsum("bhi,hio->bho", x.view(-1, 2, 4), m.w), w=_w(2, 4, 3)),
    einsum_two_weights=lambda: Calls(lambda m, x: torch.einsum("bi,hi,oh->bo", x, m.v, m.w), v=_w(6, 8), w=_w(5, 6)),
    einsum_low_rank_sum=lambda: Calls(lambda m, x: torch.einsum("bi,io->", x, m.w), w=_w(8, 5)),
    multi_dot=lambda: Calls(lambda m, x: torch.linalg.multi_dot([x, m.v, m.w]), v=_w(8, 6), w=_w(6, 5)),
    experts=lambda: Calls(lambda m, x: torch.bmm(x.expand(3, -1, -1), m.w), w=_w(3, 8, 5)),
    experts_with_bias=lambda: Calls(lambda m, x: torch.baddbmm(m.b, x.expand(3, -1, -1), m.w), w=_w(3, 8, 5), b=_w(5)),
    broadcast_matmul=lambda: Calls(lambda m, x: x[:, None, None] @ m.w, w=_w(3, 8, 5)),
    bilinear=lambda: Calls(lambda m, x: m.layer(x, x.flip(0)), layer=nn.Bilinear(8, 8, 3)),
    into_a_given_tensor=lambda: Calls(lambda m, x: torch.mm(x, m.w, out=x.new_empty(len(x), 5)), w=_w(8, 5)),
    augmented_addition=lambda: Calls(lambda m, x: x[:, :5].clone().addmm_(x, m.w), w=_w(8, 5)),
    operator_of_aten=lambda: Calls(lambda m, x: torch.ops.aten.linear(x, m.w), w=_w(5, 8)),
    dunder_method=lambda: Calls(lambda m, x: m.w.__matmul__(x.T), w=_w(5, 8)),
    functional_call=lambda: Calls(
        lambda m, x: torch.func.functional_call(m.layer, {"weight": m.layer.weight * 2}, (x,)), layer=nn.Linear(8, 5)
    ),
    mapped_over_the_batch=lambda: Calls(lambda m, x: torch.vmap(m.layer)(x), layer=nn.Linear(8, 5)),
    checkpointed=lambda: Calls(
        lambda m, x: torch.utils.checkpoint.checkpoint(m.layer, x, use_reentrant=False), layer=nn.Linear(8, 5)
    ),
)
add_forms(
    PICTURES,
    function_conv=lambda: Calls(lambda m, x: F.conv2d(x, m.w, m.b, stride=2, padding=1), w=_w(4, 3, 3, 3), b=_w(4)),
    torch_conv=lambda: Calls(lambda m, x: torch.conv2d(x, m.w, padding="same"), w=_w(4, 3, 3, 3)),
    torch_convolution=lambda: Calls(
        lambda m, x: torch.convolution(x, m.w, None, [1, 2], [1, 0], [1, 1], False, [0, 0], 1), w=_w(4, 3, 3, 3)
    ),
    transposed_function=lambda: Calls(
        lambda m, x: F.conv_transpose2d(x, m.w, stride=2, output_padding=1), w=_w(3, 4, 3, 3)
    ),
    unfolded=lambda: Calls(lambda m, x: m.w @ F.unfold(x, 3), w=_w(4, 27)),
    fixed_filter=lambda: Calls(
        lambda m, x: F.conv2d(x, torch.ones(3, 1, 2, 2, device=x.device) / 4, groups=3) + m.b, b=torch.zeros(1)
    ),
)

# Convolutions of every kind.

add_forms(
    PICTURES,
    conv_groups=lambda: nn.Conv2d(3, 6, 3, groups=3),
    conv_dilation=lambda: nn.Conv2d(3, 4, 3, dilation=2, padding=2),
    conv_unequal=lambda: nn.Conv2d(3, 4, (1, 5), stride=(2, 1), padding=(0, 2)),
    conv_same=lambda: nn.Conv2d(3, 4, 4, padding="same"),
    conv_reflect=lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
    conv_circular=lambda: nn.Conv2d(3, 4, 3, padding=(2, 1), padding_mode="circular"),
    conv_pointwise_of_one=lambda: nn.Sequential(nn.Conv2d(3, 1, 1), nn.Conv2d(1, 4, 3)),
    conv_transposed=lambda: nn.ConvTranspose2d(3, 4, 4, 2, 1),
    conv_transposed_groups=lambda: nn.ConvTranspose2d(3, 6, 3, stride=2, groups=3, dilation=2, output_padding=1),
    conv_transposed_size=lambda: Calls(
        lambda m, x: m.up(x, output_size=(18, 18)), up=nn.ConvTranspose2d(3, 4, 3, 2, 1)
    ),
    lazy=lambda: _initialised(nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(5)), PICTURES),
)
add_forms((4, 3, 20), conv_1d=lambda: nn.Conv1d(3, 4, 5, stride=2), conv_1d_up=lambda: nn.ConvTranspose1d(3, 4, 4, 2))
add_forms(
    (4, 2, 5, 6, 7),
    conv_3d=lambda: nn.Conv3d(2, 4, (3, 1, 2), padding=(1, 0, 0)),
    conv_3d_up=lambda: nn.ConvTranspose3d(2, 3, 2, 2),
)
add_forms((3, 5, 2, 8), linear_on_any_shape=lambda: nn.Linear(8, 5))


def _initialised(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    model(torch.zeros(shape))
    return model


# Where modules are kept.


@form(VECTORS)
class InAList(nn.Module):
    """Layers that torch does not know to be children."""

    def __init__(self) -> None:
        super().__init__()
        self.known = nn.Linear(8, 8)
        self.hidden = [nn.Linear(8, 8), nn.Linear(8, 8)]

    def forward(self, x: Tensor) -> Tensor:
        for layer in [self.known, *self.hidden]:
            x = torch.relu(layer(x))
        return x


@form(VECTORS)
class InADict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.by_name = {"a": nn.Linear(8, 8), "pair": (nn.Linear(8, 4), nn.Linear(8, 4))}
        self.by_name_known = nn.ModuleDict({"b": nn.Linear(8, 8)})

    def forward(self, x: Tensor) -> Tensor:
        x = self.by_name_known["b"](torch.relu(self.by_name["a"](x)))
        left, right = self.by_name["pair"]
        return left(x) * right(x)


@form(VECTORS)
class InAClosure(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 3)
        hidden = nn.Linear(8, 8)
        self.act = lambda x: torch.relu(hidden(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(x))


add_forms(
    VECTORS,
    parameter_list=lambda: Calls(
        lambda m, x: sum(x @ w for w in m.all), all=nn.ParameterList([nn.Parameter(_w(8, 5)) for _ in range(2)])
    ),
    repeated_copies=lambda: nn.Sequential(*[nn.Linear(8, 8), nn.Tanh()] * 3),
    loop_by_name=lambda: Calls(
        lambda m, x: m.layer1(getattr(m, f"layer{0}")(x)), layer0=nn.Linear(8, 8), layer1=nn.Linear(8, 3)
    ),
    conv1d_of_gpt2_beside_linear=lambda: Calls(
        lambda m, x: m.head(torch.addmm(m.b, x, m.w)), w=_w(8, 32), b=_w(32), head=nn.Linear(32, 4)
    ),
)


@form(VECTORS)
class UnusedInEvaluation(nn.Module):
    """An auxiliary head for training alone, and a layer that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.aux = nn.Linear(8, 8), nn.Linear(8, 3), nn.Linear(8, 3)
        self.never = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Any:
        x = torch.relu(self.body(x))
        return (self.head(x), self.aux(x)) if self.training else self.head(x)


# Layers that are used more than once.

add_forms(
    [(6, 8), (6, 8)],
    siamese=lambda: Calls(
        lambda m, a, b: m.tower(0.02 * a) - m.tower(b), tower=nn.Sequential(nn.Linear(8, 6), nn.ReLU())
    ),
    cross_product=lambda: Calls(lambda m, a, b: m.one(a) @ m.two(b).T, one=nn.Linear(8, 6), two=nn.Linear(8, 6)),
)
add_forms(
    VECTORS,
    recurrence=lambda: Calls(_grow, layer=nn.Linear(8, 8)),
    tied_autoencoder=lambda: Calls(lambda m, x: F.linear(F.relu(m.enc(x)), m.enc.weight.T), enc=nn.Linear(8, 4)),
    tied_layers=lambda: _tied(nn.Linear(8, 8), nn.Linear(8, 8)),
    parts_of_a_weight=lambda: Calls(lambda m, x: F.linear(x, m.w[:4]) * F.linear(x, m.w[4:]), w=_w(8, 8)),
    both_ways=lambda: Calls(lambda m, x: (x @ m.w) @ m.w.T + x, w=_w(8, 5)),
)


def _grow(model: Any, x: Tensor) -> Tensor:
    for _ in range(4):
        x = 3 * torch.tanh(model.layer(x)) + x
    return x


def _tied(first: nn.Linear, second: nn.Linear) -> nn.Module:
    second.weight = first.weight
    return nn.Sequential(first, nn.ReLU(), second)


# Memory layout.

add_forms(
    PICTURES,
    lenet_view=lambda: Calls(
        lambda m, x: m.fc(m.conv(x).view(x.size(0), -1)), conv=nn.Conv2d(3, 4, 3), fc=nn.Linear(196, 5)
    ),
    view_after_transposed=lambda: Calls(lambda m, x: m.conv(x).view(len(x), -1), conv=nn.ConvTranspose2d(3, 2, 2)),
    channels_last=lambda: Calls(
        lambda m, x: m.conv(x.contiguous(memory_format=torch.channels_last)), conv=nn.Conv2d(3, 4, 3)
    ).to(memory_format=torch.channels_last),
    strided_input=lambda: Calls(lambda m, x: m.conv(x[:, :, ::2, 1::2]).view(len(x), -1), conv=nn.Conv2d(3, 4, 3)),
    transposed_input=lambda: Calls(lambda m, x: m.fc(x.transpose(1, 3)).view(4, -1), fc=nn.Linear(3, 5)),
    expanded_input=lambda: Calls(lambda m, x: m.conv(x[:, :1].expand(-1, 3, -1, -1)), conv=nn.Conv2d(3, 4, 3)),
    in_place_after=lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3)),
    views_on_outputs=lambda: Calls(lambda m, x: m.fc(x).view(4, 3, 9, 5, 1)[..., 0].mul_(2), fc=nn.Linear(9, 5)),
)
add_forms((4, 8, 6), view_after_linear=lambda: Calls(lambda m, x: m.fc(x).view(-1, 5), fc=nn.Linear(6, 5)))

# Recurrent layers.


def packed() -> Any:
    return rnn.pack_padded_sequence(torch.randn(5, 3, 8), torch.tensor([5, 3, 2]))


add_forms(
    SEQUENCES,
    lstm=lambda: nn.LSTM(8, 6),
    lstm_deep_both_ways=lambda: nn.LSTM(8, 6, 2, bidirectional=True, dropout=0.3),
    lstm_projected=lambda: nn.LSTM(8, 6, proj_size=3),
    lstm_no_bias_batch_first=lambda: nn.LSTM(8, 6, bias=False, batch_first=True),
    gru=lambda: nn.GRU(8, 6, 2),
    rnn_relu=lambda: nn.RNN(8, 6, nonlinearity="relu"),
    lstm_cell=lambda: Calls(_cell_by_cell, cell=nn.LSTMCell(8, 6)),
    gru_cell=lambda: Calls(_cell_by_cell, cell=nn.GRUCell(8, 6)),
    rnn_cell=lambda: Calls(_cell_by_cell, cell=nn.RNNCell(8, 6)),
    lstm_last_step=lambda: Calls(lambda m, x: m.fc(m.lstm(x)[1][0][-1]), lstm=nn.LSTM(8, 6), fc=nn.Linear(6, 3)),
    lstm_weight_norm=lambda: weight_norm(nn.LSTM(8, 6), "weight_hh_l0"),
)
add_forms([SEQUENCES, lambda: (torch.randn(1, 4, 6), torch.randn(1, 4, 6))], lstm_from_a_state=lambda: nn.LSTM(8, 6))
add_forms(packed, lstm_packed=lambda: Calls(lambda m, x: rnn.pad_packed_sequence(m.lstm(x)[0])[0], lstm=nn.LSTM(8, 6)))


def _cell_by_cell(model: Any, x: Tensor) -> Tensor:
    state = None
    for step in x:
        state = model.cell(step, state)
    return state[0] if isinstance(state, tuple) else state


# Attention and embeddings.


def attention(**settings: Any) -> nn.MultiheadAttention:
    return nn.MultiheadAttention(8, 2, **settings)


causal = nn.Transformer.generate_square_subsequent_mask
add_forms(
    SEQUENCES,
    attention=lambda: Calls(lambda m, x: m.mha(x, x, x), mha=attention()),
    attention_batch_first=lambda: Calls(
        lambda m, x: m.mha(x, x, x, need_weights=False)[0], mha=attention(batch_first=True)
    ),
    attention_each_head=lambda: Calls(lambda m, x: m.mha(x, x, x, average_attn_weights=False), mha=attention()),
    attention_causal=lambda: Calls(
        lambda m, x: m.mha(x, x, x, attn_mask=causal(5), is_causal=True, need_weights=False)[0], mha=attention()
    ),
    attention_padding=lambda: Calls(
        lambda m, x: m.mha(x, x, x, key_padding_mask=torch.arange(5).expand(4, 5) > 3)[0], mha=attention()
    ),
    attention_extra=lambda: Calls(lambda m, x: m.mha(x, x, x)[0], mha=attention(add_bias_kv=True, add_zero_attn=True)),
    attention_no_bias=lambda: Calls(lambda m, x: m.mha(x, x, x)[0], mha=attention(bias=False)),
    encoder_layer=lambda: nn.TransformerEncoderLayer(8, 2, 16),
    encoder_layer_norm_first=lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True),
    encoder=lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False
    ),
    scaled_dot_product=lambda: Calls(
        lambda m, x: m.out(F.scaled_dot_product_attention(*m.qkv(x)[:, :, None].chunk(3, -1))),
        qkv=nn.Linear(8, 24),
        out=nn.Linear(8, 4),
    ),
)
add_forms([SEQUENCES, (7, 4, 8)], decoder_layer=lambda: nn.TransformerDecoderLayer(8, 2, 16))
add_forms(
    [SEQUENCES, (7, 4, 6), (7, 4, 4)],
    attention_between=lambda: Calls(lambda m, x, k, v: m.mha(x, k, v)[0], mha=attention(kdim=6, vdim=4)),
)
add_forms(
    lambda: torch.randint(11, (4, 6)),
    embedding=lambda: nn.Sequential(nn.Embedding(11, 8), nn.Linear(8, 3)),
    embedding_bag=lambda: nn.Sequential(nn.EmbeddingBag(11, 8), nn.Linear(8, 3)),
    embedding_tied_to_head=lambda: Calls(
        lambda m, x: F.linear(m.table(x).mean(1), m.table.weight), table=nn.Embedding(11, 8)
    ),
    one_hot=lambda: Calls(lambda m, x: F.one_hot(x, 11).float() @ m.w, w=_w(11, 5)),
)

# Several inputs and outputs.

Answer = namedtuple("Answer", "scores features")
add_forms(
    [(6, 8), lambda: None, lambda: {"more": torch.randn(6, 3), "flag": True}],
    inputs_of_all_kinds=lambda: Calls(
        lambda m, x, nothing, named: m.a(x) + m.b(named["more"]), a=nn.Linear(8, 5), b=nn.Linear(3, 5)
    ),
)
add_forms(
    VECTORS,
    named_outputs=lambda: Calls(
        lambda m, x: {"one": m.a(x), "two": [m.b(x), None, 3]}, a=nn.Linear(8, 5), b=nn.Linear(8, 2)
    ),
    named_tuple=lambda: Calls(lambda m, x: Answer(m.a(x), x), a=nn.Linear(8, 5)),
)
add_forms(
    [VECTORS, lambda: torch.randint(3, (6,))],
    integer_input_chooses=lambda: Calls(
        lambda m, x, i: torch.einsum("bi,bio->bo", x, m.w[i]) + m.fc(x), w=_w(3, 8, 5), fc=nn.Linear(8, 5)
    ),
)

# Weights that depend on the input: products of two activations, which stay digital.

add_forms(
    VECTORS,
    generated_weights=lambda: Calls(
        lambda m, x: torch.bmm(m.make(x).view(-1, 5, 8), x[:, :, None])[..., 0], make=nn.Linear(8, 40)
    ),
    mixed_weights=lambda: Calls(
        lambda m, x: torch.einsum("bi,bio->bo", x, torch.einsum("be,eio->bio", m.gate(x).softmax(-1), m.w)),
        gate=nn.Linear(8, 3),
        w=_w(3, 8, 5),
    ),
    gram=lambda: Calls(lambda m, x: m.fc(x) @ m.fc(x).T, fc=nn.Linear(8, 5)),
)
add_forms(
    PICTURES,
    conv_with_generated_weights=lambda: Calls(
        lambda m, x: F.conv2d(x.view(1, -1, 9, 9), m.make(x.mean((2, 3))).view(-1, 1, 3, 3), groups=12),
        make=nn.Linear(3, 27),
    ),
    squeeze_and_excite=lambda: Calls(
        lambda m, x: m.conv(x) * m.fc(x.mean((2, 3)))[:, :, None, None].sigmoid(),
        conv=nn.Conv2d(3, 4, 3),
        fc=nn.Linear(3, 4),
    ),
)

# Control flow that depends on the input, and steps aside from torch.


def pair_of_layers() -> dict[str, nn.Module]:
    return {"a": nn.Linear(8, 8), "b": nn.Linear(8, 8)}


def _exits_early(model: Any, x: Tensor) -> Tensor:
    y = model.a(x)
    return model.b(y) if y.std() < 100 else y


def _loops_until(model: Any, x: Tensor) -> Tensor:
    while x.abs().max() > 0.1:
        x = 0.3 * torch.tanh(model.a(x))
    return x


def _routed(model: Any, x: Tensor) -> Tensor:
    y, chosen = torch.zeros(len(x), 5), model.gate(x).argmax(1)
    for number, expert in enumerate(model.experts):
        rows = (chosen == number).nonzero()[:, 0]
        if len(rows):
            y[rows] = expert(x[rows])
    return y


def _remembers(model: Any, x: Tensor) -> Tensor:
    model.last = model.a(x)
    return model.b(model.last)


def _tells(model: Any, x: Tensor) -> Tensor:
    y = model.a(x)
    model.told = f"mean {y.mean().item():.3f}"
    return model.b(y)


def _tries(model: Any, x: Tensor) -> Tensor:
    try:
        return model.a(x[:, :3])
    except RuntimeError:
        return model.a(x)


class Signs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sign() * 0.5

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def _keeps_features() -> nn.Module:
    model = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 5))
    features: list[Tensor] = []
    model[0].register_forward_hook(lambda layer, inputs, output: features.append(output))
    return Calls(lambda m, x: (m.body(x), features.pop()), body=model)


add_forms(
    VECTORS,
    exits_early=lambda: Calls(_exits_early, **pair_of_layers()),
    loops_until=lambda: Calls(_loops_until, **pair_of_layers()),
    routed_experts=lambda: Calls(
        _routed, gate=nn.Linear(8, 3), experts=nn.ModuleList(nn.Linear(8, 5) for _ in range(3))
    ),
    remembers=lambda: Calls(_remembers, **pair_of_layers()),
    tells=lambda: Calls(_tells, **pair_of_layers()),
    tries=lambda: Calls(_tries, **pair_of_layers()),
    keeps_features=_keeps_features,
    scaled_by_a_number=lambda: Calls(lambda m, x: m.a(x) * float(x.max()), **pair_of_layers()),
    chosen_rows=lambda: Calls(lambda m, x: m.a(x[x[:, 0] > 0]), **pair_of_layers()),
    own_gradient=lambda: Calls(lambda m, x: m.b(Signs.apply(m.a(x))), **pair_of_layers()),
    numpy_between=lambda: Calls(lambda m, x: m.b(torch.from_numpy(m.a(x).detach().numpy().copy())), **pair_of_layers()),
    symbolic_graph=lambda: torch.fx.symbolic_trace(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 5))),
)


# Weights that other products, constants or steps aside from torch make.


def _by_hand(model: Any, x: Tensor) -> Tensor:
    state = torch.zeros(x.shape[1], 6)
    for step in x:
        state = torch.tanh(model.of_input(step) + model.of_state(state))
    return state


add_forms(
    VECTORS,
    folded_weights=lambda: Calls(lambda m, x: F.linear(x, m.w @ m.v), w=_w(5, 3), v=_w(3, 8)),
    folded_weights_on_the_right=lambda: Calls(lambda m, x: x @ (m.v @ m.w), v=_w(8, 3), w=_w(3, 5)),
    merged_low_rank=lambda: Calls(
        lambda m, x: F.linear(x, m.a.weight + m.w @ m.v), a=nn.Linear(8, 5), w=_w(5, 3), v=_w(3, 8)
    ),
    weight_of_a_code=lambda: Calls(
        lambda m, x: F.linear(x, m.make(m.code).view(5, 8)), make=nn.Linear(4, 40), code=_w(4)
    ),
    circulant=lambda: Calls(lambda m, x: F.linear(x, torch.stack([m.w.roll(i) for i in range(8)])), w=_w(8)),
    constant_transform=lambda: Calls(
        lambda m, x: m.a(x @ torch.cos(0.3 * torch.arange(8.0)[:, None] * torch.arange(8.0))), a=nn.Linear(8, 5)
    ),
    mix_of_layers=lambda: Calls(
        lambda m, x: torch.einsum("l,lbd->bd", m.w.softmax(0), torch.stack([x, x**2])), w=_w(2)
    ),
    cosine_classifier=lambda: Calls(lambda m, x: F.linear(F.normalize(x), F.normalize(m.w)), w=_w(5, 8)),
    layer_of_a_constant=lambda: Calls(lambda m, x: m.a(torch.ones(2, 8)).sum() + m.b(x), **pair_of_layers()),
    held_outside_of_torch=lambda: Calls(lambda m, x: F.linear(x, m.box[0]), box=[torch.randn(5, 8)]),
    complex_numbers=lambda: Calls(lambda m, x: (torch.fft.fft(x) @ torch.view_as_complex(m.w)).abs(), w=_w(8, 5, 2)),
    whole_numbers=lambda: Calls(lambda m, x: (9 * x).long() @ (9 * m.w).long(), w=_w(8, 5)),
    sparse_weight=lambda: Calls(lambda m, x: torch.sparse.mm(m.w.to_sparse(), x.T), w=_w(5, 8)),
    distances=lambda: Calls(lambda m, x: torch.cdist(x, m.w), w=_w(5, 8)),
    numpy_weight=lambda: Calls(lambda m, x: F.linear(x, torch.from_numpy(m.n)), n=torch.randn(5, 8).numpy()),
)
add_forms(
    SEQUENCES,
    recurrence_by_hand=lambda: Calls(_by_hand, of_input=nn.Linear(8, 6), of_state=nn.Linear(6, 6)),
    learned_queries=lambda: Calls(
        lambda m, x: m.mha(m.tokens.expand(-1, x.shape[1], -1), x, x)[0], tokens=_w(3, 1, 8), mha=attention()
    ),
)


class OwnLinear(torch.autograd.Function):
    """A product with a gradient of its own, as quantisation libraries have it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x.mm(weight.t()) + bias

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return gradient @ weight, gradient.t() @ x, gradient.sum(0)


class PassesOn(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def _under_own_mode(model: Any, x: Tensor) -> Tensor:
    with PassesOn():
        return model.a(x)


def _scripted_function() -> nn.Module:
    script = torch.jit.CompilationUnit("def product(x, w):\n    return torch.relu(x @ w)\n").product
    return Calls(lambda m, x: script(x, m.w) + m.a(x), w=_w(8, 8), a=nn.Linear(8, 8))


add_forms(
    VECTORS,
    own_linear_gradient=lambda: Calls(lambda m, x: OwnLinear.apply(x, m.w, m.b), w=_w(5, 8), b=_w(5)),
    under_own_mode=lambda: Calls(_under_own_mode, **pair_of_layers()),
    scripted_function=_scripted_function,
)
