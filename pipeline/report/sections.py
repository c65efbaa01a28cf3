"""The list of a report's sections. A new figure is a file in `figures` and a line in its section."""

from collections.abc import Callable

from pipeline.design.metrics import METRICS
from pipeline.report.content import Chapter, Section, count_of
from pipeline.report.evaluated import best_by
from pipeline.report.findings import Findings
from pipeline.report.section_designs import chips_section, cost_section
from pipeline.report.section_devices import devices_section
from pipeline.report.section_front import front_section
from pipeline.report.section_noise import noise_section
from pipeline.report.section_search import common_section, importance_section, progress_section

SECTIONS: tuple[Callable[[Findings], Section | None], ...] = (  # None: nothing to say
    front_section,
    devices_section,
    cost_section,
    chips_section,
    noise_section,
    importance_section,
    common_section,
    progress_section,
)


def study_chapter(findings: Findings) -> Chapter:
    """What was found in a study; a summary alone if no design has been evaluated."""
    sections = [section(findings) for section in SECTIONS] if findings.evaluated else []
    return Chapter(
        title=findings.name,
        question=findings.question,
        summary=_summary(findings),
        sections=[section for section in sections if section],
    )


def _summary(findings: Findings) -> str:
    counts = findings.pareto.counts
    others = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count and kind != "evaluated")
    text = f"{count_of(counts['evaluated'], 'design')} evaluated{f' ({others})' if others else ''}"
    if not findings.evaluated:
        return f"No design has been evaluated yet: {text}."
    best = ", ".join(_best(findings, name) for name in findings.pareto.objectives)
    return f"{text}, {len(findings.front)} on the Pareto front. {best[0].upper()}{best[1:]}."


def _best(findings: Findings, name: str) -> str:
    best, metric = best_by(findings.evaluated, name), METRICS[name]
    unit = "" if metric.unit == metric.label else f" {metric.unit}"
    at = "" if metric.is_accuracy else f", at {best.show('accuracy_mean')} % accuracy"
    return f"best {metric.label} {best.show(name)}{unit} (trial {best.number}, {best.device}{at})"
