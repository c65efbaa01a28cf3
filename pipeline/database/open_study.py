"""Finds a study's output folder and database, and opens or creates it after checks."""

import json
import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from pydantic import ValidationError
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from hw_models.cost import POST_LAYOUT_ENERGY
from hw_models.devices import CellDevice
from pipeline.database.storage import (
    StudyError,
    as_damage,
    is_sqlite,
    let_readers_in,
    one_at_a_time,
    open_storage,
    show_url,
)
from pipeline.database.transaction import transaction
from pipeline.design.constraints import QUANTITIES, before_training
from pipeline.design.metrics import METRICS
from pipeline.design.results import WITH_WIRING
from pipeline.optuna_private import study_id
from pipeline.samplers import sampler_of_runs
from pipeline.study.built_space import BuiltSpace
from pipeline.study.study_file import READABLE_SCHEMAS, SCHEMA_VERSION, StudyDefinition, first_problem, identity_of
from pipeline.study.study_spec import StudySpec

_CHANGED_FILES = {  # key of an identity -> what it is the hash of
    "network.build_hash": "the file of network.build",
    "network.weights_hash": "the file of network.weights",
}


def places(definition: StudyDefinition, out: Path | None, storage: str | None) -> tuple[Path, str]:
    """The output folder and the database URL of a study.

    Raises:
        ValueError: If `storage` is no URL. The message leaves out one that may hold a password.
    """
    folder = out or Path("results") / definition.spec.name
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise ValueError(f"--out {str(folder)!r}: a database's path must be UTF-8; choose another folder") from None
    if storage is None:
        return folder, URL.create("sqlite", database=str(folder / "study.db")).render_as_string()
    try:
        make_url(storage)
    except (ArgumentError, ValueError):
        shown = "" if "@" in storage else f"{storage!r} "  # it may hold a password
        raise ValueError(
            f"--storage {shown}is no database URL; write sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"
        ) from None
    return folder, storage


def open_study(definition: StudyDefinition, url: str, replace_empty: bool = False) -> optuna.Study:
    """Open a study in its database, or create it.

    Args:
        definition: The study file with its cards.
        url: SQLAlchemy URL, such as `sqlite:///results/digits/study.db`.
        replace_empty: Replace an empty study of this name; the caller must hold its lock.

    Raises:
        StudyError: If the database is not one of ours, is from a newer release, or holds a study of the same name whose
            space, objectives or settings differ. Nothing is written in any of these cases.
    """
    storage = open_storage(url)
    spec = definition.spec
    sampler = sampler_of_runs(definition)
    with one_at_a_time(url), as_damage():
        found = {known.study_name: known for known in storage.get_all_studies()}.get(spec.name)
        if found and not storage.get_n_trials(study_id(found)):
            cut_off = "nacim_schema" not in found.user_attrs  # an older release was stopped while it created the study
            if cut_off or (replace_empty and found.user_attrs["identity"] != definition.identity()):
                optuna.delete_study(study_name=spec.name, storage=storage)
                found = None
        if found:
            _check_same(definition, found.user_attrs, url)
        let_readers_in(storage)
        if not found:
            return _make_study(definition, storage, sampler)
    study = optuna.load_study(study_name=spec.name, storage=storage, sampler=sampler)
    with as_damage():
        study.get_trials(deepcopy=False)
    follow_file(study, spec)
    return study


def follow_file(study: optuna.Study, spec: StudySpec) -> None:
    """Store what may change in a study's file without changing its trials: the question and the floor."""
    for name, value in (("question", spec.question), ("floor", spec.floor)):
        if name not in study.user_attrs or study.user_attrs[name] != value:
            study.set_user_attr(name, value)


def _make_study(definition: StudyDefinition, storage: RDBStorage, sampler: optuna.samplers.BaseSampler) -> optuna.Study:
    spec = definition.spec
    directions = [METRICS[name].direction for name in spec.objectives]
    with transaction(storage):
        study = optuna.create_study(study_name=spec.name, storage=storage, sampler=sampler, directions=directions)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([METRICS[name].stored_title for name in spec.objectives])
        follow_file(study, spec)
        study.set_user_attr("identity", definition.identity())
        study.set_user_attr("device_sources", definition.sources)
        study.set_user_attr("nacim_schema", SCHEMA_VERSION)
    return study


def load_study_read_only(url: str, name: str | None = None) -> optuna.Study:
    """Open an existing study to look at it; without a name the only one of the database. Writes nothing by itself.

    Raises:
        StudyError: If there is no such database or study.
    """
    if is_sqlite(url) and not Path(make_url(url).database or "").is_file():
        raise StudyError(f"{show_url(url)}: no such database; run the study first: nacim run STUDY.yaml")
    storage = open_storage(url, to_read=True)
    with as_damage():
        names = [known.study_name for known in storage.get_all_studies()]
        if name is None and len(names) == 1:
            name = names[0]
        if name not in names:
            raise StudyError(f"{show_url(url)}: no study {name!r}; it holds {', '.join(names) or 'none'}")
        study = optuna.load_study(study_name=name, storage=storage)
        study.get_trials(deepcopy=False)  # Optuna reads each value of each trial, and keeps them
        _check_schema(study.user_attrs, url)
    return study


def stored_spec(study: optuna.Study, data_dir: str | None, folder: Path = Path()) -> StudySpec:
    """The settings that the study was made with, whatever its file says now.

    Args:
        study: The study.
        data_dir: Replaces the data folder.
        folder: Where the paths of users' files start: the study file's folder.

    Raises:
        StudyError: If a file with a function has changed since, or a setting is not allowed any more.
    """
    identity = {key: value for key, value in study.user_attrs["identity"].items() if key != "devices"}
    identity["dataset"] = identity["dataset"] | {"data_dir": data_dir}
    if "accuracy" in identity:  # the supernet's file lies in the output folder, never where a database says
        identity["accuracy"] = {key: value for key, value in identity["accuracy"].items() if key != "checkpoint"}
    try:
        spec = StudySpec.model_validate(identity, context={"folder": folder})
    except ValidationError as error:
        raise StudyError(f"study {study.study_name!r}: {first_problem(error)}") from error
    if isinstance(spec.network, BuiltSpace):
        return spec.model_copy(update={"network": spec.network.model_copy(update={"folder": folder})})
    return spec


def _check_schema(attributes: dict[str, Any], url: str) -> None:
    schema = attributes.get("nacim_schema")
    if schema is None:
        raise StudyError(f"{show_url(url)}: the study was not made by nacim; choose another name or database")
    if schema > SCHEMA_VERSION:
        versions = f"schema {schema}, this one knows {SCHEMA_VERSION}"
        raise StudyError(f"{show_url(url)}: made by a newer nacim ({versions}); update nacim")
    if schema not in READABLE_SCHEMAS:
        raise StudyError(
            f"{show_url(url)}: made by an older nacim (schema {schema}, this one writes {SCHEMA_VERSION}), whose "
            "values mean something else; give the study a new name"
        )


def _check_energies(spec: StudySpec, attributes: dict[str, Any], url: str) -> None:
    """Refuse to go on where new trials would count wiring in an energy that the study compares, and old ones not."""
    if attributes["nacim_schema"] >= SCHEMA_VERSION:
        return
    limited = {str(each): QUANTITIES[each.quantity].attribute for each in before_training(spec.constraints)}
    sought = {name: METRICS[name].attribute for name in spec.objectives if METRICS[name].source != "silicon"}
    if wired := [name for name, attribute in (sought | limited).items() if attribute in WITH_WIRING]:
        raise StudyError(
            f"study {spec.name!r} in {show_url(url)} was made by an earlier nacim, whose {wired[0]} was without wiring "
            f"(a factor of {POST_LAYOUT_ENERGY}): new trials would not compare. nacim report still shows it, wiring "
            "added; give the study a new name to go on"
        )


def _check_same(definition: StudyDefinition, attributes: dict[str, Any], url: str) -> None:
    _check_schema(attributes, url)
    _check_energies(definition.spec, attributes, url)
    now = json.loads(json.dumps(definition.identity()))
    if differing := _differences(_with_defaults(attributes["identity"]), now):
        key, before, after = differing[0]
        if file := _CHANGED_FILES.get(key):
            raise StudyError(
                f"study {definition.spec.name!r} in {show_url(url)}: {file} has changed since the study was made (hash "
                f"{before}, now {after}); put the file back, or give the study a new name"
            )
        more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
        raise StudyError(
            f"study {definition.spec.name!r} in {show_url(url)} was made with {key} = {before}, the file now says "
            f"{after}{more}; put it back, or give the study a new name, in the file or by --set name=NAME"
        )


def _with_defaults(identity: dict[str, Any]) -> dict[str, Any]:
    """A stored identity with settings that a later release added, at their defaults."""
    try:
        spec = StudySpec.model_validate({key: value for key, value in identity.items() if key != "devices"})
        devices = {name: CellDevice(**card) for name, card in identity["devices"].items()}
    except (ValueError, TypeError):  # a setting that this release does not allow: say which
        return identity
    plain: dict[str, Any] = json.loads(json.dumps(identity_of(spec, devices)))
    return plain


def _differences(before: Any, after: Any, key: str = "") -> list[tuple[str, Any, Any]]:
    """Dotted keys whose values differ, with both values."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = [*before, *(name for name in after if name not in before)]
        deeper = [_differences(before.get(n), after.get(n), f"{key}.{n}" if key else n) for n in names]
        return [item for items in deeper for item in items]
    return [] if before == after else [(key, before, after)]
