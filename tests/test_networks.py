"""Networks that functions build: families by name, users' files, and the workload of either."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from hw_models.accelerator import Accelerator
from hw_models.devices import load_card
from hw_models.errors import InfeasibleDesign
from pipeline.design.built_network import BuiltNetwork
from pipeline.design.describe import describe, design_columns
from pipeline.design.design_point import DesignPoint, ImageSpec
from pipeline.file_function import hash_of
from pipeline.networks import workload as workload_module
from pipeline.networks.builders import FAMILIES, build, load_builder
from pipeline.networks.models import float_model, load_weights
from pipeline.networks.workload import cost_before_training, workload_of, workload_of_network

DIGITS = ImageSpec(channels=1, height=8, width=8, classes=10)
CIFAR = ImageSpec(channels=3, height=32, width=32, classes=10)
MASKS = ImageSpec(channels=1, height=23, width=15, classes=2, masks=True)
CHIP = Accelerator(
    device=load_card("rram").device, crossbar_size=64, cell_bits=2, weight_bits=8, input_bits=6, adc_bits=6
)
OWN_FILE = '''
import torch
from torch import nn
from hw_models.errors import InfeasibleDesign


def little(input, classes, *, width=4, odd: bool = False, crash: bool = False, wrong: bool = False):
    if odd and width % 2 == 0:
        raise InfeasibleDesign(f"width must be odd, got {width}")
    if crash:
        raise KeyError("lost")
    if wrong:
        return "no module"
    channels, height, size = input
    inside = width * (height - 2) * (size - 2)
    return nn.Sequential(nn.Conv2d(channels, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(inside, classes))


def needs(input, classes, width):
    return nn.Linear(width, classes)


def alone(input):
    return nn.Identity()


class Peeks(nn.Module):
    """Reads the value of a tensor while it is built, which no tensor without memory has."""

    def __init__(self, classes):
        super().__init__()
        steps = [step.item() for step in torch.linspace(0, 1, 3)]
        self.fc = nn.Linear(64 * len(steps) // 3, classes)

    def forward(self, x):
        return self.fc(x.flatten(1))


def peeks(input, classes):
    return Peeks(classes)
'''


@pytest.fixture
def own(tmp_path) -> Path:
    """Folder with a user's file of networks, `own.py`."""
    (tmp_path / "own.py").write_text(OWN_FILE, encoding="utf-8")
    return tmp_path


def design_of(builder: str, image: ImageSpec = DIGITS, folder: Path = Path(), **more) -> DesignPoint:
    bits = more.pop("weight_bits", ())
    network = BuiltNetwork(builder=builder, parameters=tuple(more.items()), weight_bits=bits, folder=folder)
    return DesignPoint(accelerator=CHIP, image=image, network=network)


# What the families build.


@pytest.mark.parametrize(
    ("family", "image", "parameters"),
    [
        pytest.param("resnet", DIGITS, {}, id="resnet"),
        pytest.param("resnet", CIFAR, {"stages": 4, "depth": 2, "hidden": 16, "stem_stride": 2}, id="deep resnet"),
        pytest.param("resnet", DIGITS, {"residual": False, "width3": 24, "kernel": 5}, id="without shortcuts"),
        pytest.param(
            "resnet",
            CIFAR,
            {"stem_kernel": 2, "stem_width": 24, "width1": 64, "pool": True, "max_pool": True, "shrink_first": True},
            id="shape of airbench",
        ),
        pytest.param("mobilenet", DIGITS, {}, id="mobilenet"),
        pytest.param("mobilenet", CIFAR, {"expansion": 1, "features": 32, "depth": 2, "kernel": 5}, id="not widened"),
        pytest.param("unet", MASKS, {}, id="unet on sides that halve unevenly"),
        pytest.param("unet", MASKS, {"transposed": False, "skip": False, "levels": 2, "depth": 1}, id="plain decoder"),
        pytest.param("vit", DIGITS, {"patch": 2, "depth": 1}, id="vit"),
        pytest.param("vit", CIFAR, {"class_token": True, "heads": 2, "mlp_ratio": 3, "depth": 2}, id="class token"),
    ],
)
def test_a_family_gives_what_the_data_set_asks_for_and_learns(family, image, parameters):
    model = build(load_builder(family, Path()), image.input_shape, image.outputs, parameters).train()
    scores = model(torch.rand(3, *image.input_shape))
    assert scores.shape == (3, image.outputs, *((image.height, image.width) if image.masks else ()))
    scores.square().mean().backward()
    assert all(each.grad is not None and each.grad.any() for each in model.parameters() if each.dim() > 1)


@pytest.mark.parametrize(
    ("family", "parameters", "error", "parts"),
    [
        pytest.param("resnet", {"stages": 5}, ValueError, ["stages", "1 to 4", "5"], id="too many stages"),
        pytest.param("resnet", {"kernel": 4}, ValueError, ["kernel must be odd", "4"], id="even kernel"),
        pytest.param("resnet", {"width2": 0}, ValueError, ["width2", "1 to 2048", "0"], id="no filters"),
        pytest.param(
            "resnet", {"stages": 4, "pool": True, "shrink_first": True}, InfeasibleDesign, ["8 x 8"], id="4 pools"
        ),
        pytest.param("mobilenet", {"expansion": 9}, ValueError, ["expansion", "1 to 8", "9"], id="too wide inside"),
        pytest.param("unet", {"levels": 6}, InfeasibleDesign, ["8 x 8", "6 levels"], id="too many levels"),
        pytest.param("vit", {"patch": 3}, InfeasibleDesign, ["3 x 3", "8 x 8"], id="patches that leave pixels over"),
        pytest.param(
            "vit", {"heads": 3}, InfeasibleDesign, ["multiple of the 3 heads", "64"], id="heads do not divide"
        ),
    ],
)
def test_a_family_names_the_value_and_its_range_or_says_that_no_such_network_exists(family, parameters, error, parts):
    with pytest.raises(error) as caught:
        build(load_builder(family, Path()), (1, 8, 8), 10, parameters)
    assert isinstance(caught.value, InfeasibleDesign) is (error is InfeasibleDesign)
    for part in parts:
        assert part in str(caught.value)


def test_a_resnet_halves_its_image_in_each_stage_but_the_first():
    layers = {layer.name: layer for layer in workload_of(design_of("resnet", CIFAR, width1=8)).layers}
    assert [layers[f"stages.{stage}.0.conv2"].windows for stage in range(3)] == [32**2, 16**2, 8**2]
    assert [layers[f"stages.{stage}.0.conv2"].out_channels for stage in range(3)] == [8, 16, 32]
    assert "stages.0.0.shortcut.0" not in layers
    assert layers["stages.1.0.shortcut.0"].kernel == 1


def test_depthwise_layers_of_a_mobilenet_have_a_group_for_each_channel():
    layers = {layer.name: layer for layer in workload_of(design_of("mobilenet", expansion=2, stem_width=6)).layers}
    depthwise = layers["stages.0.0.depthwise"]
    assert (depthwise.groups, depthwise.in_channels, depthwise.rows) == (12, 12, 9)
    assert depthwise.macs == 8 * 8 * 9 * 12


def test_the_scores_of_attention_are_digital_and_charged():
    workload = workload_of(design_of("vit", patch=2, width=16, heads=2, depth=1))
    assert {layer.name for layer in workload.layers} == {
        *("patches", "blocks.0.qkv", "blocks.0.project", "blocks.0.widen", "blocks.0.narrow", "fc")
    }
    products = sum(each.count for each in workload.digital if each.kind == "multiply_accumulate")
    assert products >= 2 * 16 * 16 * 16  # 16 patches with 16, over 16 values: scores, and their sum of values


# A user's own file.


@pytest.mark.parametrize(
    ("reference", "parameters", "parts"),
    [
        pytest.param("resnt", {}, ["'resnt'", "did you mean 'resnet'", "FILE.py:FUNCTION"], id="unknown family"),
        pytest.param("own.txt:little", {}, ["FILE.py:FUNCTION"], id="no Python file"),
        pytest.param("gone.py:little", {}, ["gone.py", "No such file", "study file's folder"], id="no such file"),
        pytest.param("own.py:litle", {}, ["own.py", "'litle'", "did you mean 'little'"], id="no such function"),
        pytest.param("own.py:alone", {}, ["alone must take", "number of classes"], id="takes no classes"),
        pytest.param("own.py:little", {"widht": 3}, ["'widht'", "did you mean 'width'"], id="unknown parameter"),
        pytest.param("own.py:needs", {}, ["needs the parameter 'width'", "no default"], id="missing parameter"),
        pytest.param("own.py:little", {"crash": True}, ["little(crash=True)", "own.py:11: KeyError"], id="crashes"),
        pytest.param("own.py:little", {"wrong": True}, ["must return a torch.nn.Module, got str"], id="no module"),
    ],
)
def test_a_builder_that_cannot_be_used_is_refused_with_the_way_out(own, reference, parameters, parts):
    with pytest.raises(ValueError, match=r".") as caught:
        build(load_builder(reference, own), (1, 8, 8), 10, parameters)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_file_that_is_broken_or_imports_files_beside_it_is_refused(tmp_path):
    (tmp_path / "broken.py").write_text("def f(:\n")
    with pytest.raises(ValueError, match=r"broken\.py:1: SyntaxError"):
        load_builder("broken.py:f", tmp_path)
    (tmp_path / "blocks.py").write_text("x = 1\n")
    (tmp_path / "parts.py").write_text("import blocks\n")
    with pytest.raises(ValueError, match=r"parts\.py:1: .*No module named 'blocks'; it may import installed packages"):
        load_builder("parts.py:f", tmp_path)


def test_a_changed_file_is_loaded_anew_and_refused_where_its_hash_is_known(own):
    before = hash_of(own / "own.py")
    assert before == hashlib.sha256(OWN_FILE.encode()).hexdigest()[:12]
    first = load_builder("own.py:little", own, before)
    (own / "own.py").write_text(OWN_FILE.replace("width=4", "width=5"), encoding="utf-8")  # the same size and second
    assert first.parameters["width"].default == 4
    assert load_builder("own.py:little", own).parameters["width"].default == 5
    with pytest.raises(ValueError, match=f"own.py has changed .*hash was {before}.*put the file back"):
        load_builder("own.py:little", own, before)


def test_a_combination_that_the_users_function_rules_out_is_infeasible(own):
    with pytest.raises(InfeasibleDesign, match="width must be odd, got 4"):
        workload_of(design_of("own.py:little", folder=own, odd=True))


def test_a_model_that_reads_its_tensors_is_traced_with_memory(own):
    (layer,) = workload_of(design_of("own.py:peeks", folder=own)).layers
    assert (layer.name, layer.rows, layer.out_channels) == ("fc", 64, 10)


# The design.


def test_a_plain_design_keeps_its_dictionary_and_its_hash():
    plain = DesignPoint(accelerator=CHIP, image=DIGITS)
    assert "network" not in plain.to_dict()
    assert list(plain.to_dict()) == ["accelerator", "image", "convs", "hidden", "classifier_format", "batch_norm"]


def test_a_design_with_a_built_network_survives_json_and_forgets_its_folder(own):
    bits = (("fc", 8), ("*", 4))
    design = design_of("own.py:little", folder=own, width=6, odd=False, weight_bits=bits)
    again = DesignPoint.from_dict(json.loads(json.dumps(design.to_dict())), Path("elsewhere"))
    assert again == design
    assert again.content_hash == design.content_hash
    assert again.network.folder == Path("elsewhere")
    swapped = dataclasses.replace(design, network=dataclasses.replace(design.network, weight_bits=bits[::-1]))
    assert swapped.content_hash != design.content_hash


@pytest.mark.parametrize(
    "change", [{"file_hash": "0" * 12}, {"parameters": (("width", 7),)}, {"weight_bits": (("*", 2),)}]
)
def test_the_identity_of_a_design_holds_file_parameters_and_bits(change):
    design = design_of("own.py:little", width=6)
    other = dataclasses.replace(design, network=dataclasses.replace(design.network, **change))
    assert other != design
    assert other.content_hash != design.content_hash


def test_a_built_network_is_shown_in_one_line_and_as_columns():
    design = design_of("resnet", depth=2, residual=False, weight_bits=(("stages.2.*", 4),))
    assert describe(design).endswith("offset | resnet depth 2, residual False | stages.2.* 4 b")
    columns = design_columns(design)
    assert columns["network"] == "resnet"
    assert (columns["network_depth"], columns["network_residual"], columns["weight_bits[stages.2.*]"]) == (2, False, 4)


# The workload.


def test_the_first_pattern_that_matches_decides_about_a_layers_bits():
    design = design_of("resnet", weight_bits=(("stages.2.*.conv1", 3), ("stages.*", 4), ("*", 8)))
    bits = {layer.name: layer.weight_bits for layer in workload_of(design).layers}
    assert bits["stages.2.0.conv1"] == 3
    assert bits["stages.2.0.conv2"] == bits["stages.0.0.conv1"] == 4
    assert bits["stem"] == bits["fc"] == 8


def test_designs_that_differ_in_hardware_and_bits_alone_share_one_trace(monkeypatch):
    from pipeline.analog import tracing

    traced = []
    monkeypatch.setattr(tracing, "trace", lambda *a, of=tracing.trace, **k: traced.append(a) or of(*a, **k))
    workload_module._traced.cache_clear()
    design = design_of("resnet", width1=12)
    wider = dataclasses.replace(design.accelerator, crossbar_size=128)
    others = [
        dataclasses.replace(design, accelerator=wider),
        design_of("resnet", width1=12, weight_bits=(("fc", 4),)),
        DesignPoint.from_dict(design.to_dict()),
    ]
    costs = [cost_before_training(each)["energy_j"] for each in [design, *others]]
    assert len(traced) == 1
    assert len(set(costs)) == 3
    assert cost_before_training(design_of("resnet", width1=13))
    assert len(traced) == 2


def test_tracing_draws_no_random_number():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    workload_module._traced.cache_clear()
    workload_of(design_of("resnet", width1=9))
    assert torch.equal(torch.get_rng_state(), before)


def test_matrices_stay_digital_where_the_design_allows_it():
    network = design_of("resnet").network
    some = dataclasses.replace(network, allow_digital=("fc", "stages.*"))
    assert [layer.name for layer in workload_of_network(some, DIGITS).layers] == ["stem"]
    assert BuiltNetwork.from_dict(json.loads(json.dumps(some.to_dict()))) == some


def test_large_networks_are_traced_without_memory(monkeypatch):
    devices = []
    monkeypatch.setattr(nn.Linear, "reset_parameters", lambda self: devices.append(self.weight.device.type))
    workload_module._traced.cache_clear()
    workload_of(design_of("resnet", width1=10))
    assert devices == ["meta"]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_layers_of_a_family_stay_what_they_are(family):
    """Designs in databases name a family and its parameters, whose meaning must not change."""
    known = json.loads((Path(__file__).parent / "golden" / "families.json").read_text())
    image = MASKS if family == "unet" else DIGITS
    layers = workload_of(design_of(family, image)).layers
    assert [[each.name, each.rows, each.groups, each.out_channels, each.windows] for each in layers] == known[family]


# Weights of the user's.


def test_weights_that_do_not_fit_are_refused_by_name(own):
    network = design_of("own.py:little", folder=own).network
    model = float_model(network, DIGITS)
    path = own / "weights.pt"
    torch.save(model.state_dict(), path)
    other = float_model(network, DIGITS)
    load_weights(other, path, hash_of(path))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    with pytest.raises(ValueError, match=r"weights\.pt has changed since the study was made"):
        load_weights(other, path, "0" * 12)
    weights = model.state_dict()
    weights["extra"], weights["0.bias"] = torch.zeros(1), torch.zeros(5)
    del weights["3.bias"]
    torch.save(weights, path)
    with pytest.raises(
        ValueError, match=r"missing: 3.bias; unknown: extra; of another shape: 0.bias is \(5,\), not \(4,\)"
    ):
        load_weights(other, path)


@pytest.mark.parametrize("content", [b"no weights", None], ids=["not of torch", "a whole model"])
def test_files_that_hold_no_plain_weights_are_refused(own, content):
    path = own / "weights.pt"
    network = design_of("own.py:little", folder=own).network
    model = float_model(network, DIGITS)
    if content is None:
        torch.save(model, path)  # would run code when it is loaded
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.pt cannot be read as weights .*torch\.save\(model\.state_dict"):
        load_weights(model, path)
