"""Constraints: what breaks one is not trained, the sampler learns from it, and no one takes it for a result."""

import copy
import json
from pathlib import Path

import fake_evaluation
import optuna
import pytest
import yaml
from chromium import chromium_page
from conftest import TINY_STUDY
from optuna.trial import TrialState
from rich.console import Console
from test_dashboard import request, running
from test_runner import StopAfter, everything

from pipeline.cli.progress import Progress
from pipeline.database.open_study import open_study
from pipeline.database.trials import kind_of, pareto_report
from pipeline.design.constraints import QUANTITIES, Constraint, untrained_values
from pipeline.design.design_point import DesignPoint
from pipeline.networks.workload import cost_before_training
from pipeline.report.findings import read_findings
from pipeline.run.pool import View
from pipeline.run.runner import Runner, SpaceExhausted
from pipeline.study.study_file import load_study

LIMIT_MM2 = 0.12  # about a third of the tiny study's designs are as small


LIMITED = TINY_STUDY | {  # random designs, some of which break a constraint
    "sampler": {"name": "random"},
    "constraints": [f"area_mm2 <= {LIMIT_MM2}", "cells <= 10000000"],
}


@pytest.fixture
def limited() -> dict:
    """Tests change their copy."""
    return copy.deepcopy(LIMITED)


def run(content: dict, folder: Path, trials: int = 8, workers: int = 1, view: View | None = None) -> optuna.Study:
    folder.mkdir(exist_ok=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    study = load_study(folder / "study.yaml")
    opened = open_study(study, f"sqlite:///{folder / 'study.db'}")
    Runner(study, opened, folder, workers, view or StopAfter(0), fake_evaluation.evaluate).run(trials)
    return opened


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[optuna.Study, Progress, Path]:
    """The limited study after eight trials, what was shown of it, and its folder."""
    folder = tmp_path_factory.mktemp("limited")
    view = Progress("tiny", ["accuracy_mean", "tops_per_watt"], [], Console(quiet=True), folder)
    return run(LIMITED, folder, view=view), view, folder


def complete(opened: optuna.Study, kind: str) -> list[optuna.trial.FrozenTrial]:
    return [t for t in opened.get_trials(states=(TrialState.COMPLETE,)) if kind_of(t) == kind]


def area_mm2(trial: optuna.trial.FrozenTrial) -> float:
    return 1e6 * cost_before_training(DesignPoint.from_dict(trial.user_attrs["design"]))["area_m2"]


def test_a_design_that_breaks_a_constraint_is_not_trained(finished):
    opened, _, _ = finished
    broken, kept = complete(opened, "infeasible"), complete(opened, "evaluated")
    assert broken
    assert all(area_mm2(trial) <= LIMIT_MM2 for trial in kept)
    for trial in broken:
        assert "cost" not in trial.user_attrs
        assert trial.user_attrs["infeasible"] == f"area {area_mm2(trial):.4g} mm2 > {LIMIT_MM2} mm2"


def test_infeasible_designs_count_for_nothing(finished):
    opened, view, _ = finished
    broken = {trial.number for trial in complete(opened, "infeasible")}
    report = pareto_report(opened)
    assert report.counts["evaluated"] == len(report.trials) == 8, "they do not count towards the asked number"
    assert report.counts["infeasible"] >= len(broken) > 0
    assert not broken & {trial.number for trial in report.trials}
    assert {t.number for t in report.front} == {
        t.number for t in opened.best_trials if "reused_from" not in t.user_attrs
    }
    assert len(read_findings(opened).evaluated) == 8
    assert view.summary().startswith("8/8 trials, ")
    assert f"{report.counts['infeasible']} infeasible" in view.summary()


def test_the_sampler_is_told_of_every_design_how_it_stands(finished):
    opened, _, _ = finished
    for trial in opened.get_trials(states=(TrialState.COMPLETE,)):
        assert trial.constraints[f"area_mm2 <= {LIMIT_MM2}"] == pytest.approx(area_mm2(trial) / LIMIT_MM2 - 1)
        assert trial.constraints["cells <= 10000000"] < 0
    for trial in complete(opened, "infeasible"):
        known = cost_before_training(DesignPoint.from_dict(trial.user_attrs["design"]))
        assert trial.values == [0.0, known["tops_per_watt"]], "the cost is real, the accuracy the worst there is"


def test_nsga2_proposes_designs_that_keep_the_constraints(limited, tmp_path):
    limited["sampler"] = {"name": "nsga2", "population_size": 4}
    limited["constraints"] = ["area_mm2 <= 0.08"]  # the smallest design takes 0.069
    limited["hardware"] |= {"device": ["sram", "rram", "pcm", "fefet"], "input_bits": [2, 4], "tech_node_nm": [22, 32]}
    opened = run(limited, tmp_path / "a", trials=6)
    assert len(complete(opened, "evaluated")) == 6
    assert not complete(opened, "infeasible")


def test_infeasible_designs_do_not_change_with_workers_or_interruptions(finished, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(LIMITED, tmp_path / "cut", workers=2, view=StopAfter(3))
    assert everything(run(LIMITED, tmp_path / "cut", workers=2)) == everything(finished[0])


def test_constraints_that_nothing_keeps_end_the_run_with_the_reason(limited, tmp_path, monkeypatch):
    limited["constraints"] = ["area_mm2 <= 0.0001"]
    with pytest.raises(ValueError, match=r"none of the \d+ designs .* keeps all \(area 0\.\d+ mm2 > 0\.0001 mm2\)"):
        run(limited, tmp_path / "a")
    monkeypatch.setattr("pipeline.samplers.small_space._MOST", 0)  # a large space cannot be enumerated
    monkeypatch.setattr("pipeline.run.runner._IDLE_TRIALS", 5)
    with pytest.raises(SpaceExhausted, match=r"area 0\.\d+ mm2 > 0\.0001 mm2"):
        run(limited, tmp_path / "a")


def test_a_study_with_other_constraints_is_refused(limited, write_study, finished):
    opened, _, folder = finished
    assert opened.user_attrs["identity"]["constraints"] == limited["constraints"]
    limited["constraints"].pop()
    with pytest.raises(ValueError, match="constraints"):
        open_study(load_study(write_study(limited)), f"sqlite:///{folder / 'study.db'}")


@pytest.mark.parametrize(
    ("text", "known", "violation", "shown"),
    [
        pytest.param("area_mm2 <= 2.5", {"area_m2": 3e-6}, 0.2, "area 3 mm2 > 2.5 mm2", id="above"),
        pytest.param("area_mm2<=2.5", {"area_m2": 2e-6}, -0.2, None, id="kept, no spaces"),
        pytest.param("area_m2 <= 2.5e-6", {"area_m2": 3e-6}, 0.2, "area 3e-06 m2 > 2.5e-06 m2", id="SI unit"),
        pytest.param("tops_per_watt >= 10", {"tops_per_watt": 4.0}, 0.6, "tops per watt 4 < 10", id="below"),
        pytest.param("latency_us <= 50", {"latency_s": 1e-4}, 1.0, "latency 100 us > 50 us", id="microseconds"),
        pytest.param("edp_pjs <= 4", {"edp_js": 3e-12}, -0.25, None, id="EDP"),
        pytest.param("leakage_power_uw <= 1", {"leakage_power_w": 2e-6}, 1.0, "leakage power 2 uw > 1 uw", id="power"),
    ],
)
def test_violations_are_relative_to_the_limit(text, known, violation, shown):
    constraint = Constraint.parse(text)
    assert constraint.violation(known) == pytest.approx(violation)
    if shown:
        assert constraint.show(known) == shown
    assert Constraint.parse(str(constraint)) == constraint


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("area_mm2 < 2", "write QUANTITY <= NUMBER"),
        ("accuracy >= 0.9", "'accuracy' is neither known before training nor an accuracy (did you mean 'accuracy_"),
        ("area_mm <= 2", "did you mean 'area_mm2'"),
        ("energy_own_data_j <= 1", "neither known before training nor an accuracy"),
        ("cells <= many", "must be a number, got 'many'"),
        ("cells <= 0", "above 0"),
        ("cells <= nan", "above 0"),
        ("cells >= inf", "finite"),
    ],
)
def test_other_constraints_are_refused_with_what_is_allowed(limited, write_study, text, says):
    limited["constraints"] = [text]
    with pytest.raises(ValueError, match=says.replace("(", r"\(")) as error:
        load_study(write_study(limited))
    assert "constraints" in str(error.value)


def test_every_quantity_is_in_the_cost_model(finished):
    design = DesignPoint.from_dict(complete(finished[0], "evaluated")[0].user_attrs["design"])
    known = cost_before_training(design)
    assert all(known[quantity.attribute] > 0 for quantity in QUANTITIES.values())
    values = untrained_values(["accuracy_p05", "energy_own_data_j", "area_m2"], known)
    assert values == [0.0, known["energy_j"], known["area_m2"]]


@pytest.mark.slow
def test_infeasible_designs_are_not_on_the_dashboards_front(finished):
    opened, _, folder = finished
    broken = {trial.number for trial in complete(opened, "infeasible")}
    with running(f"sqlite:///{folder / 'study.db'}") as address, chromium_page() as page:
        shown = json.loads(request("GET", f"{address}/api/studies/1?after=0")[1])
        for trial in shown["trials"]:
            if trial["state"] == "Complete":
                assert any(value > 0 for value in trial["constraints"]) == (trial["number"] in broken)
        page.open(f"{address}/dashboard/studies/1", "document.querySelectorAll('.scatterlayer .point').length > 0")
        page.wait(lambda: "Best Trials" in page.run("document.body.innerText"), "list of best trials")
        best = page.run("document.body.innerText").split("Best Trials")[1]
        assert all(f"Trial {number}\n" not in best for number in broken)
        assert any(f"Trial {trial.number}\n" in best for trial in pareto_report(opened).front)


def test_an_infeasible_design_is_not_the_dashboards_best_one(limited, tmp_path):
    limited |= {"objectives": ["area_m2"], "constraints": [f"area_mm2 >= {LIMIT_MM2}"]}
    opened = run(limited, tmp_path / "a")
    smallest = min(opened.get_trials(states=(TrialState.COMPLETE,)), key=lambda trial: trial.values[0])
    assert kind_of(smallest) == "infeasible", "else this test shows nothing"
    with running(f"sqlite:///{tmp_path / 'a' / 'study.db'}") as address:
        (best,) = json.loads(request("GET", f"{address}/api/studies/1?after=0")[1])["best_trials"]
    assert best["number"] == pareto_report(opened).front[0].number


def test_the_dashboard_still_needs_constraints_under_their_old_name(tmp_path):
    """When this fails, the dashboard reads Optuna 5's constraints: drop `optuna_private.show_violations`."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(study_name="new names only", storage=url, directions=["maximize", "maximize"])
    trial = study.ask()
    trial.set_constraint("area", 1.0)
    study.tell(trial, [0.0, 1.0])
    with running(url) as address:
        (shown,) = json.loads(request("GET", f"{address}/api/studies/1?after=0")[1])["trials"]
    assert shown["constraints"] == []
