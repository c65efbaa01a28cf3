"""What must hold for the cost of every design."""

import dataclasses
import itertools
import json
import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_cost_model import near
from test_mapping import RRAM, chip, chips, conv, dense, networks

from hw_models.accelerator import Accelerator
from hw_models.circuits.converters import SLOW_COMPARATOR_NM
from hw_models.cost import COMPONENTS, DIGITAL, CostReport, estimate_cost
from hw_models.cost.activity import Activity, LayerActivity, assumed_activity, spread_density
from hw_models.layers import MvmLayer
from hw_models.mapping import map_network

FEW = settings(max_examples=50, deadline=None)
HEADLINES = ("area_m2", "clock_s", "latency_s", "dynamic_energy_j", "energy_j", "leakage_power_w", "tops_per_watt")


def with_bits(accelerator: Accelerator, adc_bits: int) -> Accelerator:
    return dataclasses.replace(accelerator, adc_bits=adc_bits)


def with_filters(layers: list[MvmLayer], factor: int) -> list[MvmLayer]:
    """The network with `factor` times the filters in every convolution, and as many times the channels after it."""
    *convs, last = layers
    grown, channels = [], 1
    for layer in convs:
        grown.append(
            dataclasses.replace(
                layer, in_channels=layer.in_channels * channels, out_channels=layer.out_channels * factor
            )
        )
        channels = factor
    return [*grown, dataclasses.replace(last, in_channels=last.in_channels * channels)]


@FEW
@given(chips(), networks())
def test_costs_are_finite_and_positive(accelerator, layers):
    report = estimate_cost(accelerator, layers)
    assert all(0 < getattr(report, name) < math.inf for name in HEADLINES)
    assert min(report.energy_by_component_j.values()) >= 0
    assert 0 < report.utilisation <= 1


@FEW
@given(chips(), networks())
def test_breakdowns_sum_to_their_totals(accelerator, layers):
    report = estimate_cost(accelerator, layers)
    for total, by_component, of_layers in (
        (
            report.area_m2,
            report.area_by_component_m2,
            [layer.area_m2 for layer in report.layers] + [report.shared_area_m2],
        ),
        (report.latency_s, report.latency_by_component_s, [layer.latency_s for layer in report.layers]),
        (report.dynamic_energy_j, report.energy_by_component_j, [layer.dynamic_energy_j for layer in report.layers]),
    ):
        assert set(by_component) == set(COMPONENTS) - {DIGITAL}
        assert sum(by_component.values()) == near(total, rel=1e-9)
        assert sum(of_layers) == near(total, rel=1e-9)
    for layer in report.layers:
        assert sum(layer.area_by_component_m2.values()) == near(layer.area_m2, rel=1e-9)
        assert sum(layer.energy_by_component_j.values()) == near(layer.dynamic_energy_j, rel=1e-9)
        assert sum(layer.latency_by_component_s.values()) == near(layer.latency_s, rel=1e-9)
    assert sum(layer.leakage_energy_j for layer in report.layers) == near(report.leakage_energy_j, rel=1e-9)


# Register bits are packed in whole columns, so that the area may fall by up to 0.1 %.
@FEW
@given(chips(), networks(), st.integers(3, 9))
def test_area_and_dynamic_energy_never_fall_with_adc_bits(accelerator, layers, bits):
    fewer, more = (estimate_cost(with_bits(accelerator, each), layers) for each in (bits, bits + 1))
    assert more.dynamic_energy_j >= fewer.dynamic_energy_j
    assert more.area_m2 >= 0.998 * fewer.area_m2
    assert more.clock_s >= fewer.clock_s


@FEW
@given(chips(), networks())
def test_doubling_every_filter_lowers_neither_energy_nor_area(accelerator, layers):
    once, twice = (estimate_cost(accelerator, with_filters(layers, factor)) for factor in (1, 2))
    assert twice.dynamic_energy_j >= once.dynamic_energy_j
    assert twice.area_m2 >= once.area_m2
    assert twice.ops >= once.ops


@FEW
@given(chips(), networks(), st.floats(0.01, 0.4))
def test_denser_inputs_cost_more(accelerator, layers, density):
    # current-mode comparators at 32 and 45 nm decide faster, and so cheaper, when more current flows
    assume(accelerator.adc_type != "flash" or accelerator.tech_node_nm < SLOW_COMPARATOR_NM)

    def energy_j(share: float) -> float:
        levels = assumed_activity(accelerator, layers).layers[0].level_shares
        record = LayerActivity(plane_densities=spread_density(share, accelerator.input_bits), level_shares=levels)
        return estimate_cost(accelerator, layers, activity=Activity(layers=(record,) * len(layers))).dynamic_energy_j

    assert energy_j(1.2 * density) > energy_j(density)


@FEW
@given(chips(), st.integers(1, 9), st.sampled_from([1, 3, (1, 7)]), st.integers(1, 12), st.integers(2, 6))
def test_a_multiple_of_the_groups_costs_more(accelerator, channels, kernel, groups, factor):
    few, many = (
        estimate_cost(accelerator, [conv("a", n * channels, n * channels, kernel, 4, groups=n)])
        for n in (groups, factor * groups)
    )
    assert many.dynamic_energy_j > few.dynamic_energy_j
    assert many.cells >= few.cells
    assert many.conversions > few.conversions


@FEW
@given(chips(), networks())
def test_conversions_are_windows_times_cycles_times_row_blocks_times_columns(accelerator, layers):
    report = estimate_cost(accelerator, layers)
    for layer, mapped, cost in zip(layers, map_network(accelerator, layers).layers, report.layers, strict=True):
        positions = layer.positions if cost.mapped_as == "novel" else 1
        row_blocks = positions * math.ceil(mapped.pack_rows / positions / accelerator.crossbar_size)
        columns = layer.out_channels * accelerator.cells_per_weight
        assert cost.conversions == layer.windows * accelerator.input_bits * row_blocks * columns
    assert report.conversions == sum(cost.conversions for cost in report.layers)


@FEW
@given(chips(), networks(), st.sampled_from([2.0, 7.0]))
def test_energy_of_the_survey_is_proportional_to_its_factor(accelerator, layers, factor):
    plain = [estimate_cost(accelerator, layers, adc_model="survey", survey_factor=each) for each in (0, 1, factor)]
    zero, one, more = (report.dynamic_energy_j for report in plain)
    assert more - zero == near(factor * (one - zero), rel=1e-6, abs=1e-9 * zero)


@FEW
@given(chips(), networks())
def test_a_report_is_plain_json(accelerator, layers):
    plain = estimate_cost(accelerator, layers).to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def border(layers_of, counts) -> list[tuple[CostReport, CostReport]]:
    """Neighbouring designs of which NeuroSim evaluates only one."""
    reports = [estimate_cost(chip(crossbar_size=128, cell_bits=1), layers_of(count)) for count in counts]
    found = [(a, b) for a, b in itertools.pairwise(reports) if bool(a.outside_reference) != bool(b.outside_reference)]
    assert found, "no border in this range"
    return found


# One more filter is 1/16 more work, and may need one more column of crossbars with all of its periphery. The latency is
# not compared: it may jump where a copy of the matrix no longer fits.
@pytest.mark.parametrize(
    ("layers_of", "counts"),
    [
        pytest.param(lambda n: [dense("a", 256, n)], range(28, 36), id="as many columns as half a tile"),
        pytest.param(lambda n: [conv("a", 128, n), dense("fc", 64 * n, 64)], range(12, 20), id="a novel PE"),
    ],
)
def test_there_is_no_cliff_where_neurosim_refuses(layers_of, counts):
    for one, other in border(layers_of, counts):
        for name in ("area_m2", "dynamic_energy_j"):
            assert getattr(other, name) == near(getattr(one, name), rel=0.2), name


def test_a_refused_layer_has_the_tiles_that_it_has_in_an_accepted_network():
    small, wide = dense("small", 100, 12), dense("wide", 100, 40)
    alone, beside = (estimate_cost(chip(crossbar_size=128, cell_bits=1), layers) for layers in ([small], [small, wide]))
    assert alone.outside_reference
    assert not beside.outside_reference
    for name in ("tiles", "speedup", "utilisation", "area_m2", "conversions"):
        assert getattr(alone.layers[0], name) == getattr(beside.layers[0], name)


@given(st.floats(4e3, 8e3))
def test_there_is_no_cliff_where_an_access_transistor_outgrows_its_cell(r_on_ohm):
    assume(abs(r_on_ohm - 5757) > 1)
    one, other = (
        estimate_cost(chip(device=dataclasses.replace(RRAM, g_on_siemens=1 / ohm)), [dense("a", 256, 64)])
        for ohm in (r_on_ohm, 1.001 * r_on_ohm)
    )
    for name in ("area_m2", "latency_s", "dynamic_energy_j"):
        assert getattr(other, name) == near(getattr(one, name), rel=0.02), name


def test_leakage_costs_nothing_on_a_chip_of_one_tile():
    # quirk: only the tiles of other layers leak while a layer runs
    assert estimate_cost(chip(crossbar_size=512), [dense("a", 100, 10)]).leakage_energy_j == 0
