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

from hw_models.cost import POST_LAYOUT_ENERGY
from pipeline.cli.app import app
from pipeline.database.open_study import load_study_read_only, open_study
from pipeline.database.trials import pareto_report
from pipeline.design.metrics import METRICS, Metric
from pipeline.run.runner import Runner
from pipeline.study.study_file import SCHEMA_VERSION, load_study

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(params=["before_rooms", "before_wiring"])
def earlier(request, tmp_path) -> Path:
    """Folder with the study file and the database of an earlier release."""
    return unpacked(request.param, tmp_path)


@pytest.fixture
def to_go_on(tmp_path) -> Path:
    """The same of the one that has no energy among its objectives."""
    return unpacked("before_wiring", tmp_path)


def unpacked(name: str, folder: Path) -> Path:
    shutil.copy(GOLDEN / f"{name}.yaml", folder / "study.yaml")
    (folder / "study.db").write_bytes(gzip.decompress((GOLDEN / f"{name}.db.gz").read_bytes()))
    return folder


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


def test_a_database_of_an_earlier_release_goes_on_and_its_values_stay(to_go_on):
    before = stored(load_study_read_only(f"sqlite:///{to_go_on / 'study.db'}"))
    opened = run(to_go_on, 3)
    assert stored(opened)[: len(before)] == before
    assert len(pareto_report(opened).trials) == len([t for t in before if "cost" in t[4]]) + 3


def test_a_database_of_the_release_before_reports_a_metric_that_it_does_not_hold(earlier):
    facts = json.loads(nacim(earlier, "report", "--json"))
    attributes = {t[0]: t[4] for t in stored(load_study_read_only(f"sqlite:///{earlier / 'study.db'}"))}
    assert facts["front"]
    for trial in facts["front"]:
        assert trial["power_w"] == pytest.approx(POST_LAYOUT_ENERGY * attributes[trial["trial"]]["cost"]["power_w"])
        assert trial["accuracy_mean"] == attributes[trial["trial"]]["accuracy_mean"]
    for row in csv_rows(earlier):
        before = attributes[int(row["trial"])]
        assert float(row["power_w"]) == pytest.approx(POST_LAYOUT_ENERGY * before["cost"]["power_w"])
    power = METRICS["power_w"].show(POST_LAYOUT_ENERGY * attributes[1]["cost"]["power_w"])
    assert shown(earlier, "power") == ["power", power, "mW"]


def test_energies_of_an_earlier_release_are_shown_with_wiring_and_other_values_stay(earlier):
    """That release counted wiring in TOPS/W alone."""
    facts = json.loads(nacim(earlier, "report", "--json"))
    attributes = {t[0]: t[4] for t in stored(load_study_read_only(f"sqlite:///{earlier / 'study.db'}"))}
    for trial in facts["front"]:
        before = attributes[trial["trial"]]
        assert trial["tops_per_watt"] == before["tops_per_watt"]
        assert trial["energy_j"] == pytest.approx(POST_LAYOUT_ENERGY * before["energy_j"])
        assert trial["edp_js"] == pytest.approx(POST_LAYOUT_ENERGY * before["edp_js"])
        assert trial["energy_own_data_j"] == pytest.approx(POST_LAYOUT_ENERGY * before["energy_own_data_j"])
        assert trial["tops_per_watt"] == pytest.approx(before["cost"]["ops"] / trial["energy_j"] / 1e12)
    energy = METRICS["energy_j"].show(POST_LAYOUT_ENERGY * attributes[1]["energy_j"])
    assert shown(earlier, "energy") == ["energy", energy, "nJ"]


def test_a_study_of_an_earlier_release_that_compares_energies_is_shown_but_does_not_go_on(tmp_path):
    folder = unpacked("before_rooms", tmp_path)
    with pytest.raises(
        ValueError, match=r"energy_j was without wiring \(a factor of 1.22\).*give the study a new name"
    ):
        run(folder, 1)
    assert json.loads(nacim(folder, "report", "--json"))["front"]


def test_nor_does_one_that_limits_an_energy(tiny, write_study, tmp_path):
    study = load_study(write_study(tiny | {"constraints": ["power_mw <= 9"]}))
    url = f"sqlite:///{tmp_path / 'study.db'}"
    opened = open_study(study, url)
    opened.ask()
    opened.set_user_attr("nacim_schema", SCHEMA_VERSION - 1)
    with pytest.raises(ValueError, match=r"power_mw <= 9 was without wiring"):
        open_study(study, url)


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
    limit_w = 0.3e-3  # a quarter of the tiny study's designs need less
    write_study(tiny | {"objectives": ["accuracy_mean", "power_w"], "constraints": ["power_mw <= 0.3"]})
    run(tmp_path, 5)
    found = pareto_report(run(tmp_path, 3))
    assert len(found.trials) == 8
    for trial in found.trials:
        power_w = trial.user_attrs["cost"]["power_w"]
        assert trial.values[1] == trial.user_attrs["power_w"] == power_w <= limit_w
        assert trial.constraints["power_mw <= 0.3"] == pytest.approx(power_w / limit_w - 1)
    assert len(json.loads(nacim(tmp_path, "report", "--json"))["front"]) == len(found.front)
    assert shown(tmp_path, "power", found.front[0].number)[2] == "mW"


def test_a_setting_that_the_database_does_not_know_counts_as_its_default(to_go_on):
    url = f"sqlite:///{to_go_on / 'study.db'}"
    opened = load_study_read_only(url)
    identity = opened.user_attrs["identity"]
    del (
        identity["sampler"]["candidates"],
        identity["training"]["noise_ramp"],
        identity["devices"]["rram"]["drift_nu_law"],
    )
    opened.set_user_attr("identity", identity)
    open_study(load_study(to_go_on / "study.yaml"), url)
    with (to_go_on / "study.yaml").open("a") as file:
        file.write("dataset: {train_images: 100}\n")
    with pytest.raises(ValueError, match=r"was made with dataset\.train_images = None, the file now says 100;"):
        open_study(load_study(to_go_on / "study.yaml"), url)
