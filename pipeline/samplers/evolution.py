"""NSGA-II and NSGA-III on Optuna's classes: reproducible, without duplicates, with cost and forecast put to use."""

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
from pipeline.samplers import generation_of
from pipeline.samplers.breeding import child, rank_and_crowding, tournament
from pipeline.samplers.genome import Genes, Genome
from pipeline.samplers.preselection import Preselection
from pipeline.seeds import seed32, stream

Known = set[DesignPoint | None]

_TRIES = 100  # assumed: children bred at most to find new ones


class _Evolution(BaseGASampler):
    """What NSGA-II and NSGA-III have in common here: everything but who survives.

    Each trial's draws are a function of (seed, trial number) and of the finished generations, so that a resumed study
    repeats and changes none, and so that the number of workers makes no difference.

    - First generation: a Latin hypercube. (Drawn one by one, 20 trials miss one of five devices altogether in one study
      of seventeen.)
    - Child: binary tournaments, uniform crossover, mutation; bred again while its design was proposed before, cannot
      exist, or breaks a constraint (all of them are known before training).
    - Of several children the most promising one is proposed: its cost is exact, what only training can show is
      forecast from the finished generations.

    Args:
        seed: Of the study.
        genome: Its parameters.
        population_size: Trials of a generation.
        mutation_probability: Of each gene; None: one over the number of genes.
        candidates: Children bred for each trial; 1 forecasts nothing.
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
        self._noted: dict[int, None] = {}  # numbers of the trials whose designs are known
        self._known: Known = {None}
        self._offspring: dict[int, dict[int, Genes]] = {}  # generation -> trial number -> genes
        self._mating_pool: _MatingPool | None = None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._genome.distributions

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        reseed(self, seed32(self._study_seed, "parents", generation))
        # Optuna gives them in another order when it selects them than when it finds them in the database.
        return sorted(super().get_parent_population(study, generation), key=lambda trial: trial.number)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        generation = self.get_trial_generation(study, trial)
        known = self._known_before(study, trial.number)
        rng = stream(self._study_seed, trial.number)
        genes = (
            self._child(rng, study, generation, known) if generation else self._first_genes(rng, trial.number, known)
        )
        return self._genome.parameters(genes)

    def _known_before(self, study: optuna.Study, number: int) -> Known:
        """Designs of the trials before `number`, and None for what cannot exist. Looks at each trial once."""
        if self._noted and next(reversed(self._noted)) >= number:
            self._noted, self._known, self._offspring = {}, {None}, {}
        for trial in cached_trials(study)[:number]:
            if trial.number not in self._noted and len(trial.params) == len(self._genome.names):
                genes = self._genome.genes(trial.params)
                self._noted[trial.number] = None
                self._known.add(self._genome.design(genes))
                self._offspring.setdefault(generation_of(trial), {})[trial.number] = genes
        return self._known

    def _first_genes(self, rng: np.random.Generator, number: int, known: Known) -> Genes:
        """A member of the first generation; a random one where the planned one is known or not allowed."""
        if number < self._size:
            genes: Genes = self.first_generation()[number]
            if self._genome.design(genes) not in known and not self._genome.violation(genes):
                return genes
        return self._random_genes(rng, known)

    def first_generation(self) -> Genes:
        """A Latin hypercube, (population, parameters): each parameter takes each of its values equally often."""
        columns = [
            stream(self._study_seed, name).permutation(self._size) * size // self._size
            for name, size in zip(self._genome.names, self._genome.sizes.tolist(), strict=True)
        ]
        return np.stack(columns, axis=1)

    def _random_genes(self, rng: np.random.Generator, known: Known) -> Genes:
        """A random design that is new and allowed, or else comes near."""
        drawn = self._new(known, (self._genome.random(rng) for _ in range(_TRIES)), 1)
        return drawn[0] if drawn else self._genome.random(rng)

    def _child(self, rng: np.random.Generator, study: optuna.Study, generation: int, known: Known) -> Genes:
        """The most promising of some new children; a random design if there are none."""
        stock = self._mating_pool_of(study, generation)
        bred = (stock.child(rng, self._genome.sizes, self._mutation) for _ in range(_TRIES))
        children = self._new(known, bred, self._candidates)
        if stock.preselection is None or len(children) < 2:
            return children[0] if children else self._random_genes(rng, known)
        return children[stock.preselection.best(np.array(children), self._offspring.get(generation, {}))]

    def _new(self, known: Known, proposed: Iterable[Genes], count: int) -> list[Genes]:
        """The first `count` of `proposed` that are not known and keep the constraints.

        If none of them does, the one that breaks the constraints least; an empty list if all are known.
        """
        met, allowed, broken = Known(), list[Genes](), list[tuple[float, Genes]]()
        for genes in proposed:
            design = self._genome.design(genes)
            if design in known or design in met:
                continue
            met.add(design)
            if violation := self._genome.violation(genes):
                broken.append((violation, genes))
            else:
                allowed.append(genes)
            if len(allowed) == count:
                break
        return allowed or [genes for _, genes in sorted(broken, key=lambda one: one[0])[:1]]

    def _mating_pool_of(self, study: optuna.Study, generation: int) -> "_MatingPool":
        if self._mating_pool is None or self._mating_pool.generation != generation:
            parents = self.get_parent_population(study, generation)
            done = cached_trials(study, (TrialState.COMPLETE,))
            untrained = {"infeasible", "stopped_early"}
            trained = [t for t in done if generation_of(t) < generation and not untrained & t.user_attrs.keys()]
            genes = np.array([self._genome.genes(trial.params) for trial in parents])
            violations = np.array([self._genome.violation(one) for one in genes])
            losses = to_losses(self._genome.objectives, [trial.values for trial in parents])
            rank, crowding = rank_and_crowding(losses, violations)
            self._mating_pool = _MatingPool(
                generation=generation,
                genes=genes,
                rank=rank,
                crowding=crowding,
                preselection=Preselection(self._genome, trained) if trained and self._candidates > 1 else None,
            )
        return self._mating_pool


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _MatingPool:
    """What a generation is bred from: its parents with their standing among each other."""

    generation: int
    genes: np.ndarray
    rank: np.ndarray
    crowding: np.ndarray
    preselection: Preselection | None

    def child(self, rng: np.random.Generator, sizes: np.ndarray, mutation_probability: float) -> Genes:
        mother, father = (self.genes[tournament(rng, self.rank, self.crowding)] for _ in range(2))
        return child(rng, mother, father, sizes, mutation_probability)


class ReproducibleNSGAII(_Evolution, NSGAIISampler):
    """NSGA-II (Deb et al., 2002)."""


class ReproducibleNSGAIII(_Evolution, NSGAIIISampler):
    """NSGA-III (Deb & Jain, 2014)."""
