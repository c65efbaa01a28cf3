"""Early stopping for many objectives: a design that cannot reach the front any more is not trained to the end.

Costs are exact before training, so only accuracy is unknown. At a checkpoint a design is granted the accuracy that
finished designs gained from there on (a quantile of it). If it is dominated even so, its training ends.
"""

from collections.abc import Sequence

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from pipeline.database.trials import kind_of
from pipeline.design.design_point import DesignPoint
from pipeline.design.metrics import METRICS
from pipeline.design.pareto import StoppingRule, nondominated, to_losses
from pipeline.networks.workload import cost_before_training
from pipeline.samplers import generation_of
from pipeline.study.study_spec import EarlyStoppingSpec, StudySpec

_ENOUGH_CURVES = 10  # assumed: finished learning curves from which a quantile means something


def checkpoint_epochs(spec: EarlyStoppingSpec, epochs: int) -> tuple[int, ...]:
    """The epochs after which a training may be stopped; never the last."""
    rounded = {max(1, round(share * epochs)) for share in spec.checkpoints}
    return tuple(sorted(epoch for epoch in rounded if epoch < epochs))


def stopping_rule(study: optuna.Study, spec: StudySpec, number: int, design: DesignPoint) -> StoppingRule | None:
    """The rule for a trial: a function of its design and of the trials of earlier generations.

    These are all finished when a trial is asked for, so that the rule does not depend on the number of workers or on
    interruptions.

    Returns:
        None if the study stops nothing: not asked for, networks inherit from a supernet, the sampler has no
        generations, no objective is an accuracy, or one depends on the trained network's own data and so is not known
        before training.
    """
    accuracy = [name for name in spec.objectives if METRICS[name].is_accuracy]
    if (
        spec.accuracy.source == "supernet"
        or not spec.early_stopping
        or not spec.sampler.has_generations
        or not accuracy
        or any(METRICS[name].source == "own cost" for name in spec.objectives)
    ):
        return None
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING))
    own = next(generation_of(trial) for trial in trials if trial.number == number)
    finished = [trial for trial in trials if kind_of(trial) == "evaluated" and generation_of(trial) < own]
    checkpoints = checkpoint_epochs(spec.early_stopping, spec.recipe.epochs)
    granted = {epoch: _gains(finished, epoch, accuracy, spec.early_stopping.quantile) for epoch in checkpoints}
    cost = cost_before_training(design, spec.calibrated_by)
    front = nondominated(to_losses(spec.objectives, [trial.values for trial in finished]))
    return StoppingRule(
        checkpoints=checkpoints,
        objectives=tuple(spec.objectives),
        costs={name: cost[METRICS[name].attribute] for name in spec.objectives if name not in accuracy},
        gains={epoch: gains for epoch, gains in granted.items() if gains},
        front=tuple(tuple(finished[i].values) for i in np.flatnonzero(front)),
    )


def _gains(finished: Sequence[FrozenTrial], epoch: int, names: Sequence[str], quantile: float) -> dict[str, float]:
    """Objective -> quantile over finished trials of its gain from `epoch` to the end; empty if they are too few."""
    curves = [(trial.user_attrs, trial.user_attrs.get("learning_curve", ())) for trial in finished]
    pairs = [(last, point) for last, curve in curves for point in curve if point["epoch"] == epoch]
    if len(pairs) < _ENOUGH_CURVES:
        return {}
    return {
        name: max(0.0, float(np.quantile([last[name] - then[name] for last, then in pairs], quantile)))
        for name in names
    }
