"""Workers on a real PostgreSQL: crashes, hand-backs, restarts of the server, lost connections."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_evaluation
import optuna
import pytest
from optuna.trial import TrialState
from postgres import Server
from test_runner import StopAfter, everything
from test_runner import run as run_on_sqlite

from pipeline.database import open_study as open_study_module
from pipeline.database.heartbeat import HeartbeatThread
from pipeline.database.lock import run_lock, study_lock
from pipeline.database.records import evaluated_trials
from pipeline.database.storage import StudyError
from pipeline.database.transaction import transaction
from pipeline.optuna_private import backend_of, trial_id
from pipeline.run.asking import Asked, Asking
from pipeline.run.queue import SharedQueue
from pipeline.run.runner import Runner
from pipeline.study.study_file import StudyDefinition, load_study

pytestmark = pytest.mark.xdist_group("cluster")
WAIT_S = 300  # far above what anything here takes


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.remove()


@pytest.fixture
def url(server: Server) -> str:
    return server.new_database()


@pytest.fixture
def study(tiny, write_study) -> StudyDefinition:
    return load_study(write_study(tiny))


_opened: list[optuna.Study] = []


@pytest.fixture(autouse=True)
def closed_connections() -> Iterator[None]:
    yield
    while _opened:
        backend_of(_opened.pop()).engine.dispose()


def open_study(*arguments, **options) -> optuna.Study:
    _opened.append(open_study_module.open_study(*arguments, **options))
    return _opened[-1]


def load_study_read_only(*arguments) -> optuna.Study:
    _opened.append(open_study_module.load_study_read_only(*arguments))
    return _opened[-1]


@pytest.fixture
def start(study: StudyDefinition, url: str, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start workers (or a run); whatever is left of them dies with the test."""
    started = []

    def start(goal: int, evaluation: str = "wait_for_go", heartbeat_s: int = 1, kind: str = "worker"):
        script = Path(__file__).parent / "cluster_process.py"
        arguments = [kind, study.path, url, tmp_path / "out", goal, evaluation, heartbeat_s, 1]
        with (tmp_path / f"log-{len(started)}.txt").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, str(script), *map(str, arguments)], stdout=log, stderr=log, start_new_session=True
            )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, f"never came: {what}"
        time.sleep(0.05)


def marks(folder: Path, process: subprocess.Popen | None = None) -> dict[int, int]:
    """Trial -> process of the worker that began it (the last one)."""
    found = {}
    paths = sorted((folder / "out" / "checkpoints").glob("started-*"), key=lambda path: path.stat().st_mtime_ns)
    for path in paths:
        _, number, pid = path.name.split("-")
        if process is None or int(pid) == process.pid:
            found[int(number)] = int(pid)
    return found


def go(folder: Path, name: str = "go") -> None:
    (folder / "out" / "checkpoints" / name).touch()


def ended(*processes: subprocess.Popen) -> None:
    for process in processes:
        assert process.wait(timeout=WAIT_S) == 0


def check_whole(url: str, goal: int, name: str = "tiny") -> optuna.Study:
    """The promises that hold after every kind of trouble."""
    opened = load_study_read_only(url, name)
    trials = opened.get_trials()
    assert [trial.number for trial in trials] == list(range(len(trials))), "no number twice, none left out"
    assert not [trial.number for trial in trials if trial.state in (TrialState.RUNNING, TrialState.WAITING)]
    evaluated = evaluated_trials(opened)
    assert len(evaluated) == goal
    assert len({trial.user_attrs["design_hash"] for trial in evaluated}) == goal
    return opened


def test_two_workers_that_start_at_once_on_an_empty_server_share_the_work(start, url, tmp_path):
    first, second = start(8), start(8)
    wait_until(lambda: set(marks(tmp_path).values()) == {first.pid, second.pid}, "both workers evaluate")
    go(tmp_path)
    ended(first, second)
    check_whole(url, 8)


def test_the_trial_of_a_killed_worker_is_taken_over_under_its_number(start, url, tmp_path):
    doomed = start(5)
    wait_until(lambda: marks(tmp_path, doomed), "a trial begins")
    (number,) = marks(tmp_path, doomed)
    os.killpg(doomed.pid, signal.SIGKILL)
    other = start(5)
    go(tmp_path)
    ended(other)
    trial = check_whole(url, 5).get_trials()[number]
    assert trial.state is TrialState.COMPLETE
    assert [death["pid"] for death in trial.user_attrs["deaths"]] == [doomed.pid]
    assert trial.user_attrs["worker"]["pid"] == other.pid


def test_a_worker_that_is_stopped_hands_its_trial_back_at_once(start, url, tmp_path):
    stopped = start(5, heartbeat_s=1000)  # silence would show only after an hour
    wait_until(lambda: marks(tmp_path, stopped), "a trial begins")
    (number,) = marks(tmp_path, stopped)
    stopped.send_signal(signal.SIGTERM)
    stopped.wait(timeout=WAIT_S)
    other = start(5, heartbeat_s=1000)
    go(tmp_path)
    ended(other)
    trial = check_whole(url, 5).get_trials()[number]
    assert trial.user_attrs["worker"]["pid"] == other.pid
    assert "deaths" not in trial.user_attrs


def test_a_restart_of_the_server_costs_nothing(start, server, url, tmp_path):
    workers = start(6), start(6)
    wait_until(lambda: len(marks(tmp_path)) == 2, "both workers evaluate")
    server.stop()
    go(tmp_path)
    wait_until(
        lambda: all("waiting for the database" in (tmp_path / f"log-{i}.txt").read_text() for i in (0, 1)),
        "both workers say that they wait",
    )
    server.start()
    ended(*workers)
    trials = check_whole(url, 6).get_trials()
    assert not [trial for trial in trials if "deaths" in trial.user_attrs], "no one was held for dead"
    assert not list((tmp_path / "out" / "spool").iterdir())


@pytest.mark.parametrize("kind", [pytest.param("run", marks=pytest.mark.slow), "worker"])
def test_a_command_that_begins_while_the_server_is_away_waits_for_it(server, url, tmp_path, write_study, tiny, kind):
    server.stop()
    command = [sys.executable, "-m", "pipeline", kind, write_study(tiny), "--storage", url, "--trials", "1"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ
    )
    try:
        assert any("waiting for the database until" in line for line in process.stdout)
    finally:
        server.start()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "the database is back" in output
    check_whole(url, 1)


@pytest.mark.slow
def test_lost_connections_cost_nothing(start, server, url, tmp_path):
    workers = start(6), start(6)
    wait_until(lambda: len(marks(tmp_path)) == 2, "both workers evaluate")
    database = url.rsplit("/", 1)[1]
    server.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
    go(tmp_path)
    ended(*workers)
    check_whole(url, 6)


def test_a_run_and_workers_keep_out_of_each_other(start, url, study, tmp_path):
    worker = start(3)
    wait_until(lambda: marks(tmp_path), "the worker evaluates")
    with pytest.raises(StudyError, match="another process uses this study"), run_lock(url, tmp_path, "tiny"):
        pass
    go(tmp_path)
    ended(worker)
    with (
        run_lock(url, tmp_path, "tiny"),
        pytest.raises(StudyError, match="a `nacim run` has it"),
        study_lock(url, "tiny", shared=True),
    ):
        pass


def test_a_run_on_postgresql_has_the_trials_of_one_on_sqlite(study, url, tmp_path):
    whole = everything(run_on_sqlite(study, tmp_path / "sqlite", 6))
    opened = open_study(study, url)
    Runner(study, opened, tmp_path / "out", 2, StopAfter(0), fake_evaluation.evaluate).run(6)
    assert everything(opened) == whole


def asker(study: StudyDefinition, opened: optuna.Study, goal: int) -> Callable[[], Asked]:
    queue = SharedQueue(opened, StopAfter(0))
    queue.goal(goal)
    return functools.partial(Asking(study, opened, queue, HeartbeatThread(opened, 1)).ask, own=set())


def test_a_trial_that_outlives_three_workers_fails_with_its_reason(study, url, monkeypatch):
    opened = open_study(study, url)
    ask = asker(study, opened, goal=3)
    monkeypatch.setattr(SharedQueue, "_silent", lambda self, unfinished: {trial_id(t): 99.0 for t in unfinished})
    assert [ask().trial.number for _ in range(3)] == [0, 0, 0]
    assert ask().trial.number == 1, "the next one is asked for"
    failed = opened.get_trials()[0]
    assert failed.state is TrialState.FAIL
    assert f"3 workers died in this trial, the last on {os.uname().nodename}" in failed.user_attrs["error"]


def test_workers_do_not_evaluate_one_design_at_the_same_time(study, url):
    opened = open_study(study, url)
    asked = asker(study, opened, goal=9)()
    twin = optuna.trial.create_trial(
        state=TrialState.WAITING, params=asked.trial.params, distributions=asked.trial.distributions
    )
    with transaction(opened):
        opened.add_trial(twin)
    pruned = asker(study, open_study(study, url), goal=9)().finished
    assert pruned.state is TrialState.PRUNED
    assert pruned.user_attrs["duplicate_of"] == asked.trial.number
