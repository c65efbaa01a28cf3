"""How NSGA-II ranks parents and makes a child of two (Deb et al., 2002). Plain functions on arrays.

Genes are whole numbers: see `pipeline.samplers.genome`. Losses are objectives with the sign that makes smaller better.
"""

import numpy as np

from pipeline.optuna_private import non_domination_rank

CROSSOVER_PROBABILITY = 0.9  # Deb et al.; without crossover the child starts as a copy of its first parent


def rank_and_crowding(losses: np.ndarray, violations: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Rank and crowding distance of each row of `losses` (n, objectives).

    A row is feasible if its violation (n,) is 0; without `violations` all are. Feasible rows have the number of their
    front as rank, best 0. The others follow, the least violation first. Only rows of one rank crowd each other.
    (Optuna's function for this distance takes trials; candidates are not trials yet.)
    """
    rank, crowding = non_domination_rank(losses, violations), np.zeros(len(losses))
    for number in np.unique(rank):
        front = np.flatnonzero(rank == number)
        for column in losses.T:
            order = front[np.argsort(column[front], kind="stable")]
            width = column[order[-1]] - column[order[0]]
            crowding[order[[0, -1]]] = np.inf
            if width > 0:
                crowding[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / width
    return rank, crowding


def tournament(rng: np.random.Generator, rank: np.ndarray, crowding: np.ndarray) -> int:
    """The better of two parents drawn at random: the lower rank wins, then the larger crowding distance."""
    one, other = rng.integers(len(rank), size=2)
    return int(min(one, other, key=lambda k: (rank[k], -crowding[k])))


def child(
    rng: np.random.Generator, first: np.ndarray, second: np.ndarray, sizes: np.ndarray, mutation_probability: float
) -> np.ndarray:
    """Uniform crossover of two parents; then each gene may mutate to another of its `sizes` values."""
    genes = first.copy()
    if rng.random() < CROSSOVER_PROBABILITY:
        genes = np.where(rng.random(len(genes)) < 0.5, first, second)
    mutated = rng.random(len(genes)) < mutation_probability
    return np.where(mutated, (genes + rng.integers(1, sizes)) % sizes, genes)
