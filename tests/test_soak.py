"""The short form of tests/soak.py: some kills in each setting."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import soak
from postgres import Server, programs

pytestmark = [pytest.mark.xdist_group("cluster"), pytest.mark.slow]


@pytest.fixture(scope="module")
def server() -> Iterator[Server | None]:
    started = Server() if programs() else None
    yield started
    if started:
        started.remove()


def test_kills_at_random_moments_lose_nothing(server: Server | None, tmp_path: Path):
    done = soak.soak(kills=10, seed=1, folder=tmp_path, server=server, each=2)
    assert sum(done.values()) >= 10
    assert len(done) == (5 if server else 2)
