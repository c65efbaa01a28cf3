"""A study in its database: opened, checked, asked and told."""

import hashlib
import json
import sqlite3
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import NSGAIISampler
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import BaseModel
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url

from pipeline.metrics import METRICS
from pipeline.results import TrialResult
from pipeline.study_spec import SCHEMA_VERSION, Study, StudySpec

_LOCK_WAIT_S = 60  # how long a writer waits for another one


class StudyError(ValueError):
    """A database that cannot be used for this study; the message says why and names the way out."""


class ReproducibleNSGAII(NSGAIISampler):
    """NSGA-II whose draws for trial n are a function of (seed, n) and of the finished generations.

    Optuna's sampler keeps its random state in memory, so that a resumed study repeats or changes draws. Here every
    trial seeds the sampler anew, and every parameter that is drawn on its own has a stream of its own: a trial that was
    cut off while it was asked for parameters gets the same ones again.

    The first generation is a Latin hypercube: each parameter takes each of its values equally often, in an order of its
    own. (Drawn one by one, 20 trials miss one of five devices altogether in one study of seventeen.)
    """

    def __init__(self, seed: int, population_size: int, mutation_prob: float | None) -> None:
        super().__init__(seed=seed, population_size=population_size, mutation_prob=mutation_prob)
        self._study_seed = seed

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        super().before_trial(study, trial)
        self._rng.rng.seed(_seed32(self._study_seed, trial.number))

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        # Optuna gives them in another order when it selects them than when it finds them in the database.
        return sorted(super().get_parent_population(study, generation), key=lambda trial: trial.number)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        size = self.population_size or 0
        if trial.number < size:
            choices = _all_values(param_distribution)
            order = np.random.default_rng(_seed32(self._study_seed, param_name)).permutation(size)
            return choices[order[trial.number] * len(choices) // size]
        self._random_sampler._rng.rng.seed(_seed32(self._study_seed, trial.number, param_name))
        return super().sample_independent(study, trial, param_name, param_distribution)


def _all_values(distribution: BaseDistribution) -> Sequence[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    assert isinstance(distribution, IntDistribution), "pipeline.search_space suggests nothing else"
    return range(distribution.low, distribution.high + 1, distribution.step)


def _seed32(*parts: int | str) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "little")


def open_study(study: Study, url: str) -> optuna.Study:
    """Open a study in its database, or make it.

    Args:
        study: The study file with its cards.
        url: SQLAlchemy URL, such as `sqlite:///results/digits/study.db`.

    Raises:
        StudyError: If the database is not one of ours, is from a newer release, or holds a study of the same name whose
            space, objectives or settings differ. Nothing is written in any of these cases.
    """
    storage = open_storage(url)
    found = {summary.study_name: summary for summary in optuna.get_all_study_summaries(storage)}
    spec = study.spec
    sampler = ReproducibleNSGAII(spec.seed, spec.sampler.population_size, spec.sampler.mutation_probability)
    if spec.name in found and not found[spec.name].user_attrs.get("nacim_schema") and not found[spec.name].n_trials:
        optuna.delete_study(study_name=spec.name, storage=storage)  # cut off while it was being made
        del found[spec.name]
    if spec.name in found:
        _check_same(study, found[spec.name].user_attrs, url)
        _let_readers_in(storage)
        opened = optuna.load_study(study_name=spec.name, storage=storage, sampler=sampler)
        opened.set_user_attr("question", spec.question)  # may change
        return opened
    _let_readers_in(storage)
    directions = [METRICS[name].direction for name in spec.objectives]
    opened = optuna.create_study(study_name=spec.name, storage=storage, sampler=sampler, directions=directions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        opened.set_metric_names(list(spec.objectives))
    opened.set_user_attr("question", spec.question)
    opened.set_user_attr("identity", study.identity())
    opened.set_user_attr("device_sources", study.sources)
    opened.set_user_attr("nacim_schema", SCHEMA_VERSION)  # last: a study without it was not made to the end
    return opened


def load_study_read_only(url: str, name: str | None = None) -> optuna.Study:
    """Open an existing study to look at it.

    Args:
        url: Of the database.
        name: Of the study; None takes the only one.

    Raises:
        StudyError: If there is no such database or study.
    """
    if url.startswith("sqlite") and not Path(make_url(url).database or "").is_file():
        raise StudyError(f"{show_url(url)}: no such database; run the study first: nacim run STUDY.yaml")
    storage = open_storage(url)
    names = [summary.study_name for summary in optuna.get_all_study_summaries(storage)]
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


def open_storage(url: str) -> RDBStorage:
    """Connect to a database, after a look that writes nothing.

    Raises:
        StudyError: If it cannot be reached or is not an Optuna database of a known schema.
    """
    if url.startswith("sqlite"):
        _inspect_sqlite(url)
    connect = {"timeout": _LOCK_WAIT_S} if url.startswith("sqlite") else {}
    try:
        return RDBStorage(url, engine_kwargs={"connect_args": connect})
    except (RuntimeError, ImportError, sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise StudyError(f"{show_url(url)}: cannot be used as a study database: {_first_line(error)}") from error


def show_url(url: str) -> str:
    """The URL without its password."""
    return make_url(url).render_as_string(hide_password=True)


def record(opened: optuna.Study, trial: optuna.Trial, objectives: Sequence[str], result: TrialResult) -> FrozenTrial:
    """Write a result into its trial, values last: a trial is complete only with everything in place."""
    for name, value in result.measured.items():
        trial.set_user_attr(name, value)
    trial.set_user_attr("cost", result.cost)
    trial.set_user_attr("variation", {"validation": result.validation.to_dict(), "test": result.test.to_dict()})
    trial.set_user_attr("phase_s", result.phase_s)
    trial.set_user_attr("versions", result.versions)
    trial.set_user_attr("checkpoint", result.checkpoint)
    return opened.tell(trial, [result.measured[name] for name in objectives])


def reuse(opened: optuna.Study, trial: optuna.Trial, earlier: FrozenTrial) -> FrozenTrial:
    """Give a trial of an already evaluated design that design's values, visibly marked."""
    trial.set_user_attr("reused_from", earlier.number)
    return opened.tell(trial, earlier.values)


def generation_of(trial: FrozenTrial) -> int:
    """The generation that the sampler counts a trial to; 0 also for a study in which nothing is searched."""
    return int(trial.system_attrs.get(f"{ReproducibleNSGAII.__name__}:generation", 0))


def interrupted_trials(opened: optuna.Study) -> list[optuna.Trial]:
    """Trials that a stopped run left unfinished, lowest number first, ready to be evaluated again.

    Only for the one process that runs the study (see `pipeline.runner`): it must hold the run lock.
    """
    left = opened.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [optuna.Trial(opened, trial._trial_id) for trial in sorted(left, key=lambda trial: trial.number)]


def evaluated_trials(opened: optuna.Study) -> list[FrozenTrial]:
    """Complete trials that were measured and not reused, by number."""
    trials = opened.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in trials if "reused_from" not in trial.user_attrs]


def _let_readers_in(storage: RDBStorage) -> None:
    """SQLite's write-ahead log: readers and the writer do not wait for each other."""
    if storage.url.startswith("sqlite"):
        with storage.engine.connect() as connection:
            connection.execute(sqlalchemy.text("PRAGMA journal_mode=WAL"))


def _inspect_sqlite(url: str) -> None:
    database = make_url(url).database
    if not database or not (path := Path(database)).exists() or path.stat().st_size == 0:
        return
    try:
        with sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        raise StudyError(
            f"{path}: not a readable SQLite database ({error}); choose another file with --storage"
        ) from error
    if foreign := tables - {"alembic_version", *BaseModel.metadata.tables}:
        raise StudyError(
            f"{path}: a database of another program (table {min(foreign)!r}); choose another file with --storage"
        )


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


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
