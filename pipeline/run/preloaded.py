"""What the server of worker processes loads once for all of them: torch, Lightning and Numba."""

import contextlib
import importlib

with contextlib.suppress(Exception):  # the server lives on, and a worker that cannot load it either says why
    importlib.import_module("pipeline.trial.evaluate")
