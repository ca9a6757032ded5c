"""MCP over streamable HTTP: the package's own client against a replay of its own server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import omnirecord
from omnirecord.replayer.server import Replay
from tests.support.later import later

mcp = later("mcp")
station = later("tests.other_apis.mcp_weather")

SHIPPED = Path(__file__).parent.parent.parent / "cassettes" / "generic"
SAID = [
    "server weather", "tools forecast convert broken", "resource height: 12 m", "log asked for Oslo",
    "progress 1 of 2: day 1", "progress 2 of 2: day 2", "forecast: Oslo: sunny for 2 days", "asked Fahrenheit?",
    "convert: 68 °F", "broken: Error executing tool broken: wind is broken",
]  # fmt: skip
WITHOUT_STREAM = [line for line in SAID if not line.startswith(("log", "progress", "asked", "convert"))]
TIMINGS = pytest.mark.parametrize("timing", ["original", "compressed", "instant"])


@asynccontextmanager
async def session_of(url: str) -> AsyncIterator[station.ClientSession]:
    async with (
        station.streamable_http_client(f"{url}/mcp") as (read, write, _),
        station.ClientSession(read, write, elicitation_callback=station.Visit(url).answer) as session,
    ):
        await session.initialize()
        yield session


async def test_the_client_sees_through_the_recorder_what_it_sees_without(tmp_path: Path) -> None:
    async with station.weather() as url:
        assert await station.Visit(url).go() == SAID
        async with omnirecord.record(url, db=tmp_path / "mcp.db", contract="none") as proxy:
            assert await station.Visit(proxy.url).go() == SAID
    assert omnirecord.doctor(tmp_path / "mcp.db") == []
    async with Replay(tmp_path / "mcp.db", timing="instant") as server:
        assert await station.Visit(server.url).go() == SAID
        assert (server.unmatched, server.mismatches, server.unplayed) == ([], [], [])


@TIMINGS
@pytest.mark.parametrize(("name", "said"), [("mcp", SAID), ("mcp_json", WITHOUT_STREAM)])
async def test_the_client_runs_against_the_replay_twice(name: str, said: list[str], timing: str) -> None:
    async with Replay(SHIPPED / f"{name}.jsonl", timing=timing) as server:
        assert await station.Visit(server.url).go(asks=name == "mcp") == said
        assert server.unplayed == []
        assert await station.Visit(server.url).go(asks=name == "mcp") == said
        assert (server.unmatched, server.mismatches) == ([], [])


@TIMINGS
async def test_calls_in_another_order_and_at_once_get_their_own_answers(timing: str) -> None:
    progress: list[tuple[float, float | None, str | None]] = []

    async def on_progress(done: float, total: float | None, message: str | None) -> None:
        progress.append((done, total, message))

    async with Replay(SHIPPED / "mcp.jsonl", timing=timing) as server, session_of(server.url) as session:
        results = await asyncio.gather(
            session.call_tool("broken", {"sensor": "wind"}),
            session.call_tool("forecast", {"city": "Oslo", "days": 2}, progress_callback=on_progress),
            session.call_tool("convert", {"celsius": 20}),
        )
        assert [station.text_of(one) for one in results] == [
            "Error executing tool broken: wind is broken", "Oslo: sunny for 2 days", "68 °F",
        ]  # fmt: skip
        assert progress == [(1.0, 2.0, "day 1"), (2.0, 2.0, "day 2")]
        assert server.mismatches == []


async def test_a_result_waits_for_the_answer_to_the_servers_question() -> None:
    order: list[str] = []

    async def answer(_context: Any, _params: object) -> station.ElicitResult:
        await asyncio.sleep(0.1)
        order.append("answered")
        return station.ElicitResult(action="accept", content={"fahrenheit": True})

    async with (
        Replay(SHIPPED / "mcp.jsonl", timing="instant") as server,
        station.streamable_http_client(f"{server.url}/mcp") as (read, write, _),
        station.ClientSession(read, write, elicitation_callback=answer) as session,
    ):
        await session.initialize()
        await session.call_tool("convert", {"celsius": 20})
        order.append("result")
    assert order == ["answered", "result"]


@pytest.mark.parametrize("name", ["mcp", "mcp_json"])
async def test_other_arguments_or_another_tool_are_an_error_of_this_call_that_says_which_word(name: str) -> None:
    async with Replay(SHIPPED / f"{name}.jsonl", timing="instant") as server, session_of(server.url) as session:
        with pytest.raises(mcp.McpError) as missed:
            await session.call_tool("forecast", {"city": "Rome", "days": 2})
        assert missed.value.error.code == -32004
        assert missed.value.error.message.splitlines()[1:] == [
            "  body $.params.arguments.city: [-Oslo-]{+Rome+}",
            "To ignore bodies: match_on=[]",
        ]
        with pytest.raises(mcp.McpError) as missed:
            await session.call_tool("tides", {})
        said = missed.value.error.message.splitlines()[1:]
        assert set(said) > {'  body $.params.name: recorded "forecast", got "tides"'}
        assert not any("--match" in line for line in said)
        assert station.text_of(await session.call_tool("broken", {"sensor": "wind"})).endswith("wind is broken")
        assert [(one.status, one.exchange) for one in server.unmatched] == [(200, None)] * 2


async def test_if_bodies_are_ignored_other_arguments_are_a_mismatch() -> None:
    replay = Replay(SHIPPED / "mcp_json.jsonl", timing="instant", match=["path"])
    async with replay as server, session_of(server.url) as session:
        answer = await session.call_tool("forecast", {"city": "Rome", "days": 2})
        assert station.text_of(answer) == "Oslo: sunny for 2 days"
        assert [(one.field, one.got["arguments"]["city"]) for one in server.mismatches] == [("params", "Rome")]


async def test_another_client_may_introduce_itself() -> None:
    async with (
        Replay(SHIPPED / "mcp.jsonl", timing="instant") as server,
        station.streamable_http_client(f"{server.url}/mcp") as (read, write, _),
        station.ClientSession(
            read, write, client_info=mcp.types.Implementation(name="editor", version="7.1")
        ) as session,
    ):
        assert (await session.initialize()).serverInfo.name == "weather"
        assert (server.unmatched, server.mismatches) == ([], [])


async def test_whole_bodies_are_compared_without_the_numbers_that_the_client_counts() -> None:
    replay = Replay(SHIPPED / "mcp_json.jsonl", timing="instant", match_on=["body"])
    async with replay as server, session_of(server.url) as session:
        assert station.text_of(await session.call_tool("broken", {"sensor": "wind"})).endswith("wind is broken")
        assert server.unmatched == []


def test_the_schema_of_the_package_fits_the_recording(tmp_path: Path) -> None:
    from mcp.types import JSONRPCMessage

    path = tmp_path / "messages.json"
    path.write_text(json.dumps(JSONRPCMessage.model_json_schema()))
    checked = omnirecord.validate(SHIPPED / "mcp.jsonl", path)
    assert (checked.events, checked.problems) == (10, ())
