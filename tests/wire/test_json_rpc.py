"""JSON-RPC messages: their kinds, and an answer to another request."""

from __future__ import annotations

from typing import Any

from omnirecord.wire.json_rpc import answered_to, compared, message_of
from tests.support.examples import each

CALL = {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "x", "_meta": {"progressToken": 3}}}
LATER: dict[str, Any] = {**CALL, "id": 9, "params": {"name": "x", "_meta": {"progressToken": 9}}}


@each(
    ("data", "kind"),
    [
        (CALL, "request"),
        ({"jsonrpc": "2.0", "method": "ping"}, "notification"),
        ({"jsonrpc": "2.0", "id": 1, "result": {}}, "result"),
        ({"jsonrpc": "2.0", "id": None, "error": {"code": 1}}, "error"),
    ],
)
def test_a_message_has_a_kind(data: Any, kind: str) -> None:
    message = message_of(data)
    assert message is not None
    assert message.kind == kind


@each("data", [None, [], "x", {}, {"jsonrpc": "1.0", "method": "a"}, {"jsonrpc": "2.0", "id": 1}])
def test_other_values_are_no_messages(data: Any) -> None:
    assert message_of(data) is None


def test_calls_that_differ_in_the_numbers_of_the_client_are_equal() -> None:
    assert compared(CALL) == compared(LATER) == {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "x"}}


def test_the_id_of_an_answer_counts() -> None:
    assert compared({"jsonrpc": "2.0", "id": 3, "result": {}})["id"] == 3


def test_an_answer_gets_the_id_and_the_progress_token_of_the_new_request() -> None:
    recorded, asked = message_of(CALL), message_of(LATER)
    assert recorded is not None
    assert asked is not None
    progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 3, "progress": 1}}
    assert answered_to({"jsonrpc": "2.0", "id": 3, "result": 1}, recorded, asked)["id"] == 9
    assert answered_to(progress, recorded, asked)["params"] == {"progressToken": 9, "progress": 1}
    for other in (
        {"jsonrpc": "2.0", "id": 3, "method": "elicitation/create"},
        {"jsonrpc": "2.0", "id": 4, "result": 1},
    ):
        assert answered_to(other, recorded, asked) is other
