"""Small spaces: each design is tried once, the last ones are found, and the run ends by itself."""

import itertools

import fake_evaluation
import optuna
import pytest
from test_runner import StopAfter, everything, run
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.database.open_study import open_study
from pipeline.database.transaction import set_user_attributes, transaction
from pipeline.networks.workload import cost_before_training
from pipeline.optuna_private import trial_id
from pipeline.run.runner import Runner
from pipeline.samplers import designs_left, small_space
from pipeline.study.sampler_spec import SAMPLERS
from pipeline.study.search_space import SearchSpace
from pipeline.study.study_file import StudyDefinition, load_study

FEW = {"device": ["sram", "rram"], "adc_bits": [5, 6], "cell_bits": [1, 2]}  # sram holds 1 bit: 2 + 4 designs
QUICK = [name for name in SAMPLERS if name not in ("gp", "reinforce")]  # these two load torch; any sampler is wrapped


@pytest.fixture
def small(tiny, write_study):
    def of(**content) -> StudyDefinition:
        return load_study(write_study(tiny | {"network": {"convs": [{"filters": 4}]}, "hardware": FEW} | content))

    return of


def proposed(study: StudyDefinition, url: str, trials: int) -> tuple[optuna.Study, list[dict]]:
    """The study after that many trials with made-up values, and their parameters."""
    opened, space = open_study(study, url), SearchSpace(study)
    for _ in range(trials):
        with transaction(opened) as session:
            trial = opened.ask()
            values = {"design_hash": space.suggest(trial).content_hash, "cost": {}}
            set_user_attributes(session, trial_id(trial), values)
            opened.tell(trial, [1 / (1 + trial.number), 1 + trial.number])
    return opened, [trial.params for trial in opened.get_trials()]


@pytest.mark.parametrize("sampler", QUICK)
def test_each_design_of_a_small_space_is_proposed_once(sampler, small, tmp_path):
    opened, _ = proposed(small(sampler={"name": sampler}), f"sqlite:///{tmp_path / 'study.db'}", 6)
    assert len({trial.user_attrs["design_hash"] for trial in opened.get_trials()}) == 6
    assert designs_left(opened) == (6, 0)


def test_a_run_that_was_cut_off_tries_the_same_designs_and_ends_when_all_are_tried(small, tmp_path):
    study = small(sampler={"name": "random"})
    whole, _ = proposed(study, f"sqlite:///{tmp_path / 'study.db'}", 6)
    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path / "cut", 100, view=StopAfter(3))
    tried = everything(run(study, tmp_path / "cut", 100, workers=2))
    assert [design for *_, design, _ in tried] == [trial.user_attrs["design_hash"] for trial in whole.get_trials()]


def test_one_fixed_design_is_a_space_too(small, tmp_path):
    opened, _ = proposed(small(hardware={"device": "sram"}), f"sqlite:///{tmp_path / 'study.db'}", 1)
    assert designs_left(opened) == (1, 0)


def test_designs_that_break_a_constraint_are_not_counted(small, tmp_path):
    url, space = f"sqlite:///{tmp_path / 'study.db'}", SearchSpace(small())
    searched = {name: dimension.values for name, dimension in space.searched().items()}
    designs = {space.design_of(dict(zip(searched, v, strict=True))) for v in itertools.product(*searched.values())}
    areas = sorted(cost_before_training(design)["area_m2"] * 1e6 for design in designs)
    kept = f"area_mm2 <= {(areas[2] + areas[3]) / 2:.12g}"
    assert designs_left(open_study(small(name="all"), url)) == (6, 6)
    assert designs_left(open_study(small(name="few", constraints=[kept]), url)) == (3, 3)
    with pytest.raises(ValueError, match="none of the 6 designs of this space keeps all"):
        open_study(small(name="none", constraints=["cells <= 1"]), url)


def test_what_a_sampler_proposes_stays_as_it_is_until_it_repeats_itself(small, tmp_path, monkeypatch):
    study = small(sampler={"name": "random"}, hardware=FEW | {"crossbar_size": [32, 64, 128], "input_bits": [2, 4]})
    _, wrapped = proposed(study, f"sqlite:///{tmp_path / 'wrapped.db'}", 12)
    monkeypatch.setattr(small_space, "_MOST", 0)
    opened, plain = proposed(study, f"sqlite:///{tmp_path / 'plain.db'}", 12)
    assert designs_left(opened) is None
    designs = [trial.user_attrs["design_hash"] for trial in opened.get_trials()]
    repeats = [number for number, design in enumerate(designs) if design in designs[:number]]
    assert repeats
    assert repeats[0] > 2
    assert [a == b for a, b in zip(wrapped, plain, strict=True)] == [number not in repeats for number in range(12)]


def test_the_command_says_how_many_designs_there_are_and_ends_well(small, tmp_path):
    study = small(hardware={"device": ["sram", "rram"]})
    opened = open_study(study, f"sqlite:///{tmp_path / 'study.db'}")
    Runner(study, opened, tmp_path, 1, StopAfter(0), fake_evaluation.evaluate_with_costs).run(3)
    done = CliRunner().invoke(app, ["run", str(study.path), "--trials", "3", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "2 in this space, 2 of them tried" in done.output
    assert "Nothing is left to try" in done.output
