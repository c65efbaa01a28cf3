"""A study as its database holds it, for commands that look at single trials. Loads no torch."""

import dataclasses
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from hw_models.devices import CellDevice
from pipeline.options import places
from pipeline.pareto import kind_of, pareto_report, reason_of
from pipeline.storage import lock_study, transaction
from pipeline.study import load_study_read_only, stored_spec
from pipeline.study_spec import StudySpec, load_study
from pipeline.supernet_file import supernet_key


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StoredStudy:
    """A study with the settings that it was made with, whatever its file says now.

    Attributes:
        spec: The settings.
        opened: The database.
        checkpoints: Folder of trained weights.
    """

    spec: StudySpec
    opened: optuna.Study
    checkpoints: Path

    def trial(self, number: int, also_stopped: bool = False) -> FrozenTrial:
        """An evaluated trial, or one stopped early if that is asked for; of a reused one the trial that it repeats.

        Raises:
            ValueError: If there is no such trial, or it has no result; says why.
        """
        trials = self.opened.get_trials(deepcopy=False)
        if not 0 <= number < len(trials):
            raise ValueError(f"--trial {number}: the study has {len(trials)} trials, numbered from 0")
        found: FrozenTrial = trials[trials[number].user_attrs.get("reused_from", number)]
        if kind_of(found) not in ("evaluated", "stopped early" if also_stopped else ""):
            raise ValueError(f"trial {number} has no result ({reason_of(found)}); choose a complete one")
        return found

    def chosen(self, numbers: list[int], front: bool, also_stopped: bool = False) -> list[FrozenTrial]:
        """The trials of these numbers, with `front` also those on the front; none twice.

        Raises:
            ValueError: If that is no trial, or one has no result.
        """
        trials = [self.trial(number, also_stopped) for number in numbers]
        if front:
            trials += pareto_report(self.opened).front
        if not trials:
            raise ValueError("choose trials with --trial N, repeated as needed, or --front")
        return list({trial.number: trial for trial in trials}.values())


def stored_study(study_file: Path, storage: str | None, out: Path | None, data_dir: str | None = None) -> StoredStudy:
    """Open the database of a study file to look at it.

    Raises:
        ValueError: If there is no such file, database or study.
    """
    study = load_study(study_file, data_dir=data_dir)
    folder, url = places(study, out, storage)
    opened = load_study_read_only(url, study.spec.name)
    spec = stored_spec(opened, study.spec.dataset.data_dir)
    if spec.accuracy.source == "supernet":
        devices = {name: CellDevice(**values) for name, values in opened.user_attrs["identity"]["devices"].items()}
        as_made = dataclasses.replace(study, spec=spec, devices=devices)
        supernet = folder / f"supernet-{supernet_key(as_made)}.pt"
        spec = as_made.with_supernet(supernet).spec if supernet.is_file() else spec
    return StoredStudy(spec=spec, opened=opened, checkpoints=folder / "checkpoints")


def remeasured(opened: optuna.Study, number: int) -> list[dict[str, Any]]:
    """What `nacim evaluate` measured of a trial after the search, oldest first.

    Each is {"settings": ..., "validation": ..., "test": ..., "versions": ...}: plain settings (`epochs` null: weights
    inherited from the supernet), and the two reports as `VariationReport.to_dict` gives them. Optuna lets no one change
    a finished trial, so that they are attributes of the study, named by the trial.
    """
    found: list[dict[str, Any]] = opened.user_attrs.get(_key(number), [])
    return found


def add_remeasured(opened: optuna.Study, number: int, entry: dict[str, Any]) -> None:
    """Add a measurement to those of a trial; nothing else of the trial changes."""
    with transaction(opened) as session:
        lock_study(opened, session)
        opened.set_user_attr(_key(number), [*remeasured(opened, number), entry])


def describe_settings(settings: dict[str, Any]) -> str:
    """The settings of a measurement in a few words."""
    parts = [f"{settings['chips']} chips", settings["fidelity"]]
    parts += [f"{settings['images_per_chip']} images a chip"] if settings["images_per_chip"] else []
    parts += [f"{settings['epochs']} epochs" if settings["epochs"] else "inherited weights"]
    parts += [f"{settings['train_images']} training images"] if settings["train_images"] else []
    parts += [f"{settings['test_images']} test images"] if settings["test_images"] else []
    parts += [f"sigma x{settings['sigma_scale']:g}"] if settings["sigma_scale"] != 1 else []
    parts += [f"{settings['drift_time_s']:g} s after programming"] if settings["drift_time_s"] is not None else []
    return ", ".join(parts)


def _key(number: int) -> str:
    return f"remeasured:{number}"
