"""The short form of tests/fuzz.py: some mutants of each kind of input, in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

import fuzz
import pytest
from damage import Mutant

SCRIPT = Path(fuzz.__file__)


@pytest.mark.slow
@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_damaged_inputs_are_refused_in_one_line_or_make_sense(target, tmp_path):
    command = [sys.executable, SCRIPT, "--target", target, "--mutants", "100", "--seed", "1", "--keep", tmp_path]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=SCRIPT.parent.parent)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-2000:]}"


@pytest.mark.parametrize(
    ("use", "kind"),
    [
        pytest.param(lambda path: {}["x"], "traceback", id="an error of ours"),
        pytest.param(lambda path: _raise("x" * 301), "message", id="a long message"),
        pytest.param(lambda path: _raise("no"), "refused", id="a short message"),
        pytest.param(lambda path: float("nan"), "nonsense", id="no number"),
        pytest.param(lambda path: 1.5, "used", id="a number"),
        pytest.param(lambda path: [None for _ in iter(int, 1)], "hang", id="no end"),
    ],
)
def test_the_fuzzer_tells_faults_from_refusals(tmp_path, monkeypatch, use, kind):
    monkeypatch.setattr(fuzz, "_CPU_S", 0.2)
    target = fuzz.Target(damage=lambda draw: Mutant(b"", ""), use=use, nonsense=fuzz.finite, file="x")
    assert fuzz.outcome(target, Mutant(b"", ""), tmp_path / "x")[0] == kind


def test_what_must_be_refused_and_is_used_is_nonsense(tmp_path):
    target = fuzz.Target(damage=lambda draw: Mutant(b"", ""), use=lambda path: 1, nonsense=fuzz.finite, file="x")
    assert fuzz.outcome(target, Mutant(b"", "", must_fail=True), tmp_path / "x")[0] == "nonsense"


def _raise(message: str) -> None:
    raise ValueError(message)
