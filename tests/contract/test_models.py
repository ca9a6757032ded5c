"""The contract `none`: only the bytes of a frame decide."""

from __future__ import annotations

from omnirecord.cassette.contracts import load
from omnirecord.wire.sse import Parser
from tests.support.examples import each

NONE = load("none")


def judged(raw: bytes) -> list[tuple[str, str | None]]:
    parser = Parser()
    return [(one.verdict, one.type) for one in map(NONE.judge, parser.feed(raw) + parser.close())]


@each(
    ("raw", "verdict", "type_"),
    [
        (b'data: {"type": "RUN_STARTED"}\n\n', "valid", "RUN_STARTED"),
        (b'event: message\ndata: {"jsonrpc": "2.0", "method": "ping"}\n\n', "valid", "ping"),
        (b'event: message\ndata: {"jsonrpc": "2.0", "id": 1, "result": {}}\n\n', "valid", "result"),
        (b"event: endpoint\ndata: /messages?id=1\n\n", "valid", "endpoint"),
        (b'data: {"object": "chunk"}\n\n', "valid", "chunk"),
        (b"data: plain text\n\n", "valid", None),
        (b"data: [1, 2]\n\n", "valid", None),
        (b'data: {"a": NaN, "a": 1}\n\n', "valid", None),
        (b"data:\n\n", "valid", None),
        (b"data: [DONE]\n\n", "sentinel", None),
        (b": a comment\n\n", "comment", None),
        (b'data: {"type": "cut', "truncated", None),
    ],
)
def test_no_event_is_unknown_invalid_or_malformed(raw: bytes, verdict: str, type_: str | None) -> None:
    assert judged(raw) == [(verdict, type_)]


def test_a_stream_of_it_ends_with_done_if_it_has_one_but_needs_none() -> None:
    assert (NONE.api.has_ends, NONE.api.is_end("sentinel", None), NONE.api.is_end("valid", "done")) == (
        False, True, False,
    )  # fmt: skip


def test_its_events_have_every_field_unchecked() -> None:
    assert NONE.event({"type": "x", "a": 1}).model_dump() == {"type": "x", "sequence_number": None, "a": 1}
