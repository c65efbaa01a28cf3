"""Designs as records: checked, hashed, to and from plain JSON."""

import dataclasses
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hw_models.accelerator import Accelerator
from hw_models.devices import load_card, shipped_card_names
from hw_models.errors import InfeasibleDesign
from hw_models.number_format import FixedPoint
from pipeline.design.describe import describe
from pipeline.design.design_point import ConvSpec, DesignPoint, HiddenSpec, ImageSpec, load_design
from pipeline.design.topology import mvm_layers

formats = st.none() | st.builds(FixedPoint, integer_bits=st.integers(0, 3), fraction_bits=st.integers(1, 6))
devices = [load_card(name).device for name in shipped_card_names()]
designs = st.builds(
    DesignPoint,
    accelerator=st.builds(
        Accelerator,
        device=st.sampled_from([device for device in devices if "current" in device.readouts]),
        crossbar_size=st.sampled_from([32, 64, 128]),
        cell_bits=st.just(1),
        weight_bits=st.integers(2, 10),
        weight_encoding=st.sampled_from(["offset", "differential"]),
        input_bits=st.integers(1, 8),
        adc_bits=st.none() | st.integers(1, 10),
        adc_type=st.sampled_from(["sar", "flash"]),
    ),
    image=st.builds(
        ImageSpec, channels=st.just(1), height=st.integers(8, 32), width=st.integers(8, 32), classes=st.just(10)
    ),
    convs=st.lists(
        st.builds(
            ConvSpec,
            filters=st.integers(1, 64),
            kernel=st.sampled_from([1, 3, 5]),
            pool=st.booleans(),
            weight_format=formats,
        ),
        max_size=3,
    ).map(tuple),
    hidden=st.lists(st.builds(HiddenSpec, units=st.integers(1, 64), weight_format=formats), max_size=2).map(tuple),
    batch_norm=st.booleans(),
)


@given(designs)
def test_designs_survive_json(design):
    again = DesignPoint.from_dict(json.loads(json.dumps(design.to_dict())))
    assert again == design
    assert again.content_hash == design.content_hash


def example() -> DesignPoint:
    chip = Accelerator(
        device=load_card("rram").device, crossbar_size=64, cell_bits=2, weight_bits=8, input_bits=8, adc_bits=6
    )
    image = ImageSpec(channels=1, height=8, width=8, classes=10)
    return DesignPoint(accelerator=chip, image=image, convs=(ConvSpec(filters=8, kernel=3),))


def test_the_hash_sees_every_change():
    design = example()
    chip = design.accelerator
    changed = [
        dataclasses.replace(design, batch_norm=False),
        dataclasses.replace(design, convs=(ConvSpec(filters=9, kernel=3),)),
        dataclasses.replace(design, accelerator=dataclasses.replace(chip, adc_bits=7)),
        dataclasses.replace(
            design, accelerator=dataclasses.replace(chip, device=dataclasses.replace(chip.device, read_sigma=0.5))
        ),
    ]
    assert len({other.content_hash for other in (design, *changed)}) == 5


def test_inputs_that_are_no_images_survive_json_and_leave_the_hash_of_images_alone():
    assert example().content_hash == "007a7d41cce5"
    assert list(example().to_dict()["image"]) == ["channels", "height", "width", "classes", "masks"]
    words = dataclasses.replace(example(), convs=(), image=ImageSpec.of_shape((100, 12), outputs=1, integers=True))
    again = DesignPoint.from_dict(json.loads(json.dumps(words.to_dict())))
    assert again == words
    assert again.image.input_shape == (100, 12)
    assert words.content_hash != dataclasses.replace(words, image=ImageSpec.of_shape((100, 12), 1)).content_hash
    with pytest.raises(ValueError, match=r"shape \(3, 4\) has channels 12, height 1 and width 1, got 3, 1 and 1"):
        ImageSpec(channels=3, height=1, width=1, classes=2, shape=(3, 4))


def test_a_plain_network_takes_vectors_but_no_convolution_of_them_and_no_words():
    vectors = dataclasses.replace(example(), convs=(), image=ImageSpec.of_shape((5, 7), outputs=3))
    assert [(m.in_channels, m.out_channels) for m in mvm_layers(vectors)] == [(35, 3)]
    with pytest.raises(InfeasibleDesign, match=r"convolutions need images, inputs have the shape \(5, 7\)"):
        mvm_layers(dataclasses.replace(vectors, convs=(ConvSpec(filters=8, kernel=3),)))
    with pytest.raises(InfeasibleDesign, match="whole numbers, which need an embedding"):
        mvm_layers(dataclasses.replace(vectors, image=ImageSpec.of_shape((5, 7), outputs=3, integers=True)))


def test_a_design_file_may_name_its_device(tmp_path):
    values = example().to_dict()
    values["accelerator"]["device"] = "rram"
    path = tmp_path / "design.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(values))))
    assert load_design(path) == example()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accelerator": {"adc_bits": 0}}, "adc_bits must be 1 to 14, got 0"),
        ({"accelerator": {"device": "rramm"}}, "did you mean 'rram'"),
        ({"image": {"height": 0}}, "image height must be a whole number from 1"),
        ({"image": {"depth": 3}}, "depth"),
    ],
)
def test_bad_design_files_are_refused_with_file_and_key(tmp_path, change, message):
    values = json.loads(json.dumps(example().to_dict()))
    for part, changes in change.items():
        values[part] |= changes
    path = tmp_path / "design.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ValueError, match=message) as caught:
        load_design(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"cell_bits": 5}, "cell_bits 5 is more than a rram cell holds", id="too many bits for the cell"),
        pytest.param(
            {"crossbar_size": 16, "cols_per_adc": 32}, "cols_per_adc 32 is more than", id="ADC shared too widely"
        ),
        pytest.param(
            {"crossbar_size": 16, "weight_bits": 16, "weight_encoding": "differential", "cell_bits": 1},
            "one weight takes 30 columns",
            id="no room for one weight",
        ),
    ],
)
def test_valid_values_that_do_not_fit_together_are_infeasible(changes, message):
    with pytest.raises(InfeasibleDesign, match=message):
        dataclasses.replace(example().accelerator, **changes)


SRAM = load_card("sram").device
CAPACITORS = dataclasses.replace(SRAM, name="sram_charge", capacitor_f=1e-15, capacitor_sigma=0.01)


@pytest.mark.parametrize(
    ("device", "hardware", "line"),
    [
        (SRAM, {}, "sram 22 nm, 64x64, ADC 5 b sar /8, cell 1 b, w 4 b, x 4 b, offset | "),
        (
            SRAM,
            {"readout": "digital", "adc_bits": None},
            "sram 22 nm, 64x64, digital /8, cell 1 b, w 4 b, x 4 b, offset | ",
        ),
        (
            CAPACITORS,
            {"readout": "charge", "dac_bits": 2, "crossbar_columns": 256},
            "sram_charge 22 nm, 64x256, ADC 5 b sar /8, cell 1 b, w 4 b, x 4 b, offset, charge, 2 b DACs | ",
        ),
        (
            SRAM,
            {"dac_bits": 4, "input_drive": "pulse_width", "combine_columns": True, "rows_at_once": 16, "supply_v": 0.8},
            "w 4 b, x 4 b, offset, 4 b pulses, columns combined, 16 rows at once, 0.8 V | ",
        ),
    ],
)
def test_the_line_of_a_design_tells_how_it_is_read(device, hardware, line):
    chip = {"crossbar_size": 64, "cell_bits": 1, "weight_bits": 4, "input_bits": 4, "adc_bits": 5} | hardware
    image = ImageSpec(channels=1, height=8, width=8, classes=10)
    assert line in describe(DesignPoint(accelerator=Accelerator(device=device, **chip), image=image))
