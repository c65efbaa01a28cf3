"""All results of a study, read from its database once."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import optuna
from optuna.importance import get_param_importances
from optuna.trial import FrozenTrial, create_trial

from pipeline.data.spec import DatasetSpec
from pipeline.database.trials import ParetoReport, pareto_report, remeasured
from pipeline.design.pareto import to_losses
from pipeline.design.results import check_objectives
from pipeline.report.evaluated import Evaluated
from pipeline.report.figures.style import Style, device_styles

_LEAST_TRIALS = 40  # for an importance; assumed: the best tenth are then four designs, and fewer say nothing


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """A study's results, as a report shows them.

    Attributes:
        identity: `StudyDefinition.identity()` as stored: everything that the meaning of a trial depends on.
        device_sources: Device -> field of its card -> source.
        pareto: Objectives, trials, front and counts.
        evaluated: All measured trials, by number.
        front: Trials on the front, sorted by the first objective, best first.
        chosen: Trials to show by component and layer, in place of the front.
        written_floor: `floor` of the study file, if it names one.
        importance: Objective -> parameter -> how well it predicts the best tenth of the designs, shares of 1; empty
            if there are too few trials.
    """

    name: str
    question: str
    identity: dict[str, Any]
    device_sources: dict[str, dict[str, str]]
    pareto: ParetoReport
    evaluated: tuple[Evaluated, ...]
    front: tuple[Evaluated, ...]
    chosen: tuple[Evaluated, ...]
    importance: dict[str, dict[str, float]]
    written_floor: float | None

    @property
    def assumed(self) -> set[str]:
        """Names of devices whose programming errors are assumed, not measured."""
        return {
            card["name"]
            for path, card in self.identity["devices"].items()  # a user's own card is stored under its path
            if any(card["programming_sigma"])
            and self.device_sources.get(path, {}).get("programming_sigma", "").lower().startswith("assumed")
        }

    @property
    def styles(self) -> dict[str, Style]:
        """How the marks of each device look."""
        return device_styles(self.devices, self.assumed)

    @property
    def floor_is_default(self) -> bool:
        """Whether the study file names no floor."""
        return self.written_floor is None

    @property
    def counted(self) -> tuple[Evaluated, ...]:
        """The measured trials that reach the accuracy floor and keep the constraints on accuracy, by number."""
        return tuple(trial for trial in self.evaluated if trial.number in self.pareto.counted)

    @property
    def dataset(self) -> DatasetSpec:
        """The study's data and task, as stored."""
        return DatasetSpec.model_validate(self.identity["dataset"])

    @property
    def devices(self) -> list[str]:
        """Names of all devices, those of the study file first and in its order."""
        cards = [card["name"] for card in self.identity["devices"].values()]
        return list(dict.fromkeys([*cards, *(trial.device for trial in self.evaluated)]))


def read_findings(study: optuna.Study, chosen: Sequence[int] = ()) -> Findings:
    """Read everything that a study has measured.

    Args:
        chosen: Numbers of trials to show by component and layer; a reused one stands for the trial that it repeats.

    Raises:
        ValueError: If one of them has not been evaluated, or a stored objective is no finite number.
    """
    pareto = pareto_report(study)
    attributes = study.user_attrs  # once: it is read from the database each time
    drift_time_s = attributes["identity"]["variation"]["drift_time_s"]
    evaluated = {}
    for trial in pareto.trials:
        later = remeasured(attributes, trial.number)
        same_drift = [each for each in later if _is_of_the_trial(each["settings"], drift_time_s)]
        evaluated[trial.number] = Evaluated.from_trial(trial, same_drift)
        try:
            check_objectives(evaluated[trial.number].measured, pareto.objectives)
        except ValueError as error:
            raise ValueError(f"trial {trial.number}: {error}; another program has changed the database") from error
    trials = study.get_trials(deepcopy=False)
    repeats = {t.number: t.user_attrs["reused_from"] for t in trials if "reused_from" in t.user_attrs}
    chosen = [repeats.get(number, number) for number in chosen]
    if missing := [number for number in chosen if number not in evaluated]:
        raise ValueError(f"trial {missing[0]} has not been evaluated; the report's table lists those that were")
    return Findings(
        name=study.study_name,
        question=attributes["question"],
        identity=attributes["identity"],
        device_sources=_as_text(attributes["device_sources"]),
        pareto=pareto,
        evaluated=tuple(evaluated.values()),
        front=tuple(evaluated[trial.number] for trial in pareto.front),
        chosen=tuple(evaluated[number] for number in dict.fromkeys(chosen)),
        importance=_importance(pareto),
        written_floor=attributes.get("floor"),
    )


def _is_of_the_trial(settings: Mapping[str, Any], drift_time_s: float | None) -> bool:
    """Whether a later measurement is of the trial's own cells and training, at the study's drift time."""
    return settings["drift_time_s"] == drift_time_s and not {"device", "training_seed"} & set(settings)


def _importance(pareto: ParetoReport) -> dict[str, dict[str, float]]:
    """Optuna's PED-ANOVA (Watanabe et al., IJCAI 2023) of the trials above the floor, each objective as a loss."""
    trials = [trial for trial in pareto.trials if trial.number in pareto.counted]
    if len(trials) < _LEAST_TRIALS:
        return {}
    losses = to_losses(pareto.objectives, [trial.values for trial in trials]).tolist()
    measured = optuna.create_study(directions=["minimize"] * len(pareto.objectives))
    for trial, values in zip(trials, losses, strict=True):
        measured.add_trial(create_trial(values=values, params=trial.params, distributions=trial.distributions))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it assumes that smaller is better, as is true of losses
        try:
            return {
                name: get_param_importances(measured, target=partial(_value, index=i))
                for i, name in enumerate(pareto.objectives)
            }
        except (RuntimeError, ValueError):  # all designs alike
            return {}


def _value(trial: FrozenTrial, index: int) -> float:
    return float(trial.values[index])


def _as_text(device_sources: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Sources of values as text, whatever another program wrote there."""
    return {name: {field: str(source) for field, source in of.items()} for name, of in device_sources.items()}
