"""An exported design, read back by nacim, by torch alone, by ONNX and as the reference tool's table, is the same."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
import torch
import yaml
from conftest import TINY_STUDY

from hw_models.accelerator import Accelerator
from hw_models.cost import estimate_cost
from hw_models.validation.neurosim_input import read_networks
from pipeline.data.batches import load_images
from pipeline.design.design_point import DesignPoint, load_design
from pipeline.design.results import TrialResult
from pipeline.design.topology import mvm_layers
from pipeline.follow_up.export import export_design
from pipeline.follow_up.other_tools import aihwkit_config, zigzag_architecture
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


def test_other_tools_get_the_hardware_in_their_words(exported):
    design, _, folder = exported
    chip = design.accelerator
    values = json.loads((folder / "aihwkit.json").read_text())
    assert values["mapping"]["max_input_size"] == 32
    assert values["mapping"]["max_output_size"] == 32 // chip.cells_per_weight == 8
    assert values["forward"]["out_res"] == pytest.approx(1 / (2**6 - 2))
    noise = values["noise_model"]
    assert noise["g_max"] == pytest.approx(1e6 * chip.device.g_on_siemens)
    for u in (0.2, 1.0):  # aihwkit's polynomial is in g / g_max, and its sum in uS
        sigma = sum(c * u**power for power, c in enumerate(noise["prog_coeff"]))
        assert sigma == pytest.approx(noise["g_max"] * chip.device.sigma_at(u))
    array = yaml.safe_load((folder / "zigzag.yaml").read_text())["operational_array"]
    assert (array["sizes"], array["input_precision"], array["adc_resolution"]) == ([8, 32], [4, 8], 6)
    readme = (folder / "README.md").read_text()
    for path in folder.iterdir():
        assert path.name == "README.md" or f"`{path.name}`" in readme
    assert "the 4 cells over which a weight of 8 bits is spread" in readme
    assert "the 2 bits of a cell" in readme


def test_what_a_tool_has_no_word_for_is_told():
    chip = Accelerator(device="sram", crossbar_size=64, cell_bits=1, weight_bits=6, input_bits=3, adc_bits=5)
    with pytest.raises(ValueError, match="aihwkit has no sram cells"):
        aihwkit_config(chip)
    values, lost = zigzag_architecture(chip)
    assert values["operational_array"]["input_precision"] == [4, 8]
    assert "inputs of 3 bits: ZigZag takes powers of two, so 4" in lost
    drifting = Accelerator(device="pcm", crossbar_size=64, cell_bits=2, weight_bits=8, input_bits=8, adc_bits=8)
    model = aihwkit_config(drifting)[0]["noise_model"]["custom_drift_model"]
    assert model["nu_mean_lst"][-1] == pytest.approx(drifting.device.drift_nu)
    assert model["nu_mean_lst"][0] > model["nu_mean_lst"][-1], "small conductances drift more"


def test_readouts_that_a_tool_does_not_know_are_told():
    hardware = {"device": "rram", "crossbar_size": 64, "weight_bits": 8, "input_bits": 8, "adc_bits": 8}
    plain = Accelerator(cell_bits=2, **hardware)
    chip = dataclasses.replace(plain, combine_columns=True, wires="resistive", rows_at_once=16, supply_v=0.7)
    for tool, words in (
        (aihwkit_config, ("combined before a conversion", "resistance of wires", "read in 4 groups")),
        (zigzag_architecture, ("combined before a conversion", "the 4 reads", "supply of 0.7 V")),
    ):
        lost = " ".join(line for line in tool(chip)[1] if line not in tool(plain)[1])
        assert all(each in lost for each in words), lost


def test_aihwkit_builds_its_configuration(exported):
    pytest.importorskip("aihwkit", reason="aihwkit 1.1.0 is not installed: the export to it is NOT tested here")
    from aihwkit.nn.conversion import convert_to_analog
    from aihwkit.simulator.configs import TorchInferenceRPUConfig

    _, _, folder = exported
    rpu_config = run_path(str(folder / "aihwkit_config.py"))["rpu_config"]
    assert rpu_config().mapping.max_input_size == 32
    config = rpu_config(TorchInferenceRPUConfig)  # the compiled tile needs the torch that aihwkit was built with
    model = convert_to_analog(torch.nn.Linear(5, 3), config).eval()
    model.program_analog_weights()
    assert model(torch.rand(2, 5)).shape == (2, 3)


def test_zigzag_reads_its_architecture(exported):
    pytest.importorskip("zigzag.parser", reason="zigzag-dse 3.9 is not installed: the export to it is NOT tested here")
    from zigzag.parser.accelerator_factory import AcceleratorFactory
    from zigzag.parser.accelerator_validator import AcceleratorValidator

    _, _, folder = exported
    validator = AcceleratorValidator(yaml.safe_load((folder / "zigzag.yaml").read_text()))
    assert validator.validate()
    assert AcceleratorFactory(validator.normalized_data).create().name == "nacim"
