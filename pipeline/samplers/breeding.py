"""How NSGA-II makes a child of its parents (Deb et al., 2002). Plain functions on arrays.

Genes are whole numbers, see `pipeline.samplers.genome`. Losses are objectives with the sign that makes smaller better.
"""

import numpy as np

from pipeline.design.pareto import nondominated

CROSSOVER_PROBABILITY = 0.9  # of Deb et al.; else the child begins as a copy of its first parent


def rank_and_crowding(losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of the front of each row of `losses` (n, objectives), best 0, and its crowding distance within it."""
    rank, crowding = np.zeros(len(losses), dtype=int), np.zeros(len(losses))
    left = np.arange(len(losses))
    while len(left):
        first = nondominated(losses[left])
        front, left = left[first], left[~first]
        rank[left] += 1
        for column in losses.T:
            order = front[np.argsort(column[front], kind="stable")]
            width = column[order[-1]] - column[order[0]]
            crowding[order[[0, -1]]] = np.inf
            if width > 0:
                crowding[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / width
    return rank, crowding


def tournament(rng: np.random.Generator, rank: np.ndarray, crowding: np.ndarray) -> int:
    """The better of two drawn at random: of lower rank, or as good and less crowded."""
    one, other = rng.integers(len(rank), size=2)
    return int(min(one, other, key=lambda k: (rank[k], -crowding[k])))


def child(
    rng: np.random.Generator, mother: np.ndarray, father: np.ndarray, sizes: np.ndarray, mutation_probability: float
) -> np.ndarray:
    """Uniform crossover; then each gene takes another of its `sizes` values with `mutation_probability`."""
    genes = mother.copy()
    if rng.random() < CROSSOVER_PROBABILITY:
        genes = np.where(rng.random(len(genes)) < 0.5, mother, father)
    mutated = rng.random(len(genes)) < mutation_probability
    return np.where(mutated, (genes + rng.integers(1, sizes)) % sizes, genes)
