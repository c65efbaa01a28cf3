"""What a study tells at its end: a design for each purpose, the front by energy, how sure the order is."""

import dataclasses
import io

import pytest
from made_up import made_up_study
from rich.console import Console

from pipeline.cli.outcome import outcome
from pipeline.database.trials import pareto_report
from pipeline.design.metrics import METRICS
from pipeline.report.findings import read_findings
from pipeline.report.page import _csv_row
from pipeline.report.purposes import NEAR, PURPOSES, accurate_enough, energy_front, energy_or_tops, picks
from pipeline.report.section_front import front_section
from pipeline.report.sections import study_chapter


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return made_up_study(tmp_path_factory.mktemp("study"), trials=30, in_memory=True)[0]


@pytest.fixture(scope="module")
def findings(study):
    return read_findings(study)


def test_each_purpose_takes_the_best_design_that_is_accurate_enough(findings):
    best = max(trial.measured["accuracy_mean"] for trial in findings.evaluated)
    enough = [trial for trial in findings.evaluated if trial.measured["accuracy_mean"] >= best - NEAR]
    assert 1 < len(enough) < len(findings.evaluated)
    assert accurate_enough(findings.evaluated) == enough
    for pick in picks(findings.evaluated):
        assert PURPOSES[pick.purpose] == pick.metric
        sign = 1 if METRICS[pick.metric].direction == "maximize" else -1
        values = sorted((sign * trial.measured[pick.metric] for trial in enough), reverse=True)
        taken = [sign * each.measured[pick.metric] for each in (pick.design, pick.runner_up)]
        assert taken == values[:2], "and the next one"


def test_intervals_that_overlap_are_a_tie_and_costs_of_one_family_need_their_bar(findings):
    first, second, *_ = accurate_enough(findings.evaluated)
    by_purpose = {pick.purpose: pick for pick in picks(findings.evaluated)}
    tied = dataclasses.replace(by_purpose["most accurate"], design=first, runner_up=first)
    assert tied.sureness.startswith("tied")
    worse = dataclasses.replace(
        first, validation=dataclasses.replace(first.validation, mean_low=0.1, mean=0.2, mean_high=0.3)
    )
    assert dataclasses.replace(tied, runner_up=worse).sureness.startswith("apart")
    assert "no interval is known" in by_purpose["safety"].sureness
    energy = by_purpose["battery sensor"]
    assert dataclasses.replace(energy, design=first, runner_up=first).sureness == "tied: silicon may reverse it"
    cheap = dataclasses.replace(first.silicon, energy_j=first.silicon.energy_j / 1000)
    cheaper = dataclasses.replace(first, silicon=cheap)
    assert dataclasses.replace(energy, design=cheaper, runner_up=second).sureness == "apart on silicon (80 %)"
    assert "not known" in by_purpose["cheap chip"].sureness


def test_one_sentence_says_whether_tops_per_watt_and_energy_pick_different_designs(findings):
    trials = accurate_enough(findings.evaluated)
    by_tops = max(trials, key=lambda trial: trial.measured["tops_per_watt"])
    by_energy = min(trials, key=lambda trial: trial.measured["energy_j"])
    said = energy_or_tops(findings.evaluated)
    if by_tops is by_energy:
        assert f"trial {by_tops.number} has both" in said
    else:
        assert "pick different designs" in said
        assert f"trial {by_tops.number} has the best TOPS/W" in said
        assert f"of trial {by_energy.number}" in said
    assert f"trial {by_tops.number} has both" in energy_or_tops([by_tops])


def test_the_report_shows_the_energy_front_in_its_figure_and_first_in_its_table(findings):
    section = front_section(findings)
    assert [part.name for part in section.parts[:-1]] == ["front-0", "energy"]
    table = section.parts[-1]
    first = {row[0].value for row in table.rows[: table.first_shown]}
    assert first == {trial.number for trial in (*findings.front, *energy_front(findings.counted))}
    assert {"area [mm2]", "latency [us]", "energy [nJ]"} <= set(table.heads)
    assert any("which purpose" in each.heading for each in study_chapter(findings).sections)


@pytest.mark.parametrize("width", [80, 160])
def test_the_terminal_shows_both_fronts_and_the_purposes_without_cutting_a_number(study, width):
    found, file = pareto_report(study), io.StringIO()
    console = Console(width=width, file=file)
    counted = [trial for trial in found.trials if trial.number in found.counted]
    for part in outcome(found.objectives, found.front, counted, width):
        console.print(part, markup=not isinstance(part, str))
    text = file.getvalue()
    assert "Front by accuracy and energy" in text
    assert "battery" in text
    assert "\\[" not in text
    assert "…" not in text
    best = min(counted, key=lambda trial: trial.user_attrs["energy_j"])
    assert METRICS["energy_j"].show(best.user_attrs["energy_j"]) in text
    for trial in found.front:
        assert METRICS["area_m2"].show(trial.user_attrs["area_m2"]) in text


def test_the_share_of_good_chips_stands_in_table_and_csv(findings):
    trial = findings.front[0]
    report = dataclasses.replace(trial.test, required=0.9, fraction_good=0.75)
    trial = dataclasses.replace(trial, validation=dataclasses.replace(report, fraction_good=0.5), test=report)
    changed = dataclasses.replace(findings, evaluated=(trial,), front=(trial,))
    table = front_section(changed).parts[-1]
    assert table.rows[0][table.heads.index("chips with 90 % or more, test images [%]")].text == "75"
    row = _csv_row(trial, on_front=True)
    assert (row["required_accuracy_fraction"], row["good_chips_fraction"]) == (0.9, 0.5)


def test_lines_of_the_paper_are_drawn_on_its_data_set_alone(findings):
    figure = front_section(findings).parts[0].figure
    assert not [shape for shape in figure.layout.shapes if shape.x0 == 16.3]
    dataset = findings.identity["dataset"] | {"name": "cifar10"}
    there = dataclasses.replace(findings, identity=findings.identity | {"dataset": dataset})
    assert [shape for shape in front_section(there).parts[0].figure.layout.shapes if shape.x0 == 16.3]
