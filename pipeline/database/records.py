"""How a trial ends: recorded, reused or failed; written inside a transaction."""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.orm import Session

from pipeline.database.transaction import set_user_attributes
from pipeline.database.trials import kind_of
from pipeline.design.constraints import measured_violations
from pipeline.design.results import TrialResult
from pipeline.optuna_private import lock_trial, set_constraints, storage_of, with_constraints


def record(
    study: optuna.Study, session: Session, trial_id: int, objectives: Sequence[str], result: TrialResult
) -> FrozenTrial:
    """Write a result into its trial, inside a transaction.

    A complete trial stays as it is: this result was written before, or another worker that took the trial over was
    faster and found the same. A trial that was given up stays failed; its late result becomes a new trial with
    `late_result_of`. So no result is lost or written twice.
    """
    values = [result.measured[name] for name in objectives]
    broken = measured_violations(study.user_attrs["identity"]["constraints"], result.measured)
    state = lock_trial(session, trial_id)
    trial = storage_of(study).get_trial(trial_id)
    if state is TrialState.COMPLETE:
        return trial
    if state is not TrialState.RUNNING:
        return _add_late_result(study, trial, values, _attributes(result), broken)
    set_user_attributes(session, trial_id, _attributes(result))
    set_constraints(study, trial_id, broken)
    return study.tell(trial.number, values)


def _attributes(result: TrialResult) -> dict[str, Any]:
    some: dict[str, Any] = {
        "learning_curve": list(result.learning_curve),
        "stopped_early": result.stopped_early,
        "silicon": result.silicon,
        "checkpoint_sha256": result.checkpoint_sha256,
    }
    return (
        result.measured
        | {name: value for name, value in some.items() if value}
        | {
            "cost": result.cost,
            "variation": {"validation": result.validation.to_dict(), "test": result.test.to_dict()},
            "phase_s": result.phase_s,
            "versions": result.versions,
            "checkpoint": result.checkpoint,
        }
    )


def _add_late_result(
    study: optuna.Study,
    trial: FrozenTrial,
    values: list[float],
    attributes: dict[str, Any],
    broken: Mapping[str, float],
) -> FrozenTrial:
    for other in study.get_trials(deepcopy=False):
        if other.user_attrs.get("late_result_of") == trial.number:
            return other
    kept = {name: trial.user_attrs[name] for name in ("design", "design_hash")}
    late = optuna.trial.create_trial(
        values=values,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=kept | attributes | {"late_result_of": trial.number},
        system_attrs=trial.system_attrs | with_constraints(trial, broken),
    )
    study.add_trial(late)
    return study.get_trials(deepcopy=False)[-1]


def reuse(study: optuna.Study, session: Session, trial_id: int, earlier: FrozenTrial) -> FrozenTrial:
    """Give a trial the values of the trial that evaluated its design, and note where they come from."""
    if lock_trial(session, trial_id) is TrialState.RUNNING:
        storage_of(study).set_trial_user_attr(trial_id, "reused_from", earlier.number)
        if "stopped_early" in earlier.user_attrs:
            storage_of(study).set_trial_user_attr(trial_id, "stopped_early", earlier.user_attrs["stopped_early"])
        set_constraints(study, trial_id, earlier.constraints)
        study.tell(storage_of(study).get_trial_number_from_id(trial_id), earlier.values)
    return storage_of(study).get_trial(trial_id)


def fail(study: optuna.Study, session: Session, trial_id: int, reasons: dict[str, str]) -> FrozenTrial:
    """End a trial without a result; `reasons` become its attributes."""
    if lock_trial(session, trial_id) is TrialState.RUNNING:
        set_user_attributes(session, trial_id, reasons)
        study.tell(storage_of(study).get_trial_number_from_id(trial_id), state=TrialState.FAIL)
    return storage_of(study).get_trial(trial_id)


def unfinished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that are running or were left by a process that ended, lowest number first."""
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def evaluated_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Trials whose design was trained, to the end or until stopped early, by number; without reused ones."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in trials if kind_of(trial) in ("evaluated", "stopped early")]
