"""`nacim evaluate --model`: a trained model that no study knows."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

NETWORK = """
from torch import nn

def build(input, classes, width=4):
    pixels = input[0] * input[1] * input[2]
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, width), nn.ReLU(), nn.Linear(width, classes))
"""
DATA = """
import torch

def make(count=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = torch.rand(count, 1, 4, 4, generator=generator) / 2 + labels[:, None, None, None] / 2
    return {part: (images, labels) for part in ("train", "validation", "test")}
"""


@pytest.fixture
def model(tmp_path, monkeypatch) -> nn.Module:
    """A model in the working folder: `net.py:build`, `data.py:make`, `w.pt`."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NETWORK)
    Path("data.py").write_text(DATA)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))
    torch.save(network.state_dict(), "w.pt")
    return network


ASKED = ("evaluate", "--model", "net.py:build", "--set", "width=8", "--chips", 2, "--data", "data.py:make")
WHOLE = (*ASKED, "--weights", "w.pt", "--hardware")


def test_the_report_is_of_the_model_and_its_data(model, hardware, nacim):
    entry = json.loads(nacim(*WHOLE, hardware, "--json").stdout)[0]
    splits: dict = {}
    exec(DATA, splits)
    images, labels = splits["make"]()["test"]
    own = float((model(images).argmax(1) == labels).float().mean())
    assert entry["test"]["float_accuracy"] == pytest.approx(own)
    assert len(entry["test"]["per_chip"]) == 2
    assert entry["score"] == "accuracy"
    assert [each["name"] for each in entry["cost"]["layers"]] == ["1", "3"]


def test_the_cost_is_at_the_activity_of_these_data(model, hardware, nacim):
    measured = json.loads(nacim(*WHOLE, hardware, "--json").stdout)[0]["cost"]
    asked = ("cost", "net.py:build", "--set", "width=8", "--hardware", hardware, "--input", "1x4x4", "--classes", 2)
    assumed = json.loads(nacim(*asked, "--json").stdout)
    assert measured["area_m2"] == assumed["area_m2"]
    assert measured["energy_j"] != assumed["energy_j"]


def test_more_error_and_time_are_measured_one_by_one(model, hardware, nacim):
    done = nacim(*WHOLE, hardware, "--sigma-scale", 1, "--sigma-scale", 3, "--drift-time", 100, "--test-images", 10)
    assert done.returncode == 0, done.stderr
    for words in ("net.py:build width 8", "accuracy: 2 chips, fast, 100 s", "sigma x3", "10 images", "TOPS/W"):
        assert words in done.stdout


def test_seeds_make_other_chips(model, hardware, nacim):
    chips = [
        json.loads(nacim(*WHOLE, hardware, "--chips", 8, "--sigma-scale", 9, "--seed", seed, "--json").stdout)[0][
            "test"
        ]["per_chip"]
        for seed in (0, 0, 1)
    ]
    assert chips[0] == chips[1] != chips[2]


def test_a_folder_of_pictures_is_data(model, hardware, tmp_path, nacim):
    for number, name in enumerate(("bright", "dark")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for count in range(24):
            pixels = np.full((5, 6), 80 + 90 * number + count, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{count}.png")
    asked = [each if each != "data.py:make" else "pictures" for each in WHOLE]
    assert "--image-size is missing" in nacim(*asked, hardware).stderr
    done = nacim(*asked, hardware, "--image-size", 4, "--channels", 1)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("evaluate",), "give a study file, or a trained model: --model", id="nothing"),
        pytest.param(("evaluate", "study.yaml", "--weights", "w.pt"), "--weights needs --model", id="no model"),
        pytest.param(ASKED, "--weights is missing", id="no weights"),
        pytest.param((*WHOLE, "H", "--trial", 0), "--trial belongs to a study, not to --model", id="a trial"),
        pytest.param((*WHOLE, "H", "--data", "digit"), "did you mean 'digits'", id="no data"),
        pytest.param((*WHOLE, "H", "--data", "nuclei"), "nuclei", id="data that are not there"),
        pytest.param((*WHOLE, "H", "--task", "binray"), "did you mean 'binary'", id="no such task"),
        pytest.param((*WHOLE, "H", "--set", "width=5"), "w.pt does not fit the network", id="other shapes"),
        pytest.param((*WHOLE, "H", "--weights", "keys.pt"), "missing: 3.bias; unknown: fc.bias", id="other keys"),
        pytest.param(
            (*WHOLE, "H", "--weights", "whole.pt"),
            "it holds a whole model or other objects, and loading these would run code); write it with "
            "torch.save(model.state_dict(), path)",
            id="a pickled model",
        ),
        pytest.param((*WHOLE, "H", "--model", "net.py:bild"), "did you mean 'build'", id="no such function"),
    ],
)
def test_wrong_options_are_one_line_with_the_way_out(arguments, message, model, hardware, nacim):
    torch.save(model, "whole.pt")
    weights = model.state_dict()
    torch.save({{"3.bias": "fc.bias"}.get(name, name): value for name, value in weights.items()}, "keys.pt")
    done = nacim(*(hardware if each == "H" else each for each in arguments))
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
