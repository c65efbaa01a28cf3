"""When a run ends."""

import contextlib
import signal
from collections.abc import Iterator

import optuna

from pipeline.database import records


def goal_of_run(study: optuna.Study, trials: int, done: int) -> int:
    """Number of evaluated trials at which a run ends.

    A run adds `trials` to what is there; if the last run of as many trials was cut off before `end_run`, its goal still
    holds.
    """
    last = study.user_attrs.get("run")
    if last and last["trials"] == trials and not last.get("ended"):
        return int(last["goal"])
    study.set_user_attr("run", {"trials": trials, "goal": done + trials})
    return done + trials


def end_run(study: optuna.Study) -> None:
    """Note that a run has done all that it was to do, its report included: the same command begins a new one."""
    run = study.user_attrs["run"]
    if len(records.evaluated_trials(study)) >= run["goal"]:
        study.set_user_attr("run", run | {"ended": True})


@contextlib.contextmanager
def stopped_like_ctrl_c() -> Iterator[None]:
    """SIGTERM, which schedulers and init systems send, stops a run as cleanly as Ctrl-C does."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
