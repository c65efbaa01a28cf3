"""Databases outlive releases: one of an earlier release opens, reports and goes on; a new metric breaks none."""

import csv
import gzip
import json
import shutil
from pathlib import Path

import fake_evaluation
import optuna
import pytest
from test_runner import StopAfter
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.database.open_study import load_study_read_only, open_study
from pipeline.database.trials import pareto_report
from pipeline.design.metrics import METRICS, Metric
from pipeline.run.runner import Runner
from pipeline.study.study_file import load_study

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def earlier(tmp_path) -> Path:
    """Folder with the study file and the database of the release before."""
    shutil.copy(GOLDEN / "before_rooms.yaml", tmp_path / "study.yaml")
    (tmp_path / "study.db").write_bytes(gzip.decompress((GOLDEN / "before_rooms.db.gz").read_bytes()))
    return tmp_path


def run(folder: Path, trials: int) -> optuna.Study:
    study = load_study(folder / "study.yaml")
    opened = open_study(study, f"sqlite:///{folder / 'study.db'}")
    Runner(study, opened, folder, 1, StopAfter(0), fake_evaluation.evaluate_with_costs).run(trials)
    return opened


def nacim(folder: Path, command: str, *options: str) -> str:
    done = CliRunner().invoke(app, [command, str(folder / "study.yaml"), "--out", str(folder), *options])
    assert done.exit_code == 0, f"{done.output}{done.exception!r}"
    return done.output


def csv_rows(folder: Path) -> list[dict[str, str]]:
    (path,) = folder.glob("*-trials.csv")
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def shown(folder: Path, label: str, trial: int = 1) -> list[str]:
    """Words of the line of a trial's page that starts with a label."""
    lines = [line.strip() for line in nacim(folder, "show", "--trial", str(trial)).splitlines()]
    (words,) = [line.split() for line in lines if line.startswith(f"{label}  ")]
    return words


def stored(opened: optuna.Study) -> list[tuple]:
    return [(t.number, t.state, t.params, t.values, t.user_attrs) for t in opened.get_trials()]


def test_a_database_of_the_release_before_goes_on_and_its_values_stay(earlier):
    before = stored(load_study_read_only(f"sqlite:///{earlier / 'study.db'}"))
    opened = run(earlier, 3)
    assert stored(opened)[: len(before)] == before
    assert len(pareto_report(opened).trials) == len([t for t in before if "cost" in t[4]]) + 3


def test_a_database_of_the_release_before_reports_a_metric_that_it_does_not_hold(earlier):
    facts = json.loads(nacim(earlier, "report", "--json"))
    attributes = {t[0]: t[4] for t in stored(load_study_read_only(f"sqlite:///{earlier / 'study.db'}"))}
    assert facts["front"]
    for trial in facts["front"]:
        assert "power_w" not in attributes[trial["trial"]]
        assert trial["power_w"] == attributes[trial["trial"]]["cost"]["power_w"]
        assert trial["accuracy_mean"] == attributes[trial["trial"]]["accuracy_mean"]
    for row in csv_rows(earlier):
        assert float(row["power_w"]) == attributes[int(row["trial"])]["cost"]["power_w"]
    power = METRICS["power_w"].show(attributes[1]["cost"]["power_w"])
    assert shown(earlier, "power") == ["power", power, "mW"]


def test_a_metric_that_cannot_be_known_later_is_left_empty(earlier, monkeypatch):
    new = Metric(
        source="own cost",
        attribute="edp_js",
        direction="minimize",
        unit="pJ s",
        stored_unit="J s",
        label="new metric",
        meaning="EDP at the network's own data.",
    )
    monkeypatch.setitem(METRICS, "edp_own_data_js", new)
    facts = json.loads(nacim(earlier, "report", "--json"))
    assert {trial["edp_own_data_js"] for trial in facts["front"]} == {None}
    assert {row["edp_own_data_js"] for row in csv_rows(earlier)} == {""}
    assert shown(earlier, "new metric") == ["new", "metric", "-", "pJ", "s"]


def test_power_is_an_objective_and_a_constraint_by_its_entry_among_the_metrics(tiny, write_study, tmp_path):
    limit_w = 0.25e-3  # a quarter of the tiny study's designs need less
    write_study(tiny | {"objectives": ["accuracy_mean", "power_w"], "constraints": ["power_mw <= 0.25"]})
    run(tmp_path, 5)
    found = pareto_report(run(tmp_path, 3))
    assert len(found.trials) == 8
    for trial in found.trials:
        power_w = trial.user_attrs["cost"]["power_w"]
        assert trial.values[1] == trial.user_attrs["power_w"] == power_w <= limit_w
        assert trial.constraints["power_mw <= 0.25"] == pytest.approx(power_w / limit_w - 1)
    assert len(json.loads(nacim(tmp_path, "report", "--json"))["front"]) == len(found.front)
    assert shown(tmp_path, "power", found.front[0].number)[2] == "mW"


def test_a_setting_that_the_database_does_not_know_counts_as_its_default(earlier):
    url = f"sqlite:///{earlier / 'study.db'}"
    opened = load_study_read_only(url)
    identity = opened.user_attrs["identity"]
    del (
        identity["sampler"]["candidates"],
        identity["training"]["noise_ramp"],
        identity["devices"]["rram"]["drift_nu_law"],
    )
    opened.set_user_attr("identity", identity)
    open_study(load_study(earlier / "study.yaml"), url)
    with (earlier / "study.yaml").open("a") as file:
        file.write("dataset: {train_images: 100}\n")
    with pytest.raises(ValueError, match=r"was made with dataset\.train_images = None, the file now says 100;"):
        open_study(load_study(earlier / "study.yaml"), url)
