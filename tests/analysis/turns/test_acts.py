"""What a client did, out of its requests."""

from __future__ import annotations

import json
from typing import Any

from omnirecord.analysis.turns import Act, act_of
from tests.analysis.turns.test_turns import exchange, post

OVER: dict[str, Any] = {"exchange": 1, "end_ns": 9}
"""What an act has of `exchange`."""


def test_what_a_client_did() -> None:
    events, body = (
        exchange("POST", "/v1/sessions/s/events"),
        {"type": "message", "data": {"role": "user", "content": "Hi"}},
    )
    answer = exchange("POST", "/v1/sessions/s/elicitations/e1/resolve")
    query = exchange("POST", "/v1/responses", kind="sse", stream=1)
    assert act_of(events, json.dumps(body).encode(), b'{"item_id": "i1"}') == post("Hi", 5, item_id="i1", **OVER)
    assert act_of(events, b'{"type": "interrupt"}', b"") == Act("interrupt", 5, "client", **OVER)
    assert act_of(answer, b'{"action": "accept"}', b"") == Act(
        "answer", 5, "client", elicitation_id="e1", action="accept", **OVER
    )
    assert act_of(query, b'{"input": "Hi", "stream": true}', b"") == post("Hi", 5, exchange=1)


def test_what_is_no_act() -> None:
    events = exchange("POST", "/v1/sessions/s/events")
    for body in (b"", b"[]", b"\xff", b'{"type": "external_status"}', b"[" * 100_000):
        assert act_of(events, body, b"") is None
    assert act_of(exchange("GET", "/v1/sessions/s/stream", kind="sse", stream=1), b"", b"") is None


def test_a_message_that_the_server_refused() -> None:
    events = exchange("POST", "/v1/sessions/s/events", status=503)
    body = b'{"type": "message", "data": {"content": "Hi"}}'
    refused = act_of(events, body, b'{"error": {"code": "unavailable", "message": "No runner."}}')
    assert refused == post("Hi", 5, refused="unavailable", refusal="No runner.", **OVER)
    plain = act_of(events, body, b"")
    assert plain == post("Hi", 5, refused="HTTP 503", **OVER)
