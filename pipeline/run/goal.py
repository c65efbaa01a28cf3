"""When a run ends."""

import contextlib
import signal
from collections.abc import Iterator

import optuna

from pipeline.database import records


def goal_of_run(study: optuna.Study, trials: int, done: int) -> int:
    """Number of evaluated trials at which a run ends.

    A run adds `trials` to those that are `done`. If the last run asked for as many and was cut off before `end_run`,
    its goal still holds.
    """
    last = study.user_attrs.get("run")
    if last and last["trials"] == trials and not last.get("ended"):
        return int(last["goal"])
    study.set_user_attr("run", {"trials": trials, "goal": done + trials})
    return done + trials


def end_run(study: optuna.Study) -> None:
    """Note that a run is complete, its report included, so that the same command begins a new one."""
    run = study.user_attrs["run"]
    if len(records.evaluated_trials(study)) >= run["goal"]:
        study.set_user_attr("run", run | {"ended": True})


@contextlib.contextmanager
def stopped_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM, which schedulers and init systems send, stop a run as cleanly as Ctrl-C."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
