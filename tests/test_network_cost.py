"""`nacim cost` of a network that no study knows: a function in a file, a family, and what is wrong with the options."""

import csv
import json
from pathlib import Path

import pytest
import yaml
from test_cost_command import DESIGN

from hw_models.cost import estimate_cost
from pipeline.design.design_point import load_design
from pipeline.design.hardware_file import load_hardware
from pipeline.networks.workload import workload_of

NETWORK = """
from torch import nn

def build(input, classes, width=4, depth=1, bias=True):
    blocks = [nn.Conv2d(width, width, 3, padding=1, groups=width, bias=bias) for _ in range(depth)]
    last = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))
    return nn.Sequential(nn.Conv2d(input[0], width, 3), nn.ReLU(), *blocks, last)

def words(input, classes):
    return nn.Sequential(nn.Embedding(30, 8), nn.Linear(8, classes), nn.Softmax(-1))

def broken(input, classes):
    return nn.Linear(7, classes)
"""


@pytest.fixture
def network(tmp_path) -> Path:
    path = tmp_path / "my_networks.py"
    path.write_text(NETWORK)
    return path


def test_a_function_prints_its_layers_and_totals(network, hardware, nacim):
    done = nacim("cost", f"{network}:build", "--hardware", hardware, "--input", "3x8x8", "--set", "depth=2")
    assert done.returncode == 0, done.stderr
    assert "depth 2: input 3x8x8, 10 outputs" in done.stdout
    for words in (
        "By layer",
        "conversions",
        "TOPS/W",
        "MACs on crossbars",
        "digital energy",
        "outside NeuroSim's range",
    ):
        assert words in done.stdout


def test_the_numbers_are_those_of_the_cost_model(network, hardware, tmp_path, nacim):
    out = tmp_path / "layers.csv"
    asked = ("cost", f"{network}:build", "--hardware", hardware, "--input", "3x8x8", "--classes", 5, "--out", out)
    plain = json.loads(nacim(*asked, "--json").stdout)
    assert plain["network"]["macs"] == 36 * (27 * 4 + 9 * 4) + 4 * 5
    assert [each["name"] for each in plain["network"]["layers"]] == ["0", "2", "3.2"]
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["layer"] for row in rows] == ["0", "2", "3.2", "digital"]
    assert [int(row["vectors"]) for row in rows[:3]] == [36, 36, 1]
    assert int(rows[1]["groups"]) == 4
    # 36 vectors x 6 input bits x 1 row block x 4 filters x 4 columns of a weight
    assert int(rows[0]["conversions"]) == 36 * 6 * 1 * 4 * 4
    assert sum(float(row["energy_j"]) for row in rows) == pytest.approx(plain["energy_j"])


def test_a_design_with_a_network_costs_what_its_parts_cost(network, tmp_path, nacim):
    design = {"accelerator": DESIGN["accelerator"], "image": DESIGN["image"]}
    design["network"] = {"builder": "my_networks.py:build", "file_hash": None, "parameters": {"width": 8}}
    path = tmp_path / "design.yaml"
    path.write_text(yaml.safe_dump(design))
    whole = json.loads(nacim("cost", path, "--json").stdout)
    parts = json.loads(nacim("cost", f"{network}:build", "--hardware", path, "--json").stdout)
    assert parts["energy_j"] == whole["energy_j"], "the design's parameters hold for its own function"
    other = nacim("cost", f"{network}:build", "--hardware", path, "--set", "width=6", "--json").stdout
    assert json.loads(other)["network"]["layers"][0]["out_channels"] == 6
    found = load_design(path)
    workload = workload_of(found)
    assert whole["energy_j"] == estimate_cost(found.accelerator, workload.layers, digital=workload.digital).energy_j


def test_a_family_and_an_input_of_whole_numbers_have_a_cost(network, hardware, nacim):
    asked = ("cost", "resnet", "--hardware", hardware, "--input", "3x16x16", "--set", "stages=2", "--json")
    assert json.loads(nacim(*asked, "--adc-model", "both").stdout).keys() == {
        "reference",
        "survey",
        "network",
        "silicon",
    }
    asked = ("cost", f"{network}:words", "--hardware", hardware, "--input", "7", "--integers", "--json")
    found = json.loads(nacim(*asked).stdout)["network"]
    assert [(each["name"], each["windows"]) for each in found["layers"]] == [("1", 7)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("N:build", "--input", "3x8x8"), "--hardware is missing", id="no hardware"),
        pytest.param(("N:build", "--hardware", "H"), "--input is missing", id="no input"),
        pytest.param(("N:words", "--hardware", "H", "--integers"), "--input is missing", id="whole numbers of no size"),
        pytest.param(("N:bild", "--hardware", "H"), "did you mean 'build'", id="another function"),
        pytest.param(("N:build", "--hardware", "H", "--input", "3by8"), "such as 3x32x32, got '3by8'", id="no size"),
        pytest.param(("N:build", "--hardware", "H", "--input", "x=3x8x8"), "only inputs of ONNX", id="a named input"),
        pytest.param(("N:broken", "--hardware", "H", "--input", "3x8x8"), "cannot be traced", id="broken"),
        pytest.param(
            ("N:build", "--hardware", "H", "--input", "3x8x8", "--set", "dept=2"), "did you mean 'depth'", id="unknown"
        ),
        pytest.param(
            ("N:build", "--hardware", "H", "--input", "3x8x8", "--set", "depth"), "must be NAME=VALUE", id="no value"
        ),
        pytest.param(("resnett", "--hardware", "H"), "did you mean 'resnet'", id="no such family"),
        pytest.param(("H", "--set", "depth=2"), "--set belongs to a network", id="a design with settings"),
        pytest.param(("N:build", "--hardware", "S"), "a study's choices are not one hardware", id="a study"),
        pytest.param(("N:build", "--hardware", "nowhere.yaml"), "nowhere.yaml: no such hardware file", id="no file"),
        pytest.param(
            ("N:build", "--hardware", "H", "--input", "3x8x8", "--adc-model", "both", "--out", "o.csv"),
            "choose the ADC model",
            id="two models in one table",
        ),
    ],
)
def test_wrong_options_are_one_line_with_the_way_out(arguments, message, network, hardware, nacim, write_study, tiny):
    files = {"N": str(network), "H": str(hardware), "S": str(write_study(tiny))}
    named = [files.get(each.split(":")[0], each.split(":")[0]) + each[len(each.split(":")[0]) :] for each in arguments]
    done = nacim("cost", *named)
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            {"accelerator": {"crossbar_size": 64}}, "key 'device' of the accelerator is missing", id="no device"
        ),
        pytest.param({"accelerator": DESIGN["accelerator"] | {"adc_bits": 20}}, "adc_bits must be 1 to 14", id="range"),
        pytest.param(
            {"accelerator": DESIGN["accelerator"] | {"rows": 20}}, "unexpected keyword argument 'rows'", id="key"
        ),
        pytest.param(["rram"], "must have the key accelerator", id="a list"),
    ],
)
def test_a_hardware_file_that_is_wrong_is_named(content, message, tmp_path):
    path = tmp_path / "hardware.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=message) as error:
        load_hardware(path)
    assert str(error.value).startswith(str(path))


def test_the_keys_of_the_accelerator_may_stand_alone(tmp_path, hardware):
    path = tmp_path / "alone.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(hardware.read_text())["accelerator"]))
    assert load_hardware(path) == load_hardware(hardware)
