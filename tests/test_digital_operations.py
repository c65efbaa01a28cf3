"""Digital operations: their records, their circuits, and what they add to the cost."""

import dataclasses
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cost_model import near
from test_mapping import chip, chips, conv, dense, networks

from hw_models.circuits.digital_unit import DigitalUnit
from hw_models.circuits.technology import technology
from hw_models.cost import COMPONENTS, CostReport, estimate_cost
from hw_models.workload import DigitalOperation, Workload
from pipeline.report.cost_parts import component_parts, layer_components

FEW = settings(max_examples=50, deadline=None)
KINDS = ("add", "multiply", "multiply_accumulate", "compare", "divide", "square_root", "lookup")
T22 = technology(22)
ADD_8, ADD_16, ADD_24 = (T22.adder_first_j + n * T22.adder_next_j for n in (7, 15, 23))


def operation(kind: str, count: int = 1000, name: str = "op") -> DigitalOperation:
    return DigitalOperation(kind=kind, count=count, name=name)


def unit(*kinds: str, bits: int = 8) -> DigitalUnit:
    return DigitalUnit(tech=T22, bits=bits, kinds=frozenset(kinds))


def toggling_j(bits: int) -> float:
    return bits / 2 * T22.register_access_j


@pytest.mark.parametrize(
    ("changes", "way_out"),
    [
        pytest.param({"kind": "exp"}, "must be one of add, .*lookup, got 'exp'", id="unknown kind"),
        pytest.param({"count": -1}, "of 0 or more, got -1", id="negative count"),
        pytest.param({"count": 1.5}, "of 0 or more, got 1.5", id="half an operation"),
    ],
)
def test_a_digital_operation_that_cannot_be_is_refused_by_name(changes, way_out):
    with pytest.raises(ValueError, match=rf"'softmax'.*{way_out}"):
        DigitalOperation(**({"kind": "add", "count": 1, "name": "softmax"} | changes))


def test_a_workload_counts_the_products_on_crossbars():
    workload = Workload(layers=(conv("a", 8, 16, (1, 3), groups=4), dense("b", 10, 5)), digital=(operation("add"),))
    assert workload.macs == 64 * 16 * 2 * 3 + 50


# 8 bits at 22 nm: products of 8 rows of 8 full adders; sums of 16 bits, of a multiply-accumulate 16 + 8 bits
@pytest.mark.parametrize(
    ("kind", "energy_j"),
    [
        pytest.param("add", ADD_16 + toggling_j(48), id="two operands and a result of 16 bits"),
        pytest.param("compare", ADD_16 + toggling_j(48), id="a subtraction"),
        pytest.param("multiply", 8 * ADD_8 + toggling_j(32), id="8 rows, factors of 8 and a product of 16 bits"),
        pytest.param("multiply_accumulate", 8 * ADD_8 + ADD_24 + toggling_j(40), id="8 rows and the sum of 24 bits"),
        pytest.param("divide", 8 * (ADD_16 + toggling_j(24)) + toggling_j(32), id="8 steps"),
        pytest.param("square_root", 8 * (ADD_16 + toggling_j(24)) + toggling_j(16), id="8 steps, one operand"),
        pytest.param(
            "lookup", 8 * ADD_8 + ADD_16 + 16 * T22.tile_core_read_j + toggling_j(32), id="value and slope, multiplied"
        ),
    ],
)
def test_energy_of_an_operation_is_that_of_its_adders_and_registers(kind, energy_j):
    assert unit(kind).operation_j(kind) == near(energy_j)


def test_cycles_of_an_operation_follow_its_carry_chain():
    # 22 nm: 16 and 24 bits take 2 cycles at 1 GHz; a divider subtracts 8 times
    cycles = {kind: unit(kind).operation_cycles(kind) for kind in KINDS}
    assert cycles == {
        **dict.fromkeys(("add", "multiply", "multiply_accumulate", "compare"), 2),
        **dict.fromkeys(("divide", "square_root"), 16),
        "lookup": 3,
    }


def test_a_unit_has_the_circuits_of_its_operations_once():
    register_m2 = T22.flipflop_width_m * T22.cell_height_m
    assert unit("add").area_m2() == near(16 * T22.full_adder_m2 + 48 * register_m2)
    assert unit("add", "compare").area_m2() == unit("add").area_m2()
    assert unit("multiply").area_m2() == near(64 * T22.full_adder_m2 + 48 * register_m2)
    assert unit("multiply_accumulate").area_m2() == near(88 * T22.full_adder_m2 + 72 * register_m2)
    assert unit("divide").area_m2() == near(16 * T22.full_adder_m2 + 72 * register_m2)
    # 2**4 segments of 2 x 8 bits are a quarter of a core of 32 x 32 bits
    table = T22.tile_core_m2 / 4
    assert unit("lookup").area_m2() == near(80 * T22.full_adder_m2 + 48 * register_m2 + table)
    everything = unit(*KINDS)
    assert everything.area_m2() == near((16 + 64 + 24 + 16) * T22.full_adder_m2 + 96 * register_m2 + table)
    adders, registers = 120 * T22.adder_leak_w, 96 * T22.flipflop_leak_w
    assert everything.leakage_w() == near(adders + registers + T22.tile_core_leak_w / 4)


@FEW
@given(st.sampled_from(KINDS), st.integers(1, 15))
def test_wider_activations_cost_more(kind, bits):
    narrow, wide = unit(kind, bits=bits), unit(kind, bits=bits + 1)
    assert wide.operation_j(kind) > narrow.operation_j(kind)
    assert wide.area_m2() > narrow.area_m2()
    assert wide.leakage_w() > narrow.leakage_w()
    assert wide.operation_cycles(kind) >= narrow.operation_cycles(kind)


def attention(tokens: int, heads: int, width: int) -> Workload:
    """A block of a vision transformer: projections on crossbars, scores, softmax and their sums digital."""
    sizes = {"qkv": (width, 3 * width), "out": (width, width), "up": (width, 4 * width), "down": (4 * width, width)}
    layers = [
        dataclasses.replace(dense(name, *size), in_width=tokens, windows=tokens, relu=False)
        for name, size in sizes.items()
    ]
    scores = heads * tokens**2
    digital = [
        operation("multiply_accumulate", 2 * tokens**2 * width, "attention"),
        operation("compare", scores, "softmax"),
        operation("lookup", scores, "softmax"),
        operation("add", 2 * scores, "softmax"),
        operation("divide", scores, "softmax"),
        operation("lookup", 4 * tokens * width, "gelu"),
    ]
    return Workload(layers=tuple(layers), digital=tuple(digital))


def costs(accelerator, workload: Workload) -> tuple[CostReport, CostReport]:
    """(without, with) digital operations."""
    without = estimate_cost(accelerator, workload.layers)
    return without, estimate_cost(accelerator, workload.layers, digital=workload.digital)


def test_attention_is_not_free():
    workload = attention(tokens=17, heads=3, width=48)
    without, with_it = costs(chip(crossbar_size=128), workload)
    macs, scores, gelu = 2 * 17**2 * 48, 3 * 17**2, 4 * 17 * 48
    one = {kind: unit(kind).operation_j(kind) for kind in KINDS}
    arithmetic_j = macs * one["multiply_accumulate"] + gelu * one["lookup"]
    arithmetic_j += scores * (one["compare"] + one["lookup"] + 2 * one["add"] + one["divide"])
    # each operation reads 8 bits; all but multiply-accumulates write 8
    others = 5 * scores + gelu
    traffic_j = 8 * (macs + others) * T22.global_core_read_j + 8 * others * T22.global_core_write_j
    assert with_it.energy_by_component_j["digital"] == near(arithmetic_j + traffic_j)
    assert with_it.dynamic_energy_j - without.dynamic_energy_j == near(arithmetic_j + traffic_j)
    # the up projection's 192 x 4 columns ask for a tile of 1024: 1024 / 8 units
    units = 128
    cycles = 2 * -(-macs // units) + -(-gelu // units) * 3 + -(-scores // units) * (2 + 3 + 16)
    cycles += -(-2 * scores // units) * 2
    # the buffer holds 17 x 192 x 8 bits in two cores of 128 x 128 bits, which give 128 bits a cycle each
    buffer_cycles = 8 * (macs + 2 * others) / 256
    latency_s = (cycles + buffer_cycles) * with_it.clock_s
    assert with_it.latency_by_component_s["digital"] == near(latency_s)
    assert with_it.latency_s - without.latency_s == near(latency_s)
    kinds = ("multiply_accumulate", "compare", "lookup", "add", "divide")
    assert with_it.area_by_component_m2["digital"] == near(units * unit(*kinds).area_m2())
    assert with_it.shared_area_m2 - without.shared_area_m2 == near(units * unit(*kinds).area_m2())
    # all tiles leak while digital units work, and these during the whole inference
    units_w = units * unit(*kinds).leakage_w()
    more_j = without.leakage_power_w * latency_s + units_w * with_it.latency_s
    assert with_it.leakage_energy_j - without.leakage_energy_j == near(more_j)
    assert with_it.leakage_power_w - without.leakage_power_w == near(units_w)


def test_operations_are_multiply_accumulates_wherever_they_run():
    workload = attention(tokens=17, heads=3, width=48)
    without, with_it = costs(chip(), workload)
    assert without.ops == 2 * workload.macs == 2 * 17 * 12 * 48**2
    assert with_it.ops == without.ops + 2 * 2 * 17**2 * 48


@pytest.mark.parametrize("name", ["energy_j", "latency_s", "area_m2"])
def test_parts_of_a_report_hold_digital_operations_beside_the_layers(name):
    trial = SimpleNamespace(cost=costs(chip(), attention(tokens=17, heads=3, width=48))[1].to_dict())
    parts, of_layers = component_parts(trial, name), layer_components(trial, name)
    assert parts["digital"] > 0
    total = Counter()
    for layer in of_layers.values():
        total.update(layer)
    assert +total == near(parts, rel=1e-9)
    assert sum(parts.values()) == near(trial.cost[name], rel=1e-9)
    assert of_layers["shared" if name == "area_m2" else "digital"]["digital"] == parts["digital"]


@FEW
@given(chips(), networks(), st.lists(st.builds(operation, st.sampled_from(KINDS), st.integers(0, 10**9))))
def test_digital_operations_only_add(accelerator, layers, digital):
    without = estimate_cost(accelerator, layers)
    with_them = estimate_cost(accelerator, layers, digital=digital)
    if not sum(each.count for each in digital):
        assert with_them == without
        return
    assert with_them.layers == without.layers
    for name in ("area_m2", "latency_s", "dynamic_energy_j", "leakage_energy_j", "leakage_power_w"):
        assert getattr(with_them, name) > getattr(without, name), name
    for total, parts in (
        (with_them.area_m2, with_them.area_by_component_m2),
        (with_them.latency_s, with_them.latency_by_component_s),
        (with_them.dynamic_energy_j, with_them.energy_by_component_j),
    ):
        assert tuple(parts) == COMPONENTS
        assert sum(parts.values()) == near(total, rel=1e-9)


def test_a_report_names_no_digital_part_where_there_is_none():
    report = estimate_cost(chip(), [dense("a", 64, 10)], digital=[operation("add", 0)])
    for parts in (report.area_by_component_m2, report.latency_by_component_s, report.energy_by_component_j):
        assert tuple(parts) == COMPONENTS[:-1]
    assert not any("digital" in reason for reason in report.outside_reference)
