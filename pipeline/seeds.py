"""Random draws that are a function of what they are for, so that a resumed study repeats none and changes none."""

import hashlib

import numpy as np


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed that depends on all parts and their order, the same on every platform."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def seed32(*parts: int | str) -> int:
    """A seed from 0 to 2**32 - 1 that is a function of `parts`."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "little")


def stream(*parts: int | str) -> np.random.Generator:
    """A generator of its own for `parts`, such as a study seed and a trial number."""
    return np.random.default_rng(seed32(*parts))
