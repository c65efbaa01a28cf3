"""NSGA-II and NSGA-III on Optuna's classes: reproducible, without duplicates, with preselection of children."""

import dataclasses
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseGASampler, NSGAIIISampler, NSGAIISampler
from optuna.trial import FrozenTrial, TrialState

from pipeline.design.design_point import DesignPoint
from pipeline.design.pareto import to_losses
from pipeline.optuna_private import cached_trials, reseed
from pipeline.samplers import generation_of, has_generation
from pipeline.samplers.breeding import child, rank_and_crowding, tournament
from pipeline.samplers.genome import Genes, Genome
from pipeline.samplers.preselection import Preselection
from pipeline.seeds import seed32, stream

Proposed = set[DesignPoint | None]  # holds None, which stands for designs that cannot exist

_TRIES = 100  # assumed: individuals drawn or bred at most to find new ones


class _Evolution(BaseGASampler):
    """What NSGA-II and NSGA-III share here: everything but the selection of survivors.

    A trial's draws depend only on (seed, trial number) and the finished generations. So a resumed study repeats no
    draw, and the number of workers changes none.

    - First generation: a Latin hypercube. (With 20 independent draws, one in 17 studies would miss one of 5 devices.)
    - Children: binary tournaments, uniform crossover, mutation. A child is bred again if its design was proposed
      before, cannot exist, or breaks a constraint (cost is known before training).
    - Of several children the most promising is proposed: costs are exact, and a surrogate predicts the other
      objectives from the finished generations.

    Args:
        population_size: Trials of a generation.
        mutation_probability: Of each gene; None: one over the number of genes.
        candidates: Children bred for each trial; with 1 there is no surrogate.
    """

    def __init__(
        self, seed: int, genome: Genome, population_size: int, mutation_probability: float | None, candidates: int
    ) -> None:
        with warnings.catch_warnings():  # NSGA-III is marked experimental
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            super().__init__(population_size=population_size, seed=seed)  # type: ignore[call-arg]
        self._study_seed = seed
        self._genome = genome
        self._size = population_size
        self._mutation = 1 / max(len(genome.names), 1) if mutation_probability is None else mutation_probability
        self._candidates = candidates
        self._read: dict[int, None] = {}  # numbers of the trials already in the next two, ascending
        self._proposed: Proposed = {None}
        self._generations: dict[int, dict[int, Genes]] = {}  # generation -> trial number -> genes
        self._mating_pool: _MatingPool | None = None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._genome.distributions

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        reseed(self, seed32(self._study_seed, "parents", generation))
        # Optuna orders parents it just selected differently from those it reads back from the database.
        return sorted(super().get_parent_population(study, generation), key=lambda trial: trial.number)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        generation = self.get_trial_generation(study, trial)
        proposed = self._proposed_before(study, trial.number)
        rng = stream(self._study_seed, trial.number)
        if generation == 0:
            return self._genome.parameters(self._first_individual(rng, trial.number, proposed))
        return self._genome.parameters(self._best_child(rng, study, generation, proposed))

    def first_generation(self) -> Genes:
        """A Latin hypercube, (population, parameters): each parameter takes each of its values equally often.

        Not `scipy.stats.qmc`, whose other draws would change the first trials of every study.
        """
        columns = [
            stream(self._study_seed, name).permutation(self._size) * size // self._size
            for name, size in zip(self._genome.names, self._genome.sizes.tolist(), strict=True)
        ]
        return np.stack(columns, axis=1)

    def _proposed_before(self, study: optuna.Study, number: int) -> Proposed:
        """Designs of the trials before `number`. Reads each trial once."""
        if self._read and next(reversed(self._read)) >= number:
            self._read, self._proposed, self._generations = {}, {None}, {}
        for trial in cached_trials(study)[:number]:
            if trial.number not in self._read and self._is_own(trial):
                genes = self._genome.genes(trial.params)
                self._read[trial.number] = None
                self._proposed.add(self._genome.design(genes))
                self._generations.setdefault(generation_of(trial), {})[trial.number] = genes
        return self._proposed

    def _is_own(self, trial: FrozenTrial) -> bool:
        """Whether a trial has genes and came from this sampler; other programs may add trials to a study."""
        return has_generation(trial) and self._genome.holds(trial.params)

    def _first_individual(self, rng: np.random.Generator, number: int, proposed: Proposed) -> Genes:
        """Trial `number` of the first generation; a random one if that was proposed before or is not allowed."""
        if number < self._size:
            genes: Genes = self.first_generation()[number]
            if self._genome.design(genes) not in proposed and not self._genome.violation(genes):
                return genes
        return self._random_individual(rng, proposed)

    def _random_individual(self, rng: np.random.Generator, proposed: Proposed) -> Genes:
        """A random new design that keeps the constraints, else the one that breaks them least; if none is new, any."""
        drawn = self._new((self._genome.random(rng) for _ in range(_TRIES)), proposed, 1)
        return drawn[0] if drawn else self._genome.random(rng)

    def _best_child(self, rng: np.random.Generator, study: optuna.Study, generation: int, proposed: Proposed) -> Genes:
        """The most promising of some new children; a random individual if there are none."""
        pool = self._pool_of(study, generation)
        bred = (pool.child(rng, self._genome.sizes, self._mutation) for _ in range(_TRIES))
        children = self._new(bred, proposed, self._candidates)
        if pool.preselection is None or len(children) < 2:
            return children[0] if children else self._random_individual(rng, proposed)
        return children[pool.preselection.best(np.array(children), self._generations.get(generation, {}))]

    def _new(self, individuals: Iterable[Genes], proposed: Proposed, count: int) -> list[Genes]:
        """The first `count` individuals whose designs are new and keep the constraints.

        If none keeps them, the new one that breaks them least; an empty list if none is new.
        """
        met, allowed, broken = Proposed(), list[Genes](), list[tuple[float, Genes]]()
        for genes in individuals:
            design = self._genome.design(genes)
            if design in proposed or design in met:
                continue
            met.add(design)
            if violation := self._genome.violation(genes):
                broken.append((violation, genes))
            else:
                allowed.append(genes)
            if len(allowed) == count:
                break
        return allowed or [genes for _, genes in sorted(broken, key=lambda one: one[0])[:1]]

    def _pool_of(self, study: optuna.Study, generation: int) -> "_MatingPool":
        if self._mating_pool is None or self._mating_pool.generation != generation:
            parents = self.get_parent_population(study, generation)
            genes = np.array([self._genome.genes(trial.params) for trial in parents])
            losses = to_losses(self._genome.objectives, [trial.values for trial in parents])
            violations = np.array([self._violation(trial, one) for trial, one in zip(parents, genes, strict=True)])
            rank, crowding = rank_and_crowding(losses, violations)
            preselection = self._preselection(study, generation) if self._candidates > 1 else None
            self._mating_pool = _MatingPool(generation, genes, rank, crowding, preselection)
        return self._mating_pool

    def _violation(self, trial: FrozenTrial, genes: Genes) -> float:
        """Sum of the violations of a trial, those of measured accuracies included."""
        measured = (trial.constraints.get(text, 0.0) for text in self._genome.limits_of_accuracy)
        return self._genome.violation(genes) + sum(max(0.0, value) for value in measured)

    def _preselection(self, study: optuna.Study, generation: int) -> Preselection | None:
        """A surrogate of the earlier generations; None if nothing in them was trained to the end."""
        complete = cached_trials(study, (TrialState.COMPLETE,))
        earlier = [trial for trial in complete if self._is_own(trial) and generation_of(trial) < generation]
        trained = [trial for trial in earlier if not {"infeasible", "stopped_early"} & trial.user_attrs.keys()]
        return Preselection(self._genome, trained) if trained else None


@dataclasses.dataclass(frozen=True, slots=True)
class _MatingPool:
    """What a generation is bred from: its parents with their ranks and crowding distances."""

    generation: int  # the one to be bred
    genes: Genes  # of the parents, (parents, parameters)
    rank: np.ndarray  # (parents,)
    crowding: np.ndarray  # (parents,)
    preselection: Preselection | None  # chooses among children; without it the first one is taken

    def child(self, rng: np.random.Generator, sizes: np.ndarray, mutation_probability: float) -> Genes:
        first, second = (self.genes[tournament(rng, self.rank, self.crowding)] for _ in range(2))
        return child(rng, first, second, sizes, mutation_probability)


class ReproducibleNSGAII(_Evolution, NSGAIISampler):
    """NSGA-II (Deb et al., 2002)."""


class ReproducibleNSGAIII(_Evolution, NSGAIIISampler):
    """NSGA-III (Deb & Jain, 2014)."""
