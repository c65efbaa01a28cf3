"""Metrics: each is read where it says, written in its units, and listed in the documentation."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from hw_models.accelerator import Accelerator
from hw_models.cost import estimate_cost
from hw_models.devices import load_card
from hw_models.silicon import silicon_estimate_of
from pipeline.design.built_network import BuiltNetwork
from pipeline.design.constraints import QUANTITIES, Quantity
from pipeline.design.design_point import ConvSpec, DesignPoint, ImageSpec
from pipeline.design.metrics import METRICS
from pipeline.design.results import VariationReport, measured_values, stored_silicon, stored_values
from pipeline.design.topology import mvm_layers

VALIDATION = VariationReport(
    per_chip=(0.5, 0.7), mean=0.6, std=0.14, p05=0.51, worst=0.5, mean_low=0.3, mean_high=0.9,
    noiseless=0.8, float_accuracy=0.9, required=None, fraction_good=None, n_images=10, fidelity="fast",
)  # fmt: skip
TEST = dataclasses.replace(VALIDATION, mean=0.55, std=0.2)


@pytest.fixture(scope="module")
def design():
    chip = Accelerator(
        device=load_card("rram").device, crossbar_size=64, cell_bits=2, weight_bits=8, input_bits=8, adc_bits=6
    )
    image = ImageSpec(channels=1, height=8, width=8, classes=10)
    return DesignPoint(accelerator=chip, image=image, convs=(ConvSpec(filters=8, kernel=3),))


@pytest.fixture(scope="module")
def cost(design):
    return estimate_cost(design.accelerator, mvm_layers(design))


@pytest.fixture(scope="module")
def silicon(design):
    return silicon_estimate_of(design.accelerator, mvm_layers(design))


def test_each_metric_is_read_from_its_report(cost, silicon):
    own = dataclasses.replace(cost, dynamic_energy_j=3 * cost.dynamic_energy_j)
    assert measured_values(cost, own, silicon, VALIDATION, TEST) == {
        "accuracy_mean": 0.6,
        "accuracy_p05": 0.51,
        "accuracy_worst": 0.5,
        "accuracy_noiseless": 0.8,
        "accuracy_float": 0.9,
        "tops_per_watt": cost.tops_per_watt,
        "tops_per_watt_silicon": silicon.tops_per_watt.value,
        "tops_per_watt_silicon_low": silicon.tops_per_watt.value / silicon.tops_per_watt.bars.factor_80,
        "tops": cost.tops,
        "tops_per_mm2": cost.tops_per_mm2,
        "area_m2": cost.area_m2,
        "latency_s": cost.latency_s,
        "energy_j": cost.energy_j,
        "edp_js": cost.edp_js,
        "ir_drop": cost.ir_drop,
        "tops_per_watt_own_data": own.tops_per_watt,
        "energy_own_data_j": own.energy_j,
        "leakage_power_w": cost.leakage_power_w,
        "power_w": cost.power_w,
        "tops_per_watt_8bit": cost.tops_per_watt_8bit,
        "test_accuracy_mean": 0.55,
        "test_accuracy_std": 0.2,
    }


def test_a_stored_trial_tells_all_but_the_costs_at_its_own_data(cost, design, silicon):
    records = {"cost": cost.to_dict(), "variation": {"validation": VALIDATION.to_dict(), "test": TEST.to_dict()}}
    records |= {"design": design.to_dict()}
    measured = measured_values(cost, cost, silicon, VALIDATION, TEST)
    assert stored_values(records | measured) == measured
    unknown = {"tops_per_watt_own_data", "energy_own_data_j", "test_accuracy_mean", "test_accuracy_std"}
    assert stored_values(records) == {name: value for name, value in measured.items() if name not in unknown}


def test_a_silicon_estimate_is_the_stored_one_else_computed_unless_a_network_had_to_be_built(cost, design, silicon):
    records = {"cost": cost.to_dict(), "design": design.to_dict()}
    assert stored_silicon(records) == silicon
    other = dataclasses.replace(silicon, energy_j=1.0)
    assert stored_silicon(records | {"silicon": json.loads(json.dumps(other.to_dict()))}) == other
    built = dataclasses.replace(design, convs=(), network=BuiltNetwork(builder="resnet", parameters=()))
    assert stored_silicon(records | {"design": built.to_dict()}) is None


@pytest.mark.parametrize(
    ("name", "value", "title", "stored_title", "shown"),
    [
        ("accuracy_worst", 0.51239, "accuracy, worst chip [%]", "accuracy, worst chip [0 to 1]", "51.24"),
        ("area_m2", 2.5e-6, "area [mm2]", "area [m2]", "2.500"),
        ("edp_js", 1.5e-12, "EDP [pJ s]", "EDP [J s]", "1.500"),
        ("tops_per_watt", 12.0, "TOPS/W", "TOPS/W", "12.00"),
    ],
)
def test_metrics_are_shown_with_a_prefix_and_stored_without(name, value, title, stored_title, shown):
    metric = METRICS[name]
    assert (metric.title, metric.stored_title, metric.show(value)) == (title, stored_title, shown)


def test_constraints_written_for_earlier_releases_stay_allowed():
    units = {
        "area_m2": {"m2": 1, "mm2": 1e6, "um2": 1e12},
        "latency_s": {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9},
        "energy_j": {"j": 1, "uj": 1e6, "nj": 1e9, "pj": 1e12},
        "edp_js": {"js": 1, "pjs": 1e12},
        "leakage_power_w": {"w": 1, "mw": 1e3, "uw": 1e6},
    }
    for attribute, scales in units.items():
        for unit, scale in scales.items():
            assert QUANTITIES[f"{attribute.rsplit('_', 1)[0]}_{unit}"] == Quantity(attribute, unit, scale)
    for name in ("tops_per_watt", "tops", "tops_per_mm2", "cells", "crossbars"):
        assert QUANTITIES[name] == Quantity(name)


def test_the_documentation_lists_every_objective_and_constraint():
    rows = []
    for name, metric in METRICS.items():
        written = (
            [] if metric.needs_training else [q for q, of in QUANTITIES.items() if of.attribute == metric.attribute]
        )
        allowed = ", ".join(f"`{quantity}`" for quantity in written)
        rows.append(f"| `{name}` | {metric.direction.removesuffix('imize')}. | {metric.meaning} | {allowed} |")
    assert (
        re.findall(r"^\| `\w+` \| m.*", (Path(__file__).parent.parent / "docs" / "search.md").read_text(), re.M) == rows
    )
