"""Damaged and misleading inputs are refused in one line, or what is odd about them is told."""

import io
import json
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import TINY_STUDY
from PIL import Image

from hw_models.accelerator import Accelerator
from hw_models.cost import estimate_cost
from hw_models.devices import CARD_FOLDER, UNREAD_FIELDS, CellDevice, load_card
from hw_models.errors import CardError, shown
from hw_models.validation.neurosim_input import read_networks
from pipeline.data.data_set import DataError
from pipeline.data.spec import DatasetSpec, read_parts
from pipeline.design.design_point import load_design
from pipeline.files import listed, read_yaml
from pipeline.study.search_space import SearchSpace
from pipeline.study.study_file import load_study

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden"
CHIP = {"device": "rram", "crossbar_size": 64, "cell_bits": 2, "weight_bits": 8, "input_bits": 6, "adc_bits": 7}
IMAGE = {"channels": 1, "height": 8, "width": 8, "classes": 10}
LONGEST_MESSAGE = 300


def aliases(line: str) -> str:
    """Twelve lines, each of which names the one before eight times."""
    return "\n".join(["x0: &x0 {a: 1}"] + [f"x{i}: &x{i} {line.format(f'*x{i - 1}')}" for i in range(1, 12)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(aliases("[{0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}]"), "more than 20000 values", id="alias bomb"),
        pytest.param(aliases("{{<<: [{0}, {0}, {0}, {0}, {0}, {0}]}}"), "more than 20000 values", id="merge bomb"),
        pytest.param("x: [" + "1, " * 30_000 + "]", "more than 20000 values", id="30,000 entries"),
        pytest.param("x: " + "[" * 100_000, "nest deeper than 50 levels", id="deep lists"),
        pytest.param("\n".join(" " * i + "a:" for i in range(500)), "nest deeper than 50 levels", id="deep mappings"),
        pytest.param("x: &x [*x]", "refers to what it is part of", id="a list in itself"),
        pytest.param("a: 1\nx: " + "9" * 5000, "line 2: the whole number 999.* more than 64 bits", id="big number"),
        pytest.param("x: 0x" + "f" * 5000, "more than 64 bits", id="big hexadecimal number"),
        pytest.param("x: " + ":".join(["59"] * 3000), "more than 64 bits", id="big sexagesimal number"),
        pytest.param('x: "a\\0b"', "control character", id="a null character"),
        pytest.param('x: "\\ud800"', "cannot be read as YAML", id="half a character"),
        pytest.param("x: 2020-99-99", "does not suit its tag or form", id="no date"),
        pytest.param('x: !!int ""', "does not suit its tag or form", id="an empty number"),
        pytest.param("x: !!timestamp x", "does not suit its tag or form", id="a tag that does not suit"),
        pytest.param("x: !!bool x", "does not suit its tag or form", id="another tag that does not suit"),
        pytest.param("x: !!python/object/apply:os.system [x]", "could not determine a constructor", id="a call"),
    ],
)
def test_yaml_that_is_large_deep_or_odd_is_refused_in_one_short_line(tmp_path, text, message):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_yaml(path, "study")
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < LONGEST_MESSAGE + len(str(path))
    with pytest.raises(CardError, match=message):
        load_card(path)


def test_an_endless_file_is_not_read_to_its_end():
    with pytest.raises(ValueError, match="longer than 4000000 characters"):
        read_yaml(Path("/dev/zero"), "study")


def test_a_message_repeats_a_value_in_few_characters():
    assert shown("rram") == "'rram'"
    assert len(shown(list(range(30_000)))) == 80
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(["a"]) == "a"
    assert listed(map(str, range(1000)), most=10) == "0, 1, 2, 3 and 996 more"


@pytest.mark.parametrize("key", ["name", "trials", "constraints", "objectives", "hardware", "dataset", "y" * 999])
@pytest.mark.parametrize("value", [["a"] * 3000, "x" * 100_000, {"x" * 9000: 1}])
def test_messages_about_a_study_stay_short(tmp_path, tiny, key, value):
    path = tmp_path / "study.yaml"
    path.write_text(json.dumps(tiny | {key: value}))  # JSON is YAML, and quick to write
    with pytest.raises(ValueError, match=path.name) as caught:
        load_study(path)
    assert len(str(caught.value)) < LONGEST_MESSAGE + len(str(path))


def test_unknown_keys_of_several_types_are_refused(tmp_path, write_study, tiny):
    with pytest.raises(ValueError, match="None: Keys should be strings, got None"):
        load_study(write_study(tiny | {None: 1, 3: 2, "x": 3, True: 4}))
    card = tmp_path / "mine.yaml"
    card.write_text((CARD_FOLDER / "rram.yaml").read_text() + "\nx: 1\n3: 2\n~: 3\n")
    with pytest.raises(CardError, match="unknown key 'x'"):
        load_card(card)


# Cards


def write_card(folder: Path, shipped: str, **values: object) -> Path:
    card = yaml.safe_load((CARD_FOLDER / f"{shipped}.yaml").read_text()) | {"name": "mine"}
    for name, value in values.items():
        card["values"][name]["value"] = value
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(card))
    return path


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param(
            {"programming_sigma": [0.02 + 0.001 * level for level in range(16)]},
            "coefficients of a polynomial in u, not a value for each level",
            id="sigmas of 16 levels",
        ),
        pytest.param({"programming_sigma": [0.01] * 9}, "up to 8 coefficients", id="nine coefficients"),
        pytest.param({"programming_sigma": [0.3, 0.3]}, "programming_sigma must be at most 0.5", id="sigma of 0.6"),
        pytest.param({"read_sigma": 1}, "read_sigma must be at most 0.5 of g_on", id="read noise as large as g_on"),
        pytest.param({"on_off_ratio": 1.0e305}, "on_off_ratio must be above 1, at most 1e12", id="ratio of 1e305"),
    ],
)
def test_a_card_of_an_impossible_cell_is_refused(tmp_path, values, message):
    with pytest.raises(CardError, match=message):
        load_card(write_card(tmp_path, "rram", **values))


def test_check_says_what_sigmas_were_read_and_what_is_read_nowhere(tmp_path, nacim):
    path = write_card(tmp_path, "rram", programming_sigma=[0.01, 0.04])
    said = nacim("devices", "check", path).stdout
    assert "Programming errors: 1.03% of g_on at the lowest level, 5.00% at the highest, 5.00% at most." in said
    assert f"read by no model: {', '.join(UNREAD_FIELDS)}." in said


def test_no_model_reads_the_fields_that_are_said_to_be_unread():
    sources = "".join(path.read_text() for room in ("hw_models", "pipeline") for path in (ROOT / room).rglob("*.py"))
    assert [name for name in UNREAD_FIELDS if f".{name}" in sources] == []


def test_on_off_ratios_beyond_the_reference_are_told():
    def outside(ratio: float) -> str:
        device = CellDevice(**load_card("rram").device.to_dict() | {"on_off_ratio": ratio})
        chip = Accelerator(**CHIP | {"device": device})
        return "; ".join(estimate_cost(chip, read_networks(GOLDEN / "networks.json")["VGG8_stock"]).outside_reference)

    assert "on_off_ratio" not in outside(150)
    assert "on_off_ratio 1e+06 is outside the reference table (2 to 150)" in outside(1e6)


def test_a_drift_time_before_the_cards_own_is_refused(write_study, tiny):
    drifting = tiny | {"hardware": tiny["hardware"] | {"device": ["rram", "pcm"]}}
    path = write_study(drifting | {"variation": {"drift_time_s": 5}})
    with pytest.raises(ValueError, match=r"a drift time of 5 s is before drift_t0_s of pcm, 20 s.*; use 20 s or more"):
        SearchSpace(load_study(path)).check()
    SearchSpace(load_study(write_study(drifting | {"variation": {"drift_time_s": 20}}))).check()
    SearchSpace(load_study(write_study(tiny | {"variation": {"drift_time_s": 0.001}}))).check()  # no card drifts


@pytest.mark.parametrize("bits", [0, 15])
def test_a_study_is_not_told_to_use_a_converter_that_it_cannot_name(write_study, tiny, bits):
    with pytest.raises(ValueError, match=f"got {bits}") as caught:
        load_study(write_study(tiny | {"hardware": tiny["hardware"] | {"adc_bits": bits}}))
    assert "None" not in str(caught.value)


# Designs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"netwrok": {"builder": "resnet"}}, "unexpected key 'netwrok'", id="misspelt key"),
        pytest.param({"image": IMAGE | {"masks": 1}}, "image masks must be true or false, got 1", id="masks"),
        pytest.param({"convs": [{"filters": 4, "kernel": 3, "pool": "no"}]}, "pool must be true or false", id="text"),
        pytest.param({"batch_norm": None}, "batch_norm must be true or false, got None", id="an empty flag"),
        pytest.param({"network": {"builder": 3}}, "must be a text of at most 120 characters, got 3", id="builder"),
        pytest.param({"convs": [{"x" * 5000: 4}]}, "not a design: got an unexpected keyword", id="long key"),
    ],
)
def test_a_damaged_design_is_refused_in_one_short_line(tmp_path, change, message):
    path = tmp_path / "design.yaml"
    path.write_text(yaml.safe_dump({"accelerator": CHIP, "image": IMAGE} | change))
    with pytest.raises(ValueError, match=message) as caught:
        load_design(path)
    assert len(str(caught.value)) < LONGEST_MESSAGE + len(str(path))


# Networks, tables and activity


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param('{"n": {"layers": [3]}}', "layer 1 must be an object with H, W, Cin, K and Cout", id="a number"),
        pytest.param('{"n": {"layers": 3}}', "layers must be a list of 1 to 10000 layers, got 3", id="no list"),
        pytest.param('{"n": {"layers": []}}', "layers must be a list of 1 to 10000", id="no layer"),
        pytest.param('{"n": {"layers": [{"H": Infinity}]}}', "W of layer 1 is missing", id="a missing size"),
        pytest.param("[" * 100_000, "RecursionError", id="deep nesting"),
        pytest.param('{"n": {"layers": [], "layers": []}}', "the key 'layers' is given twice", id="a key twice"),
        pytest.param("[1]", "an object with networks is wanted", id="a list"),
        pytest.param("9" * 5000, "networks.json: ", id="a big number"),
    ],
)
def test_a_damaged_file_of_networks_is_refused_in_one_short_line(tmp_path, content, message):
    path = tmp_path / "networks.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_networks(path)
    assert len(str(caught.value)) < LONGEST_MESSAGE + len(str(path))


LAYER = {"H": 8, "W": 8, "Cin": 16, "K": 3, "Cout": 64}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"H": float("inf")}, "H of layer 1 must be a whole number of 1 to 16777216, got inf"),
        ({"H": 10**30}, "H of layer 1 must be a whole number"),
        ({"stride": 0}, "stride of layer 1 must be a whole number of 1"),
        ({"num_vectors": 0}, "num_vectors of layer 1 must be a whole number of 1"),
        ({"maxpool2x2_after": "no"}, "maxpool2x2_after of layer 1 must be true or false"),
        ({"layer": ["a"]}, "layer of layer 1 must be its name in one line"),
        ({"str1de": 2}, "layer 1 has the key 'str1de'"),
    ],
)
def test_a_damaged_layer_is_refused_by_name(tmp_path, change, message):
    path = tmp_path / "networks.json"
    path.write_text(json.dumps({"n": {"layers": [LAYER | change]}}))
    with pytest.raises(ValueError, match=re.escape(message)):
        read_networks(path)


@pytest.mark.parametrize(
    ("side", "reasons"),
    [
        pytest.param(2, ["kernel 3x3 of layer 1 is larger than its map 2x2"], id="kernel larger than the map"),
        pytest.param(3, ["layer 1 counts 9 windows and runs 1; in the reference table at most 4 to 1"], id="3 x 3"),
        pytest.param(4, [], id="4 x 4, as in the reference"),
    ],
)
def test_windows_that_count_and_do_not_run_are_told_where_they_matter(tmp_path, side, reasons):
    path = tmp_path / "net.json"
    path.write_text(json.dumps({"layers": [LAYER | {"H": side, "W": side, "Cin": 512, "Cout": 512}]}))
    (layers,) = read_networks(path).values()
    chip = Accelerator(**CHIP | {"device": load_card("rram").device})
    found = [each for each in estimate_cost(chip, layers).outside_reference if "layer 1" in each]
    assert found == reasons


def table(folder: Path, header: str, *rows: str) -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join([header, *rows]))
    return path


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        pytest.param(
            "network,adc_levls", "VGG8_stock,16", "'adc_levls' is not read; did you mean 'adc_l", id="misspelt"
        ),
        pytest.param("network,Array_Size", "VGG8_stock,64", "did you mean 'array_size'?", id="capitals"),
        pytest.param("network,col_mux,col_mux", "VGG8_stock,8,4", "column 'col_mux' stands twice", id="twice"),
        pytest.param("network,col_mux", "VGG8_stock,8,4", "line 2: more fields than the 2 columns", id="too many"),
        pytest.param(
            "network,col_mux", "VGG8_stock,x", "none of the 1 rows has a cost; the first one: col_mux", id="x"
        ),
        pytest.param(
            "network,adc_levels,adc_bits", "VGG8_stock,32,6", "adc_bits 6 and adc_levels '32' disagree", id="two"
        ),
        pytest.param(
            "network,mean_bit_density", "VGG8_stock,50", "mean_bit_density must be above 0, at most 1", id="50"
        ),
        pytest.param(
            "network,cell_bits", "VGG8_stock,1e18", "cell_bits must be a whole number of 1 to", id="1e18 bits"
        ),
    ],
)
def test_a_table_that_would_take_a_default_in_silence_is_refused(tmp_path, nacim, header, row, message):
    out = tmp_path / "out.csv"
    done = nacim("cost", "--table", table(tmp_path, header, row), "--out", out, "--networks", GOLDEN / "networks.json")
    assert done.returncode == 2
    assert message in done.stderr
    assert not out.exists()


def test_columns_that_nothing_reads_are_told(tmp_path, nacim):
    path = table(tmp_path, "id,network,remark,design,area_um2", "a,VGG8_stock,mine,x,1", "b,none,mine,x,1")
    done = nacim("cost", "--table", path, "--out", tmp_path / "o.csv", "--networks", GOLDEN / "networks.json", "--json")
    assert done.returncode == 0
    said = json.loads(done.stdout)
    assert said["columns_not_read"] == ["remark"]
    assert said["failed_rows"] == [2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("bit_density\n50\n0.2", "bit_density must be a number from 0 to 1, got '50'", id="percent"),
        pytest.param("bit_density\nnan\n0.2", "bit_density must be a number from 0 to 1, got 'nan'", id="nan"),
        pytest.param("bit_density,mean_level\n0.2,7\n0.2,", "mean_level must be a number from 0 to 1", id="level"),
        pytest.param("layer,bit_density\n2,0.2\n1,0.2", "row is that of layer 1, conv1, got '2'", id="other order"),
        pytest.param("layer,bit_density\nfc,0.2\nconv1,0.2", "got 'fc'; put the rows", id="other names"),
        pytest.param("bit_densty\n0.2\n0.2", "unknown column 'bit_densty' (did you mean", id="misspelt"),
        pytest.param("bit_density\n0.2", "1 rows for 2 layers", id="too few"),
    ],
)
def test_activity_that_cannot_be_is_refused(tmp_path, nacim, text, message):
    (tmp_path / "activity.csv").write_text(text)
    design = {"accelerator": CHIP, "image": IMAGE, "convs": [{"filters": 4, "kernel": 3}]}
    (tmp_path / "design.yaml").write_text(yaml.safe_dump(design))
    done = nacim("cost", tmp_path / "design.yaml", "--activity", tmp_path / "activity.csv")
    assert done.returncode == 2
    assert message in done.stderr


def test_activity_in_the_networks_order_is_read(tmp_path, nacim):
    (tmp_path / "activity.csv").write_text("layer,bit_density\n1,0.2\nclassifier,0.3")
    design = {"accelerator": CHIP, "image": IMAGE, "convs": [{"filters": 4, "kernel": 3}]}
    (tmp_path / "design.yaml").write_text(yaml.safe_dump(design))
    done = nacim("cost", tmp_path / "design.yaml", "--activity", tmp_path / "activity.csv", "--json")
    assert done.returncode == 0, done.stderr


# Pictures, arrays and names of files


def pictures(folder: Path) -> Path:
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(10):
            Image.fromarray(np.full((8, 8), 20 * number, np.uint8)).save(folder / name / f"{number}.png")
    return folder


def read_pictures(folder: Path) -> dict:
    return read_parts(DatasetSpec(name="image_folder", data_dir=str(folder), image_size=8))


def test_a_pipe_in_the_place_of_a_picture_is_refused(tmp_path):
    os.mkfifo(pictures(tmp_path) / "cat" / "x.png")
    with pytest.raises(DataError, match=r"x\.png: must be a picture, but is no file"):
        read_pictures(tmp_path)


def test_a_broken_chunk_of_a_picture_is_refused(tmp_path):
    broken = pictures(tmp_path) / "cat" / "3.png"
    content = bytearray(broken.read_bytes())
    content[37] = 0xCB  # of a chunk's name
    broken.write_bytes(content)
    with pytest.raises(DataError, match=r"3\.png: not a readable picture"):
        read_pictures(tmp_path)


def test_pictures_whose_names_are_not_utf8_are_read(tmp_path):
    folder = pictures(tmp_path)
    name = os.fsdecode(b"\xff\xfe.png")
    (folder / "cat" / "0.png").rename(folder / "cat" / name)
    assert sum(len(labels) for _, labels in read_pictures(folder).values()) == 20


def test_names_that_are_not_utf8_are_printed_and_refused_for_databases(tmp_path, nacim):
    folder = tmp_path / os.fsdecode(b"\xff\xfe")
    folder.mkdir()
    card = folder / "mine.yaml"
    card.write_text((CARD_FOLDER / "rram.yaml").read_text())
    assert nacim("devices", "check", card).returncode == 0
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(TINY_STUDY))
    done = nacim("run", tmp_path / "study.yaml", "--out", folder)
    assert done.returncode == 2
    assert "a database's path must be UTF-8" in done.stderr


def arrays(folder: Path, header: bytes | None = None, method: int | None = None, **changes: np.ndarray) -> Path:
    found = {
        f"{part}_{name}": np.ones((2, 128, 128), np.uint8) for part in ("train", "test") for name in "xy"
    } | changes
    members = {}
    for name, array in found.items():
        written = io.BytesIO()
        np.save(written, array)
        members[f"{name}.npy"] = written.getvalue()
    if header is not None:
        members["test_y.npy"] = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    (folder / "nuclei").mkdir(exist_ok=True)
    path = folder / "nuclei" / "dsb2018_stage1_128.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    if method is not None:
        path.write_bytes(
            path.read_bytes().replace(b"\x14\x00\x00\x00\x08\x00", b"\x14\x00\x00\x00" + bytes([method, 0]))
        )
    return folder


HUGE = b"{'descr': '|u1', 'fortran_order': False, 'shape': (10000000000000, 128, 128), }"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param({"method": 99}, "NotImplementedError", id="unknown compression"),
        pytest.param({"header": b"{'descr': '|u1', 'shape': (2,"}, "TokenError", id="header cut off"),
        pytest.param({"header": HUGE}, "MemoryError", id="a huge array"),
        pytest.param({"header": b"9" * 5000}, "ValueError", id="a long header"),
        pytest.param({"train_y": np.full((2, 128, 128), 255, np.uint8)}, "must hold 0 and 1, holds 255", id="masks"),
        pytest.param({"train_x": np.ones((0, 128, 128), np.uint8)}, "train_x holds no image", id="no image"),
    ],
)
def test_a_damaged_archive_of_arrays_is_refused_in_one_short_line(tmp_path, damage, message):
    folder = arrays(tmp_path, **damage)
    with pytest.raises(DataError, match=rf"dsb2018_stage1_128\.npz: .*{message}") as caught:
        read_parts(DatasetSpec(name="nuclei", data_dir=str(folder), image_size=32))
    assert len(str(caught.value)) < LONGEST_MESSAGE + len(str(folder))


def test_an_archive_with_damaged_bytes_is_refused(tmp_path):
    folder = arrays(tmp_path)
    path = folder / "nuclei" / "dsb2018_stage1_128.npz"
    content = bytearray(path.read_bytes())
    content[60:100] = bytes(40)  # in the compressed stream of the first array
    path.write_bytes(content)
    with pytest.raises(DataError, match="copy it again"):
        read_parts(DatasetSpec(name="nuclei", data_dir=str(folder), image_size=32))
