"""LSTM, GRU and plain recurrent layers, with the gates in torch's order."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pipeline.networks.onnx_graph.node import Node, OnnxError, Operator

_GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}  # places of torch's gates in ONNX's order
_PLAIN_ACTIVATIONS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}


def _recurrent(
    node: Node,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    *states: Tensor | None,
) -> tuple[Tensor, ...]:
    """All sequences count with their full length."""
    call = _recurrent_call(node)
    if len(states) > 2 and states[2] is not None:
        raise OnnxError("peepholes (its input P) are not known here")
    x = x.transpose(0, 1) if node.get("layout", 0) else x
    backwards, both = node.get("direction") == "reverse", len(w) == 2
    x = x.flip(0) if backwards else x
    hidden, batch = r.shape[-1], x.shape[1]
    start = [states[i] if len(states) > i else None for i in range(2 if node.kind == "LSTM" else 1)]
    first = [x.new_zeros(len(w), batch, hidden) for _ in start]
    for state, given in zip(first, start, strict=True):
        if given is not None:  # copied: the matrix of a fixed first state runs like that of all others
            state.copy_(given)
    weights = [each for side in range(len(w)) for each in _of_torch(node, side, w, r, b)]
    y, *last = call(
        x, tuple(first) if node.kind == "LSTM" else first[0], weights, b is not None, 1, 0.0, False, both, False
    )
    y = y.flip(0) if backwards else y
    outputs = y.unflatten(-1, (len(w), hidden)).transpose(1, 2)  # (steps, directions, batch, hidden)
    if node.get("layout", 0):
        return outputs.permute(2, 0, 1, 3), *(each.transpose(0, 1) for each in last)
    return outputs, *last


def _recurrent_call(node: Node) -> Callable[..., Any]:
    functions = [each.capitalize() for each in node.get("activations") or ()]
    if node.get("clip") or node.get("input_forget"):
        raise OnnxError("clip and input_forget are not known here")
    if node.kind == "RNN" and set(functions) <= {"Tanh"}:
        return torch.rnn_tanh
    if node.kind == "RNN" and set(functions) == {"Relu"}:
        return torch.rnn_relu
    usual = _PLAIN_ACTIVATIONS.get(node.kind, [])
    if node.kind == "RNN" or (functions and functions not in (usual, usual * 2)):
        raise OnnxError(f"its activations {', '.join(functions)} are not known here")
    return torch.lstm if node.kind == "LSTM" else torch.gru


def _of_torch(node: Node, side: int, w: Tensor, r: Tensor, b: Tensor | None) -> list[Tensor]:
    """One direction's matrices and biases with the gates in torch's order."""
    order = _GATES[node.kind]
    biases = [] if b is None else list(b[side].chunk(2))
    found = []
    for each in (w[side], r[side], *biases):
        gates = each.chunk(len(order))
        found.append(torch.cat([gates[place] for place in order]) if len(order) > 1 else each)
    return found


OPERATORS: dict[str, Operator] = {
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
}
