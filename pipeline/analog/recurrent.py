"""LSTM, GRU and plain recurrent layers in separate torch calls.

Their matrices can then lie on crossbars, while gates and states stay digital.

The gates are those of torch.nn.LSTM, torch.nn.GRU and torch.nn.RNN, whose documentation gives the equations.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

State = tuple[Tensor, ...]  # hidden state (batch, hidden), for an LSTM also the cell state
Step = Callable[[Tensor, Tensor, State], State]  # products of the input, of the hidden state, state -> next state


def _lstm_step(of_input: Tensor, of_hidden: Tensor, state: State) -> State:
    enter, forget, candidate, out = (of_input + of_hidden).chunk(4, -1)
    cell = torch.sigmoid(forget) * state[1] + torch.sigmoid(enter) * torch.tanh(candidate)
    return torch.sigmoid(out) * torch.tanh(cell), cell


def _gru_step(of_input: Tensor, of_hidden: Tensor, state: State) -> State:
    (reset_x, update_x, new_x), (reset_h, update_h, new_h) = of_input.chunk(3, -1), of_hidden.chunk(3, -1)
    update = torch.sigmoid(update_x + update_h)
    candidate = torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)
    return ((1 - update) * candidate + update * state[0],)


def _plain_step(function: Callable[[Tensor], Tensor]) -> Step:
    return lambda of_input, of_hidden, state: (function(of_input + of_hidden),)


_STEPS: dict[str, Step] = {
    "lstm": _lstm_step,
    "gru": _gru_step,
    "rnn_tanh": _plain_step(torch.tanh),
    "rnn_relu": _plain_step(torch.relu),
}


def _cell(step: Step) -> Callable[..., Any]:
    def call(
        x: Tensor, hx: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
    ) -> Any:
        state = tuple(hx) if isinstance(hx, list | tuple) else (hx,)
        state = step(F.linear(x, w_ih, b_ih), F.linear(state[0], w_hh, b_hh), state)
        return state if len(state) > 1 else state[0]

    return call


def _layers(step: Step) -> Callable[..., Any]:
    def call(x: Tensor, *rest: Any) -> Any:
        sizes: list[int] | None = None
        if isinstance(rest[2], list | tuple):  # packed sequences: sizes come before the state
            sizes, rest = rest[0].tolist(), rest[1:]
        hx, weights, has_bias, layers, dropout, training, bidirectional, *batch_first = rest
        states = tuple(hx) if isinstance(hx, list | tuple) else (hx,)
        first = bool(batch_first and batch_first[0])
        y = x.transpose(0, 1) if sizes is None and not first else x  # (batch, steps, features), or packed
        directions = 2 if bidirectional else 1
        each, final = len(weights) // (layers * directions), []
        for layer in range(layers):
            outputs = []
            for direction in range(directions):
                place = layer * directions + direction
                own, state = weights[place * each : (place + 1) * each], tuple(s[place] for s in states)
                out, state = _one_direction(step, y, sizes, state, own, has_bias, direction == 1)
                outputs.append(out)
                final.append(state)
            y = torch.cat(outputs, -1) if directions > 1 else outputs[0]
            if dropout and training and layer < layers - 1:
                y = F.dropout(y, dropout)
        result = y.transpose(0, 1) if sizes is None and not first else y
        return (result, *(torch.stack(each) for each in zip(*final, strict=True)))

    return call


def _one_direction(
    step: Step,
    x: Tensor,
    sizes: list[int] | None,
    state: State,
    weights: Sequence[Tensor],
    has_bias: bool,
    backwards: bool,
) -> tuple[Tensor, State]:
    """All steps of one layer in one direction: the outputs in the layout of `x`, and the last state.

    With `sizes`, x holds packed sequences (sum of sizes, features): `sizes[t]` of them have a step t.
    """
    w_ih, w_hh, *others = weights
    b_ih, b_hh = others[:2] if has_bias else (None, None)
    projection = others[-1] if len(others) in (1, 3) else None  # an LSTM with proj_size
    gates = F.linear(x, w_ih, b_ih)
    steps = list(gates.unbind(1)) if sizes is None else list(gates.split(sizes))
    outputs: list[Tensor] = [gates] * len(steps)
    for t in reversed(range(len(steps))) if backwards else range(len(steps)):
        count = len(steps[t])  # sequences that have this step
        part = tuple(each[:count] for each in state)
        part = step(steps[t], F.linear(part[0], w_hh, b_hh), part)
        if projection is not None:
            part = F.linear(part[0], projection), *part[1:]
        outputs[t] = part[0]
        state = tuple(torch.cat([new, old[count:]]) for new, old in zip(part, state, strict=True))
    return (torch.stack(outputs, 1) if sizes is None else torch.cat(outputs)), state


CALLS: dict[str, Callable[..., Any]] = {name: _layers(step) for name, step in _STEPS.items()} | {
    f"{name}_cell": _cell(step) for name, step in _STEPS.items()
}
