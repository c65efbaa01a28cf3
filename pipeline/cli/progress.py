"""What a run shows: plain lines where there is no terminal, JSON lines for scripts, or nothing."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.database.trials import KINDS, kind_of, reason_of
from pipeline.design.describe import describe
from pipeline.design.design_point import DesignPoint
from pipeline.design.metrics import METRICS
from pipeline.design.pareto import hypervolume_history
from pipeline.design.results import stored_values
from pipeline.report import silicon
from pipeline.report.evaluated import Evaluated

_FIRST_ESTIMATE = 5  # assumed: trials before the first estimate; the first ones compile kernels


def quantity(name: str, value: float) -> str:
    """A measured value with its label and unit: `accuracy 97.5 %`, `28.2 TOPS/W`."""
    metric = METRICS[name]
    label = "" if metric.unit == metric.label else f"{metric.label} "
    return f"{label}{metric.show(value)} {metric.unit}"


def front_table(
    objectives: Sequence[str], front: Sequence[FrozenTrial], limit: int | None = None, title: str = "Pareto front"
) -> Table:
    """A table of trials: number, objectives with units and intervals, what silicon would reach, and the design."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.expand = True  # so that the design alone is cut
    shown = [Evaluated.from_trial(trial) for trial in front[:limit]]
    silicon_head = [silicon.HEAD] if any(trial.silicon for trial in shown) else []
    heads = ["trial", *(METRICS[name].title for name in objectives), *silicon_head]
    rows = []
    for trial in shown:
        estimate = [silicon.cell(trial).text] if silicon_head else []
        rows.append([str(trial.number), *(trial.show(name) for name in objectives), *estimate])
    for head, *cells in zip(heads, *rows, strict=True):
        table.add_column(escape(head), justify="right", min_width=max(map(len, [head, *cells])))  # only designs are cut
    table.add_column("design", overflow="ellipsis", no_wrap=limit is not None, ratio=1)
    for row, trial in zip(rows, shown, strict=True):
        table.add_row(*row, escape(describe(trial.design)))
    if limit is not None and len(front) > limit:
        table.add_row("", *[""] * (len(heads) - 1), f"and {len(front) - limit} more")
    if silicon_head and limit is None:
        table.caption, table.caption_justify = silicon.footnote(shown), "left"
    return table


class Progress:
    """State of a run, kept by all views. By itself it shows nothing: `nacim run --quiet`.

    `earlier` are the evaluated trials that were there before this run. In the folder `checkpoints` workers write
    their phase (`pipeline.phase`).
    """

    def __init__(
        self, study: str, objectives: Sequence[str], earlier: Sequence[FrozenTrial], console: Console, checkpoints: Path
    ) -> None:
        self._study = study
        self._objectives = tuple(objectives)
        self._trials = list(earlier)
        self._console = console
        self._checkpoints = checkpoints
        self._earlier = len(earlier)
        self._counts = dict.fromkeys(KINDS[1:-2], 0)  # how a trial of a run may end
        self._running: dict[int, DesignPoint] = {}
        self._history: list[float] = []
        self._goal = self._done_before = 0
        self._start = time.monotonic()

    def begin(self, goal: int, done: int, workers: int) -> None:
        self._goal, self._done_before, self._start = goal, done, time.monotonic()
        self._earlier, self._counts = len(self._trials), dict.fromkeys(self._counts, 0)  # `done` counts spooled results

    def started(self, number: int, design: DesignPoint) -> None:
        self._running[number] = design

    def finished(self, trial: FrozenTrial) -> None:
        self._running.pop(trial.number, None)
        self.elsewhere(trial)

    def elsewhere(self, trial: FrozenTrial) -> None:
        """Count a trial, also one that another process evaluated."""
        kind = kind_of(trial)
        if kind == "evaluated":
            self._trials.append(trial)
        else:
            self._counts[kind] += 1

    @property
    def _done(self) -> int:
        """Trials that count towards the goal: evaluated, or stopped early."""
        return self._done_before + len(self._trials) - self._earlier + self._counts["stopped early"]

    def say(self, message: str) -> None:
        """Print on stderr why the run waits; a script may read stdout."""
        print(message, file=sys.stderr, flush=True)

    def tick(self) -> None:
        """Nothing to do between events."""

    def best(self, name: str) -> str:
        metric = METRICS[name]
        values = [stored_values(trial.user_attrs)[name] for trial in self._trials]
        if not values:
            return f"best {metric.label} -"
        value = max(values) if metric.direction == "maximize" else min(values)
        return f"best {quantity(name, value)}"

    def history(self) -> list[float]:
        """Hypervolume after each evaluated trial."""
        if len(self._history) != len(self._trials):
            self._history = hypervolume_history(self._objectives, [trial.values for trial in list(self._trials)])
        return self._history

    def hypervolume(self) -> float:
        return self.history()[-1] if self._trials else 0.0

    def counts(self) -> str:
        """How many trials are done, and what became of the others of this run."""
        others = [f"{count} {word}" for word, count in self._counts.items() if count]
        return ", ".join([f"{self._done}/{self._goal} trials", *others])

    def time_left(self) -> str:
        """Such as `3 min left`; empty at the goal."""
        if self._done >= self._goal:
            return ""
        new = self._done - self._done_before
        if new < _FIRST_ESTIMATE:
            return "? left"
        seconds = (time.monotonic() - self._start) / new * (self._goal - self._done)
        return f"{seconds / 60:.0f} min left" if seconds >= 90 else f"{seconds:.0f} s left"

    def summary(self) -> str:
        """Counts, the best of each objective, hypervolume and time left, in one line."""
        best = [self.best(name) for name in self._objectives]
        parts = [self.counts(), *best, f"hypervolume {self.hypervolume():.4g}", self.time_left()]
        return ", ".join(part for part in parts if part)

    def close(self) -> None:
        """No trial is running any more."""

    def end(self, front: Sequence[FrozenTrial], database: str, report: Path) -> None:
        """The run has reached its goal, and its report is written; `database` is its URL, without a password."""


class PrintedProgress(Progress):
    """What people read before, during and after the trials."""

    def say(self, message: str) -> None:
        self._console.print(message, soft_wrap=True, markup=False)

    def begin(self, goal: int, done: int, workers: int) -> None:
        super().begin(goal, done, workers)
        if done >= goal:
            self._console.print(f"The study has its {goal} evaluated trials.")
            return
        state = f"goes on from {done} to {goal}" if done else f"runs to {goal}"
        trials = "trial" if goal == 1 else "trials"
        self._console.print(f"The study {state} evaluated {trials}, {workers} worker{'s' if workers > 1 else ''}.")

    def end(self, front: Sequence[FrozenTrial], database: str, report: Path) -> None:
        self._console.print(front_table(self._objectives, front))
        self._console.print(self.summary(), soft_wrap=True)
        self.say(f"database  {database}\nreport    {report}")


class PlainProgress(PrintedProgress):
    """One line for each finished trial, for logs and pipes."""

    def finished(self, trial: FrozenTrial) -> None:
        super().finished(trial)
        outcome = kind_of(trial)
        if outcome == "evaluated":
            values = [quantity(name, trial.user_attrs[name]) for name in self._objectives]
            design = DesignPoint.from_dict(trial.user_attrs["design"])
            self.say(f"trial {trial.number}: {', '.join(values)} | {describe(design)}")
            self.say(f"  {self.summary()}")
        elif outcome == "stopped early":
            self.say(f"trial {trial.number} {reason_of(trial)}")
        elif outcome == "failed":
            self.say(f"trial {trial.number} failed: {reason_of(trial)}")


class JsonProgress(Progress):
    """One JSON object a line for each event: `begin`, `started`, `finished`."""

    def begin(self, goal: int, done: int, workers: int) -> None:
        super().begin(goal, done, workers)
        self.tell("begin", goal=goal, evaluated=done, workers=workers)

    def started(self, number: int, design: DesignPoint) -> None:
        super().started(number, design)
        self.tell("started", trial=number, design=design.to_dict())

    def finished(self, trial: FrozenTrial) -> None:
        super().finished(trial)
        outcome, kept = kind_of(trial), trial.user_attrs
        facts = {name: kept[name] for name in METRICS if name in kept}
        reasons = ("error", "infeasible", "reused_from", "stopped_early")
        facts |= {name: kept[name] for name in reasons if kept.get(name) is not None}
        counts = {"evaluated": len(self._trials)} | self._counts
        self.tell("finished", trial=trial.number, outcome=outcome, **facts, counts=counts)

    def say(self, message: str) -> None:
        self.tell("message", text=message)

    def end(self, front: Sequence[FrozenTrial], database: str, report: Path) -> None:
        numbers = [trial.number for trial in front]
        self.tell("end", front=numbers, hypervolume=self.hypervolume(), database=database, report=str(report))

    def tell(self, event: str, **facts: Any) -> None:
        self._console.file.write(json.dumps({"event": event, "study": self._study} | facts) + "\n")
        self._console.file.flush()
