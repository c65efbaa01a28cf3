"""Convolutions and linear layers on simulated crossbars, for any torch model; takes no part in the search.

Public face: `NoisyConv2d`, `NoisyLinear`, `calibrate`, `program_chips`, `to_analog`, loaded on first use.
"""

from importlib import import_module
from typing import Any

_FACE = {
    "NoisyConv2d": "layers",
    "NoisyLinear": "layers",
    "calibrate": "calibration",
    "program_chips": "model",
    "to_analog": "conversion",
}
__all__ = [*_FACE]


def __getattr__(name: str) -> Any:
    """A name of the public face; importing the package alone loads no torch."""
    if name in _FACE:
        return getattr(import_module(f"pipeline.analog.{_FACE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
