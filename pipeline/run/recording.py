"""Results on their way from a worker into the database, so that none is lost and none is written twice."""

import contextlib
import dataclasses
import functools
import json
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import TypeAdapter

from pipeline.database import records
from pipeline.database.heartbeat import this_process
from pipeline.database.patience import DatabaseAway, Patience
from pipeline.database.transaction import set_user_attributes, transaction
from pipeline.design.results import TrialResult, stored_values
from pipeline.files import write_whole
from pipeline.machine_faults import MachineFault, OutOfMemory
from pipeline.optuna_private import lock_trial, storage_of, trial_id
from pipeline.study.study_file import StudyDefinition

_TRACEBACK_LENGTH = 4000  # characters kept of a traceback, its end


class Recording:
    """Writes how trials ended into the database; results are kept in the output folder's spool until then."""

    def __init__(self, definition: StudyDefinition, study: optuna.Study, folder: Path, in_database: Patience) -> None:
        self._study = study
        self._objectives = definition.spec.objectives
        self._spool = Spool(folder / "spool", definition)
        self._in_database = in_database

    def spool(self, number: int, design_hash: str, result: TrialResult) -> None:
        """Keep a result in a file until it is in the database. Without room on the disk it waits in memory."""
        if not self._spool.holds(number):
            with contextlib.suppress(OSError):
                self._spool.put(SpooledResult(number=number, design_hash=design_hash, result=result))

    def record(self, trials: Sequence[optuna.Trial], design_hash: str, result: TrialResult) -> list[FrozenTrial]:
        """Write a result into the first of `trials` and its values into the others, which proposed the same design.

        Raises:
            DatabaseAway: If the database stays away; the message says so if the result is lost.
        """
        number = trials[0].number

        def step() -> list[FrozenTrial]:
            self.spool(number, design_hash, result)  # again, if there was no room before
            with transaction(self._study) as session:
                first = records.record(self._study, session, trial_id(trials[0]), self._objectives, result)
                return [first, *(records.reuse(self._study, session, trial_id(each), first) for each in trials[1:])]

        try:
            finished = self._in_database(step)
        except DatabaseAway as error:
            if self._spool.holds(number):
                raise
            raise DatabaseAway(
                f"the result of trial {number} is lost, for it could not be written to the spool either, and its "
                f"design will be evaluated again: {error}"
            ) from error
        self._spool.drop(number)
        return finished

    def record_spooled(self) -> Iterator[tuple[str, FrozenTrial]]:
        """Record results that earlier runs could not write; yields design hash and trial of each."""
        for spooled in self._spool.left(self._in_database.say):
            trials = self._in_database(functools.partial(self._study.get_trials, deepcopy=False))
            by_number = {trial.number: trial for trial in trials}
            trial = by_number.get(spooled.number)
            if trial is None or trial.user_attrs.get("design_hash") != spooled.design_hash:
                continue  # its database was replaced
            if trial.state is TrialState.COMPLETE:  # recorded just before its file was removed
                self._spool.drop(spooled.number)
                continue
            again = optuna.Trial(self._study, trial_id(trial))
            (recorded,) = self.record([again], spooled.design_hash, spooled.result)
            yield spooled.design_hash, recorded

    def fail(self, trial: optuna.Trial, error: BaseException) -> FrozenTrial:
        """End a trial with the reason for its failure."""
        cause = f"{type(error).__name__}: {error}".splitlines()[0]
        trace = "".join(traceback.format_exception(error))[-_TRACEBACK_LENGTH:]

        def step() -> FrozenTrial:
            with transaction(self._study) as session:
                return records.fail(self._study, session, trial_id(trial), {"error": cause, "traceback": trace})

        return self._in_database(step)

    def leave(self, trial: optuna.Trial, fault: MachineFault) -> NoReturn:
        """End a run with this trial unfinished, for the next run or another worker: its design is not to blame."""
        if isinstance(fault, OutOfMemory):
            with contextlib.suppress(Exception):
                self._note_death(trial, str(fault))
        raise type(fault)(
            f"trial {trial.number} is left for the next run, for this machine is to blame: {fault}; then run the same "
            "command to go on"
        ) from fault

    def _note_death(self, trial: optuna.Trial, cause: str) -> None:
        """Note that a worker died in a trial for lack of memory: a shared study tries that only so often."""
        death = this_process() | {"cause": cause, "noticed": datetime.now(UTC).isoformat()}
        with transaction(self._study) as session:
            lock_trial(session, trial_id(trial))
            stored = storage_of(self._study).get_trial(trial_id(trial)).user_attrs
            set_user_attributes(session, trial_id(trial), {"deaths": [*stored.get("deaths", []), death]})

    def hand_back(self, trials: Sequence[optuna.Trial]) -> None:
        """Mark running trials as interrupted: the next run or another worker may take them up."""
        me = this_process()
        with transaction(self._study) as session:
            for trial in trials:
                if lock_trial(session, trial_id(trial)) is not TrialState.RUNNING:
                    continue  # recorded just now
                stored = storage_of(self._study).get_trial(trial_id(trial)).user_attrs
                if stored["worker"] | me == stored["worker"]:  # else another worker has taken it over
                    set_user_attributes(session, trial_id(trial), {"interrupted": True})


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SpooledResult:
    """A result that was computed and may not be in the database yet."""

    number: int  # of its trial
    design_hash: str
    result: TrialResult


class Spool:
    """Results as small files until they are in the database, so that none is lost while it is away.

    Files of other studies in `folder`, or of this one with other settings, are ignored.
    """

    def __init__(self, folder: Path, definition: StudyDefinition) -> None:
        self._folder = folder
        self._objectives = definition.spec.objectives
        self._prefix = f"{definition.spec.name}-{definition.identity_hash}-"

    def put(self, spooled: SpooledResult) -> None:
        """Write a result, whole or not at all."""
        write_whole(self._path(spooled.number), json.dumps(dataclasses.asdict(spooled)), durable=True)

    def holds(self, number: int) -> bool:
        return self._path(number).is_file()

    def drop(self, number: int) -> None:
        """Remove a result that is in the database."""
        with contextlib.suppress(OSError):
            self._path(number).unlink(missing_ok=True)

    def left(self, say: Callable[[str], None] = lambda message: None) -> list[SpooledResult]:
        """All results, by number. A file that is no whole result is set aside, and `say` is told."""
        found = []
        for path in sorted(self._folder.glob(f"{self._prefix}*.json")):
            try:
                found.append(self._read(path))
            except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                reason = " ".join(str(error).split())[:120]
                say(f"{path} is no whole result ({reason}); it is set aside, and its trial is evaluated again")
                with contextlib.suppress(OSError):
                    path.replace(path.with_suffix(".damaged"))
        return sorted(found, key=lambda each: each.number)

    def _read(self, path: Path) -> SpooledResult:
        """Raises ValueError if a file is no whole result of its own number."""
        plain = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
        spooled: SpooledResult = TypeAdapter(SpooledResult).validate_python(plain)
        if path != self._path(spooled.number):
            raise ValueError(f"it holds trial {spooled.number}")
        result = spooled.result
        result.check(self._objectives)
        accuracy = {"variation": {"validation": result.validation.to_dict()}}
        others = {"cost": result.cost, "silicon": result.silicon}
        stored_values(result.measured | accuracy | others)  # as it will be read from the database
        return spooled

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._prefix}{number:05d}.json"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")
