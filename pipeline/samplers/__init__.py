"""The samplers of a study, by name. Each is resumable: trial n depends on (study seed, n) and on finished trials."""

from collections.abc import Callable

from optuna.samplers import BaseSampler

from pipeline.samplers.evolution import ReproducibleNSGAII, ReproducibleNSGAIII, generation_of
from pipeline.samplers.genome import Genome
from pipeline.samplers.reinforce import ReinforceSampler
from pipeline.samplers.reseeded import ReproducibleGP, ReproducibleRandom, ReproducibleTPE
from pipeline.study.search_space import SearchSpace
from pipeline.study.study_file import StudyDefinition

__all__ = ["generation_of", "make_sampler"]

_EVOLVING = {"nsga2": ReproducibleNSGAII, "nsga3": ReproducibleNSGAIII}
_OTHER: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": ReproducibleTPE,
    "gp": ReproducibleGP,
    "random": ReproducibleRandom,
}


def make_sampler(definition: StudyDefinition) -> BaseSampler:
    """The sampler that a study file asks for."""
    spec, seed = definition.spec.sampler, definition.spec.seed
    genome = Genome(SearchSpace(definition))
    if spec.name == "reinforce":
        return ReinforceSampler(seed, genome)
    if spec.name in _EVOLVING:
        return _EVOLVING[spec.name](seed, genome, spec.population_size, spec.mutation_probability, spec.candidates)
    return _OTHER[spec.name](seed)
