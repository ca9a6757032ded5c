"""The WHATWG cases, served by the replay with each chunking, in other people's readers: what they make of them, and
that how a stream is cut makes no difference to any."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from omnirecord.replayer.server import Replay
from tests.support import sse_clients
from tests.support.cassettes import Headers, Made
from tests.support.client_differences import DIFFERENCES, heard_otherwise
from tests.support.sse_clients import Heard
from tests.support.whatwg import CASES, CHUNKINGS, Event

SLOWLY = "slowly"
"""Recorded byte by byte and played with its time. Without time in between, a reader may get many writes at once."""
GAP = 0.002
IN_SHORT = ("recorded", "random:1", SLOWLY)
"""Without `--long`: in one read, in random pieces, and byte by byte."""
CLIENTS: dict[str, Callable[[str, list[str]], Awaitable[Heard]]] = {
    "httpx-sse": sse_clients.by_httpx_sse,
    "aiohttp": sse_clients.by_aiohttp,
    "aiohttp-sse-client2": sse_clients.by_aiohttp_sse_client2,
}
LINE_READERS = ("aiohttp-sse-client2",)
TYPES = sorted({"message", *(event.type for _, events in CASES.values() for event in events)})
PAGE = Path(__file__).parent.parent.parent / "docs" / "parsers.md"
HTML: Headers = (("content-type", "text/html; charset=utf-8"),)


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each case in one read and in many, and a page."""
    tape = Made()
    tape.get("/page", 0.0, sse_clients.PAGE, headers=HTML)
    for n, (data, _) in enumerate(CASES.values()):
        tape.stream(f"/whole/{n}", 1.0, *([(1.0, data)] if data else []), ending="eof")
        tape.stream(f"/cut/{n}", 1.0, *cut(data), ending="eof")
    return tape.save(tmp_path_factory.mktemp("whatwg") / "cases.db")


def cut(data: bytes) -> list[tuple[float, bytes]]:
    """One byte a read; of a very long stream, a hundred reads."""
    size = 1 + len(data) // 100
    return [(1.0 + n * GAP, data[at : at + size]) for n, at in enumerate(range(0, len(data), size))]


def served(tape: Path, chunking: str) -> Replay:
    if chunking == SLOWLY:
        return Replay(tape, timing="original")
    return Replay(tape, timing="instant", chunks=chunking)


def targets(chunking: str) -> list[str]:
    return [f"/{'cut' if chunking == SLOWLY else 'whole'}/{n}" for n in range(len(CASES))]


def by_case(heard: Heard, chunking: str) -> dict[str, list[Event]]:
    return {name: heard[target] for name, target in zip(CASES, targets(chunking), strict=True)}


def expected(client: str) -> dict[str, list[Event]]:
    return {name: events for name, (_, events) in CASES.items()} | heard_otherwise(client)


@pytest.mark.parametrize(
    "chunking",
    [pytest.param(one, marks=[pytest.mark.long] * (one not in IN_SHORT)) for one in (*CHUNKINGS, SLOWLY)],
)
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_client_hears_what_the_standard_says_but_for_what_is_known(
    tape: Path, client: str, chunking: str
) -> None:
    async with served(tape, chunking) as server:
        heard = await CLIENTS[client](server.url, targets(chunking))
        assert server.unmatched == []
    assert by_case(heard, chunking) == expected(client)


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="session")
async def test_a_browser_hears_what_the_standard_says(tape: Path, long: bool, async_browser: Any) -> None:
    async with sse_clients.page_of(async_browser) as page:
        for chunking in (*CHUNKINGS, SLOWLY) if long else IN_SHORT:
            async with served(tape, chunking) as server:
                heard = await sse_clients.by_event_source(page, server.url, targets(chunking), TYPES)
                assert server.unmatched == []
            assert by_case(heard, chunking) == expected("EventSource"), chunking


async def test_a_line_over_512_kib_is_too_long_for_those_that_read_lines_off_aiohttp(tmp_path: Path) -> None:
    data = "x" * 524_288
    tape = Made()
    tape.stream("/long", 1.0, (1.0, f"data: {data}\n\n".encode()), ending="eof")
    heard = {}
    async with Replay(tape.save(tmp_path / "long.db"), timing="instant") as server:
        for client, read in CLIENTS.items():
            heard |= {client: (await read(server.url, ["/long"]))["/long"]}
    whole, too_long = [Event("message", data)], [Event("raises", "LineTooLong")]
    assert heard == dict.fromkeys(CLIENTS, whole) | dict.fromkeys(LINE_READERS, too_long)


def test_every_difference_is_one() -> None:
    for client in DIFFERENCES:
        for name, heard in heard_otherwise(client).items():
            assert heard != CASES[name][1], f"{client}: {name}"


def rows(section: str) -> list[list[str]]:
    """The rows of the first table of a section of the page."""
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_page_tells_every_difference_with_its_cause() -> None:
    head, *sections = PAGE.read_text().split("\n## ")
    told = {name: rows(section) for name, _, section in (section.partition("\n") for section in sections)}
    for client, differences in DIFFERENCES.items():
        if differences:
            too_long = ["a line over 512 KiB raises `LineTooLong`"] if client in LINE_READERS else []
            assert [row[0] for row in told[client]] == [one.cause for one in differences] + too_long
    counts = {name.strip("`"): (of, count) for name, of, count in rows(head)}
    assert {name: count for name, (_, count) in counts.items()} == {
        client: f"{len(heard_otherwise(client))} of {len(CASES)}" for client in DIFFERENCES
    }
    assert {client: counts[client][0] for client in CLIENTS} == {client: version(client) for client in CLIENTS}
