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
    "record, one read: calls": 15_300,  # 13,911: each frame is looked at for bytes that are not UTF-8
    "record, one read: statements": 150,  # 57 and some: as many commits as there is time for
    "record, one read: rows": 40,  # 9
    "record, a read an event: calls": 38_000,  # 31,677 to 33,700
    "record, a read an event: statements": 200,  # 58 to 68: a row for each event would be 1,000
    "record, a read an event: rows": 60,  # 10 to 12
    "record, a hundred streams: calls": 100_000,  # 66,899 to 75,117
    "follow, a hundred streams: calls": 40_000,  # 36,720: events that a view leaves out
    "follow, a hundred streams: statements": 370,  # 330: as many for ten streams
    "record, a read an event: calls before it is passed on": 12_100,  # 11,000; 2 more for a read that is written sooner
    "record, a hundred open streams: blocks": 3_500,  # 3,217: an exchange knows whether its request was cut
    "proxy, a hundred open streams: % of the bytes of a bare one": 109,  # 99; 88, if private names freed fields
    "proxy, a read an event: calls": 51_000,  # 43,000 to 46,900: as many commits as there is time for
    "replay, one read: calls": 8_400,  # 7,554: the frames of a stream are read in lists
    "replay, a read an event: calls": 9_200,  # 8,287
    "read: calls": 17_800,  # 16,150
    "ls: calls": 3_100,  # 2,859: the path of a request says which contract judges it
    "show: calls": 60_700,  # 55,135: deltas of one text are read together
    "doctor: calls": 74_100,  # 67,313: doctor reads the turns of show, too
    "stats: calls": 51_500,  # 46,809
    "ls, 171 exchanges: exchanges made": 30,  # 27: the first, the last and the stream of each of nine sessions
    "ls, 171 exchanges: statements": 130,  # 110
    "show, 171 exchanges: exchanges made": 190,  # 171: each once
    "show, 171 exchanges: statements": 200,  # 176: a body takes one
    "doctor, 171 exchanges: exchanges made": 230,  # 209: of two sessions again, to see whether there are several
    "doctor, 171 exchanges: statements": 280,  # 253
    "stats, 171 exchanges: exchanges made": 190,  # 171
    "stats, 171 exchanges: statements": 190,  # 168
    "sessions, 171 exchanges: exchanges made": 190,  # 171: each once
    "sessions, 171 exchanges: statements": 265,  # 237
    "validate: calls": 32_500,  # 29,543
    "all facts of a lake: calls": 124_000,  # 112,237: the path of each request says whether it is a model call
    "search, first: calls": 113_000,  # 102,398
    "search, again: calls": 510,  # 462: of which 50 look at the lock on the file itself
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
