"""Small search spaces: their designs are counted, none is proposed twice, and a sampler finds the last of them."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from pipeline.optuna_private import cached_trials
from pipeline.samplers.genome import Genes, Genome
from pipeline.seeds import stream

_MOST = 2000  # assumed: combinations that are enumerated, in some seconds; each is built and, with constraints, costed
_MOST_NETWORKS = 50  # assumed: networks built by functions among them; tracing one may take a second


class EachDesignOnce(BaseSampler):
    """A sampler whose repeats, and designs that cannot exist, are replaced by designs that no trial has had yet.

    Everything else that `inner` proposes stays as it is. Which design replaces a repeat depends on the seed, the
    trial's number and the trials before it, so that any number of workers gives the same trials.
    """

    def __init__(self, inner: BaseSampler, genome: Genome, seed: int, designs: dict[str, Genes]) -> None:
        self.inner = inner
        self._genome = genome
        self._seed = seed
        self._designs = designs  # content hash -> genes

    @property
    def designs(self) -> int:
        """Number of designs in the space that can exist and keep the constraints on cost."""
        return len(self._designs)

    def left(self, trials: Sequence[FrozenTrial]) -> list[str]:
        """Content hashes of the designs that none of `trials` has had, in the order of the space."""
        had = {trial.user_attrs.get("design_hash") for trial in trials}
        return [key for key in self._designs if key not in had]

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._genome.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space:
            return {}
        proposed = self._of_inner(study, trial)
        before = cached_trials(study)[: trial.number]
        left, had = self.left(before), {each.user_attrs.get("design_hash") for each in before}
        design = self._genome.design(self._genome.genes(proposed))
        if not left or (design is not None and design.content_hash not in had):
            return proposed
        chosen = left[int(stream(self._seed, "left", trial.number).integers(len(left)))]
        return self._genome.parameters(self._designs[chosen])

    def _of_inner(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        related = self.inner.infer_relative_search_space(study, trial)
        values = self.inner.sample_relative(study, trial, related)
        missing = {name: each for name, each in self._genome.distributions.items() if name not in values}
        return values | {n: self.inner.sample_independent(study, trial, n, each) for n, each in missing.items()}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self.inner.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self.inner.after_trial(study, trial, state, values)


def each_design_once(inner: BaseSampler, genome: Genome, seed: int) -> BaseSampler:
    """`inner`, wrapped in an `EachDesignOnce` if the space is small enough to be enumerated.

    Raises:
        ValueError: If no design of such a space keeps the constraints.
    """
    sizes = dict(zip(genome.names, genome.sizes.tolist(), strict=True))
    networks = math.prod(size for name, size in sizes.items() if name.startswith("network_"))
    if math.prod(sizes.values()) > _MOST or networks > _MOST_NETWORKS:
        return inner
    every = (np.array(choice, dtype=int) for choice in itertools.product(*map(range, sizes.values())))
    different = {design.content_hash: genes for genes in every if (design := genome.design(genes))}
    designs = {key: genes for key, genes in different.items() if not genome.violation(genes)}
    if different and not designs:
        nearest = genome.broken(min(different.values(), key=genome.violation))
        raise ValueError(f"constraints: none of the {len(different)} designs of this space keeps all ({nearest})")
    return EachDesignOnce(inner, genome, seed, designs)
