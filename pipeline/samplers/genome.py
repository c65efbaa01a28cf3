"""A study's parameters as integers, on which evolution, surrogate and controller work."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution

from hw_models.errors import InfeasibleDesign
from pipeline.design.constraints import before_training, measured_limits
from pipeline.design.design_point import DesignPoint
from pipeline.design.metrics import METRICS
from pipeline.design.pareto import to_losses
from pipeline.networks.workload import cost_before_training
from pipeline.study.search_space import SearchSpace, distribution_of
from pipeline.study.spaces import ABSENT, Dimension, Scalar

_REMEMBERED = 1000  # assumed: designs kept with their cost, so that each child is computed once
Genes = np.ndarray  # (parameters,) or (designs, parameters): positions in `Genome.values`


class Genome:
    """The searched parameters of a study.

    Attributes:
        distributions: Parameter -> its Optuna distribution.
        values: All values of each parameter; numbers ascend, an absent layer first.
        ordered: For each parameter, whether its values have an order: numbers have one, names and flags do not.
        sizes: Number of values of each parameter.
        costs: Positions of the objectives that the cost model tells exactly before training.
        trained: Positions of the others.
        limits_of_accuracy: Constraints known only after training, as the study file writes them.
    """

    def __init__(self, space: SearchSpace) -> None:
        searched = space.searched()
        self._design = functools.lru_cache(_REMEMBERED)(lambda genes: space.design_of(self.parameters(np.array(genes))))
        self._cost = functools.lru_cache(_REMEMBERED)(self._cost_of)
        self._calibrated_by = space.definition.spec.calibrated_by
        self._constraints = before_training(space.definition.spec.constraints)
        self.limits_of_accuracy = tuple(measured_limits(space.definition.spec.constraints))
        self.names = tuple(searched)
        self.distributions: dict[str, BaseDistribution] = {n: distribution_of(d) for n, d in searched.items()}
        self.ordered = np.array([_is_ordered(dimension) for dimension in searched.values()], dtype=bool)
        self.values = tuple(_ascending(dimension) for dimension in searched.values())
        self.sizes = np.array([len(values) for values in self.values])
        self.objectives = space.definition.spec.objectives
        self.costs = tuple(k for k, name in enumerate(self.objectives) if not METRICS[name].needs_training)
        self.trained = tuple(k for k in range(len(self.objectives)) if k not in self.costs)

    def parameters(self, genes: Genes) -> dict[str, Scalar]:
        return {name: self.values[k][int(genes[k])] for k, name in enumerate(self.names)}

    def genes(self, parameters: Mapping[str, Any]) -> Genes:
        """The inverse of `parameters`."""
        return np.array([self.values[k].index(parameters[name]) for k, name in enumerate(self.names)])

    def holds(self, parameters: Mapping[str, Any]) -> bool:
        """Whether `genes` knows all values; those of a trial that another program added may be others."""
        return all(name in parameters and parameters[name] in self.values[k] for k, name in enumerate(self.names))

    def random(self, rng: np.random.Generator) -> Genes:
        return np.asarray(rng.integers(self.sizes))

    def design(self, genes: Genes) -> DesignPoint | None:
        """The design that genes mean; None if it cannot exist. Different genes may mean equal designs."""
        try:
            return self._design(tuple(genes.tolist()))
        except InfeasibleDesign:
            return None

    def violation(self, genes: Genes) -> float:
        """Sum of a design's violations of the study's constraints, each relative to its limit; 0 if it keeps all."""
        if not self._constraints:
            return 0.0
        cost = self._cost(tuple(genes.tolist()))
        return sum(max(0.0, constraint.violation(cost)) for constraint in self._constraints)

    def broken(self, genes: Genes) -> str:
        """How a design breaks the study's constraints: `area 3.1 mm2 > 2.5 mm2`; empty if it keeps all."""
        cost = self._cost(tuple(genes.tolist()))
        return "; ".join(each.show(cost) for each in self._constraints if each.violation(cost) > 0)

    def cost_losses(self, genes: Genes) -> np.ndarray:
        """Losses of one design in the objectives `costs`, in their order."""
        cost = self._cost(tuple(genes.tolist()))
        names = [self.objectives[k] for k in self.costs]
        return np.asarray(to_losses(names, [[cost[METRICS[name].attribute] for name in names]])[0])

    def _cost_of(self, genes: tuple[int, ...]) -> dict[str, float]:
        return cost_before_training(self._design(genes), self._calibrated_by)

    def features(self, genes: Genes) -> np.ndarray:
        """Inputs (designs, features) of the surrogate: numbers from 0 to 1, names and flags one-hot at distance 1."""
        columns = [
            genes[:, k : k + 1] / (size - 1) if self.ordered[k] else np.eye(size)[genes[:, k]] / np.sqrt(2)
            for k, size in enumerate(self.sizes)
        ]
        return np.asarray(np.hstack(columns))


def _is_ordered(dimension: Dimension) -> bool:
    return all(type(value) in (int, float) or value == ABSENT for value in dimension.values)


def _ascending(dimension: Dimension) -> tuple[Scalar, ...]:
    if not _is_ordered(dimension):
        return dimension.values
    return tuple(sorted(dimension.values, key=lambda value: -1 if value == ABSENT else float(value)))
