"""Studies over networks that functions build: checked, run, resumed, shown, exported, and over a trained model."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import Result
from conftest import TINY_STUDY
from PIL import Image
from typer.testing import CliRunner

from hw_models.errors import InfeasibleDesign
from pipeline.analog.conversion import to_digital
from pipeline.cli.app import app
from pipeline.data.batches import load_images
from pipeline.database.open_study import load_study_read_only, open_study
from pipeline.database.storage import StudyError
from pipeline.design.built_network import BuiltNetwork
from pipeline.design.design_point import DesignPoint, ImageSpec, load_design
from pipeline.design.results import VariationReport
from pipeline.follow_up.export import export_design
from pipeline.networks import workload as workload_module
from pipeline.networks.builders import FAMILIES
from pipeline.networks.models import float_model
from pipeline.networks.workload import cost_of, workload_of
from pipeline.study.built_space import BuiltSpace
from pipeline.study.network_check import check_networks
from pipeline.study.search_space import SearchSpace
from pipeline.study.study_file import load_study
from pipeline.trial.batch_norm import RECALIBRATION_IMAGES
from pipeline.trial.evaluate import evaluate, trained_network
from pipeline.trial.network import build_network, load_checkpoint, save_checkpoint
from pipeline.trial.variation import accuracy_under_variation

OWN_FILE = '''
from torch import nn


class Little(nn.Module):
    def __init__(self, channels, pixels, classes, width, kernel):
        super().__init__()
        self.first = nn.Conv2d(channels, width, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(width)
        self.deep = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.fc = nn.Linear(width * pixels // 4, classes)

    def forward(self, x):
        x = nn.functional.relu(self.norm(self.first(x)))
        x = nn.functional.max_pool2d(x + nn.functional.relu(self.deep(x)), 2)
        return self.fc(x.view(x.size(0), -1))


def little(input, classes, width=4, kernel=3):
    """A depthwise layer beside a shortcut, and the idiom `view(x.size(0), -1)`."""
    channels, height, size = input
    return Little(channels, height * size, classes, width, kernel)
'''
NETWORK = {
    "build": "nets/own.py:little",
    "parameters": {"width": [4, 6], "kernel": 3},
    "weight_bits": {"deep": [4, 6], "fc": 8},
}
HARDWARE = TINY_STUDY["hardware"] | {"device": ["rram", "pcm"], "weight_bits": 6, "cell_bits": 2, "input_bits": 6}
CONTENT = TINY_STUDY | {"name": "own", "hardware": HARDWARE, "network": NETWORK}
ALONE = """
import sys
sys.modules["pipeline"] = sys.modules["hw_models"] = None  # torch alone must do
sys.path.insert(0, sys.argv[1])
import torch
import network
images = torch.load(sys.argv[2], weights_only=True)
with torch.no_grad():
    torch.save(network.network()(images), sys.argv[3])
"""


def write(folder: Path, content: dict, own_file: str = OWN_FILE) -> Path:
    (folder / "nets").mkdir(parents=True, exist_ok=True)
    (folder / "nets" / "own.py").write_text(own_file, encoding="utf-8")
    (folder / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return folder / "study.yaml"


def changed(**network) -> dict:
    """The study with other entries of `network`."""
    return CONTENT | {"network": {**{k: v for k, v in NETWORK.items() if network.get(k, v) is not None}, **network}}


# What is refused before anything runs.


@pytest.mark.parametrize(
    ("network", "parts"),
    [
        pytest.param({"bild": 1}, ["unknown key 'network.bild'", "did you mean 'build'"], id="unknown key"),
        pytest.param({"convs": []}, ["unknown key 'network.convs'"], id="layers of another family"),
        pytest.param({"family": "resnet"}, ["network", "exactly one"], id="two builders"),
        pytest.param({"build_hash": "x"}, ["unknown key 'network.build_hash'"], id="a key of the run's"),
        pytest.param({"build": "nets/own.py:litle"}, ["no function 'litle'", "'little'"], id="no such function"),
        pytest.param({"parameters": {"widht": 3}}, ["'widht'", "did you mean 'width'"], id="unknown parameter"),
        pytest.param(
            {"parameters": {"width": [[1, 2]]}}, ["network.parameters.width", "[1, 2]"], id="a list as a choice"
        ),
        pytest.param(
            {"parameters": {"width": [4, -1]}},
            ["little(", "width=-1", "own.py:", "Error", "InfeasibleDesign"],
            id="a value that crashes",
        ),
        pytest.param({"weight_bits": {"depe": 4}}, ["'depe' matches no layer", "deep, fc, first"], id="no such layer"),
        pytest.param({"weight_bits": {"deep": [1]}}, ["weight_bits of deep", "2 to 16", "1"], id="one bit"),
        pytest.param({"weights": "gone.pt"}, ["gone.pt", "No such file"], id="no such weights"),
    ],
)
def test_bad_network_spaces_are_refused_in_one_line_with_the_way_out(tmp_path, network, parts):
    path = write(tmp_path, changed(**network))
    with pytest.raises(ValueError, match=r"study\.yaml: ") as caught:
        SearchSpace(load_study(path)).check()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ({"accuracy": {"from": "supernet"}}, ["supernet", "family plain", "from: training"]),
        ({"training": "none"}, ["training: none", "network.weights"]),
        ({"training": "nothing"}, ["training", "nothing"]),
    ],
)
def test_settings_that_do_not_suit_a_built_network_are_refused(tmp_path, keys, parts):
    with pytest.raises(ValueError, match=r"study\.yaml: ") as caught:
        load_study(write(tmp_path, CONTENT | keys))
    for part in parts:
        assert part in str(caught.value)


def test_early_stopping_without_training_is_refused(tmp_path):
    torch.save({}, tmp_path / "w.pt")
    content = changed(weights="w.pt") | {"training": "none", "early_stopping": {}}
    with pytest.raises(ValueError, match="no training that could be stopped"):
        load_study(write(tmp_path, content))


def test_a_pattern_may_match_layers_that_only_some_networks_have(tmp_path):
    space = {"family": "resnet", "parameters": {"stages": [1, 2]}, "weight_bits": {"stages.1.*": [4, 8]}}
    SearchSpace(load_study(write(tmp_path, CONTENT | {"network": space}))).check()
    space["parameters"]["stages"] = 1
    with pytest.raises(ValueError, match=r"'stages\.1\.\*' matches no layer"):
        SearchSpace(load_study(write(tmp_path, CONTENT | {"network": space}))).check()


def test_a_combination_that_fails_only_later_is_infeasible_with_its_reason(tmp_path):
    first_line = "    channels, height, size = input\n"
    wrong = OWN_FILE.replace(first_line, f"    width = 'six' if width == 6 and kernel == 5 else width\n{first_line}")
    content = changed(parameters={"width": [4, 6, 8], "kernel": [3, 5, 7]}, weight_bits={})
    study = load_study(write(tmp_path, content, wrong))
    space = SearchSpace(study)
    space.check()
    values = {name: dimension.values[0] for name, dimension in space.dimensions().items()}
    with pytest.raises(InfeasibleDesign, match=r"little\(kernel=5, width=6\).*own\.py:\d+: TypeError"):
        space.design_of(values | {"network_width": 6, "network_kernel": 5})


def test_a_space_whose_first_network_cannot_exist_is_searched_for_one_that_can(tmp_path):
    space = {"family": "vit", "parameters": {"patch": [3, 5, 4], "depth": 1, "width": 8, "heads": 2}}
    SearchSpace(load_study(write(tmp_path, CONTENT | {"network": space}))).check()
    space["parameters"]["patch"] = [3, 5]
    with pytest.raises(ValueError, match=r"no network of this space can exist.* 5 x 5 do not divide"):
        SearchSpace(load_study(write(tmp_path, CONTENT | {"network": space}))).check()


@pytest.mark.parametrize(
    ("family", "masks", "told"),
    [("unet", False, r"\(1, 3\).*got \(1, 3, 8, 8\)"), ("resnet", True, r"\(1, 3, 8, 8\).*got \(1, 3\)")],
)
def test_outputs_that_do_not_suit_the_data_are_refused_unless_the_loss_is_ones_own(family, masks, told):
    space, image = BuiltSpace(family=family), ImageSpec(channels=1, height=8, width=8, classes=3, masks=masks)
    with pytest.raises(ValueError, match=rf"{family} must give {told}"):
        check_networks(space, image, any_output=False)
    check_networks(space, image, any_output=True)


def test_the_example_of_the_documentation_gives_designs_and_trains(tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "network.md").read_text()
    found = (textwrap.dedent(text).strip() + "\n" for text in re.findall(r"(?:^    .*\n|^\n)+", page, re.M))
    blocks = {text.split()[0]: text for text in found if text.strip()}
    (tmp_path / "my_networks.py").write_text(blocks["import"])
    (tmp_path / "my_study.yaml").write_text(blocks["name:"])
    for label in ("cat", "dog"):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for number in range(60):
            picture = np.random.default_rng(number).integers(0, 100, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(picture + 100 * (label == "cat")).save(tmp_path / "pictures" / label / f"{number}.png")
    study = load_study(tmp_path / "my_study.yaml", data_dir=str(tmp_path / "pictures"))
    space = SearchSpace(study)
    space.check()
    design = space.design({name: dimension.values[0] for name, dimension in space.dimensions().items()})
    fewer = {
        "variation": study.spec.variation.model_copy(update={"min_chips": 2, "max_chips": 2}),
        "training": study.spec.recipe.model_copy(update={"epochs": 4, "batch_size": 8}),
    }
    assert evaluate(design, study.spec.model_copy(update=fewer), 0).validation.float_accuracy > 0.7


# From the file to designs.


def test_the_plain_family_may_be_named_and_changes_nothing(tiny, write_study):
    unnamed = load_study(write_study(tiny))
    named = load_study(write_study(tiny | {"network": tiny["network"] | {"family": "plain"}}))
    assert named.identity_hash == unnamed.identity_hash
    assert "family" not in named.identity()["network"]


def test_parameters_and_bits_are_searched_under_names_of_their_own(tmp_path):
    space = SearchSpace(load_study(write(tmp_path, CONTENT)))
    assert {name for name in space.searched() if name not in HARDWARE} == {"network_width", "weight_bits[deep]"}
    values = {name: dimension.values[0] for name, dimension in space.dimensions().items()}
    design = space.design(values | {"network_width": 6, "weight_bits[deep]": 4})
    bits = {layer.name: layer.weight_bits for layer in workload_of(design).layers}
    assert bits == {"first": 6, "deep": 4, "fc": 8}
    assert design.accelerator.weight_bits == 8, "the widest layer sizes the periphery"
    assert dict(design.network.parameters) == {"width": 6, "kernel": 3}


def test_the_identity_holds_the_files_content_and_not_its_folder(tmp_path):
    first = load_study(write(tmp_path / "a", CONTENT)).identity_hash
    assert load_study(write(tmp_path / "b", CONTENT)).identity_hash == first
    assert load_study(write(tmp_path / "b", CONTENT, OWN_FILE + "\n")).identity_hash != first


# A run, from the first trial to the export.


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A study of two trials, run by the command."""
    folder = tmp_path_factory.mktemp("own")
    write(folder, CONTENT)
    nacim(folder, "run", "--trials", "2", "--workers", "1", "--quiet")
    return folder


def nacim(folder: Path, command: str, *options: str) -> Result:
    done = CliRunner().invoke(app, [command, str(folder / "study.yaml"), "--out", str(folder / "out"), *options])
    assert done.exit_code == 0, f"{done.output}{done.exception!r}"
    return done


def trials(folder: Path) -> list:
    return load_study_read_only(f"sqlite:///{folder / 'out' / 'study.db'}").get_trials()


def test_a_run_goes_on_where_it_ended_and_refuses_a_changed_file(folder):
    before = [trial.params for trial in trials(folder)]
    study = load_study(write(folder, CONTENT, OWN_FILE.replace("// 4", "// 2 // 2")))
    with pytest.raises(StudyError, match=r"the file of network\.build has changed since the study was made"):
        open_study(study, f"sqlite:///{folder / 'out' / 'study.db'}")
    workload_module._traced.cache_clear()
    shown = nacim(folder, "show", "--trial", "0").output
    assert "layers cannot be listed" in shown
    assert "TOPS/W" in shown
    write(folder, CONTENT)
    nacim(folder, "run", "--trials", "1", "--workers", "1", "--quiet")
    after = [trial.params for trial in trials(folder)]
    assert after[: len(before)] == before
    assert len(after) > len(before)


def test_a_trial_shows_its_layers_with_their_bits(folder):
    shown = nacim(folder, "show", "--trial", "0").output
    design = DesignPoint.from_dict(trials(folder)[0].user_attrs["design"], folder)
    (line,) = [line.split() for line in shown.splitlines() if line.split()[:1] == ["deep"] and "x8x8" in line]
    width = dict(design.network.parameters)["width"]
    assert line[:5] == ["deep", f"{width}x8x8", "3x3", str(width), str(width)]
    assert f"{design.network.bits_of('deep')} b" in " ".join(line)
    assert "network_width" not in shown.split("Network")[0], "the table of the hardware is about hardware"


def test_a_checkpoint_gives_the_accuracy_of_its_trial(folder):
    trial = trials(folder)[0]
    study = load_study(folder / "study.yaml")
    design = DesignPoint.from_dict(trial.user_attrs["design"], folder)
    network = load_checkpoint(design, folder / "out" / "checkpoints" / trial.user_attrs["checkpoint"])
    images = load_images(study.spec.dataset)
    recalibration = images.train[0][:RECALIBRATION_IMAGES]
    (report,) = accuracy_under_variation(
        network, [images.validation], study.spec.variation, study.spec.seed, recalibration
    )
    assert report == VariationReport.from_dict(trial.user_attrs["variation"]["validation"])


@pytest.fixture(scope="module")
def exported(folder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("exported")
    done = nacim(folder, "export", "--trial", "0", "--to", str(out))
    assert "no network_table.csv: NeuroSim's table knows neither groups" in done.stderr
    return out / "own-0"


def test_an_exported_design_costs_what_its_trial_did(folder, exported):
    again = load_design(exported / "design.yaml")
    assert again.network.folder == exported
    assert cost_of(again).to_dict() == trials(folder)[0].user_attrs["cost"]


def test_the_exported_module_and_onnx_give_the_trained_float_network(folder, exported, tmp_path):
    onnx = pytest.importorskip("onnx.reference", reason="the extra `onnx` is not installed")
    images = load_images(load_study(folder / "study.yaml").spec.dataset).validation[0][:50]
    torch.save(images, tmp_path / "images.pt")
    subprocess.run([sys.executable, "-c", ALONE, exported, tmp_path / "images.pt", tmp_path / "scores.pt"], check=True)
    scores = torch.load(tmp_path / "scores.pt", weights_only=True)
    design = load_design(exported / "design.yaml")
    network = load_checkpoint(design, exported / "checkpoint.pt")
    model = float_model(design.network, design.image).eval()
    model.load_state_dict({name: value for name, value in network.state_dict().items() if name in model.state_dict()})
    with torch.no_grad():
        assert torch.equal(scores, model(images))
    session = onnx.ReferenceEvaluator(str(exported / "network.onnx"))
    for count in (1, 50):
        (found,) = session.run(None, {"images": images[:count].numpy()})
        np.testing.assert_allclose(found, scores[:count].numpy(), rtol=1e-4, atol=1e-4)


# The families, trained and judged.


@pytest.mark.parametrize(
    ("family", "parameters"),
    [
        pytest.param("resnet", {"stages": 2, "width1": 6, "hidden": 8}, id="resnet"),
        pytest.param("mobilenet", {"stages": 2, "width1": 6, "stem_width": 6, "expansion": 2}, id="mobilenet"),
        pytest.param("vit", {"patch": 4, "width": 16, "heads": 2, "depth": 1}, id="vit"),
    ],
)
def test_a_family_trains_calibrates_and_is_judged_on_chips(tmp_path, family, parameters):
    network = {"family": family, "parameters": parameters}
    variation = TINY_STUDY["variation"] | {"recalibrate_batch_norm": True, "images_per_chip": 60}
    content = CONTENT | {"network": network, "variation": variation, "training": {"epochs": 4, "learning_rate": 0.02}}
    study = load_study(write(tmp_path, content))
    space = SearchSpace(study)
    design = space.design({name: dimension.values[-1] for name, dimension in space.dimensions().items()})
    torch.set_num_threads(1)
    result = evaluate(design, study.spec, 0)
    assert result.measured["accuracy_mean"] > 0.25  # guessing gives 0.1
    assert result.measured["energy_own_data_j"] > 0
    assert [each["name"] for each in result.cost["layers"]] == [each.name for each in workload_of(design).layers]


# A trained model, which is not trained again.


@pytest.fixture
def pretrained(tmp_path):
    """A study that searches hardware for a model trained in float, and that model."""
    study = load_study(write(tmp_path, CONTENT))
    space = SearchSpace(study)
    design = space.design({name: dimension.values[0] for name, dimension in space.dimensions().items()})
    torch.manual_seed(0)
    model = float_model(design.network, design.image)
    images, labels = load_images(study.spec.dataset).train
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(30):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images[:600]), labels[:600]).backward()
        optimizer.step()
    torch.save(model.state_dict(), tmp_path / "trained.pt")
    fixed = {"parameters": {"width": 4, "kernel": 3}, "weights": "trained.pt"}
    return load_study(write(tmp_path, changed(**fixed) | {"training": "none"})), model.eval()


def test_a_trained_model_keeps_its_weights_and_its_float_accuracy(pretrained, tmp_path):
    study, model = pretrained
    space = SearchSpace(study)
    space.check()
    design = space.design({name: dimension.values[0] for name, dimension in space.dimensions().items()})
    result = evaluate(design, study.spec, 0, tmp_path / "kept.pt")
    images, labels = load_images(study.spec.dataset).validation
    right = (model(images).argmax(1) == labels).double().mean().item()
    assert result.validation.float_accuracy == pytest.approx(right, abs=1e-9)
    assert right > 0.6
    kept = torch.load(tmp_path / "kept.pt", weights_only=True)
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())


def test_training_may_start_from_given_weights(pretrained):
    study, _ = pretrained
    training = {"epochs": 1, "learning_rate": 1e-6}
    again = study.spec.model_copy(update={"training": type(study.spec.recipe)(**training)})
    space = SearchSpace(study)
    design = space.design({name: dimension.values[0] for name, dimension in space.dimensions().items()})
    images = load_images(study.spec.dataset)
    given, trained = (trained_network(design, spec, 0, images) for spec in (study.spec, again))
    assert torch.allclose(given.state_dict()["fc.weight"], trained.state_dict()["fc.weight"], atol=1e-3)
    assert not torch.equal(given.state_dict()["fc.weight"], trained.state_dict()["fc.weight"])


def test_weights_that_fit_only_some_networks_of_a_space_are_refused(pretrained, tmp_path):
    content = changed(weights="trained.pt") | {"training": "none"}
    with pytest.raises(ValueError, match=r"trained\.pt does not fit the network \(of another shape: first\.weight"):
        SearchSpace(load_study(write(tmp_path, content))).check()


def test_the_identity_holds_the_content_of_the_weights(pretrained, tmp_path):
    study, model = pretrained
    assert study.identity()["training"] == "none"
    with torch.no_grad():
        model.fc.bias.add_(1)
    torch.save(model.state_dict(), tmp_path / "trained.pt")
    assert load_study(study.path).identity_hash != study.identity_hash


# The families, exported.


def untrained(family: str, folder: Path) -> tuple[DesignPoint, torch.nn.Module]:
    """A design of a family with its parameters' defaults, and its network, whose checkpoint is in the folder."""
    image = ImageSpec(channels=1, height=8, width=8, classes=3, masks=family == "unet")
    chip = SearchSpace(load_study(write(folder, CONTENT)))
    values = {name: dimension.values[0] for name, dimension in chip.dimensions().items()}
    design = DesignPoint(accelerator=chip.design(values).accelerator, image=image, network=BuiltNetwork(builder=family))
    save_checkpoint(build_network(design), folder / "trial.pt")
    return design, to_digital(load_checkpoint(design, folder / "trial.pt"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_comes_back_from_its_checkpoint_as_plain_torch(family, tmp_path):
    design, network = untrained(family, tmp_path)
    model = float_model(design.network, design.image)
    assert type(network) is type(model)
    model.load_state_dict(network.state_dict())
    images = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(network.eval()(images), model.eval()(images))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_familys_module_needs_torch_alone_and_its_onnx_gives_the_same_scores(family, tmp_path):
    onnx = pytest.importorskip("onnx.reference", reason="the extra `onnx` is not installed")
    design, network = untrained(family, tmp_path)
    files, missing = export_design("x", design, tmp_path / "trial.pt", tmp_path / "out")
    assert [each.split(":")[0] for each in missing] == ["no network_table.csv"] * (family == "mobilenet")
    assert (tmp_path / "out" / f"{family}.py") in files
    images = torch.rand(3, 1, 8, 8)
    torch.save(images, tmp_path / "images.pt")
    command = [sys.executable, "-c", ALONE, tmp_path / "out", tmp_path / "images.pt", tmp_path / "scores.pt"]
    subprocess.run(command, check=True)
    scores = torch.load(tmp_path / "scores.pt", weights_only=True)
    with torch.no_grad():
        assert torch.equal(scores, network.eval()(images))
    (found,) = onnx.ReferenceEvaluator(str(tmp_path / "out" / "network.onnx")).run(None, {"images": images.numpy()})
    np.testing.assert_allclose(found, scores.numpy(), rtol=1e-4, atol=1e-5)
