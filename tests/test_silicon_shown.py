"""What silicon would reach stands where people decide: front, report, tables, dashboard; ties; calibration."""

import csv
import dataclasses
import json
import math

import fake_evaluation
import pytest
import yaml
from made_up import made_up_study
from rich.console import Console
from test_cost_command import DESIGN
from test_runner import StopAfter

from hw_models.silicon import Macro, silicon_estimate, told_apart
from hw_models.silicon.formulas import conversion_energy_j
from hw_models.silicon.tables import bars
from pipeline.cli.outcome import front_table
from pipeline.database.open_study import open_study
from pipeline.database.trials import pareto_report
from pipeline.design.results import stored_silicon
from pipeline.report import silicon
from pipeline.report.dashboard_notes import _trial_note
from pipeline.report.figures.front import front_figure
from pipeline.report.figures.silicon import told_apart_figure
from pipeline.report.figures.style import device_styles, hover_text
from pipeline.report.findings import read_findings
from pipeline.report.page import report_page, write_report
from pipeline.report.section_silicon import silicon_sections
from pipeline.run.runner import Runner
from pipeline.study.calibrate_spec import CalibrateSpec, load_calibration
from pipeline.study.study_file import load_study

MACRO = {"family": "conducting", "node_nm": 22, "supply_v": 0.8, "inputs": 64, "input_bits": 1, "weight_bits": 2}
MACRO |= {"adc_bits": 5, "use_s": 1e-8}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return made_up_study(tmp_path_factory.mktemp("study"), trials=24, in_memory=True)[0]


@pytest.fixture(scope="module")
def findings(study):
    return read_findings(study)


def of_family(trial, family: str, times: float = 1.0):
    """The same design with another estimate."""
    found = trial.silicon.tops_per_watt
    figure = dataclasses.replace(found, value=times * found.value)
    return dataclasses.replace(
        trial, silicon=dataclasses.replace(trial.silicon, family=family, tops_per_watt=figure, reasons=())
    )


def test_designs_of_one_family_are_told_apart_by_the_bar_between_designs_and_others_by_both_wide_bars(findings):
    trial = next(trial for trial in findings.evaluated if trial.silicon.family == "conducting")
    narrow, wide = (trial.silicon.between_designs.factor(80), trial.silicon.tops_per_watt.bars.factor(80))
    both = math.exp(math.hypot(math.log(wide), math.log(wide)))
    assert narrow < wide < both
    for family, limit in (("conducting", narrow), ("divider", both)):
        for times, apart in ((0.99 * limit, False), (1.01 * limit, True), (1 / 1.01 / limit, True)):
            other = of_family(trial, family, times)
            assert told_apart(trial.silicon, other.silicon) == told_apart(other.silicon, trial.silicon) == apart


def test_the_report_says_which_designs_are_tied(findings):
    base = findings.front[0]
    numbered = [
        dataclasses.replace(of_family(base, "conducting", times), number=number)
        for number, times in ((1, 1.0), (2, 1.5), (3, 100.0))
    ]
    (section,) = silicon_sections(dataclasses.replace(findings, front=tuple(numbered)))
    assert section.heading.startswith("By TOPS/W, silicon tells 2 of 3 pairs on the front apart")
    table = section.parts[1]
    assert {row[0].text: row[5] for row in table.rows} == {"1": "2", "2": "1", "3": "none"}
    assert "19 conducting chips" in section.note
    (alone,) = silicon_sections(dataclasses.replace(findings, front=tuple(numbered[:2])))
    assert alone.heading.startswith("By TOPS/W, the one pair on the front is tied")
    (one,) = silicon_sections(dataclasses.replace(findings, front=tuple(numbered[:1])))
    assert one.heading.startswith("Silicon would reach about ")


def test_pairs_that_silicon_orders_the_other_way_are_counted(findings):
    base = findings.front[0]
    slow, fast = of_family(base, "conducting", 1.0), of_family(base, "conducting", 100.0)
    fast = dataclasses.replace(fast, measured={**fast.measured, "tops_per_watt": base.measured["tops_per_watt"] / 2})
    assert silicon.pairs_told_apart([slow, fast]) == (1, 1, 1)


def test_bars_on_the_front_and_in_the_view_are_those_of_the_estimate(findings):
    figure = front_figure(
        findings.evaluated, findings.front, device_styles(findings.devices), "tops_per_watt", "accuracy_mean", True
    )
    (drawn,) = (trace for trace in figure.data if trace.name == "silicon, 80 % of chips")
    assert figure.layout.xaxis.type == "log"
    for i, trial in enumerate(findings.front):
        reached = trial.silicon.tops_per_watt
        assert drawn.x[i] + drawn.error_x.array[i] == pytest.approx(reached.high(80), rel=1e-5)
        assert drawn.x[i] - drawn.error_x.arrayminus[i] == pytest.approx(reached.low(80), rel=1e-4)
        assert drawn.y[i] == pytest.approx(100 * trial.measured["accuracy_mean"], rel=1e-5)
    other = front_figure(
        findings.evaluated, findings.front, device_styles(findings.devices), "energy_j", "accuracy_mean", True
    )
    assert not [trace for trace in other.data if trace.name == "silicon, 80 % of chips"]

    view = told_apart_figure(findings.front, device_styles(findings.devices))
    thick = [trace for trace in view.data if trace.error_x.thickness == 7]
    for trace in thick:  # where two bars just touch, the ratio is the bar between designs
        for middle, above in zip(trace.x, trace.error_x.array, strict=True):
            ratio = bars()["tops_per_watt_within_a_chip", "all"]["factor_80"]
            assert (middle + above) / middle == pytest.approx(math.sqrt(ratio), rel=1e-5)


def test_the_terminal_shows_the_estimate_beside_the_objectives_and_cuts_the_design_alone(study):
    found = pareto_report(study)
    console = Console(width=80)
    with console.capture() as capture:
        console.print(front_table(found.objectives, found.front, limit=4))
        console.print(front_table(found.objectives, found.front))
    text = capture.get()
    for trial in found.front[:4]:
        estimate = stored_silicon(trial.user_attrs)
        line = next(line for line in text.splitlines() if line.split()[:1] == [str(trial.number)])
        assert estimate.range in line
    assert "median" in text.splitlines()[-1] or "median" in text.splitlines()[-2]


def test_what_lies_beyond_measured_chips_is_marked_where_the_figure_stands(findings):
    base = findings.front[0]
    inside = of_family(base, "conducting")
    beyond = dataclasses.replace(inside, silicon=dataclasses.replace(inside.silicon, reasons=("node 3 nm: measured",)))
    assert silicon.cell(beyond).text == f"{silicon.cell(inside).text} *"
    assert "beyond measured chips" in silicon.footnote([beyond])
    assert "beyond measured chips" not in silicon.footnote([inside])
    assert "beyond measured chips" in hover_text(beyond)
    assert "node 3 nm" in _trial_note(findings, beyond)
    (section,) = silicon_sections(dataclasses.replace(findings, front=(beyond,)))
    assert section.parts[1].rows[0][6] == "node 3 nm: measured"


def test_csv_and_json_hold_the_estimate(study, findings, tmp_path):
    write_report(study, tmp_path)
    (table,) = tmp_path.glob("*-trials.csv")
    rows = {int(row["trial"]): row for row in csv.DictReader(table.read_text(encoding="utf-8").splitlines())}
    (plain,) = (json.loads(path.read_text()) for path in tmp_path.glob("*-trials.json"))
    for each in plain["trials"]:
        trial = next(trial for trial in findings.evaluated if trial.number == each["trial"])
        assert each["silicon"] == json.loads(json.dumps(trial.silicon.to_dict()))
        row, reached = rows[trial.number], trial.silicon.tops_per_watt
        ends = [float(row[f"tops_per_watt_silicon{end}"]) for end in ("_low", "", "_high")]
        assert ends == [reached.low(80), reached.value, reached.high(80)]
        assert (row["silicon_family"], int(row["silicon_chips"])) == (trial.silicon.family, reached.bars.chips)


def test_a_report_without_estimates_opens_too(findings):
    """Networks of functions in databases of earlier releases have none."""
    without = [dataclasses.replace(trial, silicon=None) for trial in findings.evaluated]
    front = tuple(trial for trial in without if trial.number in {each.number for each in findings.front})
    page = report_page([dataclasses.replace(findings, evaluated=tuple(without), front=front)])
    assert silicon.HEAD not in page
    assert "How far silicon is from it is not known" in page


def run(path, folder, trials: int):
    definition = load_study(path)
    opened = open_study(definition, f"sqlite:///{folder / 'study.db'}")
    Runner(definition, opened, folder, 1, StopAfter(0), fake_evaluation.evaluate_with_costs).run(trials)
    return opened


def test_the_estimate_is_an_objective_and_its_low_end_a_constraint(tiny, write_study, tmp_path):
    content = tiny | {"objectives": ["accuracy_mean", "tops_per_watt_silicon"]}
    path = write_study(content | {"constraints": ["tops_per_watt_silicon_low >= 0.02"]})
    found = pareto_report(run(path, tmp_path, 2))
    assert len(found.trials) == 2
    for trial in found.trials:
        estimate = stored_silicon(trial.user_attrs)
        assert trial.values[1] == trial.user_attrs["tops_per_watt_silicon"] == estimate.tops_per_watt.value
        assert estimate.tops_per_watt.low(80) >= 0.02
        assert trial.constraints["tops_per_watt_silicon_low >= 0.02"] == pytest.approx(
            1 - estimate.tops_per_watt.low(80) / 0.02
        )


def test_a_study_is_calibrated_by_a_macro_given_in_the_file_or_beside_it(tiny, write_study, tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(MACRO))
    inline = load_study(write_study(tiny | {"calibrate": {"design": MACRO, "tops_per_watt": 12}}, "a.yaml"))
    beside = load_study(write_study(tiny | {"calibrate": {"design": "mine.yaml", "tops_per_watt": 12}}, "b.yaml"))
    assert inline.spec.calibrated_by == beside.spec.calibrated_by == {Macro(**MACRO): 12.0}
    assert inline.identity()["calibrate"] == beside.identity()["calibrate"], "the identity holds values, not a path"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(MACRO | {"inputs": 128}))
    changed = load_study(tmp_path / "b.yaml")
    assert changed.identity() != beside.identity(), "another macro makes other values"


def test_a_calibrated_study_scales_its_family_and_has_the_narrow_bars(tiny, write_study, tmp_path):
    plain, scaled = tmp_path / "plain", tmp_path / "scaled"
    for folder in (plain, scaled):
        folder.mkdir()
    estimated = silicon_estimate(Macro(**MACRO)).tops_per_watt.value
    calibrate = {"design": MACRO, "tops_per_watt": 3 * estimated}
    before = run(write_study(tiny), plain, 4)
    after = run(write_study(tiny | {"calibrate": calibrate}), scaled, 4)
    pairs = zip(pareto_report(before).trials, pareto_report(after).trials, strict=True)
    families = set()
    for one, other in pairs:
        assert one.user_attrs["design"] == other.user_attrs["design"]
        wide, own = stored_silicon(one.user_attrs), stored_silicon(other.user_attrs)
        families.add(own.family)
        if own.family == "conducting":
            assert own.tops_per_watt.value == pytest.approx(3 * wide.tops_per_watt.value)
            assert own.tops_per_watt.bars == own.between_designs
            assert own.calibrated_by == 1
        else:
            assert own.tops_per_watt == wide.tops_per_watt
            assert own.reasons[-1].startswith("your measured macro is conducting, this design")
    assert "conducting" in families


def test_a_design_file_calibrates_at_its_own_bits(hardware, tmp_path):
    """4 cells a weight and 6 cycles are 24 conversions of 64 rows: the macro's energy is theirs."""
    path = tmp_path / "calibrate.yaml"
    path.write_text(yaml.safe_dump({"design": hardware.name, "tops_per_watt": 2.0}))
    ((macro, at_one_conversion),) = load_calibration(path).items()
    assert (macro.family, macro.inputs, macro.weight_bits, macro.input_bits) == ("conducting", 64, 2, 1)
    assert at_one_conversion == pytest.approx(2.0 * 4 * 6)


def test_nacim_cost_takes_a_calibration(tmp_path, nacim):
    design = tmp_path / "design.yaml"
    design.write_text(yaml.safe_dump(DESIGN))
    path = tmp_path / "calibrate.yaml"
    path.write_text(yaml.safe_dump({"design": MACRO, "tops_per_watt": 12.0}))
    command = ("cost", design, "--json")
    plain, scaled = (json.loads(nacim(*command, *more).stdout)["silicon"] for more in ((), ("--calibrate", path)))
    macro = Macro(**MACRO)
    factor = 12.0 * conversion_energy_j(macro) * 1e12 / macro.operations
    assert scaled["tops_per_watt"]["value"] == pytest.approx(factor * plain["tops_per_watt"]["value"])
    assert scaled["tops_per_watt"]["bars"] == scaled["between_designs"] != plain["tops_per_watt"]["bars"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param({"design": MACRO | {"node": 28}, "tops_per_watt": 1}, "unknown key 'node'.*node_nm", id="key"),
        pytest.param({"design": {"family": "charge"}, "tops_per_watt": 1}, "node_nm is missing; a macro", id="missing"),
        pytest.param({"design": MACRO | {"inputs": 0}, "tops_per_watt": 1}, "inputs must be 1 to 100000", id="range"),
        pytest.param({"design": MACRO, "tops_per_watt": -1}, "tops_per_watt: .*greater than 0", id="negative"),
        pytest.param({"design": MACRO}, "tops_per_watt: Field required", id="no figure"),
        pytest.param({"design": "nowhere.yaml", "tops_per_watt": 1}, "nowhere.yaml: no such calibration", id="file"),
        pytest.param([1, 2], "valid dictionary", id="a list"),
    ],
)
def test_a_wrong_calibration_is_one_sentence_that_names_it(content, message, tmp_path):
    path = tmp_path / "calibrate.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=message) as raised:
        load_calibration(path)
    assert str(raised.value).startswith(str(tmp_path))


def test_numbers_of_a_macro_stay_numbers():
    spec = CalibrateSpec.model_validate({"design": MACRO | {"is_processor": True}, "tops_per_watt": 1})
    assert spec.macro == Macro(**MACRO, is_processor=True)
    assert spec.macro.is_processor is True
    assert type(spec.macro.input_bits) in (int, float)
