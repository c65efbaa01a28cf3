"""Ends the trials of designs that break a constraint, before training."""

from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial

from pipeline.design.constraints import Constraint, cost_before_training, untrained_values
from pipeline.design.design_point import DesignPoint
from pipeline.optuna_private import show_violations


def end_if_infeasible(
    study: optuna.Study,
    trial: optuna.Trial,
    constraints: Sequence[Constraint],
    objectives: Sequence[str],
    design: DesignPoint,
) -> FrozenTrial | None:
    """Note by how much a design breaks each constraint; end its trial if it breaks one.

    The trial is then complete and carries `infeasible`, so that samplers learn from it: NSGA-II ranks such trials after
    all others, by the sum of their violations. Its objectives are those of `untrained_values`.

    Args:
        study: The study.
        trial: Just asked, with all its parameters.
        constraints: Of the study; without any nothing is done.
        objectives: Names in `pipeline.design.metrics.METRICS`.
        design: Of the trial.

    Returns:
        The ended trial, or None if the design keeps all constraints.
    """
    if not constraints:
        return None
    cost = cost_before_training(design)
    violations = {str(constraint): constraint.violation(cost) for constraint in constraints}
    if not trial.constraints:  # else: taken up again
        for name, value in violations.items():
            trial.set_constraint(name, value)
        show_violations(trial, list(violations.values()))
    broken = [constraint.show(cost) for constraint in constraints if constraint.violation(cost) > 0]
    if not broken:
        return None
    trial.set_user_attr("infeasible", "; ".join(broken))
    return study.tell(trial, untrained_values(objectives, cost))
