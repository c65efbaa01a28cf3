"""What a study found as files: one HTML page that opens anywhere, offline, and tables as CSV and JSON. No torch."""

import csv
import io
import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import optuna
import plotly.graph_objects as go
import plotly.io
from plotly.offline import get_plotlyjs

from pipeline.design.describe import design_columns
from pipeline.design.metrics import METRICS
from pipeline.design.results import TEST_ACCURACIES
from pipeline.files import write_whole
from pipeline.report import silicon
from pipeline.report.comparison import comparison_chapter
from pipeline.report.content import Chapter
from pipeline.report.evaluated import Evaluated
from pipeline.report.findings import Findings, read_findings
from pipeline.report.provenance import definitions_section, provenance_section
from pipeline.report.sections import study_chapter

_MARKDOWN = re.compile(r"[!#$&()*+.:<=>@\[\\\]^_`{|}~-]")  # characters that Markdown may take for markup
_ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=@)", re.IGNORECASE)  # where an address becomes a link by itself
_WORD_JOINER = "\u2060"  # takes no room, and ends an address
TEMPLATES = jinja2.Environment(  # of the page and of the dashboard's notes
    loader=jinja2.PackageLoader("pipeline.report"),
    autoescape=jinja2.select_autoescape(),  # of HTML, not of Markdown
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters["plain"] = lambda text: _plain(str(text))
TEMPLATES.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
_PICTURE_WIDTH = 900  # pixels


def write_report(study: optuna.Study, folder: Path, chosen: Sequence[int] = ()) -> Path:
    """Write `NAME-report.html`, `NAME-trials.csv` and `NAME-trials.json` from the database; the page's path.

    A report of chosen designs is called `NAME-report-of-3-5.html`. Nothing is measured again.

    Args:
        study: Study with any number of measured trials, none included.
        folder: Folder to write into; made if missing.
        chosen: Numbers of trials to show by component and layer; empty: the front.

    Raises:
        ValueError: If a chosen trial has not been evaluated.
    """
    findings = read_findings(study, chosen)
    _write_trials_csv(findings, folder / f"{findings.name}-trials.csv")
    _write_trials_json(findings, folder / f"{findings.name}-trials.json")
    path = folder / f"{findings.name}-report{_of_chosen(findings)}.html"
    write_whole(path, report_page([findings]))
    return path


def write_pictures(study: optuna.Study, folder: Path, chosen: Sequence[int] = ()) -> list[Path]:
    """Write each figure of the report as `NAME-FIGURE.png`, twice 900 pixels wide; arguments as in `write_report`.

    Raises:
        ValueError: If kaleido, or the Chromium or Chrome that it draws with, is not there.
    """
    findings = read_findings(study, chosen)
    plots = study_chapter(findings).plots()
    paths = [folder / f"{findings.name}-{plot.name}{_of_chosen(findings)}.png" for plot in plots]
    try:
        plotly.io.write_images([plot.figure for plot in plots], paths, width=_PICTURE_WIDTH, scale=2)
    except (ImportError, ValueError) as error:  # plotly's ValueError: kaleido is not installed
        raise ValueError("--png needs the package kaleido; install it with: pip install 'nacim[png]'") from error
    except RuntimeError as error:
        raise ValueError(f"--png needs Chromium or Chrome on this machine: {error}".splitlines()[0]) from error
    return paths


def write_comparison(studies: Sequence[optuna.Study], folder: Path) -> Path:
    """Write one page about several studies, `NAME-NAME-report.html`; arguments and result as in `write_report`."""
    findings = [read_findings(study) for study in studies]
    path = folder / f"{'-'.join(each.name for each in findings)}-report.html"
    write_whole(path, report_page(findings))
    return path


def report_page(studies: Sequence[Findings]) -> str:
    """The whole page, plotly included; several studies are compared first. Equal hover texts are stored once."""
    chapters = [comparison_chapter(studies)] if len(studies) > 1 else []
    chapters += map(study_chapter, studies)
    chapters += [Chapter([definitions_section(studies), *map(provenance_section, studies)])]
    title = f"nacim: {', '.join(findings.name for findings in studies)}"
    texts: dict[str, int] = {}
    page, for_plotly = TEMPLATES.get_template("report.html"), partial(_for_plotly, texts=texts)
    return page.render(title=title, chapters=chapters, for_plotly=for_plotly, hover_texts=texts, plotly=get_plotlyjs())


def _plain(text: str) -> str:
    """A text on one line of Markdown that shows it as it is: no markup, no link, no picture."""
    return _MARKDOWN.sub(r"\\\g<0>", _ADDRESS.sub(_WORD_JOINER, " ".join(text.split())))


def _for_plotly(figure: go.Figure, texts: dict[str, int]) -> Any:
    """A figure's data for plotly.js; each hover text becomes its index in `texts`, which grows."""
    plain = json.loads(figure.to_json())
    for trace in plain["data"]:
        if "hovertext" in trace:
            trace["hovertext"] = [texts.setdefault(text, len(texts)) for text in trace["hovertext"]]
    return plain


def _of_chosen(findings: Findings) -> str:
    """Suffix of the file names of a report on chosen designs."""
    return f"-of-{'-'.join(str(trial.number) for trial in findings.chosen)}" if findings.chosen else ""


def _write_trials_csv(findings: Findings, path: Path) -> None:
    """All measured trials: SI values with the unit in the column's name, accuracies as fractions; then the design."""
    rows = [_csv_row(trial, trial in findings.front) for trial in findings.evaluated]
    columns = dict.fromkeys(name for row in rows for name in row) or {"trial": None}
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(columns), restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())


def _write_trials_json(findings: Findings, path: Path) -> None:
    """Everything the report shows, for programs: question, objectives, identity and all measured trials.

    Trials have the columns of the CSV, their design, cost by component and layer, and accuracy chip by chip.
    """
    trials = [
        _csv_row(trial, trial in findings.front)
        | {"design": trial.design.to_dict(), "cost": trial.cost}
        | {"silicon": trial.silicon.to_dict() if trial.silicon else None}
        | {"validation": trial.validation.to_dict(), "test": trial.test.to_dict(), "versions": dict(trial.versions)}
        for trial in findings.evaluated
    ]
    content = {
        "study": findings.name,
        "question": findings.question,
        "objectives": list(findings.pareto.objectives),
        "counts": findings.pareto.counts,
        "front": [trial.number for trial in findings.front],
        "importance": findings.importance,
        "identity": findings.identity,
        "trials": trials,
    }
    write_whole(path, json.dumps(content))


def _csv_row(trial: Evaluated, on_front: bool) -> dict[str, Any]:
    fractions = {*TEST_ACCURACIES, *(name for name, metric in METRICS.items() if metric.is_accuracy)}
    values = {name: trial.measured.get(name) for name in (*METRICS, *TEST_ACCURACIES)}
    intervals = {
        f"{split}accuracy_mean_{side}_fraction": mean
        for split, report in (("", trial.validation), ("test_", trial.test))
        for side, mean in (("low", report.mean_low), ("high", report.mean_high))
    }
    return (
        {"trial": trial.number, "on_front": int(on_front)}
        | {f"{name}_fraction" if name in fractions else name: value for name, value in values.items()}
        | silicon.columns(trial)
        | intervals
        | _good_chips(trial)
        | {"chips": len(trial.validation.per_chip)}
        | {f"{phase}_wall_s": seconds for phase, seconds in trial.phase_s.items()}
        | design_columns(trial.design)
    )


def _good_chips(trial: Evaluated) -> dict[str, Any]:
    """Share of the chips that reach the study's `required_accuracy`; nothing if it names none."""
    if trial.validation.required is None:
        return {}
    return {
        "required_accuracy_fraction": trial.validation.required,
        "good_chips_fraction": trial.validation.fraction_good,
        "test_good_chips_fraction": trial.test.fraction_good,
    }
