"""Which design a study tries next: `make_sampler` gives the sampler of a study file.

Each sampler is resumable: trial n depends on (study seed, n) and on finished trials.
"""

import pkgutil
from typing import TYPE_CHECKING

from pipeline.study.study_file import StudyDefinition

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial


def make_sampler(definition: StudyDefinition) -> "BaseSampler":
    """The sampler that a study file names; only its own module is loaded."""
    from pipeline.samplers.genome import Genome
    from pipeline.study.search_space import SearchSpace

    spec, choice = definition.spec, definition.spec.sampler.choice
    settings = {name: getattr(spec.sampler, name) for name in choice.settings}
    make = pkgutil.resolve_name(choice.source)
    sampler: BaseSampler = make(spec.seed, Genome(SearchSpace(definition)), **settings)
    return sampler


def generation_of(trial: "FrozenTrial") -> int:
    """The generation to which the sampler assigned a trial; 0 for samplers without generations."""
    return next((int(value) for key, value in trial.system_attrs.items() if key.endswith(":generation")), 0)


def has_generation(trial: "FrozenTrial") -> bool:
    """Whether a sampler with generations proposed the trial."""
    return any(key.endswith(":generation") for key in trial.system_attrs)
