"""From parameters to designs."""

from pathlib import Path

import optuna
import pytest
import yaml

from hw_models.errors import InfeasibleDesign
from pipeline.design.topology import mvm_layers
from pipeline.study.search_space import SearchSpace
from pipeline.study.study_file import load_study

STUDIES = sorted((Path(__file__).parent.parent / "studies").glob("*.yaml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_file_loads_states_its_question_and_gives_designs(path):
    study = load_study(path)
    space = SearchSpace(study)
    space.check()
    assert study.spec.question.endswith("?")
    asked = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    assert space.suggest(asked).content_hash


def test_the_same_names_are_suggested_whatever_the_values(tiny, write_study):
    space = SearchSpace(load_study(write_study(tiny)))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    names = set()
    for _ in range(20):
        trial = study.ask()
        space.suggest(trial)
        names.add(frozenset(trial.params))
    assert names == {frozenset({"device", "crossbar_size", "adc_bits", "cell_bits", "conv1_filters", "fc1_units"})}


def test_cells_that_hold_fewer_bits_are_used_at_what_they_hold(tiny, write_study):
    tiny["hardware"]["cell_bits"] = [1, 4]
    space = SearchSpace(load_study(write_study(tiny)))
    values = {name: dimension.values[0] for name, dimension in space.dimensions().items()}
    assert space.design(values | {"device": "sram", "cell_bits": 4}).accelerator.cell_bits == 1
    assert space.design(values | {"device": "rram", "cell_bits": 4}).accelerator.cell_bits == 4


def test_absent_layers_are_left_out_with_their_pooling(tiny, write_study):
    tiny["network"]["convs"] = [{"filters": ["absent", 4], "pool": True}, {"filters": 6, "stride": 2}]
    space = SearchSpace(load_study(write_study(tiny)))
    values = {name: dimension.values[0] for name, dimension in space.dimensions().items()}
    without = mvm_layers(space.design(values))
    # 8x8 at stride 2: 4x4 = 16 windows of 6 filters; nothing is pooled; classifier sees 6*16 inputs
    assert [(layer.name, layer.windows, layer.rows) for layer in without] == [("conv1", 16, 9), ("classifier", 1, 96)]
    with_it = mvm_layers(space.design(values | {"conv1_filters": 4, "fc1_units": 16}))
    assert [(layer.name, layer.windows, layer.rows) for layer in with_it] == [
        ("conv1", 64, 9),
        ("conv2", 4, 36),
        ("fc1", 1, 24),
        ("classifier", 1, 16),
    ]


def test_a_network_that_pools_away_its_image_is_infeasible(tiny, write_study):
    tiny["network"]["convs"] = [{"filters": 4, "pool": True}] * 4
    study = load_study(write_study(tiny))
    values = {name: dimension.values[0] for name, dimension in SearchSpace(study).dimensions().items()}
    with pytest.raises(InfeasibleDesign, match="conv4: cannot pool an image of 1 x 1"):
        mvm_layers(SearchSpace(study).design(values))


def test_the_space_of_nacim_can_be_written(tmp_path):
    """Six convolutions, filters and kernels of the paper's table, two fully connected layers, bits per layer."""
    formats = {"integer_bits": [0, 1, 2, 3], "fraction_bits": {"low": 0, "high": 6}}
    conv = {"filters": [24, 36, 48, 64], "kernel": [3, 5, 7], "weight_format": formats}
    content = {
        "name": "nacim",
        "question": "?",
        "dataset": {"name": "mnist"},
        "hardware": {"device": ["rram", "fefet"], "adc_bits": 8, "cell_bits": 4},
        "network": {
            "convs": [conv | {"pool": pool} for pool in (False, True) * 3],
            "hidden": [{"units": [64, 128, 256], "weight_format": formats}],
            "classifier_format": formats,
        },
    }
    path = tmp_path / "nacim.yaml"
    path.write_text(yaml.safe_dump(content))
    space = SearchSpace(load_study(path))
    values = {name: dimension.values[-1] for name, dimension in space.dimensions().items()}
    values |= {"conv1_integer_bits": 0, "conv1_fraction_bits": 3}
    design = space.design(values)
    bits = [layer.weight_bits for layer in mvm_layers(design)]
    assert bits == [4] + [10] * 7
    assert design.accelerator.weight_bits == 10


@pytest.mark.parametrize(
    ("fraction_bits", "weight_bits"),
    [pytest.param(9, 10, id="the hidden layer's own 10 bits"), pytest.param(3, 8, id="the classifier's 8 bits")],
)
def test_the_periphery_is_as_wide_as_the_widest_layer(tiny, write_study, fraction_bits, weight_bits):
    tiny["network"]["hidden"] = [{"units": 16, "weight_format": {"integer_bits": 0, "fraction_bits": fraction_bits}}]
    space = SearchSpace(load_study(write_study(tiny)))
    values = {name: dimension.values[0] for name, dimension in space.dimensions().items()}
    assert space.design(values).accelerator.weight_bits == weight_bits


@pytest.mark.parametrize("way_out", [{"filters": [4, "absent"]}, {"pool": [True, False]}, {"stride": [2, 1]}])
def test_a_space_is_refused_only_if_all_its_networks_shrink_the_image_too_far(tiny, write_study, way_out):
    pooled = {"filters": 4, "pool": True}  # two of them leave 2 of 8 pixels, stride 2 then leaves 1
    last = pooled | {"stride": 2}
    tiny["network"]["convs"] = [pooled, pooled, last | way_out]
    SearchSpace(load_study(write_study(tiny))).check()
    tiny["network"]["convs"][-1] = last
    with pytest.raises(ValueError, match="conv3: cannot pool an image of 1 x 1"):
        SearchSpace(load_study(write_study(tiny, "refused.yaml"))).check()
