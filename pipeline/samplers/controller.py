"""The RNN controller of NACIM and of Zoph & Le (2017): an LSTM that makes one decision after another.

Each decision has its own softmax over its choices. The choice made is embedded and becomes the input of the next one.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

HIDDEN = 32  # assumed: Zoph & Le take 35 and two layers
_SPREAD = 0.08  # initial weights are uniform within plus and minus this, as those of Zoph & Le
_GATES = [0, 1, 3, 2]  # weights are drawn for the gates i, f, o, g; torch keeps them as i, f, g, o


class Controller(nn.Module):
    """A policy over sequences of choices, in float64.

    Args:
        choices: Number of choices of each decision, in order.
        rng: Draws the initial weights.
    """

    def __init__(self, choices: Sequence[int], rng: np.random.Generator) -> None:
        super().__init__()
        heads = [nn.Linear(HIDDEN, count) for count in choices]
        tables = [nn.Embedding(count, HIDDEN) for count in choices]
        self.start = nn.Parameter(torch.empty(HIDDEN))  # input of the first decision
        self.lstm = nn.LSTM(HIDDEN, HIDDEN)
        self.heads, self.embeddings = nn.ModuleList(heads), nn.ModuleList(tables[:-1])
        self.double()

        def drawn(*shape: int) -> Tensor:
            return torch.from_numpy(rng.uniform(-_SPREAD, _SPREAD, shape))

        with torch.no_grad():
            self.start.copy_(drawn(HIDDEN))
            of_input, of_state, bias, second_bias = self.lstm.all_weights[0]
            weights = drawn(4, HIDDEN, 2 * HIDDEN)[_GATES].flatten(0, 1)
            of_input.copy_(weights[:, :HIDDEN])
            of_state.copy_(weights[:, HIDDEN:])
            bias.copy_(drawn(4, HIDDEN)[_GATES].flatten())
            second_bias.zero_().requires_grad_(False)  # the sum of both counts; one is enough
            for head, table in zip(heads, tables, strict=True):
                for parameter in (head.weight, head.bias, table.weight):
                    parameter.copy_(drawn(*parameter.shape))

    def log_probabilities(self, made: Sequence[int]) -> list[Tensor]:
        """Of each decision's choices (choices,), for the decisions `made` and for the next one if there is one."""
        embedded = (table(torch.tensor(choice)) for table, choice in zip(self.embeddings, made, strict=False))
        hidden, _ = self.lstm(torch.stack([self.start, *embedded]))
        return [head(h).log_softmax(-1) for head, h in zip(self.heads, hidden, strict=False)]

    @torch.no_grad()
    def sample(self, rng: np.random.Generator) -> list[int]:
        """One choice per decision, drawn from the policy."""
        made: list[int] = []
        for _ in self.heads:
            p = self.log_probabilities(made)[-1].exp().numpy()
            made.append(int(rng.choice(len(p), p=p)))
        return made

    def objective(self, made: Sequence[int], advantage: float, entropy_weight: float) -> Tensor:
        """What learning ascends: sum over decisions of advantage * log p + entropy_weight * entropy.

        Args:
            made: The choice of each decision.
            advantage: Reward less baseline.
            entropy_weight: Weight of the entropy of each decision.
        """
        decisions = zip(self.log_probabilities(made), made, strict=True)
        return torch.stack(
            [advantage * log_p[choice] - entropy_weight * (log_p.exp() * log_p).sum() for log_p, choice in decisions]
        ).sum()
