"""The samplers that a study file may name, and their settings. A new sampler is a class and an entry in `SAMPLERS`."""

import dataclasses
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.strict_model import KeyOf, StrictModel


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SamplerChoice:
    """One sampler.

    Attributes:
        source: `module:class`, called with the study's seed, its `Genome` and the settings.
        meaning: Its entry in docs/samplers.md.
        learns_from: Trials whose results it uses. With `finished trials`, its designs depend on the number of workers;
            with `earlier generations` they do not, because a run finishes each generation before the next begins.
        settings: The fields of `SamplerSpec` that it takes.
    """

    source: str
    meaning: str
    learns_from: Literal["nothing", "finished trials", "earlier generations"]
    settings: tuple[str, ...] = ()


_EVOLUTION = ("population_size", "mutation_probability", "candidates")
SAMPLERS = {
    "nsga2": SamplerChoice(
        source="pipeline.samplers.evolution:ReproducibleNSGAII",
        meaning="NSGA-II (Deb et al., 2002) on Optuna's class, with the additions below; the default",
        learns_from="earlier generations",
        settings=_EVOLUTION,
    ),
    "nsga3": SamplerChoice(
        source="pipeline.samplers.evolution:ReproducibleNSGAIII",
        meaning="NSGA-III (Deb & Jain, 2014) with the same additions; for three objectives and more",
        learns_from="earlier generations",
        settings=_EVOLUTION,
    ),
    "tpe": SamplerChoice(
        source="pipeline.samplers.reseeded:ReproducibleTPE",
        meaning="Optuna's tree-structured Parzen estimator, reseeded for each trial",
        learns_from="finished trials",
    ),
    "gp": SamplerChoice(
        source="pipeline.samplers.reseeded:ReproducibleGP",
        meaning="Optuna's Gaussian process with expected hypervolume improvement, reseeded for each trial; loads torch "
        "and takes seconds per trial",
        learns_from="finished trials",
    ),
    "random": SamplerChoice(
        source="pipeline.samplers.reseeded:ReproducibleRandom",
        meaning="each parameter uniformly and on its own",
        learns_from="nothing",
    ),
    "reinforce": SamplerChoice(
        source="pipeline.samplers.reinforce:ReinforceSampler",
        meaning="the optimizer of NACIM: an RNN controller trained by policy gradient; loads torch",
        learns_from="finished trials",
    ),
}


class SamplerSpec(StrictModel):
    """What proposes designs: docs/samplers.md. Only nsga2 and nsga3 take `population_size` and what follows it."""

    name: Annotated[str, KeyOf(SAMPLERS)] = "nsga2"
    population_size: int = Field(10, ge=2, le=10_000)
    mutation_probability: float | None = Field(None, ge=0, le=1, description="Null: one over the number of parameters.")
    candidates: int = Field(
        20, ge=1, le=1000, description="Children bred per trial; the most promising one is evaluated. 1: plain NSGA."
    )

    @model_validator(mode="after")
    def _settings_suit_the_sampler(self) -> "SamplerSpec":
        for name in sorted(self.model_fields_set - {"name", *self.choice.settings}):
            if getattr(self, name) != type(self).model_fields[name].default:
                takers = " or ".join(sampler for sampler, choice in SAMPLERS.items() if name in choice.settings)
                raise ValueError(f"{name} is no setting of {self.name}; leave it out, or name {takers}")
        return self

    @property
    def choice(self) -> SamplerChoice:
        """The sampler named."""
        return SAMPLERS[self.name]

    @property
    def has_generations(self) -> bool:
        """Whether a run finishes one generation before it asks for the next."""
        return self.choice.learns_from == "earlier generations"
