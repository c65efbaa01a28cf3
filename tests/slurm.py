"""A real SLURM of one node for tests: its own munged, slurmctld and slurmd, apart from any other on the machine."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

_WAIT_S = 60
_CONFIGURATION = """\
ClusterName=nacim
SlurmctldHost={host}
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1
JobRequeue=1
NodeName={host} CPUs=4 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """Use `environment` for sbatch, squeue, scancel and scontrol."""

    def __init__(self) -> None:
        programs = ("munged", "slurmctld", "slurmd", "sbatch")
        missing = [name for name in programs if not shutil.which(name, path=_path())]
        if missing or os.geteuid() != 0:
            pytest.skip(
                f"NO SLURM HERE ({', '.join(missing) or 'not root'}): apt-get install slurm-wlm munge; untested"
            )
        self.folder = Path(tempfile.mkdtemp(prefix="nacim-slurm-"))
        self.folder.chmod(0o755)
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        host = socket.gethostname().split(".")[0]
        configuration = self.folder / "slurm.conf"
        configuration.write_text(
            _CONFIGURATION.format(folder=self.folder, host=host, controller_port=free_port(), node_port=free_port())
        )
        self.environment = os.environ | {"SLURM_CONF": str(configuration), "PATH": _path()}
        munge = [f"--{name}={self.folder / f'munge.{name}'}" for name in ("socket",)]
        munge += [f"--{name}-file={self.folder / f'munge.{name}'}" for name in ("key", "pid", "log", "seed")]
        self._daemons = [
            self._daemon("munged", "--foreground", "--force", *munge),
            self._daemon("slurmctld", "-D", "-f", str(configuration)),
            self._daemon("slurmd", "-D", "-f", str(configuration), "-N", host),
        ]
        self._wait_for_node()

    def _daemon(self, *command: str) -> subprocess.Popen:
        with (self.folder / "daemons.log").open("a") as log:
            return subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def _wait_for_node(self) -> None:
        end = time.monotonic() + _WAIT_S
        while self.call("sinfo", "-h", "-o", "%T").strip() != "idle":
            assert time.monotonic() < end, (self.folder / "daemons.log").read_text()[-2000:]
            time.sleep(0.2)

    def call(self, *command: str) -> str:
        """What a command of SLURM prints."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True).stdout

    def jobs(self) -> list[str]:
        """States of the jobs that have not ended, one line a job."""
        return self.call("squeue", "-h", "-r", "-o", "%i %T").splitlines()

    def remove(self) -> None:
        self.call("scancel", "--user=root", "--signal=KILL", "--full")
        self.call("scancel", "--user=root")
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"
