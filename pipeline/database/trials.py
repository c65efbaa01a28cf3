"""Trials as the database holds them: the kind of each, the front, and what was measured after the search."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from pipeline.data.spec import DatasetSpec
from pipeline.database.transaction import transaction
from pipeline.design.floor import Floor, chance_of
from pipeline.design.metrics import METRICS, Metric
from pipeline.design.pareto import nondominated, to_losses
from pipeline.files import checksum_of
from pipeline.optuna_private import lock_study

KINDS = ("evaluated", "stopped early", "reused", "infeasible", "failed", "running", "foreign")
_OF_RESULTS = {"design", "design_hash", "cost", "variation", "checkpoint"}  # attributes that a recorded result has
_CHECKSUM = "checkpoint_sha256"  # attribute of trials since databases have it
_MARKS = {"reused_from": "reused", "infeasible": "infeasible", "stopped_early": "stopped early"}
_STATES = {TrialState.PRUNED: "infeasible", TrialState.FAIL: "failed"}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ParetoReport:
    """What a study has found."""

    objectives: tuple[str, ...]  # names in `METRICS`
    trials: tuple[FrozenTrial, ...]  # the evaluated ones, by number
    front: tuple[FrozenTrial, ...]  # those above the floor that no other one dominates, best first objective first
    counts: dict[str, int]  # of trials of each of `KINDS`
    counted: frozenset[int]  # numbers of the trials that reach the floor and keep the constraints on accuracy
    floor: float  # accuracy below which a trial counts for nothing
    floor_missed: bool  # no trial reaches the floor of the study file, so that all count

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return tuple(METRICS[name] for name in self.objectives)


def kind_of(trial: FrozenTrial) -> str:
    """The one of `KINDS` that a trial is. Only an `evaluated` one is a result: on fronts, in figures and in counts.

    Optuna also marks infeasible, stopped and reused trials COMPLETE; they are not results. Nor is a `foreign` one,
    which another program has added to the study, with values but without a measured design.
    """
    if "duplicate_of" in trial.user_attrs:
        return "reused"
    if trial.state is not TrialState.COMPLETE:
        return _STATES.get(trial.state, "running")
    ours = "evaluated" if trial.user_attrs.keys() >= _OF_RESULTS else "foreign"
    return next((kind for mark, kind in _MARKS.items() if mark in trial.user_attrs), ours)


def reason_of(trial: FrozenTrial) -> str:
    """Why a trial that is not evaluated has no result, for people."""
    if stopped := trial.user_attrs.get("stopped_early"):
        return (
            f"stopped early after epoch {stopped['epoch']:g}: accuracy {stopped['accuracy']:.1%}, granted "
            f"{stopped['optimistic']:.1%}, dominated even so"
        )
    if (other := trial.user_attrs.get("duplicate_of")) is not None:
        return f"its design was running as trial {other}"
    if kind_of(trial) == "foreign":
        return "another program than nacim added it to the study"
    return trial.user_attrs.get("error") or trial.user_attrs.get("infeasible") or "it has not finished"


def checkpoint_of(trial: FrozenTrial) -> str | None:
    """Name of the file of a trial's weights in the study's folder `checkpoints`; None if they were not kept.

    Raises:
        ValueError: If the database holds anything else, such as a path that leads out of that folder.
    """
    name = trial.user_attrs["checkpoint"]
    if name is None or (isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.pt", name)):
        return name
    raise ValueError(
        f"trial {trial.number}: its checkpoint {str(name)[:80]!r} is no file name as nacim writes them; another "
        "program has changed the database, so do not trust it"
    )


def weights_of(trial: FrozenTrial, checkpoints: Path) -> Path:
    """The file of a trial's weights in the study's folder `checkpoints`, which may be gone.

    Raises:
        ValueError: If the file is another one than the trial wrote, or `checkpoint_of` raises it.
    """
    path = checkpoints / str(checkpoint_of(trial))
    known = trial.user_attrs.get(_CHECKSUM)
    if known is not None and path.is_file() and (now := checksum_of(path.read_bytes())) != known:
        raise ValueError(
            f"{path} is not the file that trial {trial.number} wrote (SHA-256 {str(known)[:12]}, now {now[:12]}): it "
            "was damaged or replaced; put it back, or remove it and nacim evaluate trains the network again"
        )
    return path


def lacks_checksum(trial: FrozenTrial, checkpoints: Path) -> str:
    """What to tell of a trial whose weights are there but cannot be checked; empty if they can."""
    name = checkpoint_of(trial)
    if name is None or _CHECKSUM in trial.user_attrs or not (checkpoints / name).is_file():
        return ""
    return f"trial {trial.number}: its weights have no checksum, as an earlier nacim wrote them, and are not checked"


def pareto_report(study: optuna.Study) -> ParetoReport:
    """Read a study's trials and find its front."""
    everything = study.get_trials(deepcopy=False)
    objectives = tuple(study.user_attrs["identity"]["objectives"])
    kinds = [kind_of(trial) for trial in everything]
    evaluated = [trial for trial, kind in zip(everything, kinds, strict=True) if kind == "evaluated"]
    counts = {kind: kinds.count(kind) for kind in KINDS}
    floor, accuracies = floor_of(study, evaluated), [accuracy_of(trial) for trial in evaluated]
    counts_for = which_count(floor, evaluated)
    counted = [trial for trial, counts_it in zip(evaluated, counts_for, strict=True) if counts_it]
    return ParetoReport(
        objectives=objectives,
        trials=tuple(evaluated),
        front=tuple(front_of(objectives, counted)),
        counted=frozenset(trial.number for trial in counted),
        counts=counts,
        floor=floor.of(accuracies),
        floor_missed=floor.is_missed(accuracies),
    )


def accuracy_of(trial: FrozenTrial) -> float:
    """Mean accuracy over chips of an evaluated trial, on validation images."""
    return float(trial.user_attrs["variation"]["validation"]["mean"])


def which_count(floor: Floor, evaluated: Sequence[FrozenTrial]) -> list[bool]:
    """Which trials reach the floor and keep the constraints on accuracy; if none keeps them, those above the floor."""
    level = floor.of([accuracy_of(trial) for trial in evaluated])
    above = [accuracy_of(trial) >= level for trial in evaluated]
    kept = [
        high and all(value <= 0 for value in trial.constraints.values())
        for high, trial in zip(above, evaluated, strict=True)
    ]
    return kept if any(kept) else above


def floor_of(study: optuna.Study, evaluated: Sequence[FrozenTrial]) -> Floor:
    """The study's accuracy floor; chance counts once a trial of `evaluated` tells the number of classes."""
    dataset = DatasetSpec.model_validate(study.user_attrs["identity"]["dataset"])
    chance = chance_of(str(dataset.the_task), evaluated[0].user_attrs["design"]["image"]["classes"]) if evaluated else 0
    return Floor(written=study.user_attrs.get("floor"), chance=chance)


def front_of(objectives: Sequence[str], trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Those of evaluated trials that no other one dominates, best first objective first."""
    stay = nondominated(to_losses(objectives, [trial.values for trial in trials]))
    front = [trial for trial, stays in zip(trials, stay, strict=True) if stays]
    return sorted(front, key=lambda trial: to_losses(objectives, [trial.values])[0].tolist())


def remeasured(attributes: Mapping[str, Any], number: int) -> list[dict[str, Any]]:
    """What `nacim evaluate` measured of a trial after the search, oldest first; `attributes` are the study's.

    Each is {"settings": ..., "validation": ..., "test": ..., "versions": ...}: plain settings (`epochs` null: weights
    inherited from the supernet), and the two reports as `VariationReport.to_dict` gives them. `weights` is the file of
    a longer training -> its checksum. Optuna forbids changes
    to finished trials, so these are attributes of the study, named by the trial.
    """
    found: list[dict[str, Any]] = attributes.get(_key(number), [])
    return found


def add_remeasured(study: optuna.Study, number: int, entry: dict[str, Any]) -> None:
    """Add a measurement to those of a trial; nothing else of the trial changes."""
    with transaction(study) as session:
        lock_study(study, session)
        study.set_user_attr(_key(number), [*remeasured(study.user_attrs, number), entry])


def describe_settings(settings: dict[str, Any]) -> str:
    """The settings of a measurement in a few words."""
    parts = [f"{settings['chips']} chips", settings["fidelity"]]
    parts += [f"{settings['images_per_chip']} images a chip"] if settings["images_per_chip"] else []
    parts += [f"{settings['epochs']} epochs" if settings["epochs"] else "inherited weights"]
    parts += [f"{settings['train_images']} training images"] if settings["train_images"] else []
    parts += [f"{settings['test_images']} test images"] if settings["test_images"] else []
    parts += [f"sigma x{settings['sigma_scale']:g}"] if settings["sigma_scale"] != 1 else []
    parts += [f"{settings['drift_time_s']:g} s after programming"] if settings["drift_time_s"] is not None else []
    parts += [f"on {settings['device']['name']} cells"] if "device" in settings else []
    parts += [f"training {settings['training_seed']} after the search's own"] if "training_seed" in settings else []
    return ", ".join(parts)


def _key(number: int) -> str:
    return f"remeasured:{number}"
