"""Published chips and designs, and how close the model comes. Nothing is fitted to them."""

import dataclasses
from pathlib import Path

import pytest

from hw_models.validation.neurosim_input import read_networks
from hw_models.validation.neurosim_table import row_cost
from hw_models.validation.silicon import compare, geometric_mean_factor, read_measured_chips

GOLDEN = Path(__file__).parent / "golden"
CHIPS = read_measured_chips(GOLDEN)


def chips_of(name: str):
    return [chip for chip in CHIPS if chip.chip.startswith(name)]


# HERMES core: 14 nm PCM, 256 x 256, 10.5 TOPS/W (Khaddam-Aljameh et al., JSSC 2022). It converts a current by counting
# over 256 cycles to 12 bits; the model's SAR converter of 12 bits is 3.6 times cheaper, the survey's far dearer.
def test_hermes_core_is_within_a_factor_of_four():
    comparison = compare(chips_of("HERMES-core")[0])
    assert comparison.node_nm == 14
    assert 1 < comparison.predicted["reference"] / comparison.silicon.measured < 4


# ISAAC's converter: 2 mW at 1.28 GS/s, 32 nm, 8 bits (Shafiee et al., ISCA 2016): 1.56 pJ.
def test_isaac_conversion_lies_above_both_adc_models():
    comparison = compare(chips_of("ISAAC-ADC")[0])
    assert comparison.predicted["reference"] < comparison.predicted["survey"] < comparison.silicon.measured
    assert comparison.predicted["survey"] / comparison.silicon.measured > 0.4


# A 7 nm SRAM macro (Sinangil et al., JSSC 2021) converts once for four input bits and four columns. The model makes 16
# conversions, so that it is far from its 351 TOPS/W.
def test_a_macro_that_converts_once_for_all_bits_is_far_better_than_the_model():
    comparison = compare(chips_of("Sinangil")[0])
    assert comparison.predicted["reference"] < 0.1 * comparison.silicon.measured


def test_a_chip_at_another_node_is_left_out_with_the_reason():
    comparison = compare(chips_of("NeuRRAM")[0])
    assert not comparison.predicted
    assert "130 nm" in comparison.left_out


def test_a_macro_that_reads_row_by_row_is_left_out():
    slow = dataclasses.replace(chips_of("HERMES-core")[0], active_rows=4)
    assert "reads 4 of 256 rows" in compare(slow).left_out


def test_geometric_mean_factor_of_twice_and_half_is_two():
    comparison = compare(chips_of("HERMES-core")[0])
    measured = comparison.silicon.measured
    twice, half = (dataclasses.replace(comparison, predicted={"reference": factor * measured}) for factor in (2, 0.5))
    assert geometric_mean_factor([twice, half], "reference") == pytest.approx(2)


def test_a_folder_without_chips_says_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match=r"measured_curves\.csv"):
        read_measured_chips(tmp_path)


# DNN+NeuroSim V1.3, its own VGG-8 for CIFAR-10 at 22 nm: RRAM of 6 kOhm and 900 kOhm in 2-bit cells, 128 x 128, 5-bit
# flash converters. Expected numbers are from NeuroSim's table, which tests/golden/README.md names.
def test_vgg8_as_neurosim_has_it():
    row = {
        "network": "VGG8_stock",
        "array_size": "128",
        "cell_bits": "2",
        "adc_levels": "32",
        "activity_profile": "base",
    }
    report, mapping = row_cost(row, read_networks(GOLDEN / "networks.json"))
    assert mapping.floorplan.tile_size == 1024
    assert report.ops == 1231835136
    assert report.outside_reference == ()
