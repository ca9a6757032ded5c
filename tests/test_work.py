"""How much is done for 1,000 events: a regression shows here on any machine, however busy that is.

`python -m benchmarks work` prints the figures as they are now, in the form of `BOUNDS`: each bound is a tenth or a
little more over the figure that stands behind it. A figure that fell is a reason to lower its bound; one that has to
rise, to say why.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BOUNDS = {
    "record, one read: calls": 51_000,  # 45,548
    "record, one read: statements": 1_200,  # 1,053
    "record, one read: rows": 1_200,  # 1,005
    "record, a read an event: calls": 94_000,  # 85,451
    "record, a read an event: statements": 3_400,  # 3,051
    "record, a read an event: rows": 2_300,  # 2,004
    "record, a hundred streams: calls": 130_000,  # 113,481
    "record, a read an event: calls before it is passed on": 21_000,  # 19,000
    "record, a hundred open streams: blocks": 5_800,  # 5,207
    "proxy, a read an event: calls": 120_000,  # 102,569
    "replay, one read: calls": 61_000,  # 54,566
    "replay, a read an event: calls": 75_000,  # 67,552
    "read: calls": 36_000,  # 32,228
    "ls: calls": 2_100,  # 1,844
    "show: calls": 130_000,  # 111,501
    "doctor: calls": 85_000,  # 77,123
    "stats: calls": 120_000,  # 103,720
    "validate: calls": 77_000,  # 69,304
    "search, first: calls": 109_000,  # 98,995
    "search, again: calls": 380,  # 337
}


@pytest.fixture(scope="module")
def figures() -> dict[str, int]:
    """All of them, from a process of their own."""
    command = [sys.executable, "-m", "benchmarks.work"]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=120)
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 12), reason="a comprehension was a call then")
def test_no_more_is_done_for_1000_events_than_was(figures: dict[str, int]) -> None:
    grown = {name: (figures[name], bound) for name, bound in BOUNDS.items() if figures[name] > bound}
    assert not grown, "figures over their bounds; `python -m benchmarks work` has them all"


@pytest.mark.slow
def test_every_figure_has_a_bound_and_is_one(figures: dict[str, int]) -> None:
    assert figures.keys() == BOUNDS.keys()
    assert all(figures.values())
