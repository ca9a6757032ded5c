"""Recorded clients, run again: each request waits until its client has seen what it had seen."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite import Store, Writer, rows
from omnirecord.model import Recording
from omnirecord.omnigent.routes import is_gate
from omnirecord.recorder.proxy.server import Proxy
from omnirecord.replayer import recorded_client as rerun
from omnirecord.replayer.recorded_client import Rerun
from omnirecord.replayer.server import Replay

CASSETTES = Path(__file__).parent.parent.parent / "cassettes"


def order(store: Store) -> list[str]:
    """Posts and the first frame after each, as they followed each other."""
    marks = [(x.request.at_ns, "post") for x in store.exchanges() if is_gate(x.request.method, x.request.target)]
    marks += [(frame.offset_ns, str(frame.type)) for x in store.streams() for frame in store.frames(x)]
    return [what for _, what in sorted(marks)]


@pytest.mark.parametrize("name", ["approval", "interrupt", "responses", "subagent"])
async def test_a_rerun_of_a_replay_is_recorded_as_the_same_session(name: str, tmp_path: Path) -> None:
    source = open_store(CASSETTES / f"{name}.jsonl")
    async with (
        Replay(CASSETTES / f"{name}.jsonl", timing="compressed") as server,
        Proxy(server.url, tmp_path / "again.db") as proxy,
    ):
        await Rerun(source, 1, proxy.url).run()
    again = open_store(tmp_path / "again.db")
    bodies = [[b"".join(store.content(x)) for x in store.streams()] for store in (source, again)]
    orders = order(source), order(again)
    source.close()
    again.close()
    assert bodies[0] == bodies[1]
    assert orders[0].count("post") == orders[1].count("post")


async def test_a_server_that_never_answers_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rerun, "STUCK_AFTER", 0.2)

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    source = open_store(CASSETTES / "approval.jsonl")
    try:
        with pytest.raises(ExceptionGroup) as caught:
            await Rerun(source, 1, f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}").run()
    finally:
        source.close()
        silent.close()
    assert "no byte came" in str(caught.value.exceptions[0])


@pytest.mark.parametrize("target", ["//127.0.0.2:9/x", "/@127.0.0.2:9/x", "/http://127.0.0.2:9/x", "*"])
async def test_no_target_in_a_cassette_leads_to_another_server(target: str) -> None:
    """What is asked, if anything, is the server that the rerun was given."""
    tape = Writer(None)
    tape.write(
        [
            rows.recording(Recording(1, "2026-01-01T00:00:00+00:00", "0", "omnigent", None)),
            rows.request(1, 1, "http", None, "client", 0, "POST", target, (("Host", "x"),)),
            rows.response(1, "sse", 1, 1, 200, "OK", (("content-type", "text/event-stream"),)),
            rows.end(1, 2, "eof", 0, 0),
        ]
    )
    hosts: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        hosts.append(request.headers["Host"])
        return web.Response()

    server = TestServer(web.Application(), host="127.0.0.1")
    server.app.router.add_route("*", "/{tail:.*}", answer)  # type: ignore[arg-type]
    async with server:
        base = f"http://127.0.0.1:{server.port}"
        store = Store(tape.connection)
        await Rerun(store, 1, base).run()
        store.close()
    assert set(hosts) <= {base.removeprefix("http://")}
