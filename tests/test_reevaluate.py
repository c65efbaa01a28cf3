"""Measuring again, replaying, and asking what a design requires of its memory cell."""

import collections
import contextlib
import csv
import dataclasses
import json
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path

import optuna
import pytest
import torch
import yaml

from hw_models.devices import load_card, load_device
from hw_models.read_errors import is_noisy
from pipeline.cli.app import app
from pipeline.data.batches import load_images
from pipeline.database.open_study import open_study
from pipeline.database.records import record
from pipeline.database.transaction import transaction
from pipeline.database.trials import remeasured
from pipeline.design.design_point import DesignPoint
from pipeline.follow_up import device_requirements as require_module
from pipeline.follow_up import error_sources
from pipeline.follow_up.device_requirements import _boundary, _properties, requirements
from pipeline.follow_up.error_sources import error_budget
from pipeline.follow_up.measure_again import Settings, measure_again
from pipeline.follow_up.networks import finished_network, moved_network, scaled_sigma, with_device
from pipeline.follow_up.stored import stored_study
from pipeline.networks.workload import cost_of
from pipeline.report.findings import read_findings
from pipeline.study.search_space import SearchSpace
from pipeline.study.study_file import load_study
from pipeline.trial.evaluate import evaluate, trained_network


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A study with three evaluated trials, trained for real, and one stopped early; checkpoints of all but the last."""
    from conftest import TINY_STUDY

    folder = tmp_path_factory.mktemp("study")
    hardware = TINY_STUDY["hardware"] | {"device": ["rram", "pcm"], "cell_bits": 2, "weight_bits": 4}
    content = TINY_STUDY | {"hardware": hardware, "training": {"epochs": 6, "learning_rate": 0.02}}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(content))
    study = load_study(folder / "tiny.yaml")
    place = folder / "results" / "tiny"
    place.mkdir(parents=True)
    opened = open_study(study, f"sqlite:///{place / 'study.db'}")
    torch.set_num_threads(1)
    for number in range(4):
        trial = opened.ask()
        design = SearchSpace(study).suggest(trial)
        trial.set_user_attr("design", design.to_dict())
        trial.set_user_attr("design_hash", design.content_hash)
        result = evaluate(design, study.spec, number, place / "checkpoints" / f"{number}.pt")
        if number == 3:
            result = dataclasses.replace(result, stopped_early={"epoch": 2, "accuracy": 0.3, "optimistic": 0.5})
        with transaction(opened) as session:
            record(opened, session, trial._trial_id, study.spec.objectives, result)
    return folder


@pytest.fixture
def nacim(folder, monkeypatch, capsys):
    """The command, in this process: its exit code and what it printed."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: object) -> tuple[int, str]:
        try:
            app(list(map(str, words)), standalone_mode=False)
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, capsys.readouterr().out

    return call


def trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    return stored_study(folder / "tiny.yaml", None, folder / "results" / "tiny").study.get_trials()


def test_a_replayed_trial_is_the_same(folder, nacim):
    code, output = nacim("evaluate", "tiny.yaml", "--trial", 0, "--trial", 1, "--replay")
    assert (code, output) == (0, "trial 0: the same (the same versions)\ntrial 1: the same (the same versions)\n")


def test_a_replay_that_differs_says_in_what_and_which_versions_changed(folder, nacim):
    database = sqlite3.connect(folder / "results" / "tiny" / "study.db")
    with contextlib.closing(database):
        rows = dict(database.execute("SELECT key, value_json FROM trial_user_attributes WHERE trial_id = 3"))
        write = "UPDATE trial_user_attributes SET value_json = ? WHERE trial_id = 3 AND key = ?"
        versions = json.loads(rows["versions"]) | {"torch": "1.0.0"}
        with database:
            database.execute(write, (json.dumps(versions), "versions"))
            database.execute(write, ("0.125", "accuracy_mean"))
        code, output = nacim("evaluate", "tiny.yaml", "--trial", 2, "--replay")
        with database:
            for key in ("versions", "accuracy_mean"):
                database.execute(write, (rows[key], key))
    assert code == 5
    assert "trial 2: differs (versions changed: torch 1.0.0 -> " in output
    assert [line for line in output.splitlines() if line.startswith("  ")] == [
        f"  accuracy_mean: stored 0.125, now {rows['accuracy_mean']}"
    ]
    assert nacim("evaluate", "tiny.yaml", "--trial", 2, "--replay")[0] == 0


def test_measurements_are_noted_beside_the_trial_and_change_nothing_else(folder, nacim):
    before = trials(folder)
    words = ("--trial", 0, "--trial", 1, "--chips", 3, "--sigma-scale", 0, "--sigma-scale", 2, "--drift-time", 1000)
    _, output = nacim("evaluate", "tiny.yaml", *words, "--json")
    entries = json.loads(output)
    settings = {"chips": 3, "fidelity": "fast", "drift_time_s": 1000.0, "epochs": 6}
    settings |= {"images_per_chip": None, "train_images": None, "test_images": None}
    assert [(entry["trial"], entry["settings"]) for entry in entries] == [
        (number, settings | {"sigma_scale": scale}) for scale in (0.0, 2.0) for number in (0, 1)
    ]
    assert trials(folder) == before
    opened = stored_study(folder / "tiny.yaml", None, folder / "results" / "tiny").study
    kept = remeasured(opened.user_attrs, 0)[-2:]
    assert kept == [{k: v for k, v in entry.items() if k != "trial"} for entry in entries if entry["trial"] == 0]
    assert set(kept[0]) == {"settings", "validation", "test", "versions"}
    _, page = nacim("show", "tiny.yaml", "--trial", 0)
    assert "3 chips, fast, 6 epochs, sigma x2, 1000 s after programming" in page
    _, shown = nacim("show", "tiny.yaml", "--trial", 0, "--json")
    assert json.loads(shown)["remeasured"][-2:] == kept


def test_the_front_is_measured_at_once(folder, nacim):
    front = {trial.number for trial in stored_study(folder / "tiny.yaml", None, None).chosen([], front=True)}
    _, output = nacim("evaluate", "tiny.yaml", "--front", "--chips", 2, "--json")
    assert {entry["trial"] for entry in json.loads(output)} == front


def test_more_sigma_costs_accuracy_and_none_gives_the_noiseless_one(folder, nacim):
    words = ("--trial", 0, "--chips", 8, "--sigma-scale", 0, "--sigma-scale", 1, "--sigma-scale", 6)
    _, output = nacim("evaluate", "tiny.yaml", *words, "--json")
    none, card, much = (entry["validation"] for entry in json.loads(output))
    assert none["noiseless"] == card["noiseless"] == much["noiseless"]
    assert none["std"] < card["std"], "read noise is left"
    assert much["mean"] < card["mean"] - 3 * much["std"] / 8**0.5


def test_longer_training_is_a_training_of_its_own(folder, nacim):
    _, output = nacim("evaluate", "tiny.yaml", "--trial", 0, "--chips", 2, "--epochs", 1, "--json")
    (entry,) = json.loads(output)
    stored = trials(folder)[0].user_attrs["variation"]["validation"]
    assert entry["settings"]["epochs"] == 1
    assert entry["validation"]["float_accuracy"] < stored["float_accuracy"]


def test_a_training_on_other_images_is_kept_for_further_measurements(folder, nacim, monkeypatch):
    words = ("--trial", 0, "--chips", 2, "--epochs", 2, "--train-images", 200, "--test-images", 90, "--json")
    _, output = nacim("evaluate", "tiny.yaml", *words, "--sigma-scale", 0)
    (first,) = json.loads(output)
    assert first["settings"] | {"epochs": 2, "train_images": 200, "test_images": 90} == first["settings"]
    assert first["test"]["n_images"] == 90
    monkeypatch.setattr("pipeline.follow_up.networks.new_network", None)  # it is not trained again
    _, output = nacim("evaluate", "tiny.yaml", *words, "--sigma-scale", 2, "--images-per-chip", 50)
    (second,) = json.loads(output)
    assert second["test"]["noiseless"] == first["test"]["noiseless"]
    assert second["settings"]["images_per_chip"] == 50


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--trial", 3), "stopped early after epoch 2"),
        (("--trial", 9), "the study has 4 trials"),
        ((), "--trial N"),
        (("--trial", 0, "--chips", 1), "--chips must be 2 or more"),
        (("--trial", 0, "--train-images", 10), "--train-images 10 needs --epochs"),
        (("--trial", 0, "--sigma-scale", 1000), "programming_sigma"),
    ],
)
def test_what_cannot_be_measured_is_refused(nacim, words, says):
    with pytest.raises(ValueError, match=says):
        nacim("evaluate", "tiny.yaml", *words)


# Another memory cell, other trainings, sources of error


def test_a_design_is_measured_on_another_memory_cell(folder, nacim):
    cells = [DesignPoint.from_dict(trial.user_attrs["design"]).accelerator.device.name for trial in trials(folder)]
    number = cells.index("rram")
    _, output = nacim("evaluate", "tiny.yaml", "--trial", number, "--chips", 2, "--device", "pcm", "--json")
    (entry,) = json.loads(output)
    design = DesignPoint.from_dict(trials(folder)[number].user_attrs["design"])
    swapped = dataclasses.replace(design.accelerator, device=load_device("pcm"))
    assert entry["settings"]["device"] == load_device("pcm").to_dict()
    cost = cost_of(dataclasses.replace(design, accelerator=swapped))
    assert entry["cost"]["energy_j"] == cost.energy_j != trials(folder)[number].user_attrs["energy_j"]
    assert entry["test"]["float_accuracy"] == trials(folder)[number].user_attrs["variation"]["test"]["float_accuracy"]
    _, page = nacim("show", "tiny.yaml", "--trial", number)
    assert "on pcm cells" in page
    study = stored_study(folder / "tiny.yaml", None, folder / "results" / "tiny").study
    (shown,) = (trial for trial in read_findings(study).evaluated if trial.number == number)
    assert not [each for each in shown.remeasured if "device" in each["settings"]], "no figure takes it for the trial"


def test_the_same_cell_under_another_name_gives_the_same_accuracy(folder):
    stored = stored_study(folder / "tiny.yaml", None, folder / "results" / "tiny")
    trial = stored.trial(0)
    own = DesignPoint.from_dict(trial.user_attrs["design"]).accelerator.device
    swapped = measure_again(stored, trial, Settings(chips=2, device=dataclasses.replace(own, name="twin")))
    assert swapped == measure_again(stored, trial, Settings(chips=2))


def test_a_cell_that_a_design_cannot_have_is_told(nacim):
    with pytest.raises(ValueError, match="cell_bits 2 is more than a sram cell holds"):
        nacim("evaluate", "tiny.yaml", "--trial", 0, "--device", "sram", "--chips", 2)


def test_a_drift_time_without_drift_is_told(nacim, capsys, folder):
    cells = [DesignPoint.from_dict(trial.user_attrs["design"]).accelerator.device.name for trial in trials(folder)]
    number = cells.index("rram")
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("builtins.print", lambda *words, **named: said.append(" ".join(map(str, words))))
        nacim("evaluate", "tiny.yaml", "--trial", number, "--drift-time", 1000, "--chips", 2)
    assert "nacim: the card of rram has no drift; a drift time changes nothing" in said


def test_several_trainings_of_a_trial_are_compared(folder, nacim, monkeypatch):
    words = ("evaluate", "tiny.yaml", "--trial", 0, "--chips", 2, "--seeds", 3)
    _, output = nacim(*words, "--json")
    entries = json.loads(output)
    assert [entry["settings"].get("training_seed") for entry in entries] == [None, 1, 2]
    stored = trials(folder)[0].user_attrs["variation"]["validation"]
    floats = [entry["validation"]["float_accuracy"] for entry in entries]
    assert floats[0] == stored["float_accuracy"], "the search's own training"
    assert len(set(floats)) > 1, "the others are trainings of their own"
    monkeypatch.setattr("pipeline.follow_up.networks.new_network", None)  # they are not trained again
    _, output = nacim(*words)
    mean = sum(entry["test"]["mean"] for entry in entries) / 3
    assert f"3 trainings: test {mean:.2%}, standard deviation" in output


@pytest.fixture(scope="module")
def budget(folder):
    stored = stored_study(folder / "tiny.yaml", None, folder / "results" / "tiny")
    cells = [DesignPoint.from_dict(trial.user_attrs["design"]).accelerator.device.name for trial in trials(folder)]
    trial = stored.trial(cells.index("pcm"))
    return stored, trial, error_budget(stored, trial, Settings(chips=2, drift_time_s=1e6))


def test_each_source_of_error_is_switched_off_alone(budget):
    """Whatever is left on the cell without one source is the design's own; without all, nothing errs."""
    _, trial, _ = budget
    design = DesignPoint.from_dict(trial.user_attrs["design"])
    changed: list[str] = []
    for source in error_sources._SOURCES:
        if not source.absent(design, 1e6):
            before, after = (each.accelerator.to_dict() for each in (design, source.off(design)))
            before, after = (chip | chip.pop("device") for chip in (before, after))
            names = [name for name in before if before[name] != after[name]]
            assert names
            assert source.off(source.off(design)) == source.off(design)
            changed += names
            design_without = source.off(design)
            assert source.absent(design_without, 1e6), source.name
    assert len(set(changed)) == len(changed), "no field belongs to two sources"
    assert {"programming_sigma", "read_sigma", "drift_nu", "adc_bits"} <= set(changed)
    ideal = error_sources._without(design, list(error_sources._SOURCES))
    assert not is_noisy(ideal.accelerator)


def test_a_budget_begins_with_float_and_ends_with_everything(budget):
    stored, trial, found = budget
    _, test, _ = measure_again(stored, trial, Settings(chips=2, drift_time_s=1e6))
    assert (found.everything, found.float_accuracy) == (test, test.float_accuracy)
    assert found.quantised.std == 0
    by_name = {source.name: source for source in found.sources}
    assert by_name["mismatch"].absent == "the card has no mismatch of capacitors or discharge currents"
    assert by_name["wires"].absent == "wires are ideal"
    assert by_name["mismatch"].alone is None
    assert by_name["drift"].alone.mean < found.quantised.mean, "a million seconds of drift"
    assert by_name["drift"].without.mean > found.everything.mean
    assert by_name["converter"].alone.std == 0, "converters of an ideal cell: all chips are alike"


def test_a_budget_is_printed_with_what_is_absent(folder, nacim):
    _, output = nacim("evaluate", "tiny.yaml", "--trial", 0, "--by-source", "--chips", 2)
    for part in ("none: float", "quantisation", "programming", "converter", "all of them", "Losses do not add up"):
        assert part in output
    assert "give a time: --drift-time SECONDS" in output or "the card has no drift" in output
    _, output = nacim("evaluate", "tiny.yaml", "--trial", 0, "--by-source", "--chips", 2, "--json")
    (plain,) = json.loads(output)
    assert plain["everything"]["mean"] <= 1
    with pytest.raises(ValueError, match="--by-source measures the weights of the search"):
        nacim("evaluate", "tiny.yaml", "--trial", 0, "--by-source", "--seeds", 2)


def test_the_course_of_a_training_is_written_and_changes_nothing(folder, nacim, tmp_path):
    _, output = nacim("evaluate", "tiny.yaml", "--trial", 0, "--log", tmp_path / "log")
    path = Path(output.strip())
    assert path == tmp_path / "log" / "0" / "metrics.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    stored = stored_study(folder / "tiny.yaml", None, folder / "results" / "tiny")
    images = load_images(stored.spec.dataset)
    steps = collections.Counter(int(row["epoch"]) for row in rows)
    assert steps == dict.fromkeys(range(6), len(rows) // 6), "each step of 6 epochs"
    assert len(rows) // 6 in (len(images.train[1]) // 64, len(images.train[1]) // 64 + 1)
    losses = [float(row["loss"]) for row in rows]
    assert sum(losses[-10:]) < sum(losses[:10])
    assert max(float(row["learning_rate"]) for row in rows) == pytest.approx(0.02, rel=0.01)
    trial = stored.trial(0)
    design = DesignPoint.from_dict(trial.user_attrs["design"])
    one, other = (
        trained_network(design, stored.spec, 0, images, log=log).state_dict() for log in (None, tmp_path / "again")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


# Requirements


@pytest.mark.parametrize("count", [1, 2, 3, 10, 117])
def test_bisection_finds_the_boundary_wherever_it_is(count):
    for last in range(-1, count):
        asked: list[int] = []

        def holds(place: int, last: int = last, asked: list[int] = asked) -> bool:
            asked.append(place)
            return place <= last

        expected = (None, 0) if last < 0 else (last, None if last == count - 1 else last + 1)
        assert _boundary(count, holds) == expected
        assert len(asked) == len(set(asked)) <= 2 + count.bit_length()


@pytest.fixture(scope="module")
def bounds(folder):
    """Requirements of trial 0 at an accuracy somewhat below what it has on the card."""
    stored = stored_study(folder / "tiny.yaml", None, folder / "results" / "tiny")
    trial = stored.trial(0)
    accuracy = trial.user_attrs["variation"]["test"]["mean"] - 0.1
    found = list(requirements(stored.spec, trial, stored.checkpoints, accuracy, chips=6, retrain=False))
    return stored, trial, accuracy, {each.name: each for each in found}


def test_the_bound_holds_and_the_next_value_does_not(bounds):
    *_, accuracy, found = bounds
    assert {"programming sigma", "on/off ratio", "levels of a cell", "read noise", "stuck cells"} <= set(found)
    for each in found.values():
        if each.holds_at:
            assert each.holds_at.report.mean_low >= accuracy
        if each.fails_at:
            assert each.fails_at.report.mean_low < accuracy
        if each.holds_at and each.fails_at and each.name != "levels of a cell":
            factor = each.fails_at.value / each.holds_at.value
            assert 1 < max(factor, 1 / factor) <= 1.05
    sigma = found["programming sigma"]
    assert sigma.holds_at
    assert sigma.holds_at.value > 1
    assert sigma.card == 1
    assert "at the lowest level" in sigma.absolute


def test_a_bound_is_what_evaluate_measures_there(bounds):
    stored, trial, _, found = bounds
    at = found["programming sigma"].holds_at
    _, test, _ = measure_again(stored, trial, Settings(chips=6, sigma_scale=at.value))
    errors = 3 * (test.std**2 / 6 + at.report.std**2 / 6) ** 0.5  # the same cells, other read noise
    assert at.report.mean == pytest.approx(test.mean, abs=errors)


def test_each_property_changes_nothing_but_itself(bounds):
    _, trial, *_ = bounds
    design = DesignPoint.from_dict(trial.user_attrs["design"])
    allowed = {
        "programming sigma": {"programming_sigma"},
        "on/off ratio": {"on_off_ratio"},
        "read noise": {"read_sigma"},
        "levels of a cell": {"cell_bits", "weight_bits"},
        "stuck cells": {"stuck_on_rate", "stuck_off_rate"},
        "time since programming": set(),
    }
    for each in _properties(design, None):
        hardware, time_s = each.step(each.values[-1])
        before, after = design.accelerator.to_dict(), hardware.accelerator.to_dict()
        before, after = (chip.pop("device") | chip for chip in (before, after))
        assert {name for name in before if before[name] != after[name]} == allowed[each.name]
        assert (time_s is not None) == (each.name == "time since programming")
        assert hardware.accelerator.slices() <= design.accelerator.slices(), "as many cells"
        assert each.step(each.card)[0] == design


def test_hopeless_and_trivial_requirements_are_answered_so(bounds):
    stored, trial, *_ = bounds
    for accuracy, hopeless in ((1.0, True), (0.0, False)):
        sigma = next(requirements(stored.spec, trial, stored.checkpoints, accuracy, chips=2, retrain=False))
        assert (sigma.holds_at is None) == hopeless
        assert (sigma.fails_at is None) == (not hopeless)


@pytest.mark.slow
def test_a_network_trained_for_the_noise_stands_it_at_least_as_a_rule(bounds, monkeypatch):
    stored, trial, accuracy, found = bounds
    trained = []
    monkeypatch.setattr(
        require_module,
        "new_network",
        lambda spec, number, design, images, own=require_module.new_network: (
            trained.append(design.accelerator.device.programming_sigma) or own(spec, number, design, images)
        ),
    )
    again = next(requirements(stored.spec, trial, stored.checkpoints, accuracy, chips=6, retrain=True))
    assert len(set(trained)) == len(trained) > 3, "trained anew at each step, with that step's sigma"
    assert again.holds_at
    assert again.holds_at.value > found["programming sigma"].holds_at.value / 1.5


def test_other_sigma_keeps_the_converters_and_other_levels_do_not(bounds):
    stored, trial, *_ = bounds
    design = DesignPoint.from_dict(trial.user_attrs["design"])
    images = load_images(stored.spec.dataset)
    network = finished_network(stored.spec, trial, stored.checkpoints, images)

    def scales(moved: torch.nn.Module) -> list[float]:
        return [float(value) for name, value in moved.state_dict().items() if name.endswith("adc_full_scale")]

    assert scales(moved_network(network, scaled_sigma(design, 3), images)) == scales(network)
    assert scales(moved_network(network, with_device(design, on_off_ratio=1.5), images)) != scales(network)


def test_require_prints_a_table_and_json(folder, nacim):
    code, table = nacim("require", "tiny.yaml", "--trial", 0, "--accuracy", 0, "--chips", 2)
    assert code == 0
    for part in ("programming sigma", "holds everywhere", "x card", "uS", "lower bound of the 95 % interval"):
        assert part in table
    _, output = nacim("require", "tiny.yaml", "--trial", 0, "--accuracy", 1, "--chips", 2, "--json")
    plain = json.loads(output)
    assert plain["settings"] == {"accuracy": 1.0, "chips": 2, "retrain": False, "images": "test"}
    assert all(each["holds_at"] is None for each in plain["requirements"])


def test_digital_cells_have_nothing_to_require(bounds):
    stored, trial, *_ = bounds
    trial.user_attrs["design"]["accelerator"]["device"] |= {
        "cell": "sram", "conductance_levels": 2, "g_on_siemens": None, "on_off_ratio": None, "programming_sigma": [0.0],
    }  # fmt: skip
    trial.user_attrs["design"]["accelerator"]["cell_bits"] = 1
    with pytest.raises(ValueError, match="digital"):
        next(requirements(stored.spec, trial, stored.checkpoints, 0.9, chips=2, retrain=False))


@pytest.mark.parametrize(("readout", "field"), [("charge", "capacitor_sigma"), ("discharge", "discharge_sigma")])
def test_sram_cells_that_are_read_in_analog_are_asked_for_their_mismatch(bounds, readout, field):
    _, trial, *_ = bounds
    design = DesignPoint.from_dict(trial.user_attrs["design"])
    cell = load_card(f"sram_{readout}").device
    chip = dataclasses.replace(design.accelerator, device=cell, readout=readout, cell_bits=1)
    (asked,) = _properties(dataclasses.replace(design, accelerator=chip), None)
    hardware, _ = asked.step(0.25)
    assert asked.card == getattr(cell, field)
    assert hardware.accelerator.device == dataclasses.replace(cell, **{field: 0.25})


def test_sram_cells_whose_currents_are_summed_are_asked_for_their_sigma(bounds):
    _, trial, *_ = bounds
    design = DesignPoint.from_dict(trial.user_attrs["design"])
    cell = load_card("sram_current").device
    chip = dataclasses.replace(design.accelerator, device=cell, cell_bits=1)
    (asked,) = _properties(dataclasses.replace(design, accelerator=chip), None)
    hardware, _ = asked.step(2.0)
    assert hardware.accelerator.device.sigma_at(1) == pytest.approx(2 * cell.sigma_at(1))
    assert asked.absolute(2.0) == "0.00% at the lowest level, 19.00% at the highest level (of what a stored 1 adds)"
    digital = dataclasses.replace(chip, readout="digital", adc_bits=None)
    assert not list(_properties(dataclasses.replace(design, accelerator=digital), None))


# Weights that are not those of the trial
def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    other = path.with_name("1.pt")
    if how == "cut off":
        path.write_bytes(content[: len(content) // 2])
    elif how == "a bit":
        largest = max(torch.load(path, weights_only=True).values(), key=torch.Tensor.numel)
        place = content.index(largest.numpy().tobytes())
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "another trial's":
        path.write_bytes(other.read_bytes())
    elif how == "same shape":
        weights = torch.load(path, weights_only=True)
        torch.save({name: value * 2 if value.is_floating_point() else value for name, value in weights.items()}, path)


@pytest.fixture
def copied(folder, tmp_path, monkeypatch) -> Path:
    shutil.copytree(folder, tmp_path / "study")
    monkeypatch.chdir(tmp_path / "study")
    return tmp_path / "study"


DAMAGES = ("cut off", "a bit", "empty", "another trial's", "same shape")
COMMANDS = {
    "export": ["export", "tiny.yaml", "--trial", 0, "--to", "exported"],
    "evaluate": ["evaluate", "tiny.yaml", "--trial", 0, "--chips", 2],
    "require": ["require", "tiny.yaml", "--trial", 0, "--accuracy", 0.1, "--chips", 2],
}


@pytest.mark.parametrize(
    ("command", "how", "is_known"),
    [
        *(
            ("export", how, known)
            for how in ("cut off", "a bit", "empty", "another trial's")
            for known in (True, False)
        ),
        *(("evaluate", how, known) for how in DAMAGES[:2] for known in (True, False)),
        *((command, "same shape", True) for command in COMMANDS),
    ],
)
def test_weights_that_are_not_the_trials_are_refused_in_one_line(copied, request, command, how, is_known):
    place = copied / "results" / "tiny"
    damage(place / "checkpoints" / "0.pt", how)
    if not is_known:
        forget_checksums(place / "study.db")
    done = run_nacim(request, *COMMANDS[command])
    assert done.returncode == 2, done.stderr
    notes, (refusal,) = done.stderr.splitlines()[:-1], done.stderr.splitlines()[-1:]
    assert str(place.relative_to(copied) / "checkpoints" / "0.pt") in refusal
    assert len(refusal) < 400
    assert bool(notes) != is_known
    assert not (copied / "exported").exists()


def forget_checksums(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        found = connection.execute("DELETE FROM trial_user_attributes WHERE key = 'checkpoint_sha256'")
        assert found.rowcount >= 3


def run_nacim(request, *words: object):
    """The command as users have it; `nacim` here leaves exceptions as they are."""
    from pipeline.cli.app import main

    patch, capsys = request.getfixturevalue("monkeypatch"), request.getfixturevalue("capsys")
    patch.setattr("sys.argv", ["nacim", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return subprocess.CompletedProcess([], ended.value.code or 0, *capsys.readouterr())


def test_an_earlier_databases_weights_are_used_and_said_to_be_unchecked(copied, request):
    forget_checksums(copied / "results" / "tiny" / "study.db")
    done = run_nacim(request, *COMMANDS["export"])
    assert done.returncode == 0
    assert "trial 0: its weights have no checksum, as an earlier nacim wrote them, and are not checked" in done.stderr
    assert (copied / "exported" / "tiny-0" / "network.pt").is_file()


def test_the_weights_of_a_longer_training_are_checked_too(copied, request):
    longer = ["evaluate", "tiny.yaml", "--trial", 0, "--chips", 2, "--epochs", 1, "--train-images", 40]
    assert run_nacim(request, *longer).returncode == 0
    assert run_nacim(request, *longer).returncode == 0
    kept = copied / "results" / "tiny" / "checkpoints" / "0-1-epochs-40-images.pt"
    damage(kept, "same shape")
    done = run_nacim(request, *longer)
    assert done.returncode == 2
    assert f"{kept.name} is another file than was kept" in done.stderr


def test_a_report_leaves_out_weights_that_are_not_the_trials(copied, request):
    place = copied / "results" / "tiny"
    for number in range(3):
        (place / "checkpoints" / f"{number}.pt").write_bytes(b"others")
    done = run_nacim(request, "report", "tiny.yaml")
    assert done.returncode == 0
    assert re.search(r"checkpoints/(\d)\.pt is not the file that trial \1 wrote", done.stderr)
    assert all(path.read_bytes() != b"others" for path in (place / "artifacts").iterdir())
