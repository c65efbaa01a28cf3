"""What a run shows on a terminal: a view that is redrawn in place."""

from collections.abc import Sequence

from optuna.trial import FrozenTrial
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.cli.outcome import front_table
from pipeline.cli.progress import PrintedProgress
from pipeline.database.trials import front_of, kind_of, reason_of
from pipeline.design.describe import describe
from pipeline.design.design_point import DesignPoint
from pipeline.phase import read_phase

_FRONT_ROWS = 8
_BLOCKS, _SPARKS = "▁▂▃▄▅▆▇█", 40


class LiveProgress(PrintedProgress):
    """A view that is redrawn in place."""

    _live: Live | None = None

    def begin(self, goal: int, done: int, workers: int) -> None:
        super().begin(goal, done, workers)
        self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=2, transient=True)
        self._live.start()

    def finished(self, trial: FrozenTrial) -> None:
        super().finished(trial)
        if kind_of(trial) == "failed":  # printed above the view
            self.say(f"trial {trial.number} failed: {reason_of(trial)}")

    def close(self) -> None:
        if self._live:
            self._live.stop()

    def _render(self) -> RenderableType:
        """The view. Rich calls this from a thread of its own, so that it works on copies."""
        trials, running = list(self._trials), dict(self._running)
        head = Table.grid(padding=(0, 2))  # gives the bar a line of its own
        left = self.time_left()
        bar = ProgressBar(total=max(1, self._goal), completed=self._done, width=40, complete_style="blue")
        head.add_row(bar, self.counts(), Text(left, style="dim"))
        lines: list[RenderableType] = [head]
        if trials:
            best = ", ".join(self.best(name) for name in self._objectives)
            text = Text(f"{best}, hypervolume {self.hypervolume():.4g}  ")
            lines.append(text.append(sparkline(self.history()), style="blue"))
        lines.append(Text())
        lines += [self._in_work(number, design) for number, design in sorted(running.items())]
        if trials:
            front = front_of(self._objectives, trials)
            table = front_table(self._objectives, front, limit=_FRONT_ROWS, title="Front so far")
            lines += [Text(), table] if running else [table]
        return Group(*lines)

    def _in_work(self, number: int, design: DesignPoint) -> Text:
        phase = read_phase(self._checkpoints, self._study, number) or "waiting for its worker"
        phase = {"variation": "simulated chips"}.get(phase, phase)
        text = Text(f"trial {number:<4} {phase:<27}", overflow="ellipsis", no_wrap=True)
        return text.append(describe(design), style="dim")


def sparkline(values: Sequence[float]) -> str:
    """Heights of a growing series as a line of blocks, at most 40 of them; its last value is the full height."""
    if not values or values[-1] <= 0:
        return ""
    width = min(len(values), _SPARKS)
    picked = [values[(i + 1) * len(values) // width - 1] for i in range(width)]
    return "".join(_BLOCKS[min(int(value / values[-1] * len(_BLOCKS)), len(_BLOCKS) - 1)] for value in picked)
