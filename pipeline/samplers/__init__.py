"""Which design a study tries next: `sampler_of_runs` gives the sampler of a study file.

Each sampler is resumable: trial n depends on (study seed, n) and on finished trials.
"""

import pkgutil
from typing import TYPE_CHECKING

from pipeline.study.study_file import StudyDefinition

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial


def sampler_of_runs(definition: StudyDefinition) -> "BaseSampler":
    """The sampler of `make_sampler`; in a small space it proposes no design twice and finds the last ones."""
    from pipeline.samplers.genome import Genome
    from pipeline.samplers.small_space import each_design_once
    from pipeline.study.search_space import SearchSpace

    return each_design_once(make_sampler(definition), Genome(SearchSpace(definition)), definition.spec.seed)


def designs_left(study: "Study") -> tuple[int, int] | None:
    """In a small space, how many designs it has, and how many of them no trial has had; None in a large space."""
    from pipeline.samplers.small_space import EachDesignOnce

    sampler = study.sampler
    if not isinstance(sampler, EachDesignOnce):
        return None
    return sampler.designs, len(sampler.left(study.get_trials(deepcopy=False)))


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
