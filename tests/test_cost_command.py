"""`nacim cost`: a design, a table of designs, measured chips, and the messages for wrong input."""

import csv
import json
from pathlib import Path

import pytest
import yaml

GOLDEN = Path(__file__).parent / "golden"
DESIGN = {
    "accelerator": {
        "device": "rram",
        "crossbar_size": 64,
        "cell_bits": 2,
        "weight_bits": 6,
        "input_bits": 4,
        "adc_bits": 5,
    },
    "image": {"channels": 1, "height": 8, "width": 8, "classes": 10},
    "convs": [{"filters": 16, "kernel": 3, "pool": True}],
    "hidden": [{"units": 32}],
}


@pytest.fixture
def design(tmp_path) -> Path:
    path = tmp_path / "design.yaml"
    path.write_text(yaml.safe_dump(DESIGN))
    return path


def table_of(path: Path, rows: list[dict]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)), restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def read(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_design_prints_totals_components_and_layers(design, nacim):
    done = nacim("cost", design)
    assert done.returncode == 0, done.stderr
    for word in ("TOPS/W", "adc", "conv1", "outside NeuroSim's range", "activity"):
        assert word in done.stdout


def test_a_design_is_told_what_silicon_would_reach(design, nacim):
    printed = " ".join(nacim("cost", design).stdout.split())
    silicon = json.loads(nacim("cost", design, "--json").stdout)["silicon"]
    reached = silicon["tops_per_watt"]
    assert f"silicon: about {reached['value']:.2g} TOPS/W (80 %: " in printed
    assert f"from {reached['bars']['chips']} conducting chips" in printed
    assert reached["bars"]["factor_80"] > silicon["between_designs"]["factor_80"] > 1


def test_json_has_both_adc_models(design, nacim):
    plain = json.loads(nacim("cost", design, "--adc-model", "both", "--json").stdout)
    assert plain["reference"]["area_m2"] == plain["survey"]["area_m2"]
    assert plain["reference"]["energy_j"] != plain["survey"]["energy_j"]
    assert [layer["name"] for layer in plain["survey"]["layers"]] == ["conv1", "fc1", "classifier"]


def test_measured_activity_changes_the_energy(design, tmp_path, nacim):
    sparse = table_of(tmp_path / "activity.csv", [{"bit_density": 0.05, "mean_level": 0.4}] * 3)
    usual, less = (json.loads(nacim("cost", design, *more, "--json").stdout) for more in ((), ("--activity", sparse)))
    assert less["dynamic_energy_j"] < usual["dynamic_energy_j"]


def test_a_table_keeps_its_rows_in_order_and_names_what_is_wrong(tmp_path, nacim):
    rows = [
        {"id": "good", "network": "C2", "cell_bits": 2},
        {"id": "no such network", "network": "C9", "cell_bits": 2},
        {"id": "no such array", "network": "C2", "cell_bits": 2, "array_size": 100},
        {"id": "too many levels", "network": "C2", "cell_bits": 2, "adc_levels": 33},
        {"id": "small", "network": "D1", "cell_bits": 2, "array_size": 256, "area_um2": 1},
        {"id": "no number", "network": "D1", "cell_bits": "two", "area_um2": 1},
    ]
    out = tmp_path / "out.csv"
    done = nacim(
        "cost", "--table", table_of(tmp_path / "in.csv", rows), "--out", out, "--networks", GOLDEN / "networks.json"
    )
    assert done.returncode == 0, done.stderr
    found = read(out)
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    assert [bool(row["error"]) for row in found] == [False, True, True, True, False, True]
    assert float(found[0]["area_um2"]) > 1e6
    assert found[0]["outside_reference"] == ""
    assert "C1, C2" in found[1]["error"]
    assert "crossbar_size must be a power of two, got 100" in found[2]["error"]
    assert "adc_levels must be a power of two" in found[3]["error"]
    assert "tile of 4 x 4 crossbars" in found[4]["outside_reference"] or "PE of 2 x 2" in found[4]["outside_reference"]
    assert float(found[4]["area_um2"]) > 1
    assert found[5]["area_um2"] == ""
    assert "cell_bits must be a number, got 'two'" in found[5]["error"]


def test_activity_per_layer_precedes_the_mean_of_a_row(tmp_path, nacim):
    row = {"id": "a", "network": "D2", "cell_bits": 2, "mean_bit_density": 0.2}
    layers = [{"id": "a", "layer": layer, "bit_density": 0.05} for layer in range(1, 6)]
    table, activity = table_of(tmp_path / "in.csv", [row]), table_of(tmp_path / "layers.csv", layers)
    common = ("--table", table, "--networks", GOLDEN / "networks.json", "--out")
    nacim("cost", *common, tmp_path / "mean.csv")
    nacim("cost", *common, tmp_path / "layers_out.csv", "--activity", activity)
    mean, per_layer = (float(read(tmp_path / name)[0]["en_adc_pJ"]) for name in ("mean.csv", "layers_out.csv"))
    assert per_layer < mean


def test_a_network_in_the_place_of_designs_is_told_and_has_its_place(tmp_path, nacim):
    network = tmp_path / "network_table.csv"
    network.write_text("8,8,1,3,3,16,1,1\n1,1,256,1,1,10,0,1\n")
    refused = nacim("cost", "--table", network, "--out", tmp_path / "o.csv")
    assert refused.returncode == 2
    assert "names this file in its column network" in refused.stderr
    table = table_of(tmp_path / "in.csv", [{"network": str(network), "cell_bits": 2}])
    assert nacim("cost", "--table", table, "--out", tmp_path / "o.csv").returncode == 0
    assert [row["error"] for row in read(tmp_path / "o.csv")] == [""]


def test_a_network_may_be_a_path(tmp_path, nacim):
    network = tmp_path / "one.json"
    layers = json.loads((GOLDEN / "networks.json").read_text())["D1"]["layers"]
    network.write_text(json.dumps({"layers": layers}))
    rows = [{"network": str(network), "cell_bits": 2}, {"network": "D1", "cell_bits": 2}]
    nacim(
        "cost",
        "--table",
        table_of(tmp_path / "in.csv", rows),
        "--out",
        tmp_path / "o.csv",
        "--networks",
        GOLDEN / "networks.json",
    )
    by_path, by_name = read(tmp_path / "o.csv")
    assert by_path["latency_ns"] == by_name["latency_ns"] != ""


def test_anchors_print_ratios_and_factors_of_all_chips(nacim):
    done = nacim("cost", "--anchors", GOLDEN)
    assert "geometric-mean factor" in done.stdout
    assert "HERMES-core" in done.stdout
    assert "silicon estimate, flagged: median factor" in done.stdout
    assert "supply 4.2 V at 130 nm" in done.stdout
    found = json.loads(nacim("cost", "--anchors", GOLDEN, "--json").stdout)
    assert found["geometric_mean_factor"]["reference"] > 1
    assert len(found["anchors"]) == 92
    assert all(anchor["silicon_estimate"] for anchor in found["anchors"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param((), "exactly one of a design file or network, --table and --anchors", id="nothing to do"),
        pytest.param(("nowhere.yaml",), "nowhere.yaml", id="no such design"),
        pytest.param(("--table", "nowhere.csv", "--out", "o.csv"), "nowhere.csv: no such file", id="no such table"),
        pytest.param(("--table", GOLDEN / "neurosim_sample.csv"), "--out FILE.csv", id="nowhere to write"),
        pytest.param(("--anchors", "nowhere"), "nowhere: no such file or folder", id="no such folder"),
        pytest.param(
            ("--table", GOLDEN / "neurosim_sample.csv", "--out", "o.csv", "--networks", GOLDEN / "README.md"),
            "README.md: not a file of networks",
            id="not JSON",
        ),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(arguments, message, tmp_path, monkeypatch, nacim):
    monkeypatch.chdir(tmp_path)
    done = nacim("cost", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "o.csv").exists()
