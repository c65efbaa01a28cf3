"""NACIM's optimizer as an Optuna sampler: an RNN controller trained by policy gradient (REINFORCE)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from pipeline.design.metrics import METRICS
from pipeline.optuna_private import cached_trials
from pipeline.samplers.controller import Controller
from pipeline.samplers.genome import Genome
from pipeline.seeds import stream

LEARNING_RATE = 0.01  # of Adam; assumed: 0.003 learns too slowly for 500 trials, 0.03 settles early on less
BASELINE_DECAY = 0.9  # of the moving average of rewards; assumed
ENTROPY_WEIGHT = 0.02  # assumed: keeps the choices open until the rewards tell them apart


class ReinforceSampler(BaseSampler):
    """Samples from a `Controller` that learns from each finished trial.

    The controller depends on the seed and on the finished trials in the order of their completion alone. A resumed
    study rebuilds it by the same updates.

    A trial's reward is the mean over objectives of value / best value so far, or best / value for what is minimized.
    A design that cannot exist or breaks a constraint earns 0.

    Args:
        seed: Of the study.
        genome: Its parameters, decided in their order.
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
        done = [
            trial for trial in done if "duplicate_of" not in trial.user_attrs
        ]  # its end says nothing about its design
        done = sorted(done, key=lambda trial: (trial.datetime_complete, trial.number))
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


class _Learner:
    """A controller with its optimizer, baseline and best values: all that one more finished trial changes."""

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
