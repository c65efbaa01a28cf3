"""What was measured of a trial after its search."""

from collections.abc import Mapping
from typing import Any

import optuna

from pipeline.database.transaction import transaction
from pipeline.optuna_private import lock_study


def remeasured(attributes: Mapping[str, Any], number: int) -> list[dict[str, Any]]:
    """What `nacim evaluate` measured of a trial after the search, oldest first; `attributes` are the study's.

    Each is {"settings": ..., "validation": ..., "test": ..., "versions": ...}: plain settings (`epochs` null: weights
    inherited from the supernet), and the two reports as `VariationReport.to_dict` gives them. Optuna lets no one change
    a finished trial, so that they are attributes of the study, named by the trial.
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
    return ", ".join(parts)


def _key(number: int) -> str:
    return f"remeasured:{number}"
