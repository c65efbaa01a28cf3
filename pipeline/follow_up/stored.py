"""A study as its database holds it, for commands that look at single trials. Loads no torch."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from hw_models.devices import CellDevice
from pipeline.data.dataset_spec import OwnTask
from pipeline.database.open_study import load_study_read_only, places, stored_spec
from pipeline.database.storage import as_damage, is_writable
from pipeline.database.trials import kind_of, pareto_report, reason_of
from pipeline.design.design_point import DesignPoint
from pipeline.study.built_space import BuiltSpace
from pipeline.study.study_file import StudyDefinition, load_study
from pipeline.study.study_spec import StudySpec
from pipeline.trial.supernet_key import supernet_key


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StoredStudy:
    """A study with the settings that it was made with, whatever its file says now."""

    spec: StudySpec
    study: optuna.Study
    checkpoints: Path  # folder of trained weights
    is_writable: bool = True  # whether the database takes what is measured later

    def trial(self, number: int, also_stopped: bool = False) -> FrozenTrial:
        """The evaluated trial of this number; for a reused one, the trial that it repeats.

        `also_stopped` accepts a trial stopped early. Raises ValueError if the trial is missing or has no result.
        """
        trials = self.study.get_trials(deepcopy=False)
        if not 0 <= number < len(trials):
            raise ValueError(f"--trial {number}: the study has {len(trials)} trials, numbered from 0")
        found: FrozenTrial = trials[trials[number].user_attrs.get("reused_from", number)]
        if kind_of(found) not in ("evaluated", "stopped early" if also_stopped else ""):
            raise ValueError(f"trial {number} has no result ({reason_of(found)}); choose a complete one")
        return found

    def chosen(self, numbers: list[int], front: bool, also_stopped: bool = False) -> list[FrozenTrial]:
        """The trials of these numbers and, with `front`, of the front, each once. ValueError if there are none."""
        trials = [self.trial(number, also_stopped) for number in numbers]
        trials += pareto_report(self.study).front if front else []
        if not trials:
            raise ValueError("choose trials with --trial N, repeated as needed, or --front")
        return list({trial.number: trial for trial in trials}.values())


def design_of(spec: StudySpec, trial: FrozenTrial) -> DesignPoint:
    """The design of a trial; paths start where the study file lies.

    Raises:
        ValueError: If its network is built by another function than the study's, whose code nobody asked for.
    """
    built = spec.network if isinstance(spec.network, BuiltSpace) else None
    with as_damage():
        design = DesignPoint.from_dict(trial.user_attrs["design"], built.folder if built else Path())
    if design.network and (built is None or design.network.builder not in (built.family, built.build)):
        raise ValueError(
            f"trial {trial.number}: its network is built by {design.network.builder[:80]!r}, which the study does not "
            "name; another program has changed the database, so do not trust it"
        )
    return design


def stored_study(
    study_file: Path,
    storage: str | None,
    out: Path | None,
    data_dir: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> StoredStudy:
    """Open the database of a study file, read-only; `changes` as for `load_study`.

    Raises:
        ValueError: If there is no such file or study, or the database names a user's file that the study file does not.
    """
    definition = load_study(study_file, data_dir=data_dir, changes=changes)
    folder, url = places(definition, out, storage)
    study = load_study_read_only(url, definition.spec.name)
    with as_damage():
        spec = stored_spec(study, definition.spec.dataset.data_dir, study_file.parent)
    _check_same_files(definition, spec)
    if spec.accuracy.source == "supernet":
        devices = {name: CellDevice(**values) for name, values in study.user_attrs["identity"]["devices"].items()}
        as_made = dataclasses.replace(definition, spec=spec, devices=devices)
        supernet = folder / f"supernet-{supernet_key(as_made)}.pt"
        spec = as_made.with_supernet(supernet).spec if supernet.is_file() else spec
    return StoredStudy(spec=spec, study=study, checkpoints=folder / "checkpoints", is_writable=is_writable(url))


def _check_same_files(definition: StudyDefinition, stored: StudySpec) -> None:
    """Code and weights come from files that the study file names: a database may be anybody's."""
    named = _files_of(definition.spec)
    for key, file in _files_of(stored).items():
        if file is not None and file != named[key]:
            raise ValueError(
                f"{definition.path}: the database was made with {key}: {file}, the file now says {named[key]}; files "
                "of code and weights are read only if the study file names them: put it back if you trust the file"
            )


def _files_of(spec: StudySpec) -> dict[str, str | None]:
    """Key of a study file -> the user's file, and function, that it names."""
    network = spec.network if isinstance(spec.network, BuiltSpace) else None
    task = spec.dataset.task if isinstance(spec.dataset.task, OwnTask) else None
    return {
        "network.build": network.build if network else None,
        "network.weights": network.weights if network else None,
        "dataset.build": spec.dataset.build.written if spec.dataset.build else None,
        "dataset.task.loss": task.loss.written if task else None,
        "dataset.task.score": task.score.written if task else None,
    }
