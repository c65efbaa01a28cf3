"""Which of several children is worth a training: cost is known exactly, what training shows is forecast."""

from collections.abc import Mapping, Sequence

import numpy as np
from optuna.trial import FrozenTrial

from pipeline.design.metrics import METRICS
from pipeline.design.pareto import nondominated, reference_point, to_losses
from pipeline.optuna_private import hypervolume
from pipeline.samplers.breeding import rank_and_crowding
from pipeline.samplers.genome import Genes, Genome
from pipeline.samplers.surrogate import fit

_OBSERVATIONS = 300  # assumed: newest trials that a forecast is made from; its time grows with the third power
_EDGE = 1e-3  # assumed: accuracies are kept this far from 0 and 1 before their logit is taken


class Preselection:
    """What the finished generations tell about designs that were not trained yet.

    Args:
        genome: Parameters and objectives.
        finished: Complete trials of the earlier generations, by number; one or more.
    """

    def __init__(self, genome: Genome, finished: Sequence[FrozenTrial]) -> None:
        self._genome = genome
        losses = to_losses(genome.objectives, [trial.values for trial in finished])
        self._front = losses[nondominated(losses)]
        self._reference = reference_point(genome.objectives, losses)
        newest = finished[-_OBSERVATIONS:]
        points = genome.features(np.array([genome.genes(trial.params) for trial in newest]))
        self._surrogates = {
            k: fit(points, _bend(genome.objectives[k], np.array([trial.values[k] for trial in newest])))
            for k in genome.unknown
        }
        self._siblings: dict[int, np.ndarray] = {}

    def expected(self, genes: Genes) -> np.ndarray:
        """Losses of each of `genes` (designs, parameters): exact where no training is needed, else forecast."""
        losses = np.empty((len(genes), len(self._genome.objectives)))
        if self._genome.known:
            losses[:, list(self._genome.known)] = [self._genome.known_losses(one) for one in genes]
        points = self._genome.features(genes)
        for k, forecast in self._surrogates.items():
            name = self._genome.objectives[k]
            losses[:, [k]] = to_losses([name], _unbend(name, forecast.at(points))[:, None].tolist())
        return losses

    def best(self, candidates: Genes, siblings: Mapping[int, Genes]) -> int:
        """The candidate that is expected to add most hypervolume to the front with `siblings`.

        Args:
            candidates: (designs, parameters).
            siblings: Trial number -> genes, of trials of this generation that were proposed before, finished or not.
        """
        for number, genes in siblings.items():
            if number not in self._siblings:
                self._siblings[number] = self.expected(genes[None])[0]
        front = np.vstack([self._front, *(self._siblings[number][None] for number in siblings)])
        front = front[nondominated(front)]
        losses = self.expected(candidates)
        inside = np.minimum(front, self._reference)  # what lies beyond the reference adds no volume
        volumes = [
            hypervolume(np.vstack([inside, loss]), self._reference) for loss in np.minimum(losses, self._reference)
        ]
        if max(volumes) > hypervolume(inside, self._reference):
            return int(np.argmax(volumes))
        rank, crowding = rank_and_crowding(np.vstack([front, losses]))
        return int(np.lexsort((-crowding[len(front) :], rank[len(front) :]))[0])


def _bend(objective: str, values: np.ndarray) -> np.ndarray:
    """Logit of an accuracy, logarithm of anything else: errors of a forecast are more alike there."""
    if not METRICS[objective].is_accuracy:
        return np.asarray(np.log(np.maximum(values, 1e-300)))
    inside = np.clip(values, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(inside / (1 - inside)))


def _unbend(objective: str, bent: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-bent)) if METRICS[objective].is_accuracy else np.exp(bent))
