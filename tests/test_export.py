"""An exported design, read back by nacim, by torch alone, by ONNX and as the reference tool's table, is the same."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import TINY_STUDY

from hw_models.cost import estimate_cost
from hw_models.validation.neurosim_input import read_networks
from pipeline.data.batches import load_images
from pipeline.design.design_point import DesignPoint, load_design
from pipeline.design.results import TrialResult
from pipeline.design.topology import mvm_layers
from pipeline.follow_up.export import export_design
from pipeline.study.study_spec import StudySpec
from pipeline.trial.batch_norm import RECALIBRATION_IMAGES
from pipeline.trial.evaluate import evaluate
from pipeline.trial.network import load_checkpoint
from pipeline.trial.variation import accuracy_under_variation

SPEC = StudySpec.model_validate(TINY_STUDY)
CLASSIFIER = """
import sys
sys.modules["pipeline"] = sys.modules["hw_models"] = None  # torch alone must do
sys.path.insert(0, sys.argv[1])
import torch
import network
images = torch.load(sys.argv[2], weights_only=True)
with torch.no_grad():
    torch.save(network.network()(images), sys.argv[3])
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> tuple[DesignPoint, TrialResult, Path]:
    """A design with every kind of layer, what its trial measured, and the folder of its export."""
    folder = tmp_path_factory.mktemp("export")
    rows = {"device": "rram", "tech_node_nm": 22, "crossbar_size": 32, "adc_bits": 6, "cell_bits": 2}
    card = {
        "accelerator": rows | {"weight_bits": 8, "input_bits": 4, "cols_per_adc": 8},
        "image": {"channels": 1, "height": 8, "width": 8, "classes": 10},
        "convs": [
            {"filters": 4, "kernel": 3, "stride": 1, "pool": True, "weight_format": None},
            {"filters": 6, "kernel": 3, "stride": 2, "pool": False, "weight_format": None},
        ],
        "hidden": [{"units": 16, "weight_format": None}],
    }
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    design = load_design(folder / "card.yaml")
    result = evaluate(design, SPEC, 0, folder / "trial.pt")
    export_design('Trial 0 of "tiny"', design, folder / "trial.pt", folder / "out")
    return design, result, folder / "out"


@pytest.fixture(scope="module")
def images():
    return load_images(SPEC.dataset)


def test_card_and_checkpoint_give_the_same_accuracy_on_every_chip_and_the_same_cost(exported, images):
    design, result, folder = exported
    again = load_design(folder / "design.yaml")
    assert again == design
    assert estimate_cost(again.accelerator, mvm_layers(again)).to_dict() == result.cost
    network = load_checkpoint(again, folder / "checkpoint.pt")
    splits = [images.validation, images.test]
    recalibration = images.train[0][:RECALIBRATION_IMAGES]
    reports = accuracy_under_variation(network, splits, SPEC.variation, SPEC.seed, recalibration)
    assert list(reports) == [result.validation, result.test]


def test_the_plain_module_needs_torch_alone_and_is_as_accurate_as_in_float(exported, images, tmp_path):
    _, result, folder = exported
    torch.save(images.validation[0], tmp_path / "images.pt")
    command = [sys.executable, "-c", CLASSIFIER, folder, tmp_path / "images.pt", tmp_path / "scores.pt"]
    subprocess.run(command, check=True)
    scores = torch.load(tmp_path / "scores.pt", weights_only=True)
    assert (scores.argmax(1) == images.validation[1]).float().mean().item() == pytest.approx(
        result.validation.float_accuracy, abs=1e-6
    )


def test_onnx_gives_the_scores_of_the_module_for_any_number_of_images(exported, images):
    onnx = pytest.importorskip("onnx.reference", reason="the extra `onnx` is not installed")
    design, _, folder = exported
    session = onnx.ReferenceEvaluator(str(folder / "network.onnx"))
    from pipeline.analog.conversion import to_digital

    network = to_digital(load_checkpoint(design, folder / "checkpoint.pt"))
    for count in (1, 7, len(images.validation[0])):
        batch = images.validation[0][:count]
        (scores,) = session.run(None, {"images": batch.numpy()})
        np.testing.assert_allclose(scores, network(batch).detach().numpy(), rtol=1e-4, atol=1e-4)


def test_the_network_table_holds_what_the_cost_depends_on(exported):
    design, result, folder = exported
    (table,) = read_networks(folder / "network_table.csv").values()
    strides = [int(line.split(",")[-1]) for line in (folder / "network_table.csv").read_text().split()]
    rebuilt = [
        dataclasses.replace(
            row,
            name=layer.name,
            windows=-(-row.in_height // stride) * -(-row.in_width // stride),  # ours run the image's border, too
            counted_windows=None,
            relu=layer.relu,
        )
        for row, stride, layer in zip(table, strides, mvm_layers(design), strict=True)
    ]
    assert estimate_cost(design.accelerator, rebuilt).to_dict() == result.cost


def test_a_table_that_is_none_is_refused_with_its_reason(tmp_path):
    (tmp_path / "net.csv").write_text("8,8,1,3\n")
    with pytest.raises(ValueError, match=r"net\.csv: not a file of networks .* 8 whole numbers"):
        read_networks(tmp_path / "net.csv")


def test_a_lost_checkpoint_is_named(tmp_path, exported):
    with pytest.raises(ValueError, match=r"gone\.pt: the checkpoint is gone"):
        export_design("x", exported[0], tmp_path / "gone.pt", tmp_path / "out")
    assert not (tmp_path / "out").exists()
