"""The section on what device errors do to accuracy."""

from pipeline.report.content import Plot, Section
from pipeline.report.evaluated import best_by
from pipeline.report.figures.noise import noise_figure
from pipeline.report.figures.ranks import rank_figure
from pipeline.report.figures.sigma import sigma_figure
from pipeline.report.figures.style import device_styles
from pipeline.report.findings import Findings


def noise_section(findings: Findings) -> Section:
    """Accuracy with device errors against accuracy without: values, ranks, and at other programming errors."""
    styles, dataset = device_styles(findings.devices), findings.identity["dataset"]["name"]
    parts = [Plot("noise", noise_figure(findings.evaluated, findings.front, styles, dataset))]
    if len(findings.evaluated) > 1:
        title = "Ranks by accuracy: without device errors on the left, with them on the right"
        parts += [Plot("ranks", rank_figure(findings.evaluated, styles), title)]
    if trials := [trial for trial in findings.evaluated if len(trial.over_sigma()) > 1]:
        title = "Designs measured again with other programming errors"
        parts += [Plot("sigma", sigma_figure(trials, styles), title)]
    note = (
        "The further a mark lies below the line, the more accuracy its device errors cost. Converters and bit widths "
        "count on both axes."
    )
    return Section(_heading(findings), note, parts)


def _heading(findings: Findings) -> str:
    without, with_errors = (best_by(findings.evaluated, name) for name in ("accuracy_noiseless", "accuracy_mean"))
    if without.number == with_errors.number:
        return f"Trial {with_errors.number} is the most accurate, with device errors and without"
    level = without.measured["accuracy_mean"]
    rank = 1 + sum(trial.measured["accuracy_mean"] > level for trial in findings.evaluated)
    tied = without.validation.mean_high >= with_errors.validation.mean_low
    return (
        f"Without device errors trial {without.number} ({without.device}) is the most accurate. With them it is number "
        f"{rank}, and trial {with_errors.number} ({with_errors.device}) leads"
        f"{', but their 95 % intervals overlap' if tied else ''}"
    )
