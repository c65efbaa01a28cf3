"""Files of networks in NeuroSim's form: what is read, and what is refused by name."""

import json
from pathlib import Path

import pytest

from hw_models.layers import MvmLayer
from hw_models.validation.neurosim_input import read_networks

LAYER = {"H": 49, "W": 10, "Cin": 1, "K": 3, "Cout": 64}


@pytest.fixture
def read(tmp_path: Path):
    """Read one layer that is `LAYER` with changes."""

    def read_layer(**changes: object) -> MvmLayer:
        path = tmp_path / "net.json"
        path.write_text(json.dumps({"layers": [LAYER | changes]}))
        return read_networks(path)["net"][0]

    return read_layer


def test_a_kernel_in_json_may_have_two_sides(read):
    layer = read(K=[10, 4])
    assert (layer.kernel, layer.rows) == ((10, 4), 40)
    assert layer.windows == 40 * 7
    assert layer.macs == 49 * 10 * 40 * 64
    assert read(K=[3, 3]) == read(K=3) == read(K=3.0)


def test_the_table_of_neurosim_has_both_sides_of_a_kernel(tmp_path):
    path = tmp_path / "net.csv"
    path.write_text("49,10,1,10,4,64,0,2\n25,5,64,3,1,64,1,1\n")
    first, second = read_networks(path)["net"]
    assert (first.kernel, first.windows, first.macs) == ((10, 4), 40 * 7 // 4, 49 * 10 * 40 * 64)
    assert (second.kernel, second.windows, second.macs) == ((3, 1), 23 * 5, 25 * 5 * 3 * 64 * 64)


def test_groups_in_json_are_read(read):
    layer = read(Cin=32, Cout=64, groups=32)
    assert (layer.groups, layer.rows, layer.macs) == (32, 9, 49 * 10 * 9 * 64)


def test_a_kernel_larger_than_its_image_has_one_window(read):
    assert read(K=[60, 20]).windows == read(K=[60, 3]).windows == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"stride": 0}, "stride of layer 1 must be a whole number of 1 to 16777216, got 0", id="no stride"),
        pytest.param({"K": 0}, "K of layer 1 must be a whole number of 1 to 16777216, got 0", id="no kernel"),
        pytest.param({"K": [3, -1]}, "K of layer 1 .* got -1", id="negative side"),
        pytest.param({"K": [3, 3, 3]}, r"K of layer 1 must be one side or .* got \[3, 3, 3\]", id="a volume"),
        pytest.param({"H": -8, "W": -8}, "H of layer 1 .* got -8", id="negative image"),
        pytest.param({"Cout": 2.5, "layer": "head"}, "Cout of layer head .* got 2.5", id="half a filter"),
        pytest.param({"Cin": True}, "Cin of layer 1 .* got True", id="no number"),
        pytest.param({"num_vectors": -3}, "num_vectors of layer 1 .* got -3", id="negative vectors"),
        pytest.param({"groups": 0}, "groups of layer 1 .* got 0", id="no groups"),
        pytest.param({"groups": 3}, "in_channels of layer '1' must be a multiple of its 3 groups, got 1", id="groups"),
        pytest.param(
            {"dilation": 2}, "layer 1 has the key 'dilation', but only these are read: H, W", id="unknown key"
        ),
    ],
)
def test_a_layer_that_cannot_be_is_refused_by_file_and_name(changes, message, read):
    with pytest.raises(ValueError, match=rf"net\.json: {message}"):
        read(**changes)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param("8,8,1,3,3,4,0,0", "stride of layer 1 .* got 0", id="no stride"),
        pytest.param("8,8,0,3,3,4,0,1", "Cin of layer 1 .* got 0", id="no channels"),
    ],
)
def test_a_row_of_a_table_that_cannot_be_is_refused(row, message, tmp_path):
    (tmp_path / "net.csv").write_text(f"{row}\n")
    with pytest.raises(ValueError, match=rf"net\.csv: {message}"):
        read_networks(tmp_path / "net.csv")


def test_a_file_without_layers_is_refused(tmp_path):
    (tmp_path / "net.json").write_text(json.dumps({"net": {"layers": [[8, 8, 1]]}}))
    with pytest.raises(ValueError, match=r"net\.json: layer 1 must be an object with H, W, Cin, K and Cout"):
        read_networks(tmp_path / "net.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"kernel": ()}, "must have at least one side", id="no side"),
        pytest.param({"kernel": (3, 0)}, "kernel of layer 'a' must be 1 or more, got 0", id="a side of 0"),
        pytest.param({"groups": 0}, "groups of layer 'a' must be 1 or more, got 0", id="no groups"),
        pytest.param({"groups": 4}, "in_channels of layer 'a' must be a multiple of its 4 groups, got 6", id="inputs"),
        pytest.param(
            {"groups": 6}, "out_channels of layer 'a' must be a multiple of its 6 groups, got 8", id="outputs"
        ),
    ],
)
def test_a_layer_record_that_cannot_be_is_refused(changes, message):
    sizes = {"in_height": 8, "in_width": 8, "in_channels": 6, "kernel": 3, "out_channels": 8, "windows": 64}
    with pytest.raises(ValueError, match=message):
        MvmLayer(name="a", **(sizes | changes))


@pytest.mark.parametrize(
    ("kernel", "same", "positions"),
    [
        pytest.param((3, 3), 3, 9, id="square"),
        pytest.param([5, 5], 5, 25, id="a list"),
        pytest.param((1,), 1, 1, id="one side of 1"),
        pytest.param((1, 1, 1), 1, 1, id="sides of 1"),
        pytest.param((3, 5), (3, 5), 15, id="unequal"),
        pytest.param((7,), (7,), 7, id="a sequence"),
        pytest.param((3, 3, 3), (3, 3, 3), 27, id="a volume"),
    ],
)
def test_a_kernel_has_one_form(kernel, same, positions):
    layer = MvmLayer(
        name="a", in_height=8, in_width=8, in_channels=4, kernel=kernel, out_channels=6, windows=10, groups=2
    )
    assert layer.kernel == same
    assert (layer.positions, layer.rows, layer.inputs) == (positions, 2 * positions, 4 * positions)
    assert layer.macs == 10 * 2 * positions * 6
