"""Runs: the same trials whatever the workers and interruptions, nothing lost, nothing done twice."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import fake_evaluation
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from pipeline.database.lock import run_lock
from pipeline.database.open_study import open_study
from pipeline.database.storage import StudyError
from pipeline.run import pool as pool_module
from pipeline.run import runner as runner_module
from pipeline.run.queue import end_run, goal_of_run
from pipeline.run.runner import RepeatedFailure, Runner, SpaceExhausted
from pipeline.samplers import generation_of, small_space
from pipeline.study.study_file import StudyDefinition, load_study

WAIT_S = 300  # far above what anything here takes


class StopAfter:
    """A view that raises KeyboardInterrupt once some trials have started."""

    def __init__(self, started: int) -> None:
        self.left = started

    def begin(self, goal: int, done: int, workers: int) -> None: ...

    def started(self, number: int, design: object) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def finished(self, trial: FrozenTrial) -> None: ...

    def tick(self) -> None: ...


def run(
    study: StudyDefinition, folder: Path, trials: int, workers: int = 1, evaluate=fake_evaluation.evaluate, view=None
) -> optuna.Study:
    folder.mkdir(exist_ok=True)
    opened = open_study(study, f"sqlite:///{folder / 'study.db'}")
    runner = Runner(study, opened, folder, workers, view or StopAfter(0), evaluate)
    runner.run(trials)
    return opened


def everything(opened: optuna.Study) -> list[tuple]:
    return [
        (t.number, t.state, t.params, t.values, t.user_attrs.get("design_hash"), t.user_attrs.get("reused_from"))
        for t in opened.get_trials()
    ]


@pytest.fixture
def study(tiny, write_study) -> StudyDefinition:
    return load_study(write_study(tiny))


@pytest.mark.parametrize("sampler", ["nsga2", "random"])
def test_any_number_of_workers_gives_the_same_trials(sampler, tiny, write_study, tmp_path, monkeypatch):
    tiny["sampler"] = {"name": sampler} | ({} if sampler == "random" else {"population_size": 4})
    tiny["hardware"] = {"device": ["sram", "rram"], "adc_bits": [5, 6], "cell_bits": [1, 2]}
    monkeypatch.setattr(small_space, "_MOST", 0)  # as in a space too large to be enumerated, where chance may repeat
    study = load_study(write_study(tiny))
    serial = everything(run(study, tmp_path / "one", 14))
    parallel = everything(run(study, tmp_path / "three", 14, workers=3, evaluate=fake_evaluation.evaluate_slowly))
    assert serial == parallel
    came_twice = any(reused is not None for *_, reused in serial)
    assert came_twice == (sampler == "random"), "evolution proposes no design twice"


class Postponed:
    """Processes whose work is done one by one, last first, when the runner has nothing to do but to wait."""

    def __init__(self, *_, **__) -> None:
        self.work: list[tuple[Future, Callable]] = []

    def submit(self, task: Callable) -> Future:
        self.work.append((Future(), task))
        return self.work[-1][0]

    def wait(self, *_, **__) -> tuple:
        future, task = self.work.pop()
        future.set_result(task())
        return (), ()

    def shutdown(self, **_) -> None: ...


def test_workers_fill_a_generation_side_by_side_and_wait_for_its_end(study, tmp_path, monkeypatch):
    opened, processes, in_work = open_study(study, f"sqlite:///{tmp_path / 'study.db'}"), Postponed(), []

    class Look(StopAfter):
        def tick(self) -> None:
            """Between two looks one evaluation ended, so that one process is free for a moment."""
            trials = opened.get_trials()
            numbers = {task.args[3] for _, task in processes.work}
            in_work.append(len(numbers))
            of_work = {generation_of(trial) for trial in trials if trial.number in numbers}
            assert len(of_work) <= 1, "no two generations at once"
            for generation in of_work:
                before = [trial for trial in trials if generation_of(trial) < generation]
                assert len(before) == 4 * generation, "earlier generations are whole"
                assert all(trial.state is TrialState.COMPLETE for trial in before)

    monkeypatch.setattr(pool_module, "ProcessPoolExecutor", lambda *_, **__: processes)
    monkeypatch.setattr(pool_module, "wait", processes.wait)
    Runner(study, opened, tmp_path, 3, Look(0), fake_evaluation.evaluate).run(12)
    assert in_work == [2, 2, 1, 0] * 3, "three at once while the generation of four has enough of them"


def test_an_interrupted_and_resumed_run_has_the_very_trials_of_one_that_was_not(study, tmp_path):
    """Wherever it is cut off, and whatever the number of workers."""
    whole = everything(run(study, tmp_path / "whole", 12))
    for cut, workers in ((1, 1), (3, 2), (6, 1), (1, 2)):
        with pytest.raises(KeyboardInterrupt):
            run(study, tmp_path / "cut", 12, workers, view=StopAfter(cut))
    resumed = run(study, tmp_path / "cut", 12)
    assert everything(resumed) == whole
    assert not resumed.get_trials(states=(TrialState.RUNNING,))


def test_kill_9_loses_no_finished_trial_leaves_none_running_and_no_process(study, tmp_path):
    whole = everything(run(study, tmp_path / "whole", 12))
    script, folder = Path(__file__).parent / "cluster_process.py", tmp_path / "killed"
    url = f"sqlite:///{folder / 'study.db'}"
    arguments = ["run", study.path, url, folder, 12, "evaluate_slowly", 1, 2]
    for enough in (2, 7):
        process = subprocess.Popen([sys.executable, script, *map(str, arguments)], start_new_session=True)
        wait_for_trials(folder, enough, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_for_end_of_group(process.pid)
    kept = open_study(study, url).get_trials(states=(TrialState.COMPLETE,))
    resumed = run(study, folder, 12, workers=2)
    assert everything(resumed) == whole
    after = {trial.number: trial for trial in resumed.get_trials()}
    for trial in kept:
        assert after[trial.number].datetime_complete == trial.datetime_complete


def wait_for_trials(folder: Path, enough: int, process: subprocess.Popen) -> None:
    """Until a running study has some complete trials and one more running."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        assert process.poll() is None, "the run ended by itself"
        with contextlib.suppress(sqlite3.OperationalError):  # the database is not there yet, or has no tables
            with sqlite3.connect(f"{(folder / 'study.db').as_uri()}?mode=ro", uri=True) as connection:
                states = [state for (state,) in connection.execute("SELECT state FROM trials")]
            if states.count("COMPLETE") >= enough and "RUNNING" in states:
                return
        time.sleep(0.05)
    pytest.fail("the run made no progress")


def wait_for_end_of_group(group: int) -> None:
    """Until no process of a group is left; the workers of a run that was killed end by themselves."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("workers outlived the run")


def test_a_failed_trial_keeps_its_reason_and_the_study_goes_on(study, tmp_path):
    opened = run(study, tmp_path / "out", 6, evaluate=fake_evaluation.fail_on_sram)
    failed = opened.get_trials(states=(TrialState.FAIL,))
    assert failed
    for trial in failed:
        assert trial.user_attrs["design"]["accelerator"]["device"]["name"] == "sram"
        assert trial.user_attrs["error"] == f"RuntimeError: made-up failure of trial {chr(97 + trial.number)}"
        assert "fail_on_sram" in trial.user_attrs["traceback"]
    assert len({t.user_attrs["design_hash"] for t in opened.get_trials(states=(TrialState.COMPLETE,))}) == 6


def test_three_failures_of_one_cause_stop_the_run(study, tmp_path):
    with pytest.raises(RepeatedFailure, match="3 trials in a row failed of one cause: RuntimeError: made-up failure"):
        run(study, tmp_path / "out", 6, evaluate=fake_evaluation.always_fail)


def test_a_worker_that_dies_costs_no_trial(study, tmp_path):
    whole = everything(run(study, tmp_path / "whole", 5))
    assert everything(run(study, tmp_path / "died", 5, evaluate=fake_evaluation.die_once)) == whole
    assert (tmp_path / "died" / "checkpoints" / "died").exists()


def test_a_trial_that_kills_its_worker_fails_alone(study, tmp_path):
    opened = run(study, tmp_path / "out", 5, workers=3, evaluate=fake_evaluation.trial_1_kills_its_worker)
    failed = opened.get_trials(states=(TrialState.FAIL,))
    assert [trial.number for trial in failed] == [1]
    assert "died twice" in failed[0].user_attrs["error"]
    assert not opened.get_trials(states=(TrialState.RUNNING,))


def test_causes_that_differ_in_numbers_only_are_one_cause(study, tmp_path):
    with pytest.raises(RepeatedFailure, match="of one cause"):
        run(study, tmp_path / "out", 6, evaluate=fake_evaluation.fail_with_a_path)


def test_a_used_up_space_does_not_cut_off_what_is_in_work(tiny, write_study, tmp_path, monkeypatch):
    monkeypatch.setattr(runner_module, "_IDLE_TRIALS", 2)
    monkeypatch.setattr(small_space, "_MOST", 0)
    tiny["hardware"] = {"device": ["sram", "rram"], "adc_bits": 5}
    tiny["network"] = {"convs": [{"filters": 4}]}
    study = load_study(write_study(tiny))
    with pytest.raises(SpaceExhausted):
        run(study, tmp_path / "out", 10, workers=2, evaluate=fake_evaluation.evaluate_slowly)
    trials = open_study(study, f"sqlite:///{tmp_path / 'out' / 'study.db'}").get_trials()
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert not any(trial.user_attrs.get("interrupted") for trial in trials)


def test_no_design_is_evaluated_twice_and_a_used_up_space_says_so(tiny, write_study, tmp_path, monkeypatch):
    monkeypatch.setattr(runner_module, "_IDLE_TRIALS", 60)
    monkeypatch.setattr(small_space, "_MOST", 0)
    tiny["hardware"] = {"device": ["sram", "rram"], "adc_bits": [5, 6]}
    tiny["network"] = {"convs": [{"filters": 4}]}
    study = load_study(write_study(tiny))
    with pytest.raises(SpaceExhausted, match="known, break a constraint or cannot exist"):
        run(study, tmp_path / "out", 10)
    complete = open_study(study, f"sqlite:///{tmp_path / 'out' / 'study.db'}").get_trials(states=(TrialState.COMPLETE,))
    first = [trial for trial in complete if "reused_from" not in trial.user_attrs]
    assert len(first) == len({trial.user_attrs["design_hash"] for trial in first}) == 4
    by_number = {trial.number: trial for trial in first}
    for trial in complete:
        assert trial.values == by_number[trial.user_attrs.get("reused_from", trial.number)].values


def test_a_second_run_extends_and_the_same_command_finishes_a_cut_one(study, tmp_path):
    opened = run(study, tmp_path / "out", 3)
    before = everything(opened)
    assert everything(run(study, tmp_path / "out", 3)) == before  # killed before its report: nothing is left to do
    end_run(opened)
    opened = run(study, tmp_path / "out", 3)
    assert (
        len([t for t in opened.get_trials() if t.state is TrialState.COMPLETE and "reused_from" not in t.user_attrs])
        == 6
    )
    assert everything(opened)[: len(before)] == before
    end_run(opened)
    assert goal_of_run(opened, 10, 6) == 16
    end_run(opened)  # its time ran out before its goal
    assert goal_of_run(opened, 10, 9) == 16  # cut off at 9: the same command goes on to 16
    assert goal_of_run(opened, 2, 9) == 11  # another number is another wish


def test_two_runs_on_one_database_are_refused(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    with (
        run_lock(url, tmp_path, "tiny"),
        pytest.raises(StudyError, match="another run is using it"),
        run_lock(url, tmp_path, "tiny"),
    ):
        pass
    with run_lock(url, tmp_path, "tiny"):
        pass


def test_two_runs_on_one_database_are_refused_though_one_comes_by_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link.db").symlink_to(tmp_path / "study.db")
    with (
        run_lock(f"sqlite:///{tmp_path / 'study.db'}", tmp_path, "tiny"),
        pytest.raises(StudyError, match="another run is using it"),
        run_lock(f"sqlite:///{tmp_path / 'elsewhere' / 'link.db'}", tmp_path, "tiny"),
    ):
        pass
