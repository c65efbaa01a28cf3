"""One accuracy floor, and constraints on accuracy: what does not reach them counts for nothing."""

import dataclasses

import fake_evaluation
import pytest
from made_up import made_up_study
from test_runner import StopAfter

from pipeline.database.open_study import open_study
from pipeline.database.trials import pareto_report
from pipeline.design.constraints import Constraint
from pipeline.design.floor import Floor, chance_of
from pipeline.design.pareto import hypervolume_history
from pipeline.report.comparison import comparison_chapter
from pipeline.report.findings import read_findings
from pipeline.report.sections import study_chapter
from pipeline.run.runner import Runner
from pipeline.study.study_file import load_study


@pytest.mark.parametrize(
    ("written", "chance", "accuracies", "floor"),
    [
        pytest.param(None, 0.1, [0.2, 0.9], 0.5, id="half-way from chance to the best"),
        pytest.param(None, 0.5, [0.4], 0.4, id="a best design below chance still counts"),
        pytest.param(0.8, 0.1, [0.2, 0.9], 0.8, id="as written"),
        pytest.param(0.95, 0.1, [0.2, 0.9], 0.2, id="none reaches it: all count"),
        pytest.param(None, 0.1, [], 0.0, id="no design"),
    ],
)
def test_the_floor(written, chance, accuracies, floor):
    assert Floor(written=written, chance=chance).of(accuracies) == pytest.approx(floor)


def test_chance_is_known_where_guessing_is():
    assert chance_of("classification", 10) == 0.1
    assert chance_of("binary", 1) == 0.5
    assert chance_of("regression", 3) == 0.0


def test_trials_below_the_floor_add_no_hypervolume():
    values = [(0.2, 200.0), (0.9, 2.0), (0.1, 900.0), (0.8, 3.0)]
    history = hypervolume_history(("accuracy_mean", "tops_per_watt"), values, [False, True, False, True])
    assert history == pytest.approx([0, 1.8, 1.8, 1.8 + 0.8])


def test_designs_below_the_floor_are_on_no_front_and_in_no_superlative(tmp_path):
    study, _ = made_up_study(tmp_path, trials=24, in_memory=True, objectives=["accuracy_mean", "tops_per_watt"])
    accuracies = sorted(trial.user_attrs["accuracy_mean"] for trial in pareto_report(study).trials)
    study.set_user_attr("floor", accuracies[16])
    found, findings = pareto_report(study), read_findings(study)
    assert found.counted == {t.number for t in found.trials if t.user_attrs["accuracy_mean"] >= accuracies[16]}
    assert {trial.number for trial in found.front} <= found.counted
    best = max(findings.counted, key=lambda trial: trial.measured["tops_per_watt"])
    chapter = study_chapter(findings)
    assert f"best TOPS/W {best.show('tops_per_watt')} (trial {best.number}" in chapter.summary
    assert "the study file's floor); 16 designs below" in chapter.summary
    other_seed = dataclasses.replace(findings, name="two", identity=findings.identity | {"seed": 99, "name": "two"})
    fronts, seeds, _ = comparison_chapter([findings, other_seed]).sections
    for row in fronts.parts[-1].rows:
        assert row[2].value == row[3].value == len(found.front), "the joint front of equal studies is that of each"
        assert f"(trial {best.number}, " in row[-1]
    assert seeds.parts[0].rows[-1][-1].value == best.measured["tops_per_watt"]


def test_the_floor_may_change_and_changes_no_identity(tiny, write_study, tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    opened = open_study(load_study(write_study(tiny)), url)
    opened.ask()
    changed = load_study(write_study(tiny | {"floor": 0.7}))
    assert open_study(changed, url).user_attrs["floor"] == 0.7
    assert "floor" not in changed.identity()


def test_a_constraint_on_accuracy_counts_after_training_and_samplers_learn_of_it(tiny, write_study, tmp_path):
    text = "accuracy_mean >= 0.8"
    study = load_study(write_study(tiny | {"constraints": [text]}))
    opened = open_study(study, f"sqlite:///{tmp_path / 'study.db'}")
    Runner(study, opened, tmp_path, 1, StopAfter(0), fake_evaluation.evaluate_with_costs).run(8)
    found = pareto_report(opened)
    assert len(found.trials) == 8, "each was trained and counts towards the number asked for"
    broken = {trial.number for trial in found.trials if trial.user_attrs["accuracy_mean"] < 0.8}
    assert broken
    for trial in found.trials:
        assert trial.constraints[text] == pytest.approx(1 - trial.user_attrs["accuracy_mean"] / 0.8)
    assert found.counted == {trial.number for trial in found.trials} - broken
    assert not {trial.number for trial in opened.best_trials} & broken, "Optuna knows it, too"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("accuracy_mean <= 0.9", "limited by >= and a fraction"),
        ("accuracy_p05 >= 90", "limited by >= and a fraction"),
        ("area_m2 <= 1", "limits nothing: no chip comes near 0.07"),
        ("accuracy >= 0.9", "neither known before training nor an accuracy"),
    ],
)
def test_limits_that_mean_nothing_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        Constraint.parse(text)
