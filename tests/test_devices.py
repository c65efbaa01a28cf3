"""Cards of memory cells: nacim's own, and the messages for a wrong one."""

import math

import pytest
import yaml

from hw_models.accelerator import Accelerator
from hw_models.cost import estimate_cost
from hw_models.devices import CARD_FOLDER, CellDevice, load_card, shipped_card_names
from hw_models.errors import CardError, InfeasibleDesign
from hw_models.layers import MvmLayer

FC = MvmLayer(name="fc", in_height=1, in_width=1, in_channels=256, kernel=1, out_channels=64, windows=1)


@pytest.fixture
def card() -> dict:
    return yaml.safe_load((CARD_FOLDER / "rram.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def write(tmp_path):
    def write_card(content: object):
        path = tmp_path / "my_card.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    return write_card


@pytest.mark.parametrize("name", shipped_card_names())
def test_every_value_of_a_shipped_card_has_a_source(name):
    card = load_card(name)
    assert card.device.name == name
    assert all(len(source) > 5 for source in card.sources.values())


@pytest.mark.parametrize("name", shipped_card_names())
def test_every_shipped_card_has_a_cost_at_every_node(name):
    device = load_card(name).device
    for node in (7, 10, 14, 22, 32, 45):
        accelerator = Accelerator(
            device=device,
            readout=device.readouts[0],
            tech_node_nm=node,
            crossbar_size=64,
            cell_bits=1,
            weight_bits=4,
            input_bits=4,
            adc_bits=5,
        )
        assert 0 < estimate_cost(accelerator, [FC]).energy_j < math.inf


def test_a_device_goes_through_plain_values_and_back():
    device = load_card("pcm").device
    assert CellDevice(**device.to_dict()) == device


def test_a_users_card_is_read_by_its_path(card, write):
    card["name"] = "mine"
    card["values"]["g_on_siemens"] = {"value": "4e-5", "source": "assumed"}  # YAML reads 4e-5 as text
    assert load_card(write(card)).device.g_on_siemens == 4e-5


@pytest.mark.parametrize(
    ("field", "entry", "message"),
    [
        pytest.param(
            "g_on_siemens", {"value": 5.0, "source": "x"}, "g_on_siemens must be 1e-9 to 1e-2, got 5.0", id="range"
        ),
        pytest.param(
            "on_off_ratio", {"value": 1.0, "source": "x"}, "on_off_ratio must be above 1, at most 1e12", id="ratio"
        ),
        pytest.param("stuck_on_rate", {"value": 0.6, "source": "x"}, "stuck_on_rate must be 0 to 0.5", id="rate"),
        pytest.param(
            "programming_sigma", {"value": [0.1, -0.2], "source": "x"}, "stays within 0 to 1", id="negative sigma"
        ),
        pytest.param(
            "drift_nu_law",
            {"value": [-0.01, 0.05, 0.0, 0.1], "source": "x"},
            "drift_nu_law must be a law that gives 0.0 at u = 1",
            id="law and constant disagree",
        ),
        pytest.param("read_sigma", {"value": 0.01, "source": " "}, "read_sigma needs a source", id="no source"),
        pytest.param("read_sigma", 0.01, "must be written {value: ..., source: ...}", id="bare value"),
        pytest.param("cell", {"value": "2t2r", "source": "x"}, "cell must be one of", id="unknown cell"),
        pytest.param("conductance_levels", {"value": 2.5, "source": "x"}, "must be a whole number", id="half a level"),
        pytest.param(
            "drift_nu", {"value": "often", "source": "x"}, "drift_nu must be a number, got 'often'", id="a word"
        ),
        pytest.param("read_pulses", {"value": 1, "source": "x"}, "did you mean 'read_pulse_s'", id="unknown field"),
    ],
)
def test_a_wrong_card_names_file_field_and_range(card, write, field, entry, message):
    card["values"][field] = entry
    path = write(card)
    with pytest.raises(CardError) as caught:
        load_card(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_a_missing_field_is_named(card, write):
    del card["values"]["drift_nu"]
    with pytest.raises(CardError, match=r"values\.drift_nu is missing"):
        load_card(write(card))


def test_a_misspelt_name_gets_the_nearest_one():
    with pytest.raises(CardError, match="did you mean 'fefet'"):
        load_card("fefed")


def test_a_cell_holds_no_more_bits_than_it_has_levels():
    with pytest.raises(InfeasibleDesign, match="more than a stt_mram cell holds"):
        Accelerator(
            device=load_card("stt_mram").device, crossbar_size=64, cell_bits=2, weight_bits=4, input_bits=4, adc_bits=5
        )


def test_devices_check_says_what_is_assumed(card, write, nacim):
    done = nacim("devices", "check", write(card))
    assert done.returncode == 0
    assert "assumed: conductance_levels" in done.stdout


def test_devices_check_of_a_wrong_card_is_one_line_and_exit_code_2(card, write, nacim):
    del card["values"]["cell"]
    done = nacim("devices", "check", write(card))
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "values.cell is missing" in done.stderr


def test_devices_list_and_show_name_every_card(nacim):
    listed = nacim("devices", "list").stdout
    assert all(name in listed for name in shipped_card_names())
    assert "Wan et al." in nacim("devices", "show", "rram", "--json").stdout


def test_devices_check_prints_the_error_of_each_level_and_a_picture(card, write, nacim):
    done = nacim("devices", "check", write(card))
    lines = done.stdout.splitlines()
    device = load_card(str(write(card))).device
    bits = min(device.max_cell_bits, 4)
    rows = [line.split() for line in lines if line.strip()[:1].isdigit() and "O" in line]
    assert [int(row[0]) for row in rows] == list(range(2**bits))
    for level, row in enumerate(rows):
        assert float(row[2]) == pytest.approx(100 * device.sigma_at(device.relative_conductance(level, bits)), abs=0.01)
