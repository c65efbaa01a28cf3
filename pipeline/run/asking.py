"""Asks for a trial in one transaction, and finds out whether its design needs an evaluation."""

import dataclasses
from collections.abc import Set

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.orm import Session

from hw_models.errors import InfeasibleDesign
from pipeline.database import records
from pipeline.database.heartbeat import HeartbeatThread, this_process
from pipeline.database.transaction import set_user_attributes, transaction
from pipeline.design.constraints import Constraint, untrained_values
from pipeline.design.design_point import DesignPoint
from pipeline.networks.workload import cost_before_training, workload_of
from pipeline.optuna_private import show_violations, trial_id
from pipeline.run.queue import Queue
from pipeline.study.search_space import SearchSpace
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
        self._objectives = definition.spec.objectives
        self._constraints = [Constraint.parse(text) for text in definition.spec.constraints]
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
        cost = cost_before_training(design)
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
