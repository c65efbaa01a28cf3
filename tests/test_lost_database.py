"""A database that is away for a while, or breaks at any step: nothing is lost, nothing comes twice."""

import contextlib
import random
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import fake_evaluation
import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState
from test_runner import StopAfter, everything, run

from pipeline.database import patience, storage
from pipeline.database.heartbeat import HeartbeatThread
from pipeline.database.open_study import open_study
from pipeline.database.patience import DatabaseAway, Patience
from pipeline.database.records import fail, record
from pipeline.database.storage import StudyError
from pipeline.database.transaction import transaction
from pipeline.design.design_point import DesignPoint
from pipeline.optuna_private import trial_id
from pipeline.run import asking, recording
from pipeline.run.asking import Asked, Asking
from pipeline.run.queue import LoneQueue
from pipeline.run.recording import Spool, SpooledResult
from pipeline.run.runner import Runner
from pipeline.study.study_file import StudyDefinition, load_study


@pytest.fixture
def study(tiny, write_study, monkeypatch) -> StudyDefinition:
    monkeypatch.setattr(storage, "_LOCK_WAIT_S", 0.05)
    monkeypatch.setattr(patience, "_PAUSES_S", (0.01, 0.05))
    return load_study(write_study(tiny))


def ask(study: StudyDefinition, opened: optuna.Study) -> Asked:
    queue = LoneQueue(opened, study.spec.sampler)
    return Asking(study, opened, queue, HeartbeatThread(opened, 1)).ask(own=set())


class LockAtStart(StopAfter):
    """A view that locks the database from outside once a trial is with its worker."""

    def __init__(self, path: Path) -> None:
        super().__init__(0)
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.said: list[str] = []

    def started(self, number: int, design: object) -> None:
        if not self.said and not self.connection.in_transaction:
            self.connection.execute("BEGIN EXCLUSIVE")

    def say(self, message: str) -> None:
        self.said.append(message)


def locked_run(study: StudyDefinition, folder: Path, bound_s: float, at_first_wait=lambda view: None) -> LockAtStart:
    folder.mkdir(exist_ok=True)
    opened = open_study(study, f"sqlite:///{folder / 'study.db'}")
    view = LockAtStart(folder / "study.db")

    def say(message: str) -> None:
        view.say(message)
        at_first_wait(view)

    runner = Runner(
        study, opened, folder, 1, view, fake_evaluation.evaluate, patience=Patience(bound_s=bound_s, say=say)
    )
    with contextlib.closing(view.connection):
        runner.run(4)
    return view


def test_a_locked_database_is_waited_for_and_the_run_goes_on(study, tmp_path):
    whole = everything(run(study, tmp_path / "whole", 4))

    def unlock(view: LockAtStart) -> None:
        if view.connection.in_transaction:
            threading.Timer(0.3, view.connection.execute, ("ROLLBACK",)).start()

    view = locked_run(study, tmp_path / "out", 300, unlock)
    assert "waiting for the database until" in view.said[0]
    assert "locked" in view.said[0]
    assert view.said[1] == "the database is back"
    assert everything(open_study(study, f"sqlite:///{tmp_path / 'out' / 'study.db'}")) == whole


def test_a_result_that_cannot_be_written_is_spooled_and_recorded_by_the_next_run(study, tmp_path):
    whole = everything(run(study, tmp_path / "whole", 4))
    with pytest.raises(DatabaseAway, match=r"waited for 0.2 s \(.*locked.*results are kept"):
        locked_run(study, tmp_path / "out", 0.2)
    (spooled,) = Spool(tmp_path / "out" / "spool", study).left()
    numbers = []

    class Note(StopAfter):
        def started(self, number: int, design: object) -> None:
            numbers.append(number)

    opened = run(study, tmp_path / "out", 4, view=Note(0))
    assert spooled.number not in numbers, "it was computed once"
    assert everything(opened) == whole
    assert not Spool(tmp_path / "out" / "spool", study).left()


@pytest.mark.parametrize("room_comes_back", [True, False])
def test_a_full_disk_takes_database_and_spool(study, tmp_path, room_comes_back):
    """A file in the place of the spool's folder stands for the full disk."""
    (tmp_path / "out").mkdir()
    in_the_way = tmp_path / "out" / "spool"
    in_the_way.write_text("")

    def at_first_wait(view: LockAtStart) -> None:
        if room_comes_back:
            in_the_way.unlink(missing_ok=True)

    with pytest.raises(DatabaseAway, match="results are kept" if room_comes_back else "result of trial 0 is lost"):
        locked_run(study, tmp_path / "out", 0.5, at_first_wait)
    if room_comes_back:
        assert [spooled.number for spooled in Spool(in_the_way, study).left()] == [0]


def test_what_is_more_likely_a_mistake_is_not_waited_for_when_a_command_begins(tmp_path):
    asked = []

    def refused() -> None:
        asked.append(1)
        raise sqlalchemy.exc.OperationalError("connect", {}, Exception('password authentication failed for user "me"'))

    with pytest.raises(sqlalchemy.exc.OperationalError):
        Patience(bound_s=300, at_start=True)(refused)
    assert len(asked) == 1


def test_a_step_that_breaks_anywhere_is_repeated_without_a_trace(study, tmp_path, monkeypatch):
    """Before the commit, and after it: the connection breaks and nobody knows whether it was written."""
    whole = everything(run(study, tmp_path / "whole", 12))
    draw = random.Random(4)
    broken = {"before": 0, "after": 0}

    @contextlib.contextmanager
    def breaking(opened) -> Iterator[object]:
        error = sqlalchemy.exc.OperationalError("made up", {}, Exception("server closed the connection"))
        how = draw.choice(["before", "after", "not", "not"])
        with transaction(opened) as session:
            yield session
            if how == "before":
                broken[how] += 1
                raise error
        if how == "after":
            broken[how] += 1
            raise error

    monkeypatch.setattr(asking, "transaction", breaking)
    monkeypatch.setattr(recording, "transaction", breaking)
    assert everything(run(study, tmp_path / "out", 12)) == whole
    assert min(broken.values()) >= 3


def test_a_transaction_is_whole_or_not_at_all(study, tmp_path):
    opened = open_study(study, f"sqlite:///{tmp_path / 'study.db'}")

    def ask_and_break() -> None:
        with transaction(opened):
            trial = opened.ask()
            trial.suggest_int("x", 0, 5)
            trial.set_user_attr("design_hash", "h")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask_and_break()
    assert not opened.get_trials()
    with transaction(opened):
        assert opened.ask().number == 0


def test_the_late_result_of_a_trial_that_was_given_up_becomes_a_new_trial_once(study, tmp_path):
    opened = open_study(study, f"sqlite:///{tmp_path / 'study.db'}")
    asked = ask(study, opened)
    with transaction(opened) as session:
        fail(opened, session, trial_id(asked.trial), {"error": "given up"})
    result = fake_evaluation.made_up_result(asked.design, 0)
    for _ in range(2):
        with transaction(opened) as session:
            late = record(opened, session, trial_id(asked.trial), study.spec.objectives, result)
        assert (late.number, late.state, late.user_attrs["late_result_of"]) == (1, TrialState.COMPLETE, 0)
        assert late.params == asked.trial.params
        assert DesignPoint.from_dict(late.user_attrs["design"]) == asked.design
    assert [trial.state for trial in opened.get_trials()] == [TrialState.FAIL, TrialState.COMPLETE]


def test_a_spooled_file_that_is_cut_off_or_of_another_study_is_passed_over(study, tiny, write_study, tmp_path):
    opened = open_study(study, f"sqlite:///{tmp_path / 'study.db'}")
    asked = ask(study, opened)
    spool = Spool(tmp_path / "spool", study)
    result = fake_evaluation.made_up_result(asked.design, 0)
    spooled = SpooledResult(number=0, design_hash=asked.design.content_hash, result=result)
    spool.put(spooled)
    assert spool.left() == [spooled]
    (path,) = (tmp_path / "spool").iterdir()
    path.with_name(path.name.replace("00000", "00001")).write_text(path.read_text()[:100])
    assert spool.left() == [spooled]
    other = load_study(write_study(tiny | {"seed": 99}, "other.yaml"))
    assert Spool(tmp_path / "spool", other).left() == []


def test_a_spooled_result_of_another_design_is_not_recorded_under_its_number(study, tmp_path):
    """The spool outlives the database: a fresh one has the same numbers and other designs."""
    whole = everything(run(study, tmp_path / "whole", 2))
    folder = tmp_path / "out"
    folder.mkdir()
    asked = ask(study, open_study(study, f"sqlite:///{folder / 'study.db'}"))
    result = fake_evaluation.made_up_result(asked.design, 99)
    Spool(folder / "spool", study).put(SpooledResult(number=0, design_hash="another design's", result=result))
    assert everything(run(study, folder, 2)) == whole


def test_what_will_not_pass_is_not_waited_for():
    def broken() -> None:
        raise StudyError("another space")

    with pytest.raises(StudyError):
        Patience(bound_s=300)(broken)
