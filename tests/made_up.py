"""Studies in a real database: designs and costs are real, accuracies made up. For tests of what people look at."""

import contextlib
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.trial import FrozenTrial

from hw_models.errors import InfeasibleDesign
from hw_models.silicon import Macro
from pipeline.database.open_study import open_study
from pipeline.database.records import _attributes
from pipeline.database.transaction import set_user_attributes, transaction
from pipeline.design.design_point import DesignPoint
from pipeline.design.results import TrialResult, VariationReport, measured_values
from pipeline.networks.workload import estimates_of
from pipeline.study.search_space import SearchSpace
from pipeline.study.study_file import load_study

CONTENT = {
    "name": "made-up",
    "question": "Which <device> & crossbar wins?",
    "seed": 3,
    "hardware": {
        "device": ["sram", "rram", "fefet", "pcm"],
        "crossbar_size": [32, 64, 128],
        "adc_bits": {"low": 4, "high": 8},
        "cell_bits": [1, 2],
        "input_bits": [2, 4],
    },
    "network": {"convs": [{"filters": [4, 8], "pool": True}], "hidden": [{"units": ["absent", 16]}]},
}
_HALF_WIDTH = 0.01


def made_up_study(
    folder: Path, trials: int, n_chips: int = 8, in_memory: bool = False, **content: Any
) -> tuple[optuna.Study, str]:
    """A study with `trials` measured ones, and one each of reused, infeasible and failed if there are any.

    Args:
        folder: Gets study.yaml and study.db.
        trials: How many.
        n_chips: Simulated chips of each design.
        in_memory: Not in the database, and drawn evenly: for many trials at once.
        content: Entries of the study file in place of `CONTENT`'s.

    Returns:
        The study, and its database's URL.
    """
    path, url = folder / "study.yaml", f"sqlite:///{folder / 'study.db'}"
    path.write_text(yaml.safe_dump(CONTENT | content), encoding="utf-8")
    study = load_study(path)
    opened = open_study(study, url)
    if in_memory:
        copy = optuna.create_study(
            study_name=study.spec.name, directions=opened.directions, sampler=optuna.samplers.RandomSampler(seed=0)
        )
        for key, value in opened.user_attrs.items():
            copy.set_user_attr(key, value)
        opened = copy
    space, chance = SearchSpace(study), random.Random(0)
    measured: list[FrozenTrial] = []
    while len(measured) < trials:
        with contextlib.nullcontext() if in_memory else transaction(opened) as session:  # one commit a trial
            trial = opened.ask()
            try:
                design = space.suggest(trial)
            except InfeasibleDesign:
                opened.tell(trial, state=optuna.trial.TrialState.PRUNED)
                continue
            result = made_up_result(design, chance, n_chips)
            attributes = {"design": design.to_dict(), "design_hash": design.content_hash} | _attributes(result)
            if session:
                set_user_attributes(session, trial._trial_id, attributes)
            for name, value in () if session else attributes.items():
                trial.set_user_attr(name, value)
            measured.append(opened.tell(trial.number, [result.measured[name] for name in study.spec.objectives]))
    if measured:
        twin = opened.ask()
        twin.set_user_attr("reused_from", measured[0].number)
        opened.tell(twin, measured[0].values)
        opened.tell(opened.ask(), state=optuna.trial.TrialState.PRUNED)
        opened.tell(opened.ask(), state=optuna.trial.TrialState.FAIL)
    return opened, url


def made_up_result(
    design: DesignPoint, chance: random.Random, n_chips: int, calibrated_by: Mapping[Macro, float] | None = None
) -> TrialResult:
    """A result whose cost is that of the design and whose accuracies are drawn."""
    cost, silicon = estimates_of(design, calibrated_by)
    noiseless = 0.8 + 0.19 * chance.random()
    mean = noiseless - 0.15 * chance.random() * design.accelerator.cell_bits
    reports = {
        split: VariationReport(
            per_chip=tuple(mean - _HALF_WIDTH + 2 * _HALF_WIDTH * i / (n_chips - 1) for i in range(n_chips)),
            mean=mean,
            std=0.006,
            p05=mean - _HALF_WIDTH,
            worst=mean - _HALF_WIDTH,
            mean_low=mean - _HALF_WIDTH,
            mean_high=mean + _HALF_WIDTH,
            noiseless=noiseless,
            float_accuracy=0.995,
            required=None,
            fraction_good=None,
            n_images=n_images,
            fidelity="fast",
        )
        for split, n_images in (("validation", 359), ("test", 360))
    }
    return TrialResult(
        measured=measured_values(cost, cost, silicon, reports["validation"], reports["test"]),
        cost=cost.to_dict(),
        validation=reports["validation"],
        test=reports["test"],
        phase_s={"cost": 0.002, "training": 3.5, "variation": 1.25},
        versions={"python": "3.11.7", "nacim": "0.1.0"},
        checkpoint=None,
        silicon=silicon.to_dict(),
    )
