"""The front as a table in the terminal."""

from collections.abc import Sequence

from optuna.trial import FrozenTrial
from rich import box
from rich.markup import escape
from rich.table import Table

from pipeline.design.describe import describe
from pipeline.design.metrics import METRICS
from pipeline.report.evaluated import Evaluated


def front_table(
    objectives: Sequence[str], front: Sequence[FrozenTrial], limit: int | None = None, title: str = "Pareto front"
) -> Table:
    """A table of trials: number, objectives with units, accuracy with its 95 % interval, and the design."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    shown = [Evaluated.from_trial(trial) for trial in front[:limit]]
    heads = ["trial", *(METRICS[name].title for name in objectives)]
    rows = [[str(trial.number), *(trial.show(name) for name in objectives)] for trial in shown]
    for head, *cells in zip(heads, *rows, strict=True):
        table.add_column(escape(head), justify="right", min_width=max(map(len, [head, *cells])))  # the design gives way
    table.add_column("design", overflow="ellipsis", no_wrap=limit is not None)
    for row, trial in zip(rows, shown, strict=True):
        table.add_row(*row, escape(describe(trial.design)))
    if limit is not None and len(front) > limit:
        table.add_row("", *[""] * len(objectives), f"and {len(front) - limit} more")
    return table
