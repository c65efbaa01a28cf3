"""Cards that point to measured conductances: the errors drawn are those that were measured."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from hw_models.accelerator import Accelerator
from hw_models.devices import CARD_FOLDER, CellDevice, load_card
from hw_models.errors import CardError
from hw_models.measured_cells import SCORES
from hw_models.read_errors import is_noisy
from pipeline.analog.cells import CellCode, code_sigma, program

G_ON, LEVELS, CELLS = 1e-4, (0.1, 0.4, 0.7, 1.0), 500


def skewed(random, level):
    """Errors with a long tail towards low conductance, wider at higher levels."""
    return -(0.02 + 0.05 * level) * (random.exponential(1, CELLS) - 0.5)


def raw_file(column="target_siemens"):
    random, lines = np.random.default_rng(1), [f"{column},conductance_siemens"]
    for number, level in enumerate(LEVELS):
        for error in skewed(random, level):
            shown = number if column == "level" else level * G_ON
            lines.append(f"{shown},{max(0, level + error) * G_ON}")
    return "\n".join(lines)


def card_with(folder, csv_text, **changes):
    """The shipped RRAM card with measured cells in place of its sigma."""
    import yaml

    content = yaml.safe_load((CARD_FOLDER / "rram.yaml").read_text())
    del content["values"]["programming_sigma"]
    plain = {"g_on_siemens": G_ON, "on_off_ratio": 10, "stuck_on_rate": 0, "stuck_off_rate": 0, "conductance_levels": 4}
    plain |= {"measured_cells": "cells.csv", "measured_spread": "device_to_device"} | changes
    content["values"] |= {
        name: {"value": value, "source": "test"} for name, value in plain.items() if value is not None
    }
    (folder / "cells.csv").write_text(csv_text)
    (folder / "mine.yaml").write_text(yaml.safe_dump(content))
    return folder / "mine.yaml"


def written(device, digit, count=40_000, seed=3):
    """Relative conductances of cells in which a digit was written."""
    chip = Accelerator(device=device, crossbar_size=64, cell_bits=2, weight_bits=2, input_bits=4, adc_bits=6)
    code = CellCode(accelerator=chip, weight_bits=2)
    levels = program(code, torch.full((count,), digit - 2.0), torch.Generator().manual_seed(seed))
    return (code.step * (levels[0] + code.baseline)).numpy()


@pytest.mark.parametrize("column", ["target_siemens", "level"])
def test_written_cells_have_the_distribution_that_was_measured(tmp_path, column):
    from scipy.stats import ks_2samp, skew

    device = load_card(card_with(tmp_path, raw_file(column))).device
    measured = np.loadtxt(tmp_path / "cells.csv", delimiter=",", skiprows=1)
    for digit in range(4):
        own = measured[measured[:, 0] == np.unique(measured[:, 0])[digit], 1] / G_ON
        if column == "level":  # nobody said what was meant: the mean was
            own = own - own.mean() + LEVELS[digit]
        drawn = written(device, digit)
        assert ks_2samp(drawn, own).pvalue > 0.01, f"digit {digit}"
        assert skew(drawn) == pytest.approx(skew(own), abs=0.25)
        assert skew(drawn) < -1, "a normal law would lose the tail"
        assert drawn.mean() == pytest.approx(own.mean(), abs=0.002)


def test_errors_between_measured_levels_lie_between_theirs(tmp_path):
    ends = "\n".join(line for line in raw_file().splitlines() if not line.startswith(("4", "7")))
    device = load_card(card_with(tmp_path, ends)).device
    assert len(device.error_curves) == 2
    low, middle, high = (device.sigma_at(u) for u in (0.1, 0.55, 1.0))
    assert low < middle < high
    off_target = written(device, 1) - 0.4
    assert np.sqrt((off_target**2).mean()) == pytest.approx(device.sigma_at(0.4), rel=0.05)


def test_a_table_of_sigmas_gives_normal_errors_that_training_sees_too(tmp_path):
    table = "conductance_siemens,sigma_siemens\n1e-5,1e-6\n1e-4,8e-6\n"
    device = load_card(card_with(tmp_path, table)).device
    drawn = written(device, 3)
    assert drawn.mean() == pytest.approx(1, abs=0.002)
    assert drawn.std() == pytest.approx(0.08, rel=0.02)
    plain = dataclasses.replace(device, error_curves=None, measured_spread=None, programming_sigma=(0.08,))
    chips = [
        Accelerator(device=each, crossbar_size=64, cell_bits=2, weight_bits=2, input_bits=4, adc_bits=6)
        for each in (device, plain)
    ]
    measured, constant = (code_sigma(CellCode(accelerator=chip, weight_bits=2)).numpy() for chip in chips)
    assert measured[-1] == pytest.approx(constant[-1], rel=0.02), "the highest code lies in a cell of g_on"
    assert (measured[:-1] < constant[:-1]).all()


def test_a_device_of_measured_cells_comes_back_from_a_database_as_it_was(tmp_path):
    device = load_card(card_with(tmp_path, raw_file())).device
    assert CellDevice(**json.loads(json.dumps(device.to_dict()))) == device
    chip = Accelerator(device=device, crossbar_size=64, cell_bits=2, weight_bits=2, input_bits=4, adc_bits=6)
    assert is_noisy(chip)
    assert all(len(curve) == len(SCORES) for _, curve in device.error_curves)


def test_a_changed_file_is_read_again(tmp_path):
    path = card_with(tmp_path, "conductance_siemens,sigma_siemens\n1e-5,1e-6\n1e-4,8e-6\n")
    first = load_card(path).device
    (tmp_path / "cells.csv").write_text("conductance_siemens,sigma_siemens\n1e-5,1e-6\n1e-4,4e-6\n")
    assert load_card(path).device.sigma_at(1) == pytest.approx(first.sigma_at(1) / 2)


@pytest.mark.parametrize(
    ("text", "changes", "says"),
    [
        ("conductance,sigma\n1,2", {}, "the columns must be conductance_siemens"),
        (
            "target_siemens,conductance_siemens\n" + "1e-5,1e-5\n" * 30 + "1e-4,1e-4\n" * 3,
            {},
            "3 measured cells; give 20",
        ),
        ("conductance_siemens,sigma_siemens\n1e-5,nan", {}, "line 2: sigma_siemens must be a finite number"),
        ("conductance_siemens,sigma_siemens\n1e-5", {}, "line 2: a line has 2 values"),
        ("conductance_siemens,sigma_siemens\n4e-5,1e-6\n1e-4,1e-6", {}, "reach from 0.4 to 1 of g_on"),
        ("conductance_siemens,sigma_siemens\n1e-5,1e-6", {}, "2 to 256 different levels"),
        (None, {"measured_spread": None}, "measured_spread must be one of device_to_device"),
        (None, {"programming_sigma": 0.1}, "programming_sigma must be left out with measured_cells"),
        (None, {"measured_cells": "none.csv"}, "none.csv: cannot be read"),
        (None, {"measured_cells": 4}, "must name a CSV file"),
    ],
)
def test_what_cannot_be_read_as_measured_cells_is_refused(tmp_path, text, changes, says):
    with pytest.raises(CardError, match=says):
        load_card(card_with(tmp_path, raw_file() if text is None else text, **changes))


@pytest.mark.parametrize(
    "curves",
    [
        pytest.param([], id="none"),
        pytest.param([[1.0, [0.0] * len(SCORES)]], id="one"),
        pytest.param([[0.1, [float("nan")] * len(SCORES)], [1.0, [0.0] * len(SCORES)]], id="no numbers"),
        pytest.param([["low", [0.0] * len(SCORES)], [1.0, [0.0] * len(SCORES)]], id="a text"),
    ],
)
def test_curves_of_a_design_file_are_finite_numbers(curves):
    plain = load_card("rram").device.to_dict() | {"programming_sigma": [], "measured_spread": "both"}
    with pytest.raises(ValueError, match="error_curves must give finite numbers, for two levels or more"):
        CellDevice(**plain | {"error_curves": curves})


def test_a_file_that_is_no_csv_is_told_with_its_name(tmp_path):
    with pytest.raises(CardError, match=r"cells\.csv: cannot be read as CSV: field larger"):
        load_card(card_with(tmp_path, 'level,conductance_siemens\n"' + "1" * 200_000))


def test_show_tells_how_many_levels_were_measured(tmp_path):
    from typer.testing import CliRunner

    from pipeline.cli.app import app

    shown = CliRunner().invoke(app, ["devices", "show", str(card_with(tmp_path, raw_file()))])
    assert shown.exit_code == 0, shown.output
    assert "4 levels" in shown.output
