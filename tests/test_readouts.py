"""What the choices of a readout cost: by hand, in the limits, and that nothing is free."""

import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cost_model import near
from test_mapping import RRAM, chip, conv, dense

from hw_models.accelerator import Accelerator
from hw_models.circuits.combiner import MIRROR_M2, UNIT_F, column_currents
from hw_models.circuits.crossbar import crossbar
from hw_models.cost import CostReport, estimate_cost
from hw_models.devices import load_card
from hw_models.mapping import map_network

LAYERS = [conv("conv", 64, 32), dense("fc", 2048, 10)]


def cost(accelerator: Accelerator, layers=LAYERS) -> CostReport:
    return estimate_cost(accelerator, layers)


# Rows that are read together


def test_rows_that_are_read_later_are_converted_and_accumulated_again():
    # 64 rows in reads of 16: four reads, each with 8 steps at each converter and an accumulation of 2 weights
    whole, parts = (cost(chip(rows_at_once=rows), [dense("a", 64, 16)]) for rows in (None, 16))
    assert parts.conversions == 4 * whole.conversions
    assert parts.latency_by_component_s["adc"] / parts.clock_s == near(
        4 * whole.latency_by_component_s["adc"] / whole.clock_s
    )
    assert parts.latency_by_component_s["shift_add"] / parts.clock_s == near(
        4 * whole.latency_by_component_s["shift_add"] / whole.clock_s
    )
    assert parts.energy_by_component_j["shift_add"] > 4 * whole.energy_by_component_j["shift_add"]


def test_a_converter_takes_its_constant_power_at_every_read():
    # 8 input bits, 64 columns, 4 reads instead of 1; the sum of currents is the same but for its exponent 1.00018
    layer = dense("a", 64, 16)
    whole, parts = (cost(chip(rows_at_once=rows), [layer]).energy_by_component_j["adc"] for rows in (None, 16))
    adc = crossbar(chip()).converters
    assert parts - whole == near(3 * 8 * 64 * adc.constant_w * adc.conversion_s, rel=3e-3)


def test_reading_few_rows_skips_no_conversion_that_reading_all_would_make():
    sparse = dataclasses.replace(RRAM, g_on_siemens=1e-9)  # hardly any current
    energies = [
        cost(chip(device=sparse, rows_at_once=rows)).energy_by_component_j["adc"] for rows in (None, 32, 16, 8, 4)
    ]
    for few, fewer in itertools.pairwise(energies):
        assert fewer > 1.8 * few


def test_a_short_block_takes_no_more_reads_than_it_has_rows():
    # 20 of 64 rows are used: 2 reads of 16 rows, 1 of all
    whole, parts = (cost(chip(rows_at_once=rows), [dense("a", 20, 16)]) for rows in (None, 16))
    assert parts.conversions == 2 * whole.conversions
    assert parts.latency_by_component_s["adc"] / parts.clock_s == near(
        2 * whole.latency_by_component_s["adc"] / whole.clock_s
    )


def test_sums_of_several_reads_are_wider():
    # four reads widen the sum by two bits; an input of one bit needs an accumulator all the same
    one, four = (chip(rows_at_once=rows, input_bits=1, cell_bits=4) for rows in (None, 16))
    assert crossbar(one).accumulations == 0
    assert crossbar(four).accumulations == 4  # 8 columns hold four weights of two columns
    assert crossbar(four).area_m2["shift_add"] > crossbar(one).area_m2["shift_add"]


# Combined columns


def test_a_weight_that_is_combined_is_converted_once():
    # 8 bits in 2-bit cells: four columns, one conversion; a converter of 8 columns takes 2 steps instead of 8
    apart, combined = (cost(chip(combine_columns=each)) for each in (False, True))
    assert 4 * combined.conversions == apart.conversions
    assert combined.latency_by_component_s["adc"] / combined.clock_s == near(
        apart.latency_by_component_s["adc"] / apart.clock_s / 4
    )
    assert cost(chip(combine_columns=True, weight_encoding="differential")).conversions == 2 * combined.conversions


def test_all_combined_columns_conduct_and_mirrors_copy_their_currents():
    # gains 1, 1/4, 1/16, 1/64 beside the four columns themselves
    assert column_currents(2, 4) == near(4 + 85 / 64)
    assert column_currents(2, 1) == 1
    strong = chip(device=dataclasses.replace(RRAM, g_on_siemens=1e-3), adc_bits=1)  # nearly all energy is current
    apart, combined = (
        cost(dataclasses.replace(strong, combine_columns=each), [dense("a", 64, 16)]).energy_by_component_j["adc"]
        for each in (False, True)
    )
    assert 1.25 * apart < combined < (4 + 85 / 64) / 4 * apart


def test_a_combiner_takes_area_and_time():
    apart, combined = (crossbar(chip(combine_columns=each)) for each in (False, True))
    units = 1 + 4 + 16 + 64
    assert combined.area_m2["adc"] - apart.area_m2["adc"] == near(8 * units * MIRROR_M2)
    assert combined.sensing_s > 1.1 * apart.sensing_s
    assert near(1.44e-12) == MIRROR_M2
    assert near(0.768e-15) == UNIT_F


def test_a_layer_of_fewer_bits_takes_more_steps_of_a_combined_converter():
    # 4 bits in 2-bit cells: two columns a weight, four weights in the 8 columns of a converter; 8 bits: two weights
    wide, narrow = (
        cost(chip(combine_columns=True), [dataclasses.replace(dense("a", 64, 16), weight_bits=bits)]) for bits in (8, 4)
    )
    assert narrow.conversions == wide.conversions
    assert narrow.latency_by_component_s["adc"] == near(2 * wide.latency_by_component_s["adc"])


# Rectangular crossbars


def test_a_wide_crossbar_is_two_square_ones_side_by_side_with_rows_in_common():
    square, wide = crossbar(chip()), crossbar(chip(crossbar_columns=128))
    assert wide.area_m2["array"] == near(2 * square.area_m2["array"])
    assert wide.area_m2["adc"] == near(2 * square.area_m2["adc"])
    assert square.area_m2["drivers"] < wide.area_m2["drivers"] < 2 * square.area_m2["drivers"]
    assert wide.step_j["adc"] == near(2 * square.step_j["adc"])
    assert wide.step_j["drivers"] == square.step_j["drivers"]
    assert wide.active_row_step_j["array"] == near(2 * square.active_row_step_j["array"])


def test_conversions_follow_the_rows_of_a_crossbar_not_its_columns():
    layers = [dense("a", 256, 64)]
    square, wide, low = (cost(chip(**each), layers).conversions for each in ({}, {"crossbar_columns": 128}, {}))
    assert square == wide == low
    assert cost(chip(crossbar_size=128, crossbar_columns=64), layers).conversions == square / 2


@pytest.mark.parametrize("columns", [32, 128, 256])
def test_cells_of_the_chip_are_those_of_its_crossbars(columns):
    report = cost(chip(crossbar_columns=columns))
    assert report.cells == report.crossbars * 64 * columns
    assert 0 < report.utilisation <= 1


# All of them


@st.composite
def choices(draw) -> dict[str, object]:
    return {
        "rows_at_once": draw(st.sampled_from([None, 1, 8, 32])),
        "combine_columns": draw(st.booleans()),
        "crossbar_columns": draw(st.sampled_from([None, 32, 256])),
    }


@settings(deadline=None, max_examples=25)
@given(choices())
def test_breakdowns_sum_to_totals_and_conversions_are_those_of_the_mapping(values):
    report = cost(chip(**values))
    assert sum(report.area_by_component_m2.values()) == near(report.area_m2, rel=1e-9)
    assert sum(report.energy_by_component_j.values()) == near(report.dynamic_energy_j, rel=1e-9)
    assert sum(report.latency_by_component_s.values()) == near(report.latency_s, rel=1e-9)
    assert sum(layer.area_m2 for layer in report.layers) + report.shared_area_m2 == near(report.area_m2, rel=1e-9)
    assert report.conversions == map_network(chip(**values), LAYERS).conversions


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rows_at_once": 32}, "rows_at_once 32: the reference knows all rows only"),
        ({"combine_columns": True}, "combine_columns true: the reference knows a conversion of each column only"),
        ({"crossbar_columns": 32}, "crossbar_columns 32: the reference knows square crossbars only"),
    ],
)
def test_a_choice_that_the_reference_does_not_know_is_named(values, said):
    assert said in cost(chip(**values)).outside_reference
    assert said not in cost(chip()).outside_reference


@pytest.mark.parametrize("name", ["rram", "sram", "fefet"])
def test_fewer_rows_at_once_never_take_less_energy_or_time(name):
    base = chip(device=load_card(name).device, cell_bits=1, crossbar_size=128)
    layers = [dense("a", 2048, 64)]  # fills all rows: reading half of a crossbar's rows would suffice for half as many
    reports = [cost(dataclasses.replace(base, rows_at_once=rows), layers) for rows in (None, 64, 16, 4, 1)]
    for more, fewer in itertools.pairwise(reports):
        assert fewer.dynamic_energy_j > more.dynamic_energy_j
        assert fewer.latency_s > more.latency_s
