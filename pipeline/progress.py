"""What a run shows in the terminal: a live view, or plain lines where there is no terminal."""

import time
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.design_point import DesignPoint
from pipeline.metrics import METRICS
from pipeline.pareto import hypervolume_history, nondominated, to_losses

_FRONT_ROWS = 8


def describe(design: DesignPoint) -> str:
    """A design in one line: `rram 22 nm, 128x128, ADC 6 b sar /8, cell 2 b, w 8 b, x 4 b, offset | 16k3p | fc 32`."""
    chip = design.accelerator
    convs = " ".join(
        f"{c.filters}k{c.kernel}{'s' + str(c.stride) if c.stride > 1 else ''}{'p' if c.pool else ''}"
        for c in design.convs
    )
    hidden = " ".join(str(fc.units) for fc in design.hidden)
    return (
        f"{chip.device.name} {chip.tech_node_nm} nm, {chip.crossbar_size}x{chip.crossbar_size}, "
        f"ADC {chip.adc_bits} b {chip.adc_type} /{chip.cols_per_adc}, cell {chip.cell_bits} b, w {chip.weight_bits} b, "
        f"x {chip.input_bits} b, {chip.weight_encoding} | {convs or 'no convolution'} | "
        f"{'fc ' + hidden if hidden else 'no hidden layer'}"
    )


def quantity(name: str, value: float) -> str:
    """A measured value with its label and unit: `accuracy 97.5 %`, `28.2 TOPS/W`."""
    metric = METRICS[name]
    label = "" if metric.unit in metric.label else f"{metric.label} "
    return f"{label}{metric.show(value)} {metric.unit}"


class Progress:
    """The figures of a run so far, kept by both views.

    Args:
        objectives: Names in `METRICS`.
        earlier: Evaluated trials that were there before this run.
    """

    def __init__(self, objectives: Sequence[str], earlier: Sequence[FrozenTrial], console: Console) -> None:
        self._objectives = tuple(objectives)
        self._trials = list(earlier)
        self._console = console
        self._states = {TrialState.FAIL: 0, TrialState.PRUNED: 0}
        self._reused = 0
        self._running: dict[int, DesignPoint] = {}
        self._goal = self._done_before = 0
        self._start = time.monotonic()

    def begin(self, goal: int, done: int, workers: int) -> None:
        self._goal, self._done_before, self._start = goal, done, time.monotonic()
        state = f"goes on from {done} to {goal}" if done else f"runs to {goal}"
        self._console.print(f"The study {state} evaluated trials, {workers} worker{'s' if workers > 1 else ''}.")

    def started(self, number: int, design: DesignPoint) -> None:
        self._running[number] = design

    def finished(self, trial: FrozenTrial) -> None:
        self._running.pop(trial.number, None)
        if trial.state in self._states:
            self._states[trial.state] += 1
        elif "reused_from" in trial.user_attrs:
            self._reused += 1
        else:
            self._trials.append(trial)

    def elsewhere(self, trial: FrozenTrial) -> None:
        """Count a trial that another process evaluated."""
        self._trials.append(trial)

    def say(self, message: str) -> None:
        """A line for whoever watches."""
        self._console.print(message, soft_wrap=True)

    def tick(self) -> None:
        """Nothing to do between events."""

    def best(self, name: str) -> str:
        """The best value of a metric so far, with its unit."""
        metric = METRICS[name]
        values = [trial.user_attrs[name] for trial in self._trials]
        if not values:
            return f"best {metric.label} -"
        value = max(values) if metric.direction == "maximize" else min(values)
        return f"best {quantity(name, value)}"

    def hypervolume(self) -> float:
        """Of all evaluated trials so far."""
        history = hypervolume_history(self._objectives, [trial.values for trial in self._trials])
        return history[-1] if history else 0.0

    def summary(self) -> str:
        """Counts, the best of each objective, hypervolume and time left, in one line."""
        counts = [f"{len(self._trials)}/{self._goal} trials"]
        others = (
            (self._reused, "reused"),
            (self._states[TrialState.PRUNED], "infeasible"),
            (self._states[TrialState.FAIL], "failed"),
        )
        counts += [f"{count} {word}" for count, word in others if count]
        best = [self.best(name) for name in self._objectives]
        left = [f"{self._time_left()} left"] if len(self._trials) < self._goal else []
        return ", ".join([*counts, *best, f"hypervolume {self.hypervolume():.4g}", *left])

    def _time_left(self) -> str:
        new = len(self._trials) - self._done_before
        if not new:
            return "?"
        seconds = (time.monotonic() - self._start) / new * (self._goal - len(self._trials))
        return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"

    def close(self) -> None:
        """The run is over."""


class PlainProgress(Progress):
    """One line for each finished trial, for logs and pipes."""

    def finished(self, trial: FrozenTrial) -> None:
        super().finished(trial)
        if trial.state is TrialState.COMPLETE and "reused_from" not in trial.user_attrs:
            values = [quantity(name, trial.user_attrs[name]) for name in self._objectives]
            design = DesignPoint.from_dict(trial.user_attrs["design"])
            self._console.print(f"trial {trial.number}: {', '.join(values)} | {describe(design)}", soft_wrap=True)
            self._console.print(f"  {self.summary()}", soft_wrap=True)
        elif trial.state is TrialState.FAIL:
            self._console.print(f"trial {trial.number} failed: {trial.user_attrs['error']}", soft_wrap=True)


class LiveProgress(Progress):
    """A calm view that is redrawn in place."""

    _live: Live | None = None

    def begin(self, goal: int, done: int, workers: int) -> None:
        super().begin(goal, done, workers)
        self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=2, transient=True)
        self._live.start()

    def close(self) -> None:
        if self._live:
            self._live.stop()

    def _render(self) -> RenderableType:
        """The view. Rich calls this from a thread of its own, so that it works on copies."""
        trials, running = list(self._trials), dict(self._running)
        bar = Table.grid()  # gives the bar a line of its own
        bar.add_row(ProgressBar(total=max(1, self._goal), completed=len(trials), width=40))
        lines: list[RenderableType] = [bar, Text(self.summary())]
        lines += [
            Text(f"trial {number}: {describe(design)}", style="dim", overflow="ellipsis", no_wrap=True)
            for number, design in running.items()
        ]
        if trials:
            losses = to_losses(self._objectives, [trial.values for trial in trials])
            front = [trial for trial, stays in zip(trials, nondominated(losses), strict=True) if stays]
            front.sort(key=lambda trial: to_losses(self._objectives, [trial.values])[0].tolist())
            lines.append(front_table(self._objectives, front, limit=_FRONT_ROWS, title="Front so far"))
        return Group(*lines)


def front_table(
    objectives: Sequence[str], front: Sequence[FrozenTrial], limit: int | None = None, title: str = "Pareto front"
) -> Table:
    """A table of trials: number, objectives with units, and the design."""
    table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    table.add_column("trial", justify="right")
    for name in objectives:
        metric = METRICS[name]
        heading = metric.label if metric.unit in metric.label else f"{metric.label} \\[{metric.unit}]"
        table.add_column(heading, justify="right")
    table.add_column("design", overflow="ellipsis", no_wrap=limit is not None)
    for trial in front[:limit]:
        values = [METRICS[name].show(trial.user_attrs[name]) for name in objectives]
        table.add_row(str(trial.number), *values, describe(DesignPoint.from_dict(trial.user_attrs["design"])))
    if limit is not None and len(front) > limit:
        table.add_row("", *[""] * len(objectives), f"and {len(front) - limit} more")
    return table
