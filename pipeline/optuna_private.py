"""The one place that reaches private parts of Optuna and optuna-dashboard.

Optuna may rename them in any release; a test names the one that moved. Each function imports what it needs itself, so
that importing this module costs nothing.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import numpy as np
    import optuna
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage, RDBStorage
    from optuna.storages._rdb.models import TrialHeartbeatModel, TrialUserAttributeModel
    from optuna.study._frozen import FrozenStudy
    from optuna.trial import FrozenTrial, TrialState
    from sqlalchemy.orm import Session


# Arrays of losses, where smaller is better
def hypervolume(losses: "np.ndarray", reference: "np.ndarray") -> float:
    """Volume that `losses` (n, objectives) dominate within the point `reference` (objectives,)."""
    from optuna._hypervolume import compute_hypervolume

    return float(compute_hypervolume(losses, reference))


def on_front(losses: "np.ndarray") -> "np.ndarray":
    """Mask (n,) of the rows of `losses` (n, objectives) that no other row dominates; n is 1 or more."""
    from optuna.study._multi_objective import _is_pareto_front

    return _is_pareto_front(losses, assume_unique_lexsorted=False)


def non_domination_rank(losses: "np.ndarray", penalties: "np.ndarray | None" = None) -> "np.ndarray":
    """Number (n,) of the front that each row of `losses` (n, objectives) is on, 0 the best.

    Rows with a penalty (n,) above 0 come after all others, in the order of their penalties.
    """
    from optuna.study._multi_objective import _fast_non_domination_rank

    return _fast_non_domination_rank(losses, penalty=penalties)


# A study and its trials
def study_id(study: "optuna.Study | FrozenStudy") -> int:
    """The study's key in its database."""
    return study._study_id


def trial_id(trial: "optuna.Trial | FrozenTrial") -> int:
    """The trial's key in its database; its number counts within the study."""
    return trial._trial_id


def storage_of(study: "optuna.Study") -> "BaseStorage":
    """The storage that the study reads and writes: Optuna's cache before the database."""
    return study._storage


def backend_of(study: "optuna.Study") -> "RDBStorage":
    """The database behind Optuna's cache."""
    return cast("RDBStorage", study._storage._backend)  # type: ignore[attr-defined]


def forget_cached_trials(study: "optuna.Study") -> None:
    """Empty Optuna's cache, which has seen writes of a transaction that was rolled back."""
    cache: Any = study._storage
    with cache._lock:
        cache._studies.clear()
        cache._trial_id_to_study_id_and_number.clear()
        cache._study_id_and_number_to_trial_id.clear()


def cached_trials(study: "optuna.Study", states: "Container[TrialState] | None" = None) -> "list[FrozenTrial]":
    """The trials as they were when the current one was asked for: quicker than `study.get_trials`; not to be changed.

    With `states` only those in one of these.
    """
    return study._get_trials(deepcopy=False, states=states, use_cache=True)


def reseed(sampler: "BaseSampler", seed: int) -> None:
    """Start the draws of a sampler, and of the one inside it, from `seed` (below 2**32), as if it had drawn nothing.

    A Gaussian process also forgets its last fit, from which the next one would start.
    """
    for each in (sampler, *(getattr(sampler, name, None) for name in ("_random_sampler", "_independent_sampler"))):
        if each is not None:
            each._rng.rng.seed(seed)  # type: ignore[union-attr]
    for fit in ("_gprs_cache_list", "_constraints_gprs_cache_list"):
        if hasattr(sampler, fit):
            setattr(sampler, fit, None)


# Tables and rows of the database
def table_names() -> set[str]:
    """The tables of a database of Optuna's, without Alembic's."""
    from optuna.storages._rdb.models import BaseModel

    return set(BaseModel.metadata.tables)


def heartbeat_table() -> "type[TrialHeartbeatModel]":
    """One row a trial that has given a sign of life: `trial_id`, `heartbeat`."""
    from optuna.storages._rdb.models import TrialHeartbeatModel

    return TrialHeartbeatModel


def user_attribute_table() -> "type[TrialUserAttributeModel]":
    """One row an attribute of a trial: `trial_id`, `key`, `value_json`."""
    from optuna.storages._rdb.models import TrialUserAttributeModel

    return TrialUserAttributeModel


def lock_study(study: "optuna.Study", session: "Session") -> None:
    """Let no other process ask or claim until the transaction ends."""
    from optuna.storages._rdb.models import StudyModel

    StudyModel.find_or_raise_by_id(study_id(study), session, for_update=True)


def lock_trial(session: "Session", trial_id: int) -> "TrialState":
    """Let no other process change a trial until the transaction ends; its state now."""
    from optuna.storages._rdb.models import TrialModel

    return cast("TrialState", TrialModel.find_or_raise_by_id(trial_id, session, for_update=True).state)


# optuna-dashboard 0.21
def show_violations(trial: "optuna.Trial", violations: Sequence[float]) -> None:
    """Note a trial's violations where the dashboard looks for them; Optuna 5 notes them elsewhere."""
    trial.storage.set_trial_system_attr(trial_id(trial), "constraints", list(violations))


def set_constraints(study: "optuna.Study", trial_id: int, violations: "Mapping[str, float]") -> None:
    """Note a running trial's violations by name, as `Trial.set_constraint` does, and where the dashboard looks.

    Those that it has already stay. A `Trial` made for the purpose would sample its parameters again.
    """
    storage = storage_of(study)
    for key, value in with_constraints(storage.get_trial(trial_id), violations).items() if violations else ():
        storage.set_trial_system_attr(trial_id, key, value)


def with_constraints(trial: "FrozenTrial", violations: "Mapping[str, float]") -> dict[str, Any]:
    """System attributes that note those of `violations` that the trial has not yet."""
    known = trial.system_attrs
    new = {name: float(value) for name, value in violations.items() if f"constraints:{name}" not in known}
    attributes: dict[str, Any] = {f"constraints:{name}": value for name, value in new.items()}
    return attributes | ({"constraints": [*known.get("constraints", []), *new.values()]} if new else {})


def note_artifact(study: "optuna.Study", trial: "FrozenTrial | None", artifact_id: str, meta: str) -> None:
    """Tell the dashboard of an artefact of a trial, or of the study. Optuna's `upload_artifact` refuses finished ones.

    The dashboard also looks among the study's attributes, where it once kept them.
    """
    owner = f"dashboard:artifacts:{trial_id(trial)}" if trial else "artifacts"
    storage_of(study).set_study_system_attr(study_id(study), f"{owner}:{artifact_id}", meta)


def rank_in_dashboard(keep: "Callable[[FrozenTrial], bool]") -> None:
    """Let the dashboard's list of best trials, which knows no constraints, show only trials that `keep` accepts."""
    from optuna_dashboard import _app
    from optuna_dashboard._pareto_front import get_pareto_front_trials

    _app.get_pareto_front_trials = lambda trials, directions: get_pareto_front_trials(
        [trial for trial in trials if keep(trial)], directions
    )
