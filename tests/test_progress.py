"""What a run shows while it runs."""

import io
import json
from pathlib import Path

import optuna
import pytest
from made_up import made_up_study
from rich.console import Console

from pipeline.cli.live_view import LiveProgress, sparkline
from pipeline.cli.progress import JsonProgress, PlainProgress, Progress
from pipeline.database.trials import pareto_report
from pipeline.design.design_point import DesignPoint
from pipeline.phase import phase_file, read_phase, say, told_in

OBJECTIVES = ("accuracy_mean", "tops_per_watt")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> optuna.Study:
    return made_up_study(tmp_path_factory.mktemp("study"), trials=12)[0]


def shown(kind: type[Progress], study: optuna.Study, folder: Path, running: bool = False) -> tuple[Progress, str]:
    """The view after all trials of a study, and what it wrote."""
    file = io.StringIO()
    console = Console(file=file, width=150, force_terminal=kind is LiveProgress, color_system=None)
    view = kind("made-up", OBJECTIVES, [], console, folder)
    view.begin(20, 0, 2)
    for trial in study.trials:
        if "design" in trial.user_attrs:
            view.started(trial.number, DesignPoint.from_dict(trial.user_attrs["design"]))
        if trial.state is optuna.trial.TrialState.FAIL:
            trial.user_attrs["error"] = "made-up failure [enforce fail at alloc.cpp] [/data/a.png]"
        view.finished(trial)
    if running:
        view.started(99, DesignPoint.from_dict(study.trials[0].user_attrs["design"]))
        console.print(view._render())
    view.close()
    return view, file.getvalue()


def test_the_live_view_shows_counts_front_sparkline_and_what_each_worker_does(study, tmp_path):
    with told_in(phase_file(tmp_path / "made-up-abc-00099.pt")):
        say("training, epoch 3 of 30")
        _, text = shown(LiveProgress, study, tmp_path, running=True)
    for part in ("12/20 trials", "1 reused", "1 infeasible", "1 failed", "left", "best accuracy", "█", "Front so far"):
        assert part in text
    assert "trial 99   training, epoch 3 of 30" in text
    assert "failed: made-up failure [enforce fail at alloc.cpp] [/data/a.png]" in text
    for trial in pareto_report(study).front[:8]:
        assert f"{trial.number} " in text


def test_scripts_get_one_json_object_a_line_for_each_event(study, tmp_path):
    _, text = shown(JsonProgress, study, tmp_path)
    events = [json.loads(line) for line in text.splitlines()]
    assert events[0] == {"event": "begin", "study": "made-up", "goal": 20, "evaluated": 0, "workers": 2}
    finished = {event["trial"]: event for event in events if event["event"] == "finished"}
    assert set(finished) == {trial.number for trial in study.trials}
    for trial in pareto_report(study).trials:
        assert finished[trial.number]["tops_per_watt"] == trial.user_attrs["tops_per_watt"]
    assert events[-1]["counts"] == {
        "evaluated": 12,
        "reused": 1,
        "infeasible": 1,
        "stopped early": 0,
        "failed": 1,
    }
    assert events[-1]["error"].startswith("made-up failure")


def test_a_result_left_by_an_earlier_run_counts_once(study, tmp_path):
    view = Progress("made-up", OBJECTIVES, [], Console(file=io.StringIO()), tmp_path)
    view.finished(pareto_report(study).trials[0])  # found in the spool
    view.begin(20, 1, 2)
    assert view.counts() == "1/20 trials"
    view.finished(pareto_report(study).trials[1])
    assert view.counts() == "2/20 trials"


def test_a_quiet_run_prints_nothing(study, tmp_path):
    assert shown(Progress, study, tmp_path)[1] == ""


def test_plain_lines_name_each_evaluated_trial_and_each_failure(study, tmp_path):
    _, text = shown(PlainProgress, study, tmp_path)
    for trial in pareto_report(study).trials:
        assert f"trial {trial.number}: accuracy" in text
    assert "failed: made-up failure [enforce fail at alloc.cpp] [/data/a.png]" in text


def test_a_sparkline_grows_with_its_values_and_ends_full():
    line = sparkline([float(i) for i in range(1, 101)])
    assert len(line) == 40
    assert list(line) == sorted(line)
    assert line[-1] == "█"
    assert sparkline([]) == sparkline([0.0, 0.0]) == ""


def test_a_phase_is_told_while_it_lasts_and_leaves_no_file(tmp_path):
    checkpoint = tmp_path / "tiny-abc-00007.pt"
    with told_in(phase_file(checkpoint)):
        say("variation")
        assert read_phase(tmp_path, "tiny", 7) == "variation"
        assert read_phase(tmp_path, "tiny", 8) == ""
    assert list(tmp_path.iterdir()) == []
    say("no one listens")
