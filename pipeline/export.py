"""Take a trial out of its study: weights and design card."""

import shutil
from pathlib import Path

import yaml
from optuna.trial import FrozenTrial

from pipeline.study_spec import StudySpec


def export_trial(spec: StudySpec, trial: FrozenTrial, checkpoints: Path, to: Path) -> list[Path]:
    """Write `NAME-NUMBER.pt` (a state dict; load it with `pipeline.objective.load_checkpoint`) and `NAME-NUMBER.yaml`
    (a design file for `nacim cost`) into the folder `to`.

    Raises:
        ValueError: If the trial's checkpoint is gone.
    """
    source = checkpoints / str(trial.user_attrs["checkpoint"])
    if not source.is_file():
        raise ValueError(
            f"{source}: the checkpoint of trial {trial.number} is gone; keep the study's output folder together"
        )
    to.mkdir(parents=True, exist_ok=True)
    stem = f"{spec.name}-{trial.number}"
    weights, card = to / f"{stem}.pt", to / f"{stem}.yaml"
    shutil.copyfile(source, weights)
    card.write_text(yaml.safe_dump(trial.user_attrs["design"], sort_keys=False), encoding="utf-8")
    return [weights, card]
