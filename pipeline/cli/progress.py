"""What a run shows: plain lines where there is no terminal, JSON lines for scripts, or nothing."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial
from rich.console import Console

from pipeline.cli.outcome import outcome
from pipeline.database.trials import KINDS, accuracy_of, kind_of, reason_of, which_count
from pipeline.design.describe import describe
from pipeline.design.design_point import DesignPoint
from pipeline.design.floor import Floor
from pipeline.design.metrics import METRICS
from pipeline.design.pareto import hypervolume_history, hypervolume_scale
from pipeline.design.results import stored_values

_NO_FLOOR = Floor(written=0.0)
_FIRST_ESTIMATE = 5  # assumed: trials before the first estimate; the first ones compile kernels


def quantity(name: str, value: float) -> str:
    """A measured value with its label and unit: `accuracy 97.5 %`, `28.2 TOPS/W`."""
    metric = METRICS[name]
    label = "" if metric.unit == metric.label else f"{metric.label} "
    return f"{label}{metric.show(value)} {metric.unit}"


class Progress:
    """State of a run, kept by all views. By itself it shows nothing: `nacim run --quiet`.

    `earlier` are the evaluated trials that were there before this run. In the folder `checkpoints` workers write
    their phase (`pipeline.phase`).
    """

    def __init__(
        self,
        study: str,
        objectives: Sequence[str],
        earlier: Sequence[FrozenTrial],
        console: Console,
        checkpoints: Path,
        floor: Floor = _NO_FLOOR,
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
        self._measured: dict[int, dict[str, float]] = {}  # by the trial's number
        self._floor = floor
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

    def measured(self, trial: FrozenTrial) -> dict[str, float]:
        """All metrics of an evaluated trial."""
        if trial.number not in self._measured:
            self._measured[trial.number] = stored_values(trial.user_attrs)
        return self._measured[trial.number]

    def counted(self, trials: Sequence[FrozenTrial]) -> list[bool]:
        """Which trials count for fronts and superlatives."""
        return which_count(self._floor, trials)

    def best(self, name: str) -> str:
        metric, trials = METRICS[name], list(self._trials)
        values = [self.measured(t)[name] for t, counts in zip(trials, self.counted(trials), strict=True) if counts]
        if not values:
            return f"best {metric.label} -"
        value = max(values) if metric.direction == "maximize" else min(values)
        return f"best {quantity(name, value)}"

    def history(self) -> list[float]:
        """Hypervolume after each evaluated trial, of those above the accuracy floor, in the units shown."""
        trials = list(self._trials)
        if len(self._history) != len(trials):
            values = [[self.measured(trial)[name] for name in self._objectives] for trial in trials]
            scale = hypervolume_scale(self._objectives)
            volumes = hypervolume_history(self._objectives, values, self.counted(trials))
            self._history = [volume * scale for volume in volumes]
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
        floor = self._floor.of([accuracy_of(trial) for trial in self._trials])
        above = "" if all(METRICS[name].is_accuracy for name in self._objectives) else f" above {floor:.1%} accuracy"
        parts = [self.counts(), *best, f"hypervolume {self.hypervolume():.4g}{above}", self.time_left()]
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
        counted = [trial for trial, counts in zip(self._trials, self.counted(self._trials), strict=True) if counts]
        for part in outcome(self._objectives, front, counted, self._console.width):
            self._console.print(part, markup=not isinstance(part, str))
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
