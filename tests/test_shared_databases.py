"""Databases that other programs wrote to, or other people: what fits is taken, and nothing in them opens a file."""

import ast
import json
from pathlib import Path

import fake_evaluation
import optuna
import pytest
import yaml
from made_up import CONTENT, made_up_study
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

import pipeline
from pipeline.cli.progress import PlainProgress
from pipeline.database.open_study import load_study_read_only, open_study
from pipeline.database.storage import StudyError
from pipeline.database.trials import checkpoint_of, kind_of, pareto_report
from pipeline.follow_up.stored import design_of, stored_study
from pipeline.report.dashboard_notes import artifact_folder, prepare_dashboard
from pipeline.report.page import write_report
from pipeline.run.runner import Runner
from pipeline.study.study_file import load_study

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Optuna's, about importances in small studies


def overwrite(study: optuna.Study, key: str, value: object, trial: optuna.trial.FrozenTrial | None = None) -> None:
    """Change an attribute as somebody with a database tool would; Optuna protects finished trials."""
    table, owner = ("trial_user_attributes", trial._trial_id) if trial else ("study_user_attributes", study._study_id)
    column = "trial_id" if trial else "study_id"
    with study._storage._backend.engine.begin() as connection:
        statement = f"UPDATE {table} SET value_json = ? WHERE key = ? AND {column} = ?"
        assert connection.exec_driver_sql(statement, (json.dumps(value), key, owner)).rowcount == 1


@pytest.mark.parametrize("name", ["../secret.pt", "/etc/passwd", "..", "a/../../secret.pt", "x\n.pt", "", 3, ["a.pt"]])
def test_a_checkpoint_is_never_a_path(tmp_path, name):
    folder = tmp_path / "out"
    folder.mkdir()
    (tmp_path / "secret.pt").write_text("secret")
    (folder / "checkpoints").mkdir()
    opened, url = made_up_study(folder, trials=3)
    best = pareto_report(opened).front[0]
    overwrite(opened, "checkpoint", name, best)
    opened = load_study_read_only(url)
    for look in (
        lambda: write_report(opened, folder),
        lambda: prepare_dashboard(opened, folder, folder / "study.yaml"),
    ):
        with pytest.raises(ValueError, match=f"trial {best.number}: its checkpoint .* do not trust it"):
            look()
    with pytest.raises(ValueError, match="do not trust it"):
        checkpoint_of(opened.trials[best.number])
    kept = [path for path in artifact_folder(folder).rglob("*") if path.is_file()]
    assert all(b"secret" not in path.read_bytes() and b"root:" not in path.read_bytes() for path in kept)


def built_study(folder: Path) -> tuple[Path, str, optuna.Study]:
    """A study whose network a function of `nets.py` builds, in a database with one trial, and its URL."""
    folder.mkdir()
    function = "def make(input_shape, outputs):\n    raise RuntimeError('ran')\n"
    (folder / "nets.py").write_text(function)
    (folder / "evil.py").write_text("from pathlib import Path\nPath(__file__).with_name('mark').touch()\n" + function)
    path, url = folder / "study.yaml", f"sqlite:///{folder / 'study.db'}"
    path.write_text(yaml.safe_dump(CONTENT | {"network": {"build": "nets.py:make"}}))
    return path, url, open_study(load_study(path), url)


def test_code_that_only_a_database_names_is_not_run(tmp_path):
    path, url, opened = built_study(tmp_path / "study")
    identity = opened.user_attrs["identity"]
    overwrite(opened, "identity", identity | {"network": identity["network"] | {"build": "evil.py:make"}})
    with pytest.raises(ValueError, match=r"made with network\.build: evil\.py:make, the file now says nets\.py:make"):
        stored_study(path, url, None)
    assert not (tmp_path / "study" / "mark").exists()


def test_a_trial_names_no_other_code_than_its_study(tmp_path):
    opened, url = made_up_study(tmp_path, trials=1)
    stored = stored_study(tmp_path / "study.yaml", url, tmp_path)
    trial = stored.trial(pareto_report(opened).front[0].number)
    design_of(stored.spec, trial)
    trial.user_attrs["design"]["network"] = {"builder": "../evil.py:make", "parameters": {}}
    with pytest.raises(
        ValueError, match=r"its network is built by '\.\./evil\.py:make', which the study does not name"
    ):
        design_of(stored.spec, trial)


def test_no_file_of_weights_is_read_as_a_program():
    calls = [
        (path.name, node)
        for path in Path(pipeline.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "pickle.load", "pickle.loads")
    ]
    assert calls
    for name, node in calls:
        assert "weights_only=True" in [ast.unparse(keyword) for keyword in node.keywords], name


def run(path: Path, folder: Path, trials: int) -> optuna.Study:
    study = load_study(path)
    opened = open_study(study, f"sqlite:///{folder / 'study.db'}")
    view = PlainProgress(study.spec.name, study.spec.objectives, [], optuna_console(), folder / "checkpoints")
    Runner(study, opened, folder, 1, view, fake_evaluation.evaluate_with_costs).run(trials)
    return opened


def optuna_console():
    from rich.console import Console

    return Console(width=300)


SAMPLERS = {name: {"name": name} for name in ("random", "tpe", "reinforce")}
SAMPLERS["nsga2"] = {"name": "nsga2", "population_size": 4}  # the run after the foreign trial breeds


def add_foreign(study: optuna.Study, kind: str) -> int:
    """A finished trial as another program adds it; its number."""
    first = study.trials[0]
    params, distributions = dict(first.params), dict(first.distributions)
    if kind == "parameters of its own":
        params, distributions = {"x": 0.5}, {"x": FloatDistribution(0, 1)}
    elif kind == "a value outside":
        params["adc_bits"], distributions["adc_bits"] = 99, IntDistribution(4, 99)
    study.add_trial(create_trial(values=[0.99, 1e6], params=params, distributions=distributions))
    return len(study.trials) - 1


@pytest.mark.parametrize(
    ("sampler", "kind"),
    [
        pytest.param("nsga2", "parameters of its own", marks=pytest.mark.slow),
        ("nsga2", "a value outside"),
        pytest.param("nsga2", "the study's parameters", marks=pytest.mark.slow),
        pytest.param("reinforce", "a value outside", marks=pytest.mark.slow),
        pytest.param("tpe", "a value outside", marks=pytest.mark.slow),
        pytest.param("random", "the study's parameters", marks=pytest.mark.slow),
    ],
)
def test_a_trial_that_another_program_added_is_counted_and_left_alone(tmp_path, sampler, kind):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(CONTENT | {"sampler": SAMPLERS[sampler]}))
    opened = run(path, tmp_path, 3)
    number = add_foreign(opened, kind)
    opened = run(path, tmp_path, 4)
    found = pareto_report(opened)
    assert kind_of(opened.trials[number]) == "foreign"
    assert (found.counts["foreign"], found.counts["evaluated"]) == (1, 7)
    assert number not in [trial.number for trial in found.front]
    page = write_report(opened, tmp_path)
    assert "1 foreign" in page.read_text()
    prepare_dashboard(opened, tmp_path, page)
    with pytest.raises(ValueError, match=f"trial {number} has no result .another program than nacim added it"):
        stored_study(path, None, tmp_path).trial(number)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        pytest.param({"adc_bits": 99}, "adc_bits must be one of 4, 5 .. 8, got 99", id="out of a range"),
        pytest.param({"device": "mram"}, "device must be one of sram, rram, fefet, pcm, got 'mram'", id="no choice"),
        pytest.param({"adc_bit": 5}, "no parameter 'adc_bit' (did you mean 'adc_bits'?)", id="misspelt"),
        pytest.param({"input_bits": True}, "input_bits must be one of 2, 4, got True", id="a flag for a number"),
        pytest.param({"seed": 1}, "no parameter 'seed'", id="not searched"),
    ],
)
def test_an_enqueued_trial_that_does_not_fit_is_marked_and_the_study_goes_on(tmp_path, values, reason, capsys):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(CONTENT))
    open_study(load_study(path), f"sqlite:///{tmp_path / 'study.db'}").enqueue_trial(values)
    opened = run(path, tmp_path, 2)
    assert [kind_of(trial) for trial in opened.trials] == ["failed", "evaluated", "evaluated"]
    assert reason in opened.trials[0].user_attrs["error"]
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("trial 0"))
    assert reason in line


@pytest.mark.parametrize("sampler", ["nsga2", "random", "reinforce"])
def test_an_enqueued_trial_keeps_what_was_chosen_and_is_evaluated(tmp_path, sampler):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(CONTENT | {"sampler": {"name": sampler}}))
    opened = open_study(load_study(path), f"sqlite:///{tmp_path / 'study.db'}")
    opened.enqueue_trial({"device": "rram", "crossbar_size": 64, "adc_bits": 6, "weight_bits": 8})
    opened = run(path, tmp_path, 3)
    first = opened.trials[0]
    assert kind_of(first) == "evaluated"
    assert (first.params["device"], first.params["crossbar_size"], first.params["adc_bits"]) == ("rram", 64, 6)
    assert len({frozenset(trial.params) for trial in opened.trials}) == 1


def test_a_trial_that_another_program_began_is_taken_up_or_marked(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(CONTENT))
    opened = open_study(load_study(path), f"sqlite:///{tmp_path / 'study.db'}")
    opened.ask().suggest_int("adc_bits", 4, 99, step=95)
    opened.ask()
    opened = run(path, tmp_path, 2)
    assert opened.trials[1].state is TrialState.COMPLETE
    assert all(kind_of(trial) in ("evaluated", "failed") for trial in opened.trials)


def test_other_choices_that_another_program_brought_are_told_with_the_trial(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(CONTENT))
    opened = open_study(load_study(path), f"sqlite:///{tmp_path / 'study.db'}")
    choices = {"device": CategoricalDistribution(["mram", "sram"])}
    opened.add_trial(create_trial(values=[0.5, 1.0], params={"device": "sram"}, distributions=choices))
    with pytest.raises(StudyError, match="trial 0, which another program added, has other choices of device"):
        run(path, tmp_path, 1)
