"""Heartbeats of the running trials, in databases that many machines share."""

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
    """Trial id -> seconds since its last heartbeat, by the server's clock; only trials that have one."""
    backend = backend_of(study)
    with Session(backend.engine) as session:
        now = session.execute(sqlalchemy.select(sqlalchemy.func.current_timestamp())).scalar_one().replace(tzinfo=None)
        table, ids = heartbeat_table(), [trial_id(trial) for trial in trials]
        rows = session.execute(sqlalchemy.select(table.trial_id, table.heartbeat).where(table.trial_id.in_(ids)))
        return {row_id: (now - beat).total_seconds() for row_id, beat in rows}


class HeartbeatThread:
    """Sends to PostgreSQL, every `interval_s`, a heartbeat for each trial that this process is running.

    Optuna sends them only inside `study.optimize`; the table and the way to write it are Optuna's.
    """

    def __init__(self, study: optuna.Study, interval_s: int) -> None:
        self.interval_s = interval_s
        self._backend = backend_of(study)
        self._is_shared = self._backend.engine.name == "postgresql"
        self._trials: set[int] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def start(self) -> None:
        if self._is_shared:
            self._thread.start()

    def send(self, trial_id: int) -> None:
        """Send one heartbeat, in the transaction that takes a trial: no trial runs without one."""
        if self._is_shared:
            self._backend.record_heartbeat(trial_id)

    def watch(self, trial_id: int) -> None:
        self._trials.add(trial_id)

    def leave(self, trial_id: int) -> None:
        self._trials.discard(trial_id)

    def stop(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1)

    def _beat(self) -> None:
        wait_s: float = self.interval_s
        while not self._over.wait(wait_s):
            wait_s = self.interval_s
            try:
                for trial_id in list(self._trials):
                    self._backend.record_heartbeat(trial_id)
            except Exception:
                # The database is away; asking and recording report that. Retry before others count us as dead.
                wait_s = min(self.interval_s, 2)


def this_process() -> dict[str, Any]:
    """Who works on a trial: host, process and, under a scheduler, its job."""
    jobs = ("SLURM_ARRAY_JOB_ID", "SLURM_JOB_ID", "LSB_JOBID", "PBS_JOBID")
    job = next((os.environ[name] for name in jobs if name in os.environ), None)
    return {"host": socket.gethostname(), "pid": os.getpid()} | ({"job": job} if job else {})
