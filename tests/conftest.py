import os
import signal
import subprocess
import sys
from pathlib import Path

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # before torch: results and run times do not depend on the machine's cores

import hypothesis
import pytest
import yaml

hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background, children included

TINY_STUDY = {
    "name": "tiny",
    "seed": 3,
    "trials": 4,
    "hardware": {
        "device": ["sram", "rram"],
        "crossbar_size": [32, 64],
        "adc_bits": {"low": 5, "high": 8},
        "cell_bits": [1, 2],
        "input_bits": 4,
    },
    "network": {"convs": [{"filters": [4, 8], "pool": True}], "hidden": [{"units": ["absent", 16]}]},
    "training": {"epochs": 2, "batch_size": 64},
    "variation": {"min_chips": 2, "max_chips": 2},
    "sampler": {"population_size": 4},
}


@pytest.fixture
def tiny() -> dict:
    """The content of a study file that runs in seconds; tests change their copy."""
    return yaml.safe_load(yaml.safe_dump(TINY_STUDY))


@pytest.fixture
def nacim(monkeypatch, capsys):
    """Run a command of `nacim` in this process; gives its exit code and what it printed."""

    def run(*arguments: object) -> subprocess.CompletedProcess:
        from pipeline.cli.app import main

        monkeypatch.setattr(sys, "argv", ["nacim", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            main()
        return subprocess.CompletedProcess(sys.argv, ended.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def write_study(tmp_path: Path):
    """Write a study file's content to disk and give its path."""

    def write(content: dict, name: str = "study.yaml") -> Path:
        path = tmp_path / name
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    return write


@pytest.fixture
def hardware(tmp_path: Path) -> Path:
    """A file with an accelerator alone."""
    chip = {"device": "rram", "crossbar_size": 64, "cell_bits": 2, "weight_bits": 8, "input_bits": 6, "adc_bits": 7}
    path = tmp_path / "hardware.yaml"
    path.write_text(yaml.safe_dump({"accelerator": chip}))
    return path
