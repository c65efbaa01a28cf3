"""Asks for a trial in one transaction, and finds out whether its design needs an evaluation."""

import dataclasses
from collections.abc import Set

import optuna
from optuna.distributions import check_distribution_compatibility
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.orm import Session

from hw_models.errors import InfeasibleDesign
from pipeline.database import records
from pipeline.database.heartbeat import HeartbeatThread, this_process
from pipeline.database.storage import StudyError
from pipeline.database.transaction import set_user_attributes, transaction
from pipeline.design.constraints import before_training, untrained_values
from pipeline.design.design_point import DesignPoint
from pipeline.networks.workload import cost_before_training, workload_of
from pipeline.optuna_private import show_violations, storage_of, trial_id
from pipeline.run.queue import Queue
from pipeline.study.search_space import SearchSpace, distribution_of
from pipeline.study.study_file import StudyDefinition


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A trial with a design to evaluate, or, in `finished`, one that ended without an evaluation."""

    trial: optuna.Trial
    design: DesignPoint | None = None
    finished: FrozenTrial | None = None


class Asking:
    """Takes the next trial of a queue and finds out whether its design needs an evaluation.

    Attributes:
        last_infeasible: Why the last infeasible design broke a constraint or cannot exist; empty without one.
    """

    def __init__(
        self, definition: StudyDefinition, study: optuna.Study, queue: Queue, heartbeat: HeartbeatThread
    ) -> None:
        self._study = study
        self._queue = queue
        self._heartbeat = heartbeat
        self._space = SearchSpace(definition)
        _check_distributions(study, self._space)
        self._objectives = definition.spec.objectives
        self._calibrated_by = definition.spec.calibrated_by
        self._constraints = before_training(definition.spec.constraints)
        self.last_infeasible = ""

    def ask(self, own: Set[int]) -> Asked | None:
        """The next trial, in one transaction; None while other processes run all that is left.

        `own` are the numbers of the trials that this run is running.
        """
        try:
            with transaction(self._study) as session:
                trial = self._queue.next_trial(session, own)
                asked = None if trial is None else self._take(session, trial)
        except BaseException:
            self._queue.ended(committed=False)
            raise
        self._queue.ended(committed=True)
        return asked

    def _take(self, session: Session, trial: optuna.Trial) -> Asked:
        """Note in a trial who works on it and on which design."""
        self._heartbeat.send(trial_id(trial))
        taken_up = {"interrupted": False} if trial.user_attrs.get("interrupted") else {}
        worker = this_process() | {"heartbeat_s": self._heartbeat.interval_s}
        set_user_attributes(session, trial_id(trial), {"worker": worker} | taken_up)
        if misfit := self._misfit(storage_of(self._study).get_trial(trial_id(trial))):
            reasons = {"error": f"added from outside with values that do not fit: {misfit}"}
            return Asked(trial=trial, finished=records.fail(self._study, session, trial_id(trial), reasons))
        try:
            design = self._space.suggest(trial)
            workload_of(design)
        except InfeasibleDesign as error:
            self.last_infeasible = str(error)
            trial.set_user_attr("infeasible", str(error))
            return Asked(trial=trial, finished=self._study.tell(trial, state=TrialState.PRUNED))
        key = design.content_hash
        set_user_attributes(session, trial_id(trial), {"design_hash": key, "design": design.to_dict()})
        finished = self._end_without_evaluation(session, trial, design, key)
        return Asked(trial=trial, finished=finished) if finished else Asked(trial=trial, design=design)

    def _misfit(self, trial: FrozenTrial) -> str:
        """Why what another program chose for a trial is outside the space; empty if nothing is."""
        if misfit := self._space.misfit({**trial.system_attrs.get("fixed_params", {}), **trial.params}):
            return misfit
        searched = self._space.searched()
        others = (
            n for n, each in trial.distributions.items() if n not in searched or each != distribution_of(searched[n])
        )
        return next((f"{name} was drawn from other values than the study's" for name in others), "")

    def _end_without_evaluation(
        self, session: Session, trial: optuna.Trial, design: DesignPoint, key: str
    ) -> FrozenTrial | None:
        """End the trial if its design breaks a constraint, was evaluated, or runs elsewhere; None if not."""
        if self._constraints and (ended := self._end_if_infeasible(trial, design)):
            return ended
        if key in self._queue.evaluated:
            return records.reuse(self._study, session, trial_id(trial), self._queue.evaluated[key])
        if key in self._queue.elsewhere:
            trial.set_user_attr("duplicate_of", self._queue.elsewhere[key])
            return self._study.tell(trial, state=TrialState.PRUNED)
        return None

    def _end_if_infeasible(self, trial: optuna.Trial, design: DesignPoint) -> FrozenTrial | None:
        """Note by how much a design breaks each constraint; end its trial, before training, if it breaks one.

        The trial is then complete and carries `infeasible`, so that samplers learn from it: NSGA-II ranks such trials
        after all others, by the sum of their violations.
        """
        cost = cost_before_training(design, self._calibrated_by)
        violations = {str(constraint): constraint.violation(cost) for constraint in self._constraints}
        if not trial.constraints:  # a trial taken up again has them
            for name, value in violations.items():
                trial.set_constraint(name, value)
            show_violations(trial, list(violations.values()))
        broken = [constraint.show(cost) for constraint in self._constraints if constraint.violation(cost) > 0]
        if not broken:
            return None
        self.last_infeasible = "; ".join(broken)
        trial.set_user_attr("infeasible", self.last_infeasible)
        return self._study.tell(trial, untrained_values(self._objectives, cost))


def _check_distributions(study: optuna.Study, space: SearchSpace) -> None:
    """Raise StudyError if another program added a trial whose choices of a parameter are others than the study's.

    Optuna allows one set of choices in a study, that of the first trial, and would refuse all later trials.
    """
    searched = {name: distribution_of(dimension) for name, dimension in space.searched().items()}
    for trial in study.get_trials(deepcopy=False):
        if "worker" in trial.user_attrs:  # a run asked for it
            continue
        for name in trial.distributions.keys() & searched.keys():
            try:
                check_distribution_compatibility(trial.distributions[name], searched[name])
            except ValueError:
                raise StudyError(
                    f"trial {trial.number}, which another program added, has other choices of {name} than the study, "
                    "and Optuna allows only those of the first trial; give the study a new name"
                ) from None
