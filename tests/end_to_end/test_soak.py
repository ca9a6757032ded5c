"""Long and large, in small: memory is flat, nothing leaks, nothing is lost. `tests.support.soak` runs them in full."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import soak
from tests.support.soak import Figures

pytestmark = pytest.mark.slow
MB = 1_000_000


def leaks_nothing(figures: Figures) -> None:
    first, last = figures.states[0], figures.states[-1]
    assert last.descriptors <= first.descriptors, figures
    assert last.threads <= first.threads, figures


async def test_an_hour_of_traffic_leaves_nothing_behind_but_the_files_that_are_kept(tmp_path: Path) -> None:
    figures = await soak.hour(tmp_path, people=10, turns=6)

    leaks_nothing(figures)
    assert figures.growth < 15 * MB, figures
    assert figures.told["events"] == "3,660"
    assert figures.told["files kept"] <= 5


async def test_many_streams_at_once_are_heard_and_kept_whole(tmp_path: Path) -> None:
    figures = await soak.crowd(tmp_path, streams=100, events=20)

    leaks_nothing(figures)
    assert figures.told["heard whole"] == figures.told["kept whole"] == 100
    assert max(one.resident for one in figures.states) - figures.states[0].resident < 100 * 0.2 * MB, figures


async def test_a_long_stream_takes_no_memory(tmp_path: Path) -> None:
    figures = await soak.long(tmp_path, events=100_000)

    leaks_nothing(figures)
    assert figures.told["equal"]
    assert figures.told["valid"] == "100,000"
    assert figures.growth < 30 * MB, figures


def test_of_a_large_cassette_only_what_is_told_is_read(tmp_path: Path) -> None:
    figures = soak.large(tmp_path, size=30 * MB)

    told = [value for name, value in figures.told.items() if name.split()[0] in ("ls", "tail")]
    read = [float(found[1]) for value in told if (found := re.match(r"([\d.]+) MB read", value))]
    assert len(read) == 4
    assert max(read) < 9, figures  # of 26; pages are of 16 KiB
