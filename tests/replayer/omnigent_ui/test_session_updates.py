"""The session list's WebSocket, served: a snapshot for each watch, then what changes as the playhead moves."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from omnirecord.replayer import omnigent_ui as updates
from omnirecord.replayer.server import Replay
from tests.replayer.test_server import STREAM, heard, post
from tests.support.cassettes import Made, heartbeat, status
from tests.support.stage import EVENTS, Stage
from tests.support.wire import ask, connected, get

UPDATES = "/v1/sessions/updates"


def watch(*ids: Any) -> str:
    return json.dumps({"type": "watch", "session_ids": list(ids)})


def lists() -> Made:
    """A session listed as new at 0.5 s, as running at 2.5 s, as idle at 5 s, and another that is always new."""
    tape = Made()
    tape.get("/v1/sessions", 0.5, {"data": [{"id": "s", "status": "new"}, {"id": "other", "status": "new"}]})
    tape.stream("s", 1.0, (1.0, heartbeat()), (3.0, status("running")), (4.0, status("idle")))
    tape.post(EVENTS, 2.0, status=202)
    tape.websocket(
        UPDATES,
        0.6,
        (0.7, "down", {"type": "snapshot", "items": [{"id": "s", "status": "new"}]}),
        (2.5, "down", {"type": "changed", "items": [{"id": "s", "status": "running"}]}),
        (5.0, "down", {"type": "changed", "items": [{"id": "s", "status": "idle"}]}),
    )
    return tape


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates, "_LOOK_EVERY", 0.02)


@asynccontextmanager
async def watching(folder: Path) -> AsyncIterator[tuple[Replay, aiohttp.ClientWebSocketResponse]]:
    async with (
        Replay(lists().save(folder / "tape.db"), timing="instant") as server,
        aiohttp.ClientSession() as client,
        client.ws_connect(server.url + UPDATES) as socket,
    ):
        yield server, socket


async def told(socket: aiohttp.ClientWebSocketResponse) -> tuple[str, dict[str, str]]:
    """The next message: its type, and the status of each session in it."""
    value = await socket.receive_json(timeout=5)
    return value["type"], {row["id"]: row["status"] for row in value.get("items", [])}


async def test_a_watch_gets_a_snapshot_and_then_what_changes_as_the_playhead_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watching(tmp_path) as (server, socket):
        await socket.send_str(watch("s", "other"))
        assert await told(socket) == ("snapshot", {"s": "new", "other": "new"})
        async with connected(server.url, get(STREAM)) as wire:
            await wire.head()
            await heard(wire, 1)
            await ask(server.url, post(EVENTS))
            changes = [await told(socket)]
            if changes == [("changed", {"s": "running"})]:  # the server looked between the two
                changes.append(await told(socket))
            assert changes[-1] == ("changed", {"s": "idle"})
            monkeypatch.setattr(updates, "UPDATES_HEARTBEAT_EVERY", 0.1)
            assert (await told(socket))[0] == "heartbeat", "what changed is told once"


async def test_each_watch_gets_a_snapshot_of_what_it_watches(tmp_path: Path) -> None:
    async with watching(tmp_path) as (_, socket):
        for ids in (["s"], ["other"], [], ["unknown", 5]):
            await socket.send_str(watch(*ids))
            assert await told(socket) == ("snapshot", {name: "new" for name in ids if name in ("s", "other")})


async def test_what_is_no_watch_is_passed_over(tmp_path: Path) -> None:
    async with watching(tmp_path) as (_, socket):
        for odd in ("[]", "{", '{"type": "watch"}', '{"type": "watch", "session_ids": 5}', "null"):
            await socket.send_str(odd)
        await socket.send_bytes(b"\0")
        await socket.send_str(watch("s"))
        assert await told(socket) == ("snapshot", {"s": "new"})


async def test_a_quiet_list_has_a_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates, "UPDATES_HEARTBEAT_EVERY", 0.1)
    async with watching(tmp_path) as (_, socket):
        await socket.send_str(watch("s"))
        assert [(await told(socket))[0] for _ in range(3)] == ["snapshot", "heartbeat", "heartbeat"]


async def test_the_replay_stops_at_once_although_somebody_watches(tmp_path: Path) -> None:
    async with watching(tmp_path) as (server, socket):
        await socket.send_str(watch("s"))
        await told(socket)
        await server.stop()
        message = await socket.receive(timeout=5)
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING)


def test_a_row_is_the_newest_as_of_its_own_sessions_playhead() -> None:
    tape = lists()
    tape.get("/v1/sessions", 6.0, {"data": [{"id": "other", "status": "late"}]})
    tape.stream("other", 7.0, (7.0, heartbeat()))
    stage = Stage(tape, "instant", no_gate=True)
    rows = lambda: {name: row["status"] for name, row in stage.player.session_rows(["s", "other"], stage.now).items()}  # noqa: E731
    assert rows() == {"s": "new", "other": "late"}
    stage.opens().hears()
    assert rows() == {"s": "idle", "other": "late"}


def test_a_session_that_was_listed_only_later_has_its_first_row() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.0, status("idle")))
    tape.get("/v1/sessions", 3.0, {"data": [{"id": "s", "n": 1}]})
    tape.get("/v1/sessions", 4.0, {"data": [{"id": "s", "n": 2}]})
    assert Stage(tape).player.session_rows(["s"], 0) == {"s": {"id": "s", "n": 1}}
