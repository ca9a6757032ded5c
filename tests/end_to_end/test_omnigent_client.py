"""What the readers of the real Omnigent client make of spellings and cuts that the standard allows: the one of
`GET /v1/sessions/{id}/stream` and the one of `POST /v1/responses`. `docs/parsers.md` tells of it."""

from __future__ import annotations

import json
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from omnirecord.replayer.server import Replay
from tests.support.cassettes import Made
from tests.support.later import later
from tests.support.whatwg import CHUNKINGS, OWL

omnigent_client = later("omnigent_client", "needs the 'real' dependency group, and Python >= 3.12")

DELTA = "response.output_text.delta"


def spelled(text: str = OWL, *, escaped: bool = False, frame: str = "event: {type}\ndata: {data}\n\n") -> bytes:
    data = json.dumps({"type": DELTA, "delta": text, "sequence_number": 1}, ensure_ascii=escaped)
    return frame.replace("{type}", DELTA).replace("{data}", data).encode()


TWO_LINES = 'event: {type}\ndata: {"type": "{type}", "sequence_number": 1,\ndata: "delta": "' + OWL + '"}\n\n'
SPELLINGS: dict[str, bytes] = {
    "as the server writes it": spelled(escaped=True),
    "not escaped": spelled(),
    "a line separator, not escaped": spelled("a\u2028b"),
    "no space": spelled(frame="event:{type}\ndata:{data}\n\n"),
    "two lines of data": spelled(frame=TWO_LINES),
    "data before event": spelled(frame="data: {data}\nevent: {type}\n\n"),
    "no event": spelled(frame="data: {data}\n\n"),
    "a comment between": spelled(frame="event: {type}\n: comment\ndata: {data}\n\n"),
    "a byte order mark": spelled(frame="\ufeffevent: {type}\ndata: {data}\n\n"),
    "CRLF": spelled(frame="event: {type}\r\ndata: {data}\r\n\r\n"),
    "CR": spelled(frame="event: {type}\rdata: {data}\r\r"),
}


EITHER = {"no space", "two lines of data", "data before event", "no event", "a byte order mark"}
LOST = {"session": EITHER | {"a line separator, not escaped"}, "response": EITHER | {"CR"}}


async def text_of(events: AsyncIterator[Any]) -> str:
    return "".join([event.delta async for event in events])


async def of_a_session(client: omnigent_client.OmnigentClient, n: int) -> str:
    return await text_of(client.sessions.stream(f"s{n}"))


async def of_a_response(client: omnigent_client.OmnigentClient, _n: int) -> str:
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        return await text_of(client.responses.stream(model="helper", input="Hi"))


READERS: dict[str, Callable[[Any, int], Awaitable[str]]] = {
    "session": of_a_session,
    "response": of_a_response,
}


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For each spelling, a session and an answer; the answers are given in this order."""
    tape = Made()
    for n, data in enumerate(SPELLINGS.values()):
        tape.stream(f"s{n}", 1.0, (1.0, data), ending="eof")
        tape.stream("/v1/responses", 1.0, (1.0, data), ending="eof", method="POST")
    return tape.save(tmp_path_factory.mktemp("client") / "spellings.db")


async def heard(tape: Path, reader: str, chunking: str) -> dict[str, str]:
    """By spelling, the text that the client tells."""
    server = Replay(tape, match_on=[], timing="instant", chunks=chunking)
    async with server, omnigent_client.OmnigentClient(server.url) as client:
        return {name: await READERS[reader](client, n) for n, name in enumerate(SPELLINGS)}


def told(reader: str) -> dict[str, str]:
    """What it makes of a stream that comes whole."""
    texts = dict.fromkeys(SPELLINGS, OWL) | {"a line separator, not escaped": "a\u2028b"}
    return {name: "" if name in LOST[reader] else text for name, text in texts.items()}


@pytest.mark.parametrize(
    ("reader", "chunking"), [*(("session", chunking) for chunking in CHUNKINGS), ("response", "recorded")]
)
async def test_a_reader_tells_every_text_but_for_the_spellings_that_it_does_not_know(
    tape: Path, reader: str, chunking: str
) -> None:
    assert await heard(tape, reader, chunking) == told(reader)


async def test_the_reader_of_responses_loses_a_character_that_comes_in_two_pieces(tape: Path) -> None:
    texts = await heard(tape, "response", "byte")
    assert texts == {
        name: text if name == "as the server writes it" else "".join(map(_in_pieces, text))
        for name, text in told("response").items()
    }


def _in_pieces(character: str) -> str:
    return character if character.isascii() else "\ufffd" * len(character.encode())
