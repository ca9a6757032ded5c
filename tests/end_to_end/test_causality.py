"""Real sessions, over real sockets: what followed a message in the recording, never comes before it in the replay."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from omnirecord.cassette.open import open_store
from omnirecord.omnigent.line import connect_snapshot_length
from omnirecord.omnigent.routes import is_gate
from omnirecord.replayer.server import Replay
from tests.replayer.test_server import post
from tests.support.wire import Wire, ask, connected, get

CASSETTES = sorted((Path(__file__).parent.parent.parent / "cassettes").glob("*.jsonl"))
QUIET = 0.1
"""Seconds in which something that is not held back would have come, in `instant`."""


def portions(cassette: Path) -> tuple[bytes, list[int], list[str]]:
    """The request for the first stream, how many bytes came up to each message and after the last, and the messages."""
    store = open_store(cassette)
    stream = store.streams()[0]
    frames = list(store.frames(stream))
    gates = [
        x.request
        for x in store.exchanges(session_id=stream.session_id)
        if x.party != "runner" and is_gate(x.request.method, x.request.target)
        if x.response and x.response.status < 300 and x.request.at_ns < frames[-1].offset_ns
    ]
    store.close()
    snapshot = connect_snapshot_length(frames)
    sizes = [
        sum(f.length for n, f in enumerate(frames) if n < snapshot or f.offset_ns <= until)
        for until in [*(gate.at_ns for gate in gates), frames[-1].offset_ns]
    ]
    make = post if stream.request.method == "POST" else get
    return make(stream.request.target), sizes, [gate.target for gate in gates]


async def quiet(wire: Wire) -> bool:
    """Whether nothing comes for a while."""
    coming = asyncio.create_task(wire.chunk())
    await asyncio.wait({coming}, timeout=QUIET)
    if coming.done():
        return False
    coming.cancel()
    await asyncio.wait({coming})
    return True


def test_there_are_cassettes() -> None:
    assert CASSETTES


@pytest.mark.parametrize("cassette", CASSETTES, ids=lambda path: path.stem)
async def test_every_message_is_waited_for_and_then_all_of_it_comes(cassette: Path) -> None:
    request, sizes, messages = portions(cassette)
    received = 0
    replay = Replay(cassette, timing="instant", match_on=[])
    async with replay as server, connected(server.url, request) as wire:
        await wire.head()
        answers = []
        for size, message in zip(sizes, [*messages, None], strict=True):
            while received < size:
                received += len(await wire.chunk())
            assert received == size, "no more than what came before the message"
            if message is not None:
                assert await quiet(wire)
                answers.append(asyncio.create_task(ask(server.url, post(message))))
        assert {(await answer).status[9:10] for answer in answers} <= {b"2"}


async def test_the_older_way_to_ask_is_answered_again_and_again() -> None:
    (cassette,) = (path for path in CASSETTES if path.stem == "responses")
    _, sizes, _ = portions(cassette)
    async with Replay(cassette, timing="instant", match_on=[]) as server:
        answers = [await ask(server.url, post("/v1/responses")) for _ in range(3)]
    assert [(len(answer.body), answer.whole) for answer in answers] == [(sizes[-1], True)] * 3
