"""`auto`: the path of a request decides on the contract of its stream. `none`: only the bytes of a frame decide."""

from __future__ import annotations

import subprocess
import sys

import pytest

from omnirecord import UsageError
from omnirecord.cassette.contracts import NAMES, load
from omnirecord.contract import Issue, shortened
from omnirecord.contract.judge import NoContract
from omnirecord.providers.register import REGISTER
from omnirecord.wire.sse import Parser
from tests.support.contract_cases import OMNIGENT, frame
from tests.support.examples import each

AUTO, NONE = load("auto"), load("none")


@each(
    ("target", "name"),
    [
        ("/v1/responses", "openai-responses"),
        ("/v1/responses?stream=true", "openai-responses"),
        ("/openai/responses/", "openai-responses"),
        ("/v1/responses/resp_1?stream=true&starting_after=5", "openai-responses"),
        ("/v1/chat/completions", "openai-chat"),
        ("/openai/deployments/gpt/chat/completions?api-version=1", "openai-chat"),
        ("/v1/messages", "anthropic-messages"),
        ("/v1/messages?beta=true", "anthropic-messages"),
        ("/v1/completions", "none"),
        ("/anthropic/v1/messages", "anthropic-messages"),
        ("/api/v1/chat/completions", "openai-chat"),
        ("/openai/v1/responses", "openai-responses"),
        ("/v1/sessions/conv_1/stream", "omnigent"),
        ("/v1/conversations/conv_1/stream", "omnigent"),
        ("/omnigent/v1/sessions/conv_1/stream?idle=true", "omnigent"),
        ("/v1/sessions", "omnigent"),
        ("/v1/info", "omnigent"),
        ("/messages/?session_id=1", "none"),
        ("/rooms/5/messages", "none"),
        ("/v1/sessionsish", "none"),
        ("/sse", "none"),
        ("/agent", "none"),
        ("/mcp", "none"),
        ("/", "none"),
        ("*", "none"),
    ],
)
def test_the_end_of_the_path_decides(target: str, name: str) -> None:
    assert AUTO.of(target) is load(name)


def test_the_origin_of_omnigents_clients_tells_its_older_stream_from_openais() -> None:
    omnigents, another = (("Origin", "omnigent://internal"),), (("Origin", "https://example.com"),)
    assert AUTO.of("/v1/responses", omnigents) is load("omnigent")
    assert AUTO.of("/v1/responses", another) is load("openai-responses")
    assert AUTO.of("/v1/chat/completions", omnigents) is load("openai-chat")


def test_the_header_of_anthropics_clients_tells_its_stream_from_that_of_another_service() -> None:
    host, version = ("Host", "example.com"), ("Anthropic-Version", "2023-06-01")
    assert AUTO.of("/v1/messages", (host, version)) is load("anthropic-messages")
    assert AUTO.of("/v1/messages", (host,)) is NONE
    assert AUTO.of("/v1/messages", (("Accept", "text/event-stream"),)) is load("anthropic-messages")
    assert load("anthropic-messages").of("/v1/messages", (host,)) is load("anthropic-messages")


@each("name", [name for name in NAMES if name != "auto"])
def test_every_other_contract_is_that_of_every_path(name: str) -> None:
    contract = load(name)
    assert contract.name == name
    assert contract.of("/v1/responses") is contract


def test_a_name_that_is_no_contract_is_refused_with_all_names() -> None:
    with pytest.raises(UsageError, match=f"{', '.join(REGISTER)}, auto, none, or the path of"):
        load("no-such-contract")


def test_the_models_of_an_api_are_imported_when_a_path_needs_them() -> None:
    code = (
        "import sys; from omnirecord.cassette.contracts import load; load('auto').of('/v1/messages');"
        "print(*sorted(name.rpartition('.')[2] for name in sys.modules if name.startswith('omnirecord.providers.')))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["answers", "anthropic_messages", "api", "parts", "register"]


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
def test_no_event_of_none_is_unknown_invalid_or_malformed(raw: bytes, verdict: str, type_: str | None) -> None:
    assert judged(raw) == [(verdict, type_)]


def test_a_stream_of_none_ends_with_done_if_it_has_one_but_needs_none() -> None:
    assert (NONE.api.has_ends, NONE.api.is_end("sentinel", None), NONE.api.is_end("valid", "done")) == (
        False,
        True,
        False,
    )


def test_events_of_none_have_every_field_unchecked() -> None:
    assert NONE.event({"type": "x", "a": 1}).model_dump() == {"type": "x", "sequence_number": None, "a": 1}


@each("data", ['{"type": "new"}', '{"type": "session.status"}', "[]", "{", '{"type": 1}', "{}", "[DONE]"])
@pytest.mark.parametrize("complete", [True, False])
def test_an_unchecked_contract_finds_the_same_types_and_broken_frames(data: str, complete: bool) -> None:
    one = frame(data, "session.status", complete=complete)
    checked, unchecked = OMNIGENT.judge(one), OMNIGENT.unchecked().judge(one)
    assert (unchecked.type, unchecked.data) == (checked.type, checked.data)
    is_about_fields = checked.verdict in ("unknown", "invalid")
    assert unchecked.verdict == ("valid" if is_about_fields else checked.verdict)
    assert NoContract().unchecked().judge(one) == NoContract().judge(one)


def test_an_issue_that_fits_a_line_is_not_copied() -> None:
    issues = (Issue("type", "is not in the contract"),)
    assert shortened(issues) is issues
