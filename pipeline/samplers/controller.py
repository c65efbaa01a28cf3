"""The RNN controller of NACIM and of Zoph & Le (2017): an LSTM that makes one decision after another. NumPy only.

Decision t has its own softmax over its choices; the choice made is embedded and becomes the input of decision t + 1.
Equations, with sigma the logistic function and * elementwise:

    [i, f, o, g] = W [x; h] + b        i, f, o through sigma, g through tanh
    c' = f * c + i * g                 h' = o * tanh(c')
    p_t = softmax(V_t h' + d_t)        x of t + 1 = E_t[choice]
"""

from collections.abc import Sequence

import numpy as np

HIDDEN = 32  # assumed: Zoph & Le take 35 and two layers
_Step = dict[str, np.ndarray]  # what one decision computed, each (sequences, ...)
_SPREAD = 0.08  # initial weights are uniform within plus and minus this, as those of Zoph & Le


class Controller:
    """A policy over sequences of choices.

    Args:
        choices: Number of choices of each decision, in order.
        rng: Draws the initial weights.

    Attributes:
        theta: All weights in one vector; change it in place.
    """

    def __init__(self, choices: Sequence[int], rng: np.random.Generator) -> None:
        self.choices = tuple(choices)
        shapes = {"start": (HIDDEN,), "W": (4 * HIDDEN, 2 * HIDDEN), "b": (4 * HIDDEN,)}
        for t, count in enumerate(self.choices):
            shapes |= {f"V{t}": (count, HIDDEN), f"d{t}": (count,), f"E{t}": (count, HIDDEN)}
        self._shapes = shapes
        self.theta = rng.uniform(-_SPREAD, _SPREAD, sum(int(np.prod(shape)) for shape in shapes.values()))
        self._weights = self._views(self.theta)

    def sample(self, rng: np.random.Generator) -> list[int]:
        """One choice per decision, drawn from the policy."""
        made: list[int] = []
        step: _Step | None = None
        for t in range(len(self.choices)):
            step = self._step(t, np.array(made[-1:]), step)
            made.append(int(rng.choice(self.choices[t], p=step["p"][0])))
        return made

    def objective(self, made: np.ndarray, advantage: np.ndarray, entropy_weight: float) -> float:
        """What `gradient` is the gradient of: mean over sequences of advantage * log p + entropy_weight * entropy."""
        total = 0.0
        for t, step in enumerate(self._forward(made)):
            log_p = np.log(step["p"])
            chosen = log_p[np.arange(len(made)), made[:, t]]
            total += float((advantage * chosen - entropy_weight * (step["p"] * log_p).sum(-1)).mean())
        return total

    def gradient(self, made: np.ndarray, advantage: np.ndarray, entropy_weight: float) -> np.ndarray:
        """Gradient of `objective` with respect to `theta`.

        Args:
            made: Choices, integers (sequences, decisions).
            advantage: Reward less baseline of each sequence (sequences,).
            entropy_weight: Weight of the entropy of each decision.
        """
        steps = self._forward(made)
        flat = np.zeros_like(self.theta)
        grad, rows = self._views(flat), np.arange(len(made))
        d_h = d_c = np.zeros((len(made), HIDDEN))
        for t in reversed(range(len(steps))):
            step = steps[t]
            p, log_p = step["p"], np.log(step["p"])
            d_logits = -advantage[:, None] * p
            d_logits[rows, made[:, t]] += advantage
            d_logits -= entropy_weight * p * (log_p - (p * log_p).sum(-1, keepdims=True))
            d_logits /= len(made)
            grad[f"V{t}"] += d_logits.T @ step["h"]
            grad[f"d{t}"] += d_logits.sum(0)
            d_h = d_h + d_logits @ self._weights[f"V{t}"]
            d_gates, d_c = _cell_backward(step, d_h, d_c)
            grad["W"] += d_gates.T @ step["xh"]
            grad["b"] += d_gates.sum(0)
            d_xh = d_gates @ self._weights["W"]
            d_x, d_h = d_xh[:, :HIDDEN], d_xh[:, HIDDEN:]
            if t:
                np.add.at(grad[f"E{t - 1}"], made[:, t - 1], d_x)
            else:
                grad["start"] += d_x.sum(0)
        return flat

    def _forward(self, made: np.ndarray) -> list[_Step]:
        """All steps for the choices `made` (sequences, decisions)."""
        steps: list[_Step] = []
        for t in range(len(self.choices)):
            steps.append(self._step(t, made[:, t - 1], steps[-1] if t else None))
        return steps

    def _step(self, t: int, last: np.ndarray, before: _Step | None) -> _Step:
        """Decision `t` after the choices `last` (sequences,) and the step before; the first step reads neither."""
        weights = self._weights
        if before is None:
            count = max(len(last), 1)
            x, h, c = np.tile(weights["start"], (count, 1)), np.zeros((count, HIDDEN)), np.zeros((count, HIDDEN))
        else:
            x, h, c = weights[f"E{t - 1}"][last], before["h"], before["c"]
        xh = np.hstack([x, h])
        gates = xh @ weights["W"].T + weights["b"]
        i, f, o = (1 / (1 + np.exp(-gates[:, k * HIDDEN : (k + 1) * HIDDEN])) for k in range(3))
        g = np.tanh(gates[:, 3 * HIDDEN :])
        new_c = f * c + i * g
        new_h = o * np.tanh(new_c)
        logits = new_h @ weights[f"V{t}"].T + weights[f"d{t}"]
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        return {"xh": xh, "i": i, "f": f, "o": o, "g": g, "before": c, "c": new_c, "h": new_h, "p": p}

    def _views(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        views, at = {}, 0
        for name, shape in self._shapes.items():
            size = int(np.prod(shape))
            views[name] = flat[at : at + size].reshape(shape)
            at += size
        return views


def _cell_backward(step: _Step, d_h: np.ndarray, d_c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of an LSTM cell's gates (before their functions) and of its former state."""
    i, f, o, g, squashed = step["i"], step["f"], step["o"], step["g"], np.tanh(step["c"])
    d_c = d_c + d_h * o * (1 - squashed**2)
    d_gates = np.hstack(
        [
            d_c * g * i * (1 - i),
            d_c * step["before"] * f * (1 - f),
            d_h * squashed * o * (1 - o),
            d_c * i * (1 - g**2),
        ]
    )
    return d_gates, d_c * f
