"""What a finished run tells on a terminal: the fronts by TOPS/W and by energy, and a design for each purpose."""

from collections.abc import Sequence

from optuna.trial import FrozenTrial
from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from pipeline.design.describe import describe
from pipeline.design.metrics import METRICS
from pipeline.report import silicon
from pipeline.report.evaluated import Evaluated
from pipeline.report.purposes import NEAR, energy_front, energy_or_tops, picks

_BESIDE = ("energy_j", "area_m2", "latency_s")
_WIDE = 120  # assumed: columns from which there is room for the designs


def front_table(
    objectives: Sequence[str],
    front: Sequence[FrozenTrial],
    limit: int | None = None,
    title: str = "Pareto front",
    beside: Sequence[str] = (),
    with_design: bool = True,
) -> Table:
    """A table of trials: number, objectives and what is shown `beside` them, what silicon would reach, the design."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.expand = with_design  # so that the design alone is cut
    table.padding = (0, 1) if with_design else (0, 1, 0, 0)
    shown = [Evaluated.from_trial(trial) for trial in front[:limit]]
    silicon_head = [silicon.HEAD] if any(trial.silicon for trial in shown) else []
    names = list(dict.fromkeys([*objectives, *beside]))
    heads = ["trial", *(METRICS[name].title for name in names), *silicon_head]
    rows = []
    for trial in shown:
        estimate = [silicon.cell(trial).text] if silicon_head else []
        rows.append([str(trial.number), *(trial.show(name) for name in names), *estimate])
    for head, *cells in zip(heads, *rows, strict=True):
        widest = max(map(len, [*head.split(), *cells]))  # heads wrap
        table.add_column(escape(head), justify="right", min_width=widest, vertical="top")
    if with_design:
        table.add_column("design", overflow="ellipsis", no_wrap=limit is not None, ratio=1)
    for row, trial in zip(rows, shown, strict=True):
        table.add_row(*row, *([escape(describe(trial.design))] if with_design else []))
    if limit is not None and len(front) > limit:
        table.add_row("", *[""] * (len(heads) - 1), f"and {len(front) - limit} more")
    if silicon_head and limit is None:
        table.caption, table.caption_justify = silicon.footnote(shown), "left"
    return table


def outcome(
    objectives: Sequence[str], front: Sequence[FrozenTrial], counted: Sequence[FrozenTrial], width: int
) -> list[RenderableType]:
    """Tables and sentences, in order, for a terminal of `width` columns.

    `counted` are the evaluated trials above the accuracy floor.
    """
    has_room = width >= _WIDE
    parts: list[RenderableType] = [front_table(objectives, front, beside=_BESIDE, with_design=has_room)]
    designs = [Evaluated.from_trial(trial) for trial in counted]
    if len(designs) < 2:
        return parts
    if "tops_per_watt" in objectives and "energy_j" not in objectives:
        by_number = {trial.number: trial for trial in counted}
        best = [by_number[design.number] for design in energy_front(designs)]
        title = "Front by accuracy and energy"
        names, beside = ["accuracy_mean", "energy_j"], ("tops_per_watt", *_BESIDE)
        parts.append(front_table(names, best, title=title, beside=beside, with_design=has_room))
        parts.append(energy_or_tops(designs) + "\n")
    return [*parts, _purposes(designs)]


def _purposes(designs: Sequence[Evaluated]) -> Table:
    title = f"A design for each purpose, of those within {100 * NEAR:g} points of the best accuracy"
    heads = ("purpose", "trial", METRICS["accuracy_mean"].title, "why", "the next one", "how sure the order is")
    table = Table(*heads, title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for pick in picks(designs):
        accuracy = pick.design.show("accuracy_mean")
        cells = (pick.purpose, str(pick.design.number), accuracy, pick.reason, pick.against_next, pick.sureness)
        table.add_row(*map(escape, cells))
    return table
