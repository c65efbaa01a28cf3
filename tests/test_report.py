"""The report: one page that works offline in a real browser, figures that say what the database holds, and a table."""

import csv
import dataclasses
import re
from collections import Counter
from html import escape
from pathlib import Path

import optuna
import pytest
from chromium import BINARY, chromium_page
from made_up import CONTENT, made_up_study
from PIL import Image

import hw_models.devices
from pipeline.design.metrics import METRICS
from pipeline.report.comparison import comparison_chapter
from pipeline.report.cost_parts import component_parts, layer_components, layer_parts
from pipeline.report.evaluated import Evaluated
from pipeline.report.figures.errors import chips_figure, rank_figure, sigma_figure
from pipeline.report.figures.front import front_figure
from pipeline.report.figures.parts import breakdown_figure, component_colours, layers_figure
from pipeline.report.figures.search import parallel_figure
from pipeline.report.figures.style import device_styles, mark
from pipeline.report.findings import read_findings
from pipeline.report.page import report_page, write_comparison, write_pictures, write_report
from pipeline.report.section_devices import devices_section
from pipeline.report.sections import study_chapter

DRAWN = (
    "document.readyState === 'complete' && "
    "[...document.querySelectorAll('.plot')].every((plot) => plot.querySelector('.main-svg'))"
)
ODD = {  # number of trials, objectives, figures
    "nothing yet": (0, ["accuracy_mean", "tops_per_watt"], 0),
    "one trial": (1, ["accuracy_mean", "tops_per_watt"], 9),
    "one objective": (4, ["energy_j"], 10),
    "three objectives": (4, ["accuracy_mean", "area_m2", "energy_j"], 12),
}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> optuna.Study:
    return made_up_study(tmp_path_factory.mktemp("study"), trials=24, in_memory=True)[0]


@pytest.fixture(scope="module")
def findings(study):
    return read_findings(study)


@pytest.fixture(scope="module")
def report(study, tmp_path_factory) -> Path:
    """The page, its tables beside it."""
    return write_report(study, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(report):
    """The report in a browser, one for all tests that look at it."""
    with chromium_page() as page:
        page.open(report.as_uri(), DRAWN)
        yield page


def test_the_report_works_offline_in_a_browser(page, report, findings):
    assert report.stat().st_size < 6e6
    front = {trial.number for trial in findings.front}
    assert page.run("document.querySelectorAll('.plot').length") == 11
    bars = page.run("document.querySelectorAll('#plot-front-0 .errorbar').length")
    assert bars == 2 * len(front), "of the accuracy, and of what silicon would reach"
    assert page.run("document.querySelector('.question').textContent") == CONTENT["question"]
    assert {int(number) for number in column(page, 0)} == front

    boxes = "[...document.querySelectorAll('#plot-front-0 .point')].map((mark) => mark.getBoundingClientRect())"
    point = f"{boxes}.sort((one, other) => other.width - one.width)[0]"  # marks of the front are the largest
    page.run("document.querySelector('#plot-front-0').scrollIntoView()")

    def hovered() -> bool:
        sides = (("x", "width"), ("y", "height"))
        page.move_mouse(*(page.run(f"{point}.{side} + {point}.{size} / 2") for side, size in sides))
        return page.run("document.querySelector('.hoverlayer .hovertext') !== null")

    page.wait(hovered, "hover text")
    text = page.run("document.querySelector('.hoverlayer').textContent")
    assert any(text.startswith(f"trial {number}") for number in front)
    assert "22 nm" in text

    assert page.problems == []
    assert page.requests == [report.as_uri()]


def test_a_click_on_a_column_sorts_by_its_numbers(page, findings):
    for order in ("descending", "ascending"):
        page.run("document.querySelectorAll('table.sortable th button')[0].click()")
        expected = sorted((trial.number for trial in findings.front), reverse=order == "descending")
        assert [int(number) for number in column(page, 0)] == expected
        assert page.run("document.querySelector('th[aria-sort]').getAttribute('aria-sort')") == order


def test_the_table_narrows_down_to_words_and_limits(page, findings):
    def type_in(words: str) -> None:
        page.run(
            f"(() => {{ const field = document.querySelector('input[type=search]'); field.value = '{words}'; "
            "field.dispatchEvent(new Event('input')); })()"
        )

    assert {int(number) for number in column(page, 0)} == {trial.number for trial in findings.front}
    page.run("document.querySelector('.filter input[type=checkbox]').click()")
    assert {int(number) for number in column(page, 0)} == {trial.number for trial in findings.evaluated}
    page.run("document.querySelector('.filter input[type=checkbox]').click()")
    type_in("rram accuracy>85")  # all designs, not the front alone
    expected = {t.number for t in findings.evaluated if t.device == "rram" and t.measured["accuracy_mean"] >= 0.85}
    assert expected
    assert {int(number) for number in column(page, 0)} == expected
    type_in("nothing like this")
    assert column(page, 0) == []
    energies = sorted(t.measured["energy_j"] for t in findings.evaluated)
    limit = (energies[5] + energies[6]) / 2
    cheap = {t.number for t in findings.evaluated if t.measured["energy_j"] <= limit}
    type_in(f"energy <{1e9 * limit:.12f}")
    assert {int(number) for number in column(page, 0)} == cheap
    type_in("adc 4")
    assert {int(number) for number in column(page, 0)} == {
        t.number for t in findings.evaluated if t.design.accelerator.adc_bits == 4
    }
    said = "document.querySelector('.filtered [role=status]').textContent"
    for wrong, told in (("blub>3", 'no column of numbers starts with "blub"'), ("energy<many", "is no limit")):
        type_in(wrong)
        assert told in page.run(said)
    type_in("")


def column(page, index: int) -> list[str]:
    """Text of a column's visible cells."""
    rows = "[...document.querySelector('table.sortable').tBodies[0].rows]"
    return page.run(f"{rows}.filter((row) => !row.hidden).map((row) => row.cells[{index}].textContent)")


@pytest.mark.slow
def test_each_figure_is_a_picture_too(study, findings, tmp_path):
    pytest.importorskip("kaleido")
    if BINARY is None:
        pytest.skip("no Chromium or Chrome is installed; with apt-get: chromium")
    pictures = write_pictures(study, tmp_path)
    assert tmp_path / f"{findings.name}-front-0.png" in pictures
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.width == 1800
            assert picture.convert("L").getextrema()[0] < 128, "something is drawn"


def two_studies(folder: Path) -> list[optuna.Study]:
    studies = []
    for name, seed in (("one", 3), ("two", 4)):
        (folder / name).mkdir()
        studies.append(made_up_study(folder / name, trials=6, name=name, seed=seed)[0])
    return studies


def test_a_comparison_counts_the_joint_front_and_lists_the_settings_that_differ(tmp_path):
    found = [read_findings(study) for study in two_studies(tmp_path)]
    fronts, _, settings = comparison_chapter(found).sections
    counts = [[cell.value for cell in row[1:4]] for row in fronts.parts[-1].rows]
    points = [[(t.measured["accuracy_mean"], t.measured["tops_per_watt"]) for t in each.evaluated] for each in found]
    every = [point for each in points for point in each]
    unbeaten = [[all(p == q or p[0] > q[0] or p[1] > q[1] for q in every) for p in each] for each in points]
    assert counts == [[6, len(f.front), sum(stay)] for f, stay in zip(found, unbeaten, strict=True)]
    assert settings.parts[0].rows == [["seed", "3", "4"]]


def test_searches_with_other_seeds_are_told_as_mean_and_spread(tmp_path):
    found = [read_findings(study) for study in two_studies(tmp_path)]
    _, seeds, _ = comparison_chapter(found).sections
    (table,) = seeds.parts
    assert table.heads[-2:] == ["seed 3", "seed 4"]
    accuracies = [100 * max(t.measured["accuracy_mean"] for t in each.evaluated) for each in found]
    best = {row[0]: [cell.value for cell in row[1:]] for row in table.rows}
    assert best["best accuracy [%]"] == pytest.approx(
        [sum(accuracies) / 2, abs(accuracies[0] - accuracies[1]) / 2**0.5, *accuracies]
    )
    shares = best["hypervolume, % of the joint front's"][2:]
    assert all(0 < share <= 100 for share in shares)
    assert max(shares) < 100 or min(shares) < 100
    other = dataclasses.replace(found[1], identity=found[1].identity | {"objectives": ["accuracy_mean"]})
    assert len(comparison_chapter([found[0], other]).sections) == 2, "they differ in more than the seed"


def test_a_comparison_shows_a_dash_for_a_study_that_does_not_know_an_objective(tmp_path):
    objectives = ["accuracy_mean", "energy_own_data_j"]
    new, earlier = (read_findings(study) for study in two_studies(tmp_path))
    new = dataclasses.replace(new, pareto=dataclasses.replace(new.pareto, objectives=objectives))
    known = ({name: t.measured[name] for name in t.measured if name != objectives[1]} for t in earlier.evaluated)
    without = tuple(dataclasses.replace(t, measured=m) for t, m in zip(earlier.evaluated, known, strict=True))
    table = (
        comparison_chapter([new, dataclasses.replace(earlier, evaluated=without, front=without)]).sections[0].parts[-1]
    )
    assert table.rows[0][3].value > 0
    name, designs, own_front, *compared = table.rows[1]
    assert (name, designs.value, own_front.value) == ("two", 6, 6)
    assert compared[0] == compared[2] == "-"
    assert compared[1].startswith(METRICS["accuracy_mean"].show(max(t.measured["accuracy_mean"] for t in without)))


@pytest.mark.slow
def test_two_studies_share_a_folder_and_a_page_that_compares_them(tmp_path):
    studies = two_studies(tmp_path)
    pages = [write_report(each, tmp_path) for each in studies]
    assert pages[0] != pages[1]
    assert all(path.is_file() for path in pages)
    with chromium_page() as page:
        page.open(write_comparison(studies, tmp_path).as_uri(), DRAWN)
        text = page.run("document.body.innerText")
        assert page.problems == []
    for name in ("one", "two"):
        assert f"Where {name} comes from" in text


@pytest.mark.slow
def test_a_report_of_1000_trials_opens_without_errors_and_stays_small(tmp_path):
    study, _ = made_up_study(tmp_path, trials=1000, in_memory=True)
    path = write_report(study, tmp_path)
    assert path.stat().st_size < 8e6
    with chromium_page() as page:
        page.open(path.as_uri(), DRAWN)
        assert page.run("document.querySelectorAll('table.sortable tbody tr').length") == 1000
        assert page.run("document.querySelector('#plot-importance') !== null")
        assert page.problems == []


@pytest.mark.parametrize(("trials", "objectives", "plots"), ODD.values(), ids=ODD)
def test_small_and_odd_studies_have_a_report_too(tmp_path, trials, objectives, plots):
    chapter = study_chapter(read_findings(made_up_study(tmp_path, trials, in_memory=True, objectives=objectives)[0]))
    assert len(chapter.plots()) == plots
    assert chapter.summary.startswith("No design has been evaluated yet") == (trials == 0)


@pytest.mark.slow
def test_small_and_odd_reports_open_without_errors(tmp_path):
    with chromium_page() as page:
        for name, (trials, objectives, plots) in ODD.items():
            folder = tmp_path / name
            folder.mkdir()
            path = write_report(made_up_study(folder, trials, objectives=objectives)[0], folder)
            page.open(path.as_uri(), f"location.href === '{path.as_uri()}' && {DRAWN}")
            assert page.run("document.querySelectorAll('.plot').length") == plots, name
        assert page.problems == []


def test_importance_finds_the_choice_that_decides(tmp_path):
    """Made-up accuracy falls with the bits of a cell and depends on nothing else but chance."""
    study, _ = made_up_study(tmp_path, trials=150, in_memory=True)
    shares = read_findings(study).importance
    assert set(shares) == {"accuracy_mean", "tops_per_watt"}
    for each in shares.values():
        assert sum(each.values()) == pytest.approx(1)
    assert next(iter(shares["accuracy_mean"])) == "cell_bits"


def test_what_people_wrote_cannot_become_markup(findings):
    evil = "</script><img src=x onerror=alert(1)>"
    trial = findings.front[0]
    device = dataclasses.replace(trial.design.accelerator.device, name=evil)
    chip = dataclasses.replace(trial.design.accelerator, device=device)
    trial = dataclasses.replace(trial, design=dataclasses.replace(trial.design, accelerator=chip))
    changed = dataclasses.replace(findings, name=evil, question=evil, evaluated=(trial,), front=(trial,))
    page = report_page([changed])
    assert evil not in page
    assert "<img" not in page
    assert page.count(escape(evil)) > 3


def test_the_csv_holds_every_trial_with_units_in_its_columns(report, findings):
    with (report.parent / "made-up-trials.csv").open(newline="", encoding="utf-8") as file:
        rows = {int(row["trial"]): row for row in csv.DictReader(file)}
    assert set(rows) == {trial.number for trial in findings.evaluated}
    for trial in findings.evaluated:
        row = rows[trial.number]
        assert row["on_front"] == str(int(trial in findings.front))
        assert row["device"] == trial.design.accelerator.device.name
        assert int(row["adc_bits"]) == trial.design.accelerator.adc_bits
        for name in METRICS:
            assert float(row[f"{name}_fraction" if METRICS[name].is_accuracy else name]) == trial.measured[name]
        assert float(row["accuracy_mean_low_fraction"]) == trial.validation.mean_low
        assert float(row["training_wall_s"]) == trial.phase_s["training"]


def test_parts_sum_to_the_totals(findings):
    for trial in findings.evaluated:
        for name in ("energy_j", "area_m2", "latency_s"):
            assert sum(component_parts(trial, name).values()) == pytest.approx(trial.measured[name], rel=1e-9)
            assert sum(layer_parts(trial, name).values()) == pytest.approx(trial.measured[name], rel=1e-9)


def test_an_early_database_knows_layers_areas_as_a_whole(findings):
    trial = findings.evaluated[0]
    layers = [{k: v for k, v in layer.items() if k != "area_by_component_m2"} for layer in trial.cost["layers"]]
    early = dataclasses.replace(trial, cost=trial.cost | {"layers": layers})
    assert layer_parts(early, "area_m2") == pytest.approx(layer_parts(trial, "area_m2"), rel=1e-9)


def test_bars_of_layers_and_components_add_up_to_the_totals(findings):
    trials = findings.front[:2]
    figure = layers_figure(trials, component_colours(findings.front, ["energy_j", "area_m2"]))
    for name, axis in (("energy_j", "x"), ("area_m2", "x2")):
        bars = [bar for bar in figure.data if bar.xaxis == axis]
        assert {"adc", "array"} <= {bar.name.lower() for bar in bars}
        drawn = sum(sum(bar.x) for bar in bars)
        assert drawn == pytest.approx(METRICS[name].scale * sum(t.measured[name] for t in trials), rel=1e-3)
        for trial in trials:
            by_component = Counter()
            for parts in layer_components(trial, name).values():
                by_component.update(parts)
            assert +by_component == pytest.approx(component_parts(trial, name), rel=1e-9)
    assert "shared" in figure.data[0].y[1]


def test_chosen_designs_are_looked_at_in_place_of_the_front(study, findings, tmp_path):
    behind = [trial.number for trial in findings.evaluated if trial not in findings.front][:2]
    page = write_report(study, tmp_path, behind).read_text()
    assert "What takes most among the chosen" in page
    assert "What takes most on the front" not in page
    chosen = read_findings(study, behind)
    plots = {plot.name: plot.figure for plot in study_chapter(chosen).plots()}
    shown = {label.split()[0] for bar in plots["parts-energy_j"].data for label in bar.y}
    assert shown == {mark(trial).split()[0] for trial in chosen.chosen}
    with pytest.raises(ValueError, match="trial 999 has not been evaluated"):
        read_findings(study, [999])


def test_measurements_at_other_errors_make_one_curve_a_design(findings):
    report = dataclasses.asdict(findings.front[0].validation)

    def entry(scale: float, mean: float, chips: int = 8, **other: object) -> dict:
        settings = {"sigma_scale": scale, "chips": chips, "drift_time_s": None, "epochs": None} | other
        changed = report | {"mean": mean, "mean_low": mean - 0.01, "mean_high": mean + 0.02}
        return {"settings": settings, "validation": changed, "test": changed}

    entries = (entry(2.0, 0.7), entry(0.5, 0.9, chips=20), entry(1.0, 0.8), entry(2.0, 0.6), entry(1.0, 0.1, epochs=3))
    trial = dataclasses.replace(findings.front[0], remeasured=entries)
    (curve,) = sigma_figure([trial], device_styles([trial.device])).data
    assert list(curve.x) == [0.5, 1.0, 2.0]
    assert list(curve.y) == [90, 80, 60], "the newest of each, of equal settings"
    assert list(curve.error_y.array) == pytest.approx([2, 2, 2])
    assert list(curve.error_y.arrayminus) == pytest.approx([1, 1, 1])


def test_bars_of_a_breakdown_fill_the_scale(findings):
    colours = component_colours(findings.front, ["energy_j", "area_m2"])
    for name in ("energy_j", "area_m2"):
        bars = breakdown_figure(findings.front, name, colours).data
        for i in range(len(findings.front)):
            assert sum(bar.x[i] for bar in bars) == pytest.approx(100, abs=0.01)
        assert {bar.name: bar.marker.color for bar in bars if bar.name == "drivers"} == {"drivers": colours["drivers"]}


def test_the_front_carries_its_intervals_and_the_others_are_faint(findings):
    styles = device_styles(findings.identity["devices"])
    figure = front_figure(findings.evaluated, findings.front, styles, "tops_per_watt", "accuracy_mean", joined=True)
    seen = 0
    for trace in figure.data:
        of_designs = trace.mode == "markers" and not trace.name.startswith("silicon")
        for i, y in enumerate(trace.y if of_designs else ()):
            trial = min(findings.evaluated, key=lambda trial: abs(100 * trial.measured["accuracy_mean"] - y))
            seen += 1
            assert trace.marker.symbol == styles[trial.device].symbol
            assert (trace.marker.opacity == 1) == (trial in findings.front)
            if trial in findings.front:
                assert y + trace.error_y.array[i] == pytest.approx(100 * trial.validation.mean_high, abs=1e-3)
                assert y - trace.error_y.arrayminus[i] == pytest.approx(100 * trial.validation.mean_low, abs=1e-3)
    assert seen == len(findings.evaluated)


def test_the_view_leaves_out_only_what_is_far_worse_than_the_front_and_counts_it(findings):
    worse = dataclasses.replace(findings.evaluated[0], measured=findings.evaluated[0].measured | {"accuracy_mean": 0.1})
    trials, front = [*findings.evaluated, worse], findings.front[:2]
    styles = device_styles(findings.identity["devices"])
    figure = front_figure(trials, front, styles, "tops_per_watt", "accuracy_mean", joined=True)
    low, high = figure.layout.yaxis.range
    assert all(low < 100 * trial.validation.mean_low for trial in front)
    assert all(100 * trial.validation.mean_high < high for trial in front)
    hidden = sum(100 * trial.measured["accuracy_mean"] < low for trial in trials)
    assert 0 < hidden <= len(trials) / 4
    assert figure.layout.annotations[0].text.startswith(f"{hidden} more outside this view")


def test_axes_carry_units(findings):
    styles = device_styles(findings.identity["devices"])
    figure = front_figure(findings.evaluated, findings.front, styles, "energy_j", "accuracy_mean", joined=True)
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("energy [nJ]", "accuracy [%]")
    assert METRICS["tops_per_watt"].title == "TOPS/W"


def test_every_device_has_a_mark_of_its_own():
    assert len(set(device_styles(f"device {i}" for i in range(64)).values())) == 64
    assert len(set(device_styles(["mine", "rram", "yours", "fefet"]).values())) == 4


def test_a_new_card_changes_no_other_cards_style(tmp_path, monkeypatch):
    shipped = hw_models.devices.shipped_card_names()
    before = {name: device_styles([name])[name] for name in shipped}
    for name in shipped:
        (tmp_path / f"{name}.yaml").touch()
    (tmp_path / "aaa.yaml").touch()  # first in the alphabet
    monkeypatch.setattr(hw_models.devices, "CARD_FOLDER", tmp_path)
    together = device_styles(["aaa", *reversed(shipped), "mine"])
    assert {name: together[name] for name in shipped} == before
    assert len(set(together.values())) == len(shipped) + 2


def test_shipped_cards_keep_their_colours_for_ever():
    colours = {"fefet": "#0072B2", "pcm": "#D55E00", "rram": "#009E73", "sram": "#E69F00", "stt_mram": "#56B4E9"}
    styles = device_styles(["mine", *colours])
    assert {name: styles[name].colour for name in colours} == colours


@pytest.mark.parametrize(
    ("x", "shape"),
    [
        pytest.param("tops_per_watt", "vh", id="more is better: the edge falls before it goes right"),
        pytest.param("energy_j", "hv", id="less is better: the edge goes right before it rises"),
    ],
)
def test_the_staircase_keeps_to_the_side_that_the_front_dominates(findings, x, shape):
    styles = device_styles(findings.identity["devices"])
    figure = front_figure(findings.evaluated, findings.front, styles, x, "accuracy_mean", joined=True)
    assert figure.data[0].line.shape == shape


def design_like(trial: Evaluated, number: int, mean: float, noiseless: float, device: str | None = None) -> Evaluated:
    """A copy with other accuracies, perhaps on another device."""
    chip = trial.design.accelerator
    chip = dataclasses.replace(chip, device=dataclasses.replace(chip.device, name=device or chip.device.name))
    return dataclasses.replace(
        trial,
        number=number,
        measured=trial.measured | {"accuracy_mean": mean, "accuracy_noiseless": noiseless},
        validation=dataclasses.replace(
            trial.validation, mean=mean, noiseless=noiseless, mean_low=mean - 0.001, mean_high=mean + 0.001
        ),
        design=dataclasses.replace(trial.design, accelerator=chip),
    )


def test_rank_1_is_the_most_accurate_design_and_stands_on_top(findings):
    trials = [design_like(findings.evaluated[0], i, mean=0.9 - 0.1 * i, noiseless=0.92 + 0.01 * i) for i in range(3)]
    figure = rank_figure(trials, device_styles([trials[0].device]))
    ranks = {line.hovertext[0].split("</b>")[0]: tuple(line.y) for line in figure.data}
    assert ranks == {"<b>trial 0": (3, 1), "<b>trial 1": (2, 2), "<b>trial 2": (1, 3)}
    assert figure.layout.yaxis.autorange == "reversed"
    many = [design_like(trials[0], i, mean=0.9 - 0.01 * i, noiseless=0.5 + 0.01 * i) for i in range(40)]
    low, high = rank_figure(many, device_styles([trials[0].device])).layout.yaxis.range
    assert low > high, "the axis of many ranks is logarithmic, and upside down too"


def test_the_mark_of_no_device_errors_stands_at_the_accuracy_without_them(findings):
    trials = [design_like(findings.evaluated[0], i, mean=0.6, noiseless=0.7 + 0.1 * i) for i in range(3)]
    (marks,) = [t for t in chips_figure(trials, device_styles([trials[0].device])).data if t.name == "no device errors"]
    assert list(marks.y) == [70, 80, 90]
    assert list(marks.x) == [mark(trial) for trial in trials]


def test_the_loss_to_device_errors_is_that_of_the_median_design(findings):
    losses = [0.09, 0.01, 0.03, 0.02, 0.05]  # the middle one of these is 3 points
    trials = [design_like(findings.front[0], i, 0.8, 0.8 + loss, device="mine") for i, loss in enumerate(losses)]
    table = devices_section(dataclasses.replace(findings, evaluated=tuple(trials), front=tuple(trials))).parts[0]
    (row,) = table.rows
    assert row[table.heads.index("lost to device errors [points]")].text == "3.0"


def test_more_is_higher_up_in_parallel_coordinates(findings):
    names = ("accuracy_mean", "tops_per_watt")
    styles = device_styles(findings.devices)
    figure = parallel_figure(findings.evaluated, findings.evaluated, styles, names)
    low, high = figure.layout.yaxis.range
    assert low < high
    titles = list(figure.layout.xaxis.ticktext)
    heights = {}  # trial -> title of the axis -> height
    for trace in figure.data:
        for x, y, text in zip(trace.x, trace.y, trace.hovertext, strict=True):
            if x is not None:
                heights.setdefault(int(re.match(r"<b>trial (\d+)", text)[1]), {})[titles[int(x)]] = y
    labels = {}  # title of the axis -> height -> label
    for label in figure.layout.annotations:
        labels.setdefault(titles[int(label.x)], {})[label.y] = label.text
    for name in names:
        values = [trial.measured[name] for trial in findings.evaluated]
        assert labels[METRICS[name].title] == {0: METRICS[name].show(min(values)), 1: METRICS[name].show(max(values))}
        for trial in findings.evaluated:
            expected = (trial.measured[name] - min(values)) / (max(values) - min(values))
            assert heights[trial.number][METRICS[name].title] == pytest.approx(expected, abs=0.011)
    assert labels["crossbar size"] == {0: "32", 0.5: "64", 1: "128"}
    for trial in findings.evaluated:
        nearest = min(labels["crossbar size"], key=lambda y: abs(y - heights[trial.number]["crossbar size"]))
        assert labels["crossbar size"][nearest] == str(trial.design.accelerator.crossbar_size)
