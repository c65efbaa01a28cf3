"""Signs of life of the trials in work, on databases that many machines share."""

import os
import socket
import threading
from collections.abc import Sequence
from typing import Any

import optuna
import sqlalchemy
from optuna.trial import FrozenTrial
from sqlalchemy.orm import Session

from pipeline.optuna_private import backend_of, heartbeat_table, trial_id


def heartbeats(study: optuna.Study, trials: Sequence[FrozenTrial]) -> dict[int, float]:
    """Trial id -> seconds since its worker's last sign of life, by the server's clock; of trials with one."""
    backend = backend_of(study)
    with Session(backend.engine) as session:
        now = session.execute(sqlalchemy.select(sqlalchemy.func.current_timestamp())).scalar_one().replace(tzinfo=None)
        table, ids = heartbeat_table(), [trial_id(trial) for trial in trials]
        rows = session.execute(sqlalchemy.select(table.trial_id, table.heartbeat).where(table.trial_id.in_(ids)))
        return {row_id: (now - beat).total_seconds() for row_id, beat in rows}


class Heart:
    """A thread that gives signs of life for the trials that this process has in work, on databases of many machines.

    Optuna gives them inside `study.optimize` only; the table and the record are its own.
    """

    def __init__(self, study: optuna.Study, interval_s: int) -> None:
        self._backend = backend_of(study)
        self._beats = self._backend.engine.name == "postgresql"
        self._interval_s = interval_s
        self._trials: set[int] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def start(self) -> None:
        """Begin."""
        if self._beats:
            self._thread.start()

    def sign(self, trial_id: int) -> None:
        """One sign of life, in the transaction that takes a trial: none is in the database without one."""
        if self._beats:
            self._backend.record_heartbeat(trial_id)

    def watch(self, trial_id: int) -> None:
        """A trial is in work."""
        self._trials.add(trial_id)

    def leave(self, trial_id: int) -> None:
        """A trial is not in work any more."""
        self._trials.discard(trial_id)

    def stop(self) -> None:
        """End."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1)

    def _beat(self) -> None:
        wait_s: float = self._interval_s
        while not self._over.wait(wait_s):
            wait_s = self._interval_s
            try:
                for trial_id in list(self._trials):
                    self._backend.record_heartbeat(trial_id)
            except Exception:  # away: whoever tells or asks says so; here soon again, before others count this as death
                wait_s = min(self._interval_s, 2)


def this_process() -> dict[str, Any]:
    """Who works on a trial: host, process and, under a scheduler, its job."""
    jobs = ("SLURM_ARRAY_JOB_ID", "SLURM_JOB_ID", "LSB_JOBID", "PBS_JOBID")
    job = next((os.environ[name] for name in jobs if name in os.environ), None)
    return {"host": socket.gethostname(), "pid": os.getpid()} | ({"job": job} if job else {})
