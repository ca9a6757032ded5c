"""Rules of matching over real sockets: headers and bodies count, and a client's own ids come out of every answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from omnirecord.replayer.server import Replay
from tests.support.cassettes import JSON, SSE, Made, event, heartbeat, zipped
from tests.support.wire import ask, get

ID = "04cc962c53894fceb438253de1a3c240"


@pytest.mark.parametrize("coding", [(), (("content-encoding", "gzip"),)], ids=["plain", "gzip"])
async def test_a_clients_own_id_comes_out_of_every_answer(tmp_path: Path, coding: tuple[tuple[str, str], ...]) -> None:
    reads = [(0.1, heartbeat()), (0.3, event("session.status", conversation_id=ID, status="idle"))]
    tape = Made()
    headers = (*JSON, ("Content-Length", "99"), ("Location", f"/v1/sessions/{ID}"))
    tape.get(f"/v1/sessions/{ID}", 0.0, {"id": ID}, headers=headers)
    tape.stream(ID, 0.1, *(zipped(reads) if coding else reads), headers=(*SSE, *coding), ending="eof", end=0.4)
    async with Replay(tape.save(tmp_path / "tape.db"), timing="instant", match=["sessions mapped"]) as server:
        answer = await ask(server.url, get("/v1/sessions/mine"))
        stream = await ask(server.url, get("/v1/sessions/mine/stream"))
    assert json.loads(answer.body) == {"id": "mine"}
    assert {(b"Location", b"/v1/sessions/mine"), (b"Content-Length", b"14")} <= set(answer.headers)
    assert stream.body == b"".join(data for _, data in reads).replace(ID.encode(), b"mine")
    assert not any(name.lower() == b"content-encoding" for name, _ in stream.headers)
    assert server.unmatched == []
