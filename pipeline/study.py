"""A study in its database: opened, checked, asked and told."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from pipeline.metrics import METRICS
from pipeline.pareto import kind_of
from pipeline.results import TrialResult
from pipeline.samplers import make_sampler
from pipeline.storage import (
    StudyError,
    is_sqlite,
    let_readers_in,
    lock_trial,
    one_at_a_time,
    open_storage,
    set_user_attributes,
    show_url,
    transaction,
)
from pipeline.study_spec import SCHEMA_VERSION, Study, StudySpec


def open_study(study: Study, url: str, replace_empty: bool = False) -> optuna.Study:
    """Open a study in its database, or make it.

    Args:
        study: The study file with its cards.
        url: SQLAlchemy URL, such as `sqlite:///results/digits/study.db`.
        replace_empty: A study of that name without any trial may be another one; for who holds it alone.

    Raises:
        StudyError: If the database is not one of ours, is from a newer release, or holds a study of the same name whose
            space, objectives or settings differ. Nothing is written in any of these cases.
    """
    storage = open_storage(url)
    spec = study.spec
    sampler = make_sampler(study)
    with one_at_a_time(url):
        found = {known.study_name: known for known in storage.get_all_studies()}.get(spec.name)
        if found and not storage.get_n_trials(found._study_id):
            cut_off = "nacim_schema" not in found.user_attrs  # an older release, while it made the study
            if cut_off or (replace_empty and found.user_attrs["identity"] != study.identity()):
                optuna.delete_study(study_name=spec.name, storage=storage)
                found = None
        if found:
            _check_same(study, found.user_attrs, url)
        let_readers_in(storage)
        if not found:
            return _make_study(study, storage, sampler)
    opened = optuna.load_study(study_name=spec.name, storage=storage, sampler=sampler)
    if opened.user_attrs.get("question") != spec.question:  # may change
        opened.set_user_attr("question", spec.question)
    return opened


def _make_study(study: Study, storage: RDBStorage, sampler: optuna.samplers.BaseSampler) -> optuna.Study:
    """A new study, in the database with all that describes it or not at all."""
    spec = study.spec
    directions = [METRICS[name].direction for name in spec.objectives]
    with transaction(storage):
        opened = optuna.create_study(study_name=spec.name, storage=storage, sampler=sampler, directions=directions)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            opened.set_metric_names([METRICS[name].stored_title for name in spec.objectives])
        opened.set_user_attr("question", spec.question)
        opened.set_user_attr("identity", study.identity())
        opened.set_user_attr("device_sources", study.sources)
        opened.set_user_attr("nacim_schema", SCHEMA_VERSION)
    return opened


def load_study_read_only(url: str, name: str | None = None) -> optuna.Study:
    """Open an existing study to look at it.

    Args:
        url: Of the database.
        name: Of the study; None takes the only one.

    Raises:
        StudyError: If there is no such database or study.
    """
    if is_sqlite(url) and not Path(make_url(url).database or "").is_file():
        raise StudyError(f"{show_url(url)}: no such database; run the study first: nacim run STUDY.yaml")
    storage = open_storage(url)
    names = [known.study_name for known in storage.get_all_studies()]
    if name is None and len(names) == 1:
        name = names[0]
    if name not in names:
        raise StudyError(f"{show_url(url)}: no study {name!r}; it holds {', '.join(names) or 'none'}")
    opened = optuna.load_study(study_name=name, storage=storage)
    _check_schema(opened.user_attrs, url)
    return opened


def stored_spec(opened: optuna.Study, data_dir: str | None) -> StudySpec:
    """What the study was made with, whatever its file says now; only the data folder may come from elsewhere."""
    identity = {key: value for key, value in opened.user_attrs["identity"].items() if key != "devices"}
    identity["dataset"] = identity["dataset"] | {"data_dir": data_dir}
    return StudySpec.model_validate(identity)


def record(
    opened: optuna.Study, session: Session, trial_id: int, objectives: Sequence[str], result: TrialResult
) -> FrozenTrial:
    """Write a result into its trial, inside a transaction.

    A trial that is complete already stays as it is: the result was written before, or another worker that had taken the
    trial over was faster and found the same. A trial that was given up keeps its end; its late result becomes a new
    trial with `late_result_of`, so that it is neither lost nor does a number come twice.

    Args:
        opened: The study.
        session: Of the transaction.
        trial_id: Of the trial.
        objectives: Names in `METRICS`.
        result: All that was measured.
    """
    values = [result.measured[name] for name in objectives]
    state = lock_trial(session, trial_id)
    trial = opened._storage.get_trial(trial_id)
    if state is TrialState.COMPLETE:
        return trial
    if state is not TrialState.RUNNING:
        return _add_late_result(opened, trial, values, _attributes(result))
    set_user_attributes(session, trial_id, _attributes(result))
    return opened.tell(trial.number, values)


def _attributes(result: TrialResult) -> dict[str, Any]:
    during = {"learning_curve": list(result.learning_curve), "stopped_early": result.stopped_early}
    return (
        result.measured
        | {name: value for name, value in during.items() if value}
        | {
            "cost": result.cost,
            "variation": {"validation": result.validation.to_dict(), "test": result.test.to_dict()},
            "phase_s": result.phase_s,
            "versions": result.versions,
            "checkpoint": result.checkpoint,
        }
    )


def _add_late_result(
    opened: optuna.Study, trial: FrozenTrial, values: list[float], attributes: dict[str, Any]
) -> FrozenTrial:
    trials = opened.get_trials(deepcopy=False)
    for other in trials:
        if other.user_attrs.get("late_result_of") == trial.number:
            return other
    kept = {name: trial.user_attrs[name] for name in ("design", "design_hash")}
    late = optuna.trial.create_trial(
        values=values,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=kept | attributes | {"late_result_of": trial.number},
        system_attrs=trial.system_attrs,
    )
    opened.add_trial(late)
    return opened.get_trials(deepcopy=False)[-1]


def reuse(opened: optuna.Study, session: Session, trial_id: int, earlier: FrozenTrial) -> FrozenTrial:
    """Give a trial of an already evaluated design that design's values, visibly marked; inside a transaction."""
    if lock_trial(session, trial_id) is TrialState.RUNNING:
        opened._storage.set_trial_user_attr(trial_id, "reused_from", earlier.number)
        if "stopped_early" in earlier.user_attrs:
            opened._storage.set_trial_user_attr(trial_id, "stopped_early", earlier.user_attrs["stopped_early"])
        opened.tell(opened._storage.get_trial_number_from_id(trial_id), earlier.values)
    return opened._storage.get_trial(trial_id)


def fail(opened: optuna.Study, session: Session, trial_id: int, reasons: dict[str, str]) -> FrozenTrial:
    """End a trial without a result, its reasons as attributes; inside a transaction."""
    if lock_trial(session, trial_id) is TrialState.RUNNING:
        set_user_attributes(session, trial_id, reasons)
        opened.tell(opened._storage.get_trial_number_from_id(trial_id), state=TrialState.FAIL)
    return opened._storage.get_trial(trial_id)


def unfinished_trials(opened: optuna.Study) -> list[FrozenTrial]:
    """Trials without an end, lowest number first: in work, or left by a process that was stopped."""
    return opened.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def evaluated_trials(opened: optuna.Study) -> list[FrozenTrial]:
    """Trials whose training is done with, by number: evaluated or stopped early, not reused."""
    trials = opened.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in trials if kind_of(trial) in ("evaluated", "stopped early")]


def _check_schema(attributes: dict[str, Any], url: str) -> None:
    schema = attributes.get("nacim_schema")
    if schema is None:
        raise StudyError(f"{show_url(url)}: the study was not made by nacim; choose another name or database")
    if schema > SCHEMA_VERSION:
        raise StudyError(
            f"{show_url(url)}: made by a newer nacim (schema {schema}, this one knows {SCHEMA_VERSION}); update nacim"
        )
    if schema < SCHEMA_VERSION:
        raise StudyError(
            f"{show_url(url)}: made by an older nacim (schema {schema}, this one writes {SCHEMA_VERSION}), whose "
            "values mean something else; give the study a new name"
        )


def _check_same(study: Study, attributes: dict[str, Any], url: str) -> None:
    _check_schema(attributes, url)
    now = json.loads(json.dumps(study.identity()))
    if differing := _differences(attributes["identity"], now):
        key, before, after = differing[0]
        more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
        raise StudyError(
            f"study {study.spec.name!r} in {show_url(url)} was made with {key} = {before}, the file now says "
            f"{after}{more}; put it back, or give the study a new name"
        )


def _differences(before: Any, after: Any, key: str = "") -> list[tuple[str, Any, Any]]:
    """Dotted keys whose values differ, with both values."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = [*before, *(name for name in after if name not in before)]
        deeper = [_differences(before.get(n), after.get(n), f"{key}.{n}" if key else n) for n in names]
        return [item for items in deeper for item in items]
    return [] if before == after else [(key, before, after)]
