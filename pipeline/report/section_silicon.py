"""The section on what silicon would reach: which designs are told apart, and which are tied."""

from collections.abc import Sequence

from hw_models.silicon.estimate import ALL, WITHIN_CHIP, Bars
from pipeline.report import silicon
from pipeline.report.content import Cell, Number, Plot, Section, Table, count_of
from pipeline.report.evaluated import Evaluated
from pipeline.report.figures.silicon import told_apart_figure
from pipeline.report.findings import Findings

_MOST = 40  # most designs of the figure; the table has all


def silicon_sections(findings: Findings) -> list[Section]:
    """What silicon would reach with the front, or with the chosen designs; none if no design has an estimate."""
    shown = [trial for trial in findings.chosen or findings.front if trial.silicon]
    designs = sorted(shown, key=lambda trial: -silicon.cell(trial).value)
    if not designs:
        return []
    plot = Plot("told-apart", told_apart_figure(designs[:_MOST], findings.styles))
    return [Section(_heading(findings, designs), _note(designs), [plot, _table(designs)])]


def _heading(findings: Findings, designs: Sequence[Evaluated]) -> str:
    where = "of the chosen designs" if findings.chosen else "on the front"
    pairs, apart, reverse = silicon.pairs_told_apart(designs)
    if not pairs:
        return f"Silicon would reach about {silicon.cell(designs[0]).text} TOPS/W with trial {designs[0].number}"
    if not apart:
        tied = "the one pair" if pairs == 1 else f"all {pairs} pairs"
        return f"By TOPS/W, {tied} {where} {'is' if pairs == 1 else 'are'} tied: silicon could reverse the order"
    found = f"By TOPS/W, silicon tells {apart} of {count_of(pairs, 'pair')} {where} apart; the others are tied"
    return f"{found}. It orders {reverse} of the {apart} the other way than the cost model" if reverse else found


def _note(designs: Sequence[Evaluated]) -> str:
    ratio = Bars.of(WITHIN_CHIP, ALL).factor(80)
    return (
        "Estimates come from measured chips, not from the cost model (crosses). Thin bars: 80 of 100 chips are "
        f"expected inside ({silicon.sources(designs)}). Most of that error is common to a family. So two designs of "
        f"one family are told apart if they differ by more than {ratio:.2g}x, as 80 % of the figures of one chip do; "
        "where thick bars overlap, they are tied. Designs of two families are tied unless they differ by more than "
        "both thin bars together allow. "
        f"{silicon.OUTSIDE}: no measured chip of the family is like it, so the bar may be too narrow."
    )


def _table(designs: Sequence[Evaluated]) -> Table:
    rows: list[list[Cell]] = []
    for trial in designs:
        assert trial.silicon is not None
        tied = sorted(other.number for other in silicon.tied_with(trial, designs))
        rows.append(
            [
                Number(str(trial.number), trial.number),
                trial.device,
                trial.silicon.family,
                silicon.cell(trial),
                Number(trial.show("tops_per_watt"), trial.measured["tops_per_watt"]),
                ", ".join(map(str, tied)) or "none",
                "; ".join(trial.silicon.reasons),
            ]
        )
    heads = ["trial", "device", "family", silicon.HEAD, "TOPS/W, cost model", "tied with", "beyond measured chips"]
    return Table(heads, rows, folded_under="Which designs are tied, and what is beyond measured chips")


def silicon_note(findings: Findings) -> str:
    """How far the figures of the front may be from silicon; empty if no design has an estimate."""
    if not any(trial.silicon for trial in findings.front):
        return "How far silicon is from it is not known for these designs (docs/silicon.md)."
    beyond = sum(bool(trial.silicon and trial.silicon.reasons) for trial in findings.front)
    told = f" {beyond} of the designs on the front lie beyond measured chips." if beyond else ""
    return (
        "Costs are NeuroSim's, not those of chips. Grey bars: the TOPS/W that silicon would reach, in which 80 of 100 "
        f"chips are expected ({silicon.sources(findings.front)}).{told}"
    )
