"""How much goes out in one write: every way of cutting gives every byte, in order, and the cuts that it names."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.errors import UsageError
from omnirecord.replayer.server import Replay
from omnirecord.replayer.stream_parts import LONGEST, Part, chunks_of
from tests.support.cassettes import DONE, Made, delta, heartbeat
from tests.support.examples import each
from tests.support.stage import Stage
from tests.support.wire import connected, get

WAYS = st.sampled_from(["recorded", "frame", "byte", "random:1", "random:2", "random"])
TARGET = "/v1/x"


def tape() -> Made:
    """One read with two frames and a half, one with the rest."""
    made = Made()
    made.stream(
        TARGET, 1.0, (1.0, heartbeat() + delta("a") + delta("é")[:-9]), (1.2, delta("é")[-9:] + DONE), ending="eof"
    )
    return made


async def written(folder: Path, **options: str) -> list[bytes]:
    """The HTTP chunks that a client gets."""
    async with Replay(tape().save(folder / "t.db"), **options) as server, connected(server.url, get(TARGET)) as wire:
        await wire.head()
        seen = []
        while b"".join(seen) != tape().wire[1]:
            seen.append(await asyncio.wait_for(wire.chunk(), 5))
        return seen


@pytest.mark.parametrize("timing", ["original", "instant"])
async def test_recorded_writes_what_was_read_together(tmp_path: Path, timing: str) -> None:
    seen = await written(tmp_path, timing=timing, chunks="recorded")
    assert seen == [heartbeat() + delta("a") + delta("é")[:-9], delta("é")[-9:] + DONE]


@pytest.mark.parametrize("timing", ["original", "instant"])
async def test_frame_writes_one_frame_at_a_time(tmp_path: Path, timing: str) -> None:
    assert await written(tmp_path, timing=timing, chunks="frame") == [heartbeat(), delta("a"), delta("é"), DONE]


async def test_byte_writes_one_byte_at_a_time(tmp_path: Path) -> None:
    seen = await written(tmp_path, timing="instant", chunks="byte")
    assert {len(data) for data in seen} == {1}


async def test_random_writes_the_same_for_the_same_seed_and_other_pieces_for_another(tmp_path: Path) -> None:
    one, again, other = [
        await written(tmp_path / name, timing="instant", chunks=f"random:{seed}")
        for name, seed in (("a", 7), ("b", 7), ("c", 8))
        if not (tmp_path / name).mkdir()
    ]
    assert one == again != other
    assert max(map(len, one)) <= LONGEST


async def test_instant_joins_what_is_due_unless_it_is_told_how_to_cut(tmp_path: Path) -> None:
    assert await written(tmp_path, timing="instant") == [tape().wire[1]]


def test_a_frame_that_was_read_in_pieces_comes_when_its_last_piece_did() -> None:
    stage = Stage(tape(), chunks="frame")
    listener = stage.opens(TARGET)
    stage.at(0.0)
    assert listener.hears() == ["heartbeat", "a"]
    stage.at(0.2)
    assert listener.hears() == ["é", "[DONE]"]


@given(way=WAYS, data=st.lists(st.binary(max_size=200), max_size=8), stream=st.integers(1, 9))
def test_no_way_of_cutting_loses_or_moves_a_byte(way: str, data: list[bytes], stream: int) -> None:
    how = chunks_of(way)
    parts = how.of([Part(n, one, stream=stream, seq=1 + n // 2) for n, one in enumerate(data)])
    cut = how.cut(stream)
    assert b"".join(burst for part in parts for burst in cut(part.data)) == b"".join(data)


@each("spec", ["", "frames", "byte:1", "random:", "random:x", "random:-1", "random:1.5", "RANDOM:1"])
def test_a_way_that_is_none_is_refused_with_those_there_are(spec: str) -> None:
    with pytest.raises(UsageError, match="recorded, frame, byte, random:SEED"):
        chunks_of(spec)


@pytest.mark.parametrize("timing", ["original", "instant"])
def test_an_empty_way_is_refused_and_not_taken_for_none(timing: str) -> None:
    with pytest.raises(UsageError, match="recorded, frame, byte, random:SEED"):
        Replay("t.db", timing=timing, chunks="")
