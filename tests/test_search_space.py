"""From parameters to designs."""

import contextlib
import itertools
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
    asking = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(100):  # most pairs of a device and a readout cannot exist
        with contextlib.suppress(InfeasibleDesign):
            assert space.suggest(asking.ask()).content_hash
            return
    pytest.fail("no design of a hundred can exist")


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


def readout_space(tiny, write_study, **hardware) -> tuple[SearchSpace, dict]:
    """A space of readouts with cells for each of them, and its first values."""
    space = SearchSpace(load_study(write_study(tiny | {"hardware": tiny["hardware"] | hardware})))
    return space, {name: dimension.values[0] for name, dimension in space.dimensions().items()}


def test_digital_macros_are_equal_whatever_the_study_says_about_converters(tiny, write_study):
    choices = {"adc_bits": [4, 6], "adc_type": ["sar", "flash"], "dac_bits": [1, 2], "combine_columns": [False, True]}
    space, values = readout_space(tiny, write_study, device=["sram", "rram"], readout=["current", "digital"], **choices)
    digital = values | {"device": "sram", "readout": "digital"}
    designs = {
        space.design(digital | dict(zip(choices, each, strict=True))).content_hash
        for each in itertools.product(*choices.values())
    }
    assert len(designs) == 1
    assert space.design(digital).accelerator.adc_bits is None
    with pytest.raises(
        InfeasibleDesign, match="readout digital is impossible with rram cells, which are read by current"
    ):
        space.design(digital | {"device": "rram"})


def test_values_that_the_other_hardware_leaves_no_meaning_are_equal_designs(tiny, write_study):
    choices = {"input_bits": [2, 8], "dac_bits": [1, 2, 4], "input_drive": ["voltage", "pulse_width"]}
    columns = {"combine_columns": [False, True], "cell_bits": [4, 2], "cols_per_adc": 8, "weight_bits": 4}
    space, values = readout_space(tiny, write_study, device="rram", **choices, **columns)

    def chip(**chosen):
        return space.design(values | chosen).accelerator

    assert chip(dac_bits=4) == chip(dac_bits=2)
    assert chip(dac_bits=4, input_bits=8) != chip(dac_bits=2, input_bits=8)
    assert chip(input_drive="pulse_width") == chip(input_drive="voltage")
    assert chip(input_drive="pulse_width", dac_bits=2) != chip(input_drive="voltage", dac_bits=2)
    assert chip(combine_columns=True) == chip(), "a weight of 4 bits is one cell of 4 bits"
    assert chip(combine_columns=True, cell_bits=2).combine_columns


def test_inputs_of_several_bits_come_in_as_the_cells_can_take_them(tiny, write_study):
    cells = {"charge": "sram_charge", "discharge": "sram_discharge", "current": "sram_current"}
    space, values = readout_space(
        tiny,
        write_study,
        device=[*cells.values()],
        readout=[*cells],
        input_drive=["voltage", "pulse_width"],
        dac_bits=2,
    )
    drives = {
        readout: {
            space.design(values | {"device": cell, "readout": readout, "input_drive": drive}).accelerator.input_drive
            for drive in ("voltage", "pulse_width")
        }
        for readout, cell in cells.items()
    }
    assert drives == {"charge": {"voltage"}, "discharge": {"pulse_width"}, "current": {"pulse_width"}}


def test_a_space_is_feasible_if_it_is_without_combined_columns(tiny, write_study):
    choices = {"combine_columns": [True, False], "cols_per_adc": 1, "cell_bits": 1, "weight_bits": 4}
    readout_space(tiny, write_study, device="rram", **choices)[0].check()


def test_null_leaves_a_value_to_the_other_hardware(tiny, write_study):
    choices = {"rows_at_once": [None, 16], "supply_v": [None, 0.7, 1], "crossbar_columns": [64, None]}
    space, values = readout_space(tiny, write_study, crossbar_size=64, **choices)
    plain = space.design(values).accelerator
    assert (plain.rows_read, plain.supply_v, plain.columns) == (64, None, 64)
    other = space.design(values | {"rows_at_once": 16, "supply_v": 0.7, "crossbar_columns": None}).accelerator
    assert (other.rows_read, other.supply_v, other.columns) == (16, 0.7, 64)
    written = space.definition.spec.model_dump(mode="json")["hardware"]
    assert {name: written[name] for name in choices} == choices
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    space.suggest(trial)
    assert {name: trial.distributions[name].choices for name in choices} == {n: tuple(v) for n, v in choices.items()}
    assert space.misfit(trial.params) == ""


@pytest.mark.parametrize(
    ("hardware", "says"),
    [
        ({"readout": "chrge"}, "readout: readout must be one of current, charge, discharge, digital, got 'chrge'"),
        ({"rows_at_once": [None, 12]}, "rows_at_once must be a power of two, got 12"),
        ({"wires": ["ideal", "resistive"]}, "wires: name one value"),
        ({"rows_at_once": "all"}, "rows_at_once.*must be of type integer or null, got 'all'"),
        ({"supply_v": [0.8, "low"]}, "supply_v.*must be of type number or null, got 'low'"),
        ({"device": "rram", "readout": ["charge", "digital"]}, "no chip of this space can exist: readout digital"),
    ],
)
def test_readouts_that_cannot_be_are_refused_before_the_first_trial(tiny, write_study, hardware, says):
    tiny["hardware"] |= hardware
    with pytest.raises(ValueError, match=says):
        SearchSpace(load_study(write_study(tiny))).check()
