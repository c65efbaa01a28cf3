"""One trial as a page in the terminal."""

import copy

import pytest
from made_up import CONTENT, made_up_study
from rich.console import Console

from hw_models.cost import estimate_cost
from hw_models.silicon import silicon_estimate_of
from pipeline.cli.trial_page import trial_page
from pipeline.database.trials import pareto_report
from pipeline.design.metrics import METRICS
from pipeline.design.topology import topology
from pipeline.networks.workload import workload_of
from pipeline.report.cost_parts import component_parts
from pipeline.report.evaluated import Evaluated
from pipeline.study.study_spec import StudySpec


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    opened, _ = made_up_study(tmp_path_factory.mktemp("study"), trials=3)
    return pareto_report(opened).trials[1]


@pytest.fixture(scope="module")
def lines(trial) -> list[str]:
    return page_of(trial)


def page_of(trial) -> list[str]:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(trial_page(StudySpec.model_validate(CONTENT), trial))
    return capture.get().splitlines()


def line_of(lines: list[str], *words: str) -> str:
    found = [line for line in lines if all(word in line.split() for word in words)]
    assert found, f"no line with {words}"
    return found[0]


def test_the_page_shows_the_hardware_that_was_really_used(trial, lines):
    chip = trial.user_attrs["design"]["accelerator"]
    assert line_of(lines, "device").split()[-1] == chip["device"]["name"]
    assert line_of(lines, "cell_bits").split()[-1] == str(chip["cell_bits"])


def test_the_page_shows_every_layer_and_total(trial, lines):
    shown = Evaluated.from_trial(trial)
    for layer in topology(shown.design):
        assert f"{layer.mvm.macs:,}" in line_of(lines, layer.mvm.name)
    for name, metric in METRICS.items():
        if not metric.is_accuracy:
            line_of(lines, metric.label.split()[0], metric.show(shown.measured[name]))


def test_the_page_shows_strides_and_fixed_point_formats(trial):
    fixed = copy.deepcopy(trial)
    conv = fixed.user_attrs["design"]["convs"][0]
    conv |= {"stride": 2, "pool": False, "weight_format": {"integer_bits": 1, "fraction_bits": 4}}
    line = line_of(page_of(fixed), "conv1", "(1.4)")
    weights, stride = line.split("(1.4)")[0].split()[-2:], line.split()[3]
    assert (stride, weights) == ("2", ["6", "b"])


def test_shares_are_those_of_the_energy(trial, lines):
    shown = Evaluated.from_trial(trial)
    parts = component_parts(shown, "energy_j")
    for name in ("adc", "drivers"):
        share = f"{parts[name] / shown.measured['energy_j']:.0%}"
        assert line_of(lines, name, METRICS["energy_j"].show(parts[name])).split()[2] == share


def test_the_page_shows_accuracy_with_its_interval_and_its_origin(trial, lines):
    validation = trial.user_attrs["variation"]["validation"]
    text = "\n".join(lines)
    assert f"{100 * validation['mean']:.4g} ± 1.0" in text
    assert "training 3.5 s" in text
    assert "nacim 0.1.0" in text
    assert trial.user_attrs["design_hash"] in text


def test_the_page_tells_what_silicon_would_reach(trial, lines):
    shown = Evaluated.from_trial(trial)
    found = silicon_estimate_of(shown.design.accelerator, workload_of(shown.design).layers)
    assert f"about {found.tops_per_watt.value:.2g} TOPS/W" in line_of(lines, "Silicon:")
    assert trial.user_attrs["cost"]["clock_s"] == pytest.approx(
        estimate_cost(shown.design.accelerator, workload_of(shown.design).layers).clock_s
    )
