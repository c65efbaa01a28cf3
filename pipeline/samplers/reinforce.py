"""NACIM's optimizer as an Optuna sampler: an RNN controller trained by policy gradient (REINFORCE)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState
from torch import Tensor, nn

from pipeline.design.metrics import METRICS
from pipeline.optuna_private import cached_trials
from pipeline.samplers.genome import Genome
from pipeline.seeds import stream

LEARNING_RATE = 0.01  # of Adam; assumed: 0.003 learns too slowly for 500 trials, 0.03 converges early to worse designs
BASELINE_DECAY = 0.9  # of the moving average of rewards; assumed
ENTROPY_WEIGHT = 0.02  # assumed: keeps the choices open until the rewards tell them apart
HIDDEN = 32  # units of the LSTM, assumed: Zoph & Le take 35 and two layers
_SPREAD = 0.08  # initial weights are uniform within plus and minus this, as those of Zoph & Le
_GATES = [0, 1, 3, 2]  # weights are drawn for the gates i, f, o, g; torch keeps them as i, f, g, o


class ReinforceSampler(BaseSampler):
    """Samples from a `Controller` that learns from each finished trial.

    The controller depends only on the seed and the finished trials in order of completion. A resumed study rebuilds
    it by the same updates.

    A trial's reward is the mean over objectives of value / best value so far, or best / value for what is minimized.
    A design that cannot exist or breaks a constraint earns 0. Parameters are decided in the order of the genome.
    """

    def __init__(self, seed: int, genome: Genome) -> None:
        self._seed = seed
        self._genome = genome
        self._minimized = np.array([METRICS[name].direction == "minimize" for name in genome.objectives])
        self._learner = self._new_learner()
        self._learnt: list[int] = []  # numbers of the trials that the learner has seen

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._genome.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._learn(study)
        made = self._learner.controller.sample(stream(self._seed, trial.number))
        return self._genome.parameters(np.array(made))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise ValueError(f"parameter {param_name!r} is not one of this study: {', '.join(self._genome.names)}")

    def _new_learner(self) -> "_Learner":
        return _Learner(Controller(self._genome.sizes.tolist(), stream(self._seed, "controller")))

    def _learn(self, study: optuna.Study) -> None:
        done = cached_trials(study, (TrialState.COMPLETE, TrialState.PRUNED))
        # Duplicates of a design running elsewhere ended without a reward.
        done = [trial for trial in done if "duplicate_of" not in trial.user_attrs and self._genome.holds(trial.params)]
        done.sort(key=lambda trial: (trial.datetime_complete, trial.number))
        numbers = [trial.number for trial in done]
        if numbers[: len(self._learnt)] != self._learnt:
            self._learner, self._learnt = self._new_learner(), []
        for trial in done[len(self._learnt) :]:
            self._learner.learn(self._genome.genes(trial.params).tolist(), self._scores(trial))
        self._learnt = numbers

    def _scores(self, trial: FrozenTrial) -> np.ndarray | None:
        """Objective values, inverted where smaller is better; None if the design is infeasible."""
        if trial.state is TrialState.PRUNED or "infeasible" in trial.user_attrs:
            return None
        values = np.maximum(trial.values, 1e-300)
        return np.asarray(np.where(self._minimized, 1 / values, values))


class Controller(nn.Module):
    """The RNN controller of NACIM and of Zoph & Le (2017), in float64: an LSTM that makes one decision after another.

    Each decision has its own softmax over its choices. The choice made is embedded and becomes the input of the next.
    `choices` are the numbers of choices, one per decision; `rng` draws the initial weights.
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
            second_bias.zero_().requires_grad_(False)  # torch adds both; one is enough
            for head, table in zip(heads, tables, strict=True):
                for parameter in (head.weight, head.bias, table.weight):
                    parameter.copy_(drawn(*parameter.shape))

    def log_probabilities(self, made: Sequence[int]) -> list[Tensor]:
        """Log probabilities (choices,) of each decision `made`, and of the next one if there is one."""
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
        """What learning ascends: sum over decisions of advantage * log p + entropy_weight * entropy."""
        decisions = zip(self.log_probabilities(made), made, strict=True)
        return torch.stack(
            [advantage * log_p[choice] - entropy_weight * (log_p.exp() * log_p).sum() for log_p, choice in decisions]
        ).sum()


class _Learner:
    """A controller with its optimizer, baseline and best values: all that a finished trial updates."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self._best: np.ndarray | None = None
        self._baseline: float | None = None
        self._adam = torch.optim.Adam(controller.parameters(), LEARNING_RATE, maximize=True)

    def learn(self, made: Sequence[int], scores: np.ndarray | None) -> None:
        reward = self._reward(scores)
        advantage = 0.0 if self._baseline is None else reward - self._baseline
        before = reward if self._baseline is None else self._baseline
        self._baseline = BASELINE_DECAY * before + (1 - BASELINE_DECAY) * reward
        self._adam.zero_grad()
        self.controller.objective(made, advantage, ENTROPY_WEIGHT).backward()
        self._adam.step()

    def _reward(self, scores: np.ndarray | None) -> float:
        """Mean of the scores, each a share of the best so far; 0 for an infeasible design."""
        if scores is None:
            return 0.0
        self._best = scores if self._best is None else np.maximum(self._best, scores)
        return float((scores / np.maximum(self._best, 1e-300)).mean())
