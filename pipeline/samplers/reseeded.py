"""Optuna's other samplers, reseeded for each trial, so that a resumed study neither repeats nor changes draws."""

from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from pipeline.optuna_private import reseed
from pipeline.samplers.genome import Genome
from pipeline.seeds import seed32


class _Reseeded(BaseSampler):
    """A sampler whose draws for trial n are a function of (seed, n) and of the trials finished before it."""

    def __init__(self, seed: int, genome: Genome) -> None:  # the genome is for samplers of our own
        super().__init__(seed=seed)  # type: ignore[call-arg]
        self._study_seed = seed

    def _reseed(self, *parts: int | str) -> None:
        reseed(self, seed32(self._study_seed, *parts))

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._reseed(trial.number)
        return super().sample_relative(study, trial, search_space)  # type: ignore[safe-super]

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        self._reseed(trial.number, param_name)
        return super().sample_independent(study, trial, param_name, param_distribution)  # type: ignore[safe-super]


class ReproducibleRandom(_Reseeded, RandomSampler):
    """Draws each parameter uniformly and independently."""


class ReproducibleTPE(_Reseeded, TPESampler):
    """Tree-structured Parzen estimator, for many objectives as Ozaki et al. (2022); Optuna's own default."""


class ReproducibleGP(_Reseeded, GPSampler):
    """Gaussian processes with expected hypervolume improvement. Loads torch, and needs seconds for one trial."""
