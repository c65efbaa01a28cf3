"""Early stopping: only what cannot reach the front any more is stopped, always the same, and never a result."""

import dataclasses
import io
from pathlib import Path

import fake_evaluation
import optuna
import pytest
import torch
import yaml
from conftest import TINY_STUDY
from optuna.trial import TrialState
from rich.console import Console
from test_runner import StopAfter, everything

from pipeline.cli.progress import PlainProgress
from pipeline.data.batches import load_images
from pipeline.database.open_study import open_study
from pipeline.database.trials import kind_of, pareto_report
from pipeline.design.design_point import DesignPoint
from pipeline.design.pareto import StoppingRule
from pipeline.report.findings import read_findings
from pipeline.run import stopping as early_stopping
from pipeline.run.runner import Runner
from pipeline.run.stopping import checkpoint_epochs, stopping_rule
from pipeline.samplers.evolution import ReproducibleNSGAII
from pipeline.study.sampler_spec import SamplerSpec
from pipeline.study.search_space import SearchSpace
from pipeline.study.study_file import StudyDefinition, load_study
from pipeline.study.study_spec import EarlyStoppingSpec
from pipeline.trial.evaluate import evaluate, trained_network
from pipeline.trial.judging import Midway

RULE = StoppingRule(
    checkpoints=(3, 6),
    objectives=("accuracy_mean", "tops_per_watt"),
    costs={"tops_per_watt": 10.0},
    gains={3: {"accuracy_mean": 0.2}},
    front=((0.9, 12.0), (0.95, 5.0)),
)


@pytest.mark.parametrize(
    ("rule", "epoch", "accuracy", "stops"),
    [
        pytest.param(RULE, 3, 0.69, True, id="0.89 at most, beaten by 0.9 at more TOPS per watt"),
        pytest.param(RULE, 3, 0.71, False, id="0.91 may be reached, which only a costlier design has"),
        pytest.param(RULE, 6, 0.1, False, id="nothing is known about this epoch"),
        pytest.param(dataclasses.replace(RULE, costs={"tops_per_watt": 13.0}), 3, 0.1, False, id="cheapest of all"),
        pytest.param(dataclasses.replace(RULE, front=((1.0, 10.0),)), 3, 0.9, False, id="as good is not dominated"),
        pytest.param(dataclasses.replace(RULE, front=()), 3, 0.1, False, id="nothing is finished"),
    ],
)
def test_a_design_stops_only_if_it_would_be_dominated_at_its_known_cost(rule, epoch, accuracy, stops):
    verdict = rule.verdict(epoch, {"accuracy_mean": accuracy})
    assert (verdict is not None) == stops
    if verdict:
        assert verdict == {"epoch": 3, "accuracy": accuracy, "optimistic": pytest.approx(accuracy + 0.2)}


def test_checkpoints_are_epochs_before_the_last():
    assert checkpoint_epochs(EarlyStoppingSpec(checkpoints=[0.2, 0.4, 0.6]), 30) == (6, 12, 18)
    assert checkpoint_epochs(EarlyStoppingSpec(checkpoints=[0.01, 0.02, 0.99]), 30) == (1,)
    assert checkpoint_epochs(EarlyStoppingSpec(), 1) == ()


@pytest.fixture(scope="module", autouse=True)
def three_curves_are_enough():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(early_stopping, "_ENOUGH_CURVES", 3)
        yield


def run(study: StudyDefinition, folder: Path, trials: int = 24, workers: int = 1, view=None) -> optuna.Study:
    folder.mkdir(exist_ok=True)
    opened = open_study(study, f"sqlite:///{folder / 'study.db'}")
    Runner(study, opened, folder, workers, view or StopAfter(0), fake_evaluation.evaluate_with_looks).run(trials)
    return opened


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> StudyDefinition:
    path = tmp_path_factory.mktemp("study") / "study.yaml"
    path.write_text(yaml.safe_dump(TINY_STUDY | {"training": {"epochs": 10}, "early_stopping": {"quantile": 0.5}}))
    return load_study(path)


@pytest.fixture(scope="module")
def finished(study, tmp_path_factory) -> tuple[optuna.Study, PlainProgress, str]:
    """The study after 24 trials, its view, and what that printed."""
    folder, output = tmp_path_factory.mktemp("finished"), io.StringIO()
    view = PlainProgress("tiny", study.spec.objectives, [], Console(width=200, file=output), folder)
    return run(study, folder, view=view), view, output.getvalue()


def of_kind(opened: optuna.Study, kind: str) -> list[optuna.trial.FrozenTrial]:
    return [trial for trial in opened.get_trials() if kind_of(trial) == kind]


def test_stopped_designs_are_counted_apart_and_never_a_result(finished):
    opened, view, output = finished
    stopped, report = of_kind(opened, "stopped early"), pareto_report(opened)
    assert stopped
    assert report.counts["stopped early"] == len(stopped)
    assert report.counts["evaluated"] + len(stopped) == 24, "they count towards the asked number"
    numbers = {trial.number for trial in stopped}
    assert not numbers & {trial.number for trial in (*report.trials, *report.front)}
    assert not numbers & {trial.number for trial in read_findings(opened).evaluated}
    assert view.summary().startswith("24/24 trials, ")
    assert f"{len(stopped)} stopped early" in view.summary()
    assert f"trial {stopped[0].number} stopped early after epoch" in output


def test_a_stopped_design_is_dominated_by_one_that_was_finished_before(finished):
    opened, _, _ = finished
    assert of_kind(opened, "stopped early")
    for trial in of_kind(opened, "stopped early"):
        mark, (accuracy, tops_per_watt) = trial.user_attrs["stopped_early"], trial.values
        assert accuracy == mark["accuracy"] <= mark["optimistic"]
        before = [t for t in of_kind(opened, "evaluated") if t.number < trial.number]
        assert any(t.values[0] >= mark["optimistic"] and t.values[1] >= tops_per_watt for t in before)


def test_decisions_do_not_depend_on_workers_or_interruptions(study, finished, tmp_path):
    def marks(opened: optuna.Study) -> list[dict | None]:
        return [trial.user_attrs.get("stopped_early") for trial in opened.get_trials()]

    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path / "cut", workers=2, view=StopAfter(9))
    again = run(study, tmp_path / "cut")
    assert everything(again) == everything(finished[0])
    assert marks(again) == marks(finished[0])


def test_a_duplicate_of_a_stopped_design_is_marked_too(write_study, tmp_path, monkeypatch):
    monkeypatch.setattr(ReproducibleNSGAII, "_proposed_before", lambda *_: {None})  # else it proposes no design twice
    monkeypatch.setattr("pipeline.samplers.small_space._MOST", 0)  # nor does a small space repeat one
    small = {
        "hardware": {"device": ["sram", "rram"], "adc_bits": {"low": 5, "high": 8}},
        "network": {"convs": [{"filters": [4, 8]}]},
        "training": {"epochs": 10},
        "early_stopping": {"quantile": 0.5},
        "sampler": {"population_size": 4, "candidates": 1},
    }
    opened = run(load_study(write_study(TINY_STUDY | small)), tmp_path / "a", trials=12)
    stopped = {trial.number: trial for trial in of_kind(opened, "stopped early")}
    reused = [trial for trial in of_kind(opened, "reused") if trial.user_attrs["reused_from"] in stopped]
    assert reused
    for trial in reused:
        assert trial.user_attrs["stopped_early"] == stopped[trial.user_attrs["reused_from"]].user_attrs["stopped_early"]


def test_gains_are_the_quantile_over_designs_of_earlier_generations(study, finished):
    opened, _, _ = finished
    last = opened.get_trials(states=(TrialState.COMPLETE,))[-1]
    design = DesignPoint.from_dict(last.user_attrs["design"])
    rule = stopping_rule(opened, study.spec, last.number, design)
    earlier = [t for t in of_kind(opened, "evaluated") if t.number < last.number - last.number % 4]
    assert rule is not None
    for point, epoch in enumerate(rule.checkpoints):
        curves = [t for t in earlier if len(t.user_attrs["learning_curve"]) > point]
        gains = sorted(t.values[0] - t.user_attrs["learning_curve"][point]["accuracy_mean"] for t in curves)
        middle = (gains[(len(gains) - 1) // 2] + gains[len(gains) // 2]) / 2
        assert rule.gains[epoch]["accuracy_mean"] == pytest.approx(middle)
    assert rule.costs["tops_per_watt"] == last.values[1]


@pytest.mark.parametrize(
    ("objectives", "applies"),
    [
        (["accuracy_mean", "area_m2"], True),
        (["tops_per_watt", "accuracy_mean"], True),
        (["tops_per_watt", "area_m2"], False),
        (["accuracy_mean", "tops_per_watt_own_data"], False),
    ],
)
def test_without_an_accuracy_or_with_unknown_costs_nothing_is_stopped(study, finished, objectives, applies):
    opened, _, _ = finished
    spec = study.spec.model_copy(update={"objectives": objectives})
    trial = opened.get_trials()[0]
    rule = stopping_rule(opened, spec, trial.number, DesignPoint.from_dict(trial.user_attrs["design"]))
    assert (rule is not None) == applies


def test_a_sampler_without_generations_stops_nothing(study, finished):
    trial = finished[0].get_trials()[0]
    design = DesignPoint.from_dict(trial.user_attrs["design"])
    for name, stops in (("nsga3", True), ("random", False), ("tpe", False)):
        spec = study.spec.model_copy(update={"sampler": SamplerSpec(name=name)})
        assert (stopping_rule(finished[0], spec, trial.number, design) is not None) == stops


def test_off_is_the_default_and_asks_nothing(tiny, write_study, tmp_path):
    study = load_study(write_study(tiny))
    assert study.spec.early_stopping is False
    opened = open_study(study, f"sqlite:///{tmp_path / 'study.db'}")
    assert stopping_rule(opened, study.spec, 0, first_design(study)) is None


def first_design(study: StudyDefinition) -> DesignPoint:
    space = SearchSpace(study)
    return space.design({name: dimension.values[-1] for name, dimension in space.dimensions().items()})


def test_looking_at_a_network_does_not_change_its_training(tiny, write_study):
    study = load_study(write_study(tiny | {"training": {"epochs": 3}, "dataset": {"train_images": 300}}))
    images, design = load_images(study.spec.dataset), first_design(study)
    rule = dataclasses.replace(RULE, checkpoints=(1, 2), gains={})
    midway = Midway(rule, images, study.spec)
    looked_at = trained_network(design, study.spec, 0, images, midway)
    alone = trained_network(design, study.spec, 0, images)
    assert [point["epoch"] for point in midway.curve] == [1, 2]
    for name, value in alone.state_dict().items():
        assert torch.equal(value, looked_at.state_dict()[name]), name


def test_a_stopped_training_ends_there_and_keeps_what_was_measured(tiny, write_study, tmp_path, monkeypatch):
    study = load_study(write_study(tiny | {"training": {"epochs": 5}, "dataset": {"train_images": 300}}))
    epochs = []
    monkeypatch.setattr("pipeline.trial.training.say", epochs.append)
    rule = dataclasses.replace(RULE, checkpoints=(2, 4), gains={2: {"accuracy_mean": 0.0}}, front=((1.0, 11.0),))
    result = evaluate(first_design(study), study.spec, 0, tmp_path / "weights.pt", rule)
    assert len(epochs) == 2
    assert result.stopped_early == {
        "epoch": 2,
        "accuracy": result.measured["accuracy_mean"],
        "optimistic": result.learning_curve[0]["accuracy_mean"],
    }
    assert result.learning_curve[0] == {"epoch": 2} | {
        name: value for name, value in result.measured.items() if name in result.learning_curve[0]
    }
    assert result.checkpoint is None
    assert not (tmp_path / "weights.pt").exists()
