"""The study file: what it can say, and how it refuses what it cannot."""

import contextlib
import copy
import json
from pathlib import Path

import pytest
import yaml

from hw_models.devices import load_card
from pipeline.files import read_yaml
from pipeline.study.search_space import SearchSpace
from pipeline.study.study_file import load_study, study_schema

SHIPPED_RRAM = Path(__file__).parent.parent / "hw_models" / "cards" / "rram.yaml"


def set_key(content: dict, dotted: str, value: object) -> dict:
    changed = copy.deepcopy(content)
    *parents, last = dotted.split(".")
    place = changed
    for name in parents:
        place = place[int(name)] if isinstance(place, list) else place.setdefault(name, {})
    place[last] = value
    return changed


@pytest.mark.parametrize(
    ("key", "value", "parts"),
    [
        pytest.param("trials", True, ["trials: must be a number, got 'True'", "YAML reads yes"], id="yes for a number"),
        pytest.param("trials", "3", ["trials: must be a number, got '3'", "quotes"], id="a number in quotes"),
        pytest.param("training.epochs", True, ["training", "epochs", "must be a number"], id="true for a number below"),
        pytest.param("early_stopping", {"checkpoints": ["0.2"]}, ["checkpoints", "quotes"], id="quotes in a list"),
        pytest.param("network.batch_norm", "yes", ["batch_norm", "must be true or false", "yes"], id="a quoted flag"),
        pytest.param("trails", 5, ["trails", "did you mean 'trials'"], id="unknown key, nearest one offered"),
        pytest.param("hardware.adcbits", 5, ["hardware.adcbits", "did you mean 'adc_bits'"], id="unknown hardware key"),
        pytest.param(
            "network.convs.0.filter", 5, ["network.convs.0.filter", "did you mean 'filters'"], id="unknown layer key"
        ),
        pytest.param(
            "hardware.adc_bits",
            0,
            ["hardware.adc_bits: each value must be 1 or more, got 0"],
            id="ADC of 0 bits",
        ),
        pytest.param(
            "hardware.adc_bits",
            15,
            ["hardware: adc_bits: adc_bits must be 1 to 14, got 15"],
            id="ADC of 15 bits",
        ),
        pytest.param(
            "hardware.device", ["rrram"], ["hardware.device", "'rrram'", "did you mean 'rram'"], id="unknown device"
        ),
        pytest.param(
            "hardware.device", "none.yaml", ["none.yaml", "no such card file"], id="card file that is not there"
        ),
        pytest.param("hardware.crossbar_size", 100, ["crossbar_size", "power of two", "100"], id="crossbar of 100"),
        pytest.param("hardware.crossbar_size", 8, ["crossbar_size", "16 to 1024", "8"], id="crossbar too small"),
        pytest.param(
            "hardware.adc_bits", {"low": 8, "high": 5}, ["hardware.adc_bits", "8 to 5", "empty"], id="empty range"
        ),
        pytest.param("hardware.cell_bits", [], ["hardware.cell_bits", "empty"], id="no choices"),
        pytest.param("hardware.cell_bits", [1, 1], ["hardware.cell_bits", "1", "twice"], id="a choice twice"),
        pytest.param("hardware.cell_bits", ["two"], ["hardware.cell_bits", "'two'", "integer"], id="text for a number"),
        pytest.param("network.convs.0.kernel", [0], ["kernel", "1 or more", "got 0"], id="kernel of 0"),
        pytest.param("network.convs.0.kernel", 4, ["kernel", "odd", "got 4"], id="even kernel"),
        pytest.param(
            "objectives",
            ["acuracy_mean"],
            ["objectives", "'acuracy_mean'", "did you mean 'accuracy_mean'"],
            id="unknown objective",
        ),
        pytest.param("objectives", [], ["objectives", "at least one"], id="no objective"),
        pytest.param("objectives", ["tops", "tops"], ["objectives: 'tops' is listed twice"], id="an objective twice"),
        pytest.param("trials", -1, ["trials", "-1", "greater than or equal to 1"], id="negative trials"),
        pytest.param("training.epochs", 0, ["training.epochs", "greater than or equal to 1", "0"], id="no epochs"),
        pytest.param(
            "variation.min_chips",
            50,
            ["variation", "min_chips 50", "max_chips 2"],
            id="more chips at least than at most",
        ),
        pytest.param(
            "early_stopping",
            {"quantil": 0.5},
            ["unknown key 'early_stopping.quantil'", "did you mean 'quantile'"],
            id="unknown key of an alternative",
        ),
        pytest.param(
            "accuracy",
            {"form": "supernet"},
            ["'accuracy.form'", "did you mean 'from'"],
            id="unknown key, an alias near",
        ),
        pytest.param(
            "accuracy", {"checkpoint": "x.pt"}, ["unknown key 'accuracy.checkpoint'"], id="a key of the run's"
        ),
        pytest.param("name", "a/b", ["name", "a/b"], id="a name that is a path"),
        pytest.param("dataset.name", "imagenet", ["dataset.name", "imagenet", "digits"], id="unknown data set"),
    ],
)
def test_bad_study_files_are_refused_in_one_line_with_file_key_value_and_way_out(tiny, write_study, key, value, parts):
    path = write_study(set_key(tiny, key, value))
    with pytest.raises(ValueError, match=path.name) as caught:
        SearchSpace(load_study(path)).check()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(("objective", "refused"), [("accuracy_p05", True), ("accuracy_mean", False)])
def test_accuracies_that_fall_with_the_number_of_chips_need_equal_numbers(tiny, write_study, objective, refused):
    content = tiny | {"objectives": [objective], "variation": {"min_chips": 2, "max_chips": 3}}
    expected = pytest.raises(ValueError, match=r"min_chips \(2\) equal to variation.max_chips \(3\)")
    with expected if refused else contextlib.nullcontext():
        load_study(write_study(content))


def test_a_space_in_which_no_crossbar_holds_a_weight_is_refused(tiny, write_study):
    space = {
        "device": "sram",
        "crossbar_size": 16,
        "weight_bits": 12,
        "weight_encoding": "differential",
        "cols_per_adc": 4,
    }
    path = write_study(tiny | {"hardware": space})
    with pytest.raises(ValueError, match="one weight takes 22 columns, more than the crossbar's 16"):
        SearchSpace(load_study(path)).check()


def test_a_key_that_is_given_twice_is_refused_with_both_lines(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("name: twice\nseed: 1\nhardware: {device: rram}\nseed: 2\n")
    with pytest.raises(ValueError, match=r"study\.yaml: .*key 'seed' is given twice, in lines 2 and 4; remove one"):
        load_study(path)
    path.write_text("name: x\nhardware:\n  device: rram\n  adc_bits: 4\n  adc_bits: 5\n")
    with pytest.raises(ValueError, match="'adc_bits' is given twice, in lines 4 and 5"):
        load_study(path)


def test_a_key_that_a_merge_brings_may_be_given_again(tmp_path):
    path = tmp_path / "any.yaml"
    path.write_text("base: &base {a: 1, b: 2}\nnext: &next {<<: *base, a: 3}\nlast: {<<: *next, b: 4}\n")
    assert read_yaml(path, "study")["last"] == {"a": 3, "b": 4}


def test_a_card_that_gives_a_key_twice_is_refused(tmp_path):
    card = tmp_path / "mine.yaml"
    card.write_text(SHIPPED_RRAM.read_text() + "\nname: again\n")
    with pytest.raises(ValueError, match=r"mine\.yaml: .*'name' is given twice"):
        load_card(str(card))


def test_files_that_are_not_there_or_not_yaml_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no such study file"):
        load_study(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: [unclosed", encoding="utf-8")
    with pytest.raises(ValueError, match=r"broken\.yaml: cannot be read as YAML"):
        load_study(broken)
    broken.write_text("just words", encoding="utf-8")
    with pytest.raises(ValueError, match="a study file is a mapping"):
        load_study(broken)


def test_two_devices_of_one_name_are_refused(tiny, write_study, tmp_path):
    (tmp_path / "twin.yaml").write_text(SHIPPED_RRAM.read_text())
    path = write_study(set_key(tiny, "hardware.device", ["rram", "twin.yaml"]))
    with pytest.raises(ValueError, match=r"rram and twin\.yaml are both named 'rram'"):
        load_study(path)


def test_a_users_card_beside_the_study_file_is_found(tiny, write_study, tmp_path):
    from hw_models.devices import CARD_FOLDER

    card = yaml.safe_load((CARD_FOLDER / "rram.yaml").read_text())
    card["name"] = "mine"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(card))
    tiny["hardware"]["device"] = ["mine.yaml"]
    study = load_study(write_study(tiny))
    assert study.devices["mine.yaml"].name == "mine"
    card["values"]["read_sigma"]["value"] = -0.1
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(card))
    with pytest.raises(ValueError, match=r"mine\.yaml: values\.read_sigma must be 0 to 1 .*got -0\.1"):
        load_study(write_study(tiny))


@pytest.mark.parametrize(
    ("key", "value", "same"),
    [
        ("trials", 99, True),
        ("question", "another", True),
        ("dataset.data_dir", "elsewhere", True),
        ("seed", 99, False),
        ("hardware.adc_bits", 6, False),
        ("training.epochs", 3, False),
        ("objectives", ["accuracy_worst"], False),
    ],
)
def test_identity_changes_with_whatever_changes_a_trial(tiny, write_study, key, value, same):
    before = load_study(write_study(tiny)).identity_hash
    after = load_study(write_study(set_key(tiny, key, value))).identity_hash
    assert (before == after) is same


def test_the_schema_knows_every_key_and_refuses_others():
    schema = json.loads(json.dumps(study_schema()))
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"name", "hardware", "network"}
    adc = schema["$defs"]["HardwareSpace"]["properties"]["adc_bits"]
    assert {"type": "integer"} in adc["anyOf"]
