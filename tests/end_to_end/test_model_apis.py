"""The real clients of OpenAI and Anthropic through the proxy: every event is valid, and every stream has its end."""

from __future__ import annotations

import asyncio
import gzip
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

import omnirecord
from omnirecord import open_cassette, record
from omnirecord.providers import anthropic_messages, openai_chat, openai_responses
from omnirecord.recorder.proxy.server import Proxy
from tests.omnigent_rig.provider import Answer, Failure, InTurn, ToolCall
from tests.support import forked
from tests.support.later import later
from tests.support.providers import ModelApis, Raw

openai = later("openai")
anthropic = later("anthropic")

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"name": "get_weather", "description": "The weather of a city.", "parameters": PARAMETERS, "strict": True}
SCRIPT = {
    "hello": Answer("Hello there, how are you?", reasoning="A greeting.", delay_ms=1),
    "weather": ToolCall("get_weather", {"city": "Oslo"}, Answer("It rains in Oslo.", delay_ms=1)),
    "limited": InTurn((Failure("Slow down.", 429, "rate_limit_exceeded"), Answer("Now it works.", delay_ms=1))),
    "fail": Answer("One two three", delay_ms=1, ends="failed"),
    "short": Answer("One two three", delay_ms=1, ends="incomplete"),
    "cut": Answer("One two three", delay_ms=1, ends="cut"),
}
CHAT_TOOL: Any = {"type": "function", "function": TOOL}
MESSAGES_TOOL: Any = {"name": "get_weather", "description": "The weather.", "input_schema": PARAMETERS}
RESPONSES_TOOL: Any = {"type": "function", **TOOL}


@asynccontextmanager
async def proxied(db: Path, contract: str = "auto", **more: Raw) -> AsyncIterator[str]:
    """A recorder in front of the provider; yields its URL."""
    async with (
        ModelApis(SCRIPT | more) as provider,
        record(provider.url.removesuffix("/v1"), db, contract=contract) as proxy,
    ):
        yield proxy.url


class Asked:
    """One question to each API, by each client."""

    def __init__(self, url: str) -> None:
        self.openai = openai.OpenAI(base_url=f"{url}/v1", api_key="sk-1")
        self.async_openai = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-1")
        self.anthropic = anthropic.Anthropic(base_url=url, api_key="sk-2")
        self.async_anthropic = anthropic.AsyncAnthropic(base_url=url, api_key="sk-2")

    async def responses(self, text: str) -> str:
        async with self.async_openai.responses.stream(model="gpt", input=text) as stream:
            async for _ in stream:
                pass
            return str((await stream.get_final_response()).output_text)

    async def chat(self, text: str) -> str:
        messages: Any = [{"role": "user", "content": text}]
        options: Any = {"include_usage": True}
        async with self.async_openai.chat.completions.stream(
            model="gpt", messages=messages, stream_options=options
        ) as stream:
            async for _ in stream:
                pass
            return str((await stream.get_final_completion()).choices[0].message.content)

    async def messages(self, text: str) -> str:
        messages: Any = [{"role": "user", "content": text}]
        async with self.async_anthropic.messages.stream(model="claude", max_tokens=99, messages=messages) as stream:
            return "".join([part async for part in stream.text_stream])

    def sync_responses(self, text: str) -> str:
        with self.openai.responses.stream(model="gpt", input=text) as stream:
            return "".join(event.delta for event in stream if event.type == "response.output_text.delta")

    def sync_chat(self, text: str) -> str:
        messages: Any = [{"role": "user", "content": text}]
        chunks = self.openai.chat.completions.create(model="gpt", messages=messages, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    def sync_messages(self, text: str) -> str:
        messages: Any = [{"role": "user", "content": text}]
        with self.anthropic.messages.stream(model="claude", max_tokens=99, messages=messages) as stream:
            return "".join(stream.text_stream)

    async def close(self) -> None:
        self.openai.close()
        self.anthropic.close()
        await self.async_openai.close()
        await self.async_anthropic.close()


@asynccontextmanager
async def asked(db: Path, contract: str = "auto") -> AsyncIterator[Asked]:
    async with proxied(db, contract) as url:
        one = Asked(url)
        try:
            yield one
        finally:
            await one.close()


_KEPT: list[bytes] = []


async def greeted(db: Path) -> None:
    """Put a recording of a streamed call to each API into a file. It is made once."""
    if not _KEPT:
        async with asked(db) as ask:
            for each in (ask.responses, ask.chat, ask.messages):
                await each("hello")
        _KEPT.append(db.read_bytes())
    db.write_bytes(_KEPT[0])


def verdicts(db: Path) -> set[str]:
    with open_cassette(db) as cassette:
        return {frame.verdict for stream in cassette.streams() for frame in stream.frames()}


def endings(db: Path) -> list[str]:
    with open_cassette(db) as cassette:
        return [stream.exchange.ending for stream in cassette.streams()]


async def test_every_event_of_a_healthy_answer_is_valid_and_doctor_has_nothing_to_say(tmp_path: Path) -> None:
    db = tmp_path / "model.db"
    async with asked(db) as ask:
        texts = [await ask.responses("hello"), await ask.chat("hello"), await ask.messages("hello")]
        for sync in (ask.sync_responses, ask.sync_chat, ask.sync_messages):
            texts.append(await asyncio.to_thread(sync, "hello"))
    assert texts == ["Hello there, how are you?"] * 6
    assert verdicts(db) == {"valid", "sentinel"}
    assert endings(db) == ["done"] * 6
    assert omnirecord.doctor(db) == []
    result = omnirecord.validate(db)
    assert (result.ok, result.problems) == (True, ())
    assert result.contract == "openai-responses, openai-chat and anthropic-messages"


async def test_tool_use_is_valid_over_both_requests(tmp_path: Path) -> None:
    db = tmp_path / "model.db"
    async with asked(db) as ask:
        events = [e async for e in await ask.async_openai.responses.create(
            model="gpt", input="weather", tools=[RESPONSES_TOOL], stream=True,
        )]  # fmt: skip
        call = events[-1].response.output[0]
        history = [
            {"role": "user", "content": "weather"}, call.model_dump(),
            {"type": "function_call_output", "call_id": call.call_id, "output": "rain"},
        ]  # fmt: skip
        stream = await ask.async_openai.responses.create(
            model="gpt", input=history, tools=[RESPONSES_TOOL], stream=True
        )
        assert [e async for e in stream][-1].response.output_text == "It rains in Oslo."

        messages: list[Any] = [{"role": "user", "content": "weather"}]
        async with ask.async_openai.chat.completions.stream(model="gpt", messages=messages, tools=[CHAT_TOOL]) as chat:
            said = (await chat.get_final_completion()).choices[0].message
        assert said.tool_calls[0].function.arguments == '{"city": "Oslo"}'
        messages += [said.model_dump(exclude_none=True)]
        messages += [{"role": "tool", "tool_call_id": said.tool_calls[0].id, "content": "rain"}]
        async with ask.async_openai.chat.completions.stream(model="gpt", messages=messages) as chat:
            assert (await chat.get_final_completion()).choices[0].message.content == "It rains in Oslo."

        messages = [{"role": "user", "content": "weather"}]
        async with ask.async_anthropic.messages.stream(
            model="claude", max_tokens=99, messages=messages, tools=[MESSAGES_TOOL]
        ) as use:
            block = (await use.get_final_message()).content[0]
        assert (block.name, block.input) == ("get_weather", {"city": "Oslo"})
        messages += [
            {"role": "assistant", "content": [{"type": "tool_use", "id": block.id, "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block.id, "content": "rain"}]},
        ]
        async with ask.async_anthropic.messages.stream(model="claude", max_tokens=99, messages=messages) as use:
            assert await use.get_final_text() == "It rains in Oslo."
    assert verdicts(db) == {"valid", "sentinel"}
    assert endings(db) == ["done"] * 6
    assert [one for one in omnirecord.doctor(db) if one.severity != "note"] == []


@pytest.mark.parametrize("api", ["responses", "chat", "messages"])
@pytest.mark.parametrize(
    ("text", "ending"), [("fail", "done"), ("short", "done"), ("cut", "upstream_lost"), ("limited", "done")]
)
async def test_the_contract_says_how_a_stream_ended(api: str, text: str, ending: str, tmp_path: Path) -> None:
    db = tmp_path / "model.db"
    async with asked(db) as ask:
        try:
            await getattr(ask, api)(text)
        except Exception:  # of the client, or of the HTTP library that it comes with
            assert text != "limited"
    assert endings(db) == [ending]
    assert verdicts(db) <= {"valid", "sentinel"}
    codes = {one.code for one in omnirecord.doctor(db)}
    busy = {"model-rate-limited"} if (api, text) == ("messages", "fail") else set()  # an `overloaded_error`
    assert codes - busy == {
        "fail": {"model-failed"}, "short": {"model-truncated"}, "cut": {"model-failed"},
        "limited": {"model-rate-limited", "model-retried"},
    }[text]  # fmt: skip


async def test_events_are_models_of_the_api(tmp_path: Path) -> None:
    db = tmp_path / "model.db"
    await greeted(db)
    with open_cassette(db) as cassette:
        responses, chat, messages = ([*stream.events()] for stream in cassette.streams())
    assert isinstance(responses[-1], openai_responses.CompletedEvent)
    assert responses[-1].response.usage is not None
    assert all(isinstance(event, openai_chat.ChatCompletionChunk) for event in chat)
    assert isinstance(messages[0], anthropic_messages.MessageStartEvent)
    assert isinstance(messages[-1], anthropic_messages.MessageStopEvent)


def sse(*events: dict[str, Any], named: bool = True) -> bytes:
    return b"".join(
        (f"event: {event['type']}\n" if named else "").encode() + f"data: {json.dumps(event)}\n\n".encode()
        for event in events
    )


START = {
    "type": "message_start",
    "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [],
                "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}},
}  # fmt: skip
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
SEARCH = {"id": "ws_1", "type": "web_search_call", "status": "in_progress"}
COMMON = {"item_id": "ws_1", "output_index": 0}
RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1, "model": "gpt", "output": [], "parallel_tool_calls": True,
    "tool_choice": "auto", "tools": [], "status": "completed", "error": None, "usage": None,
}  # fmt: skip
SEARCHED = (
    {"type": "response.output_item.added", "output_index": 0, "item": SEARCH, "sequence_number": 0},
    *({"type": f"response.web_search_call.{state}", **COMMON, "sequence_number": 1}
      for state in ("in_progress", "searching", "completed")),
    {"type": "response.refusal.delta", "content_index": 0, "delta": "I", **COMMON, "sequence_number": 2},
    {"type": "response.audio.delta", "delta": "UklGRg==", "sequence_number": 3},
    {"type": "response.completed", "response": RESPONSE, "sequence_number": 4},
)  # fmt: skip
ASK = {"model": "m", "input": "odd", "messages": [{"role": "user", "content": "odd"}], "stream": True}
NEW = {"type": "response.hologram.delta", "delta": "x", "sequence_number": 0}


@pytest.mark.parametrize(
    ("path", "body", "change", "expected", "ending"),
    [
        ("/v1/messages", sse(START, {"type": "ping"}, OVERLOADED), bytes, {"valid"}, "done"),
        ("/v1/messages", sse(START, {"type": "vendor_event"}), bytes, {"valid", "unknown"}, "eof"),
        ("/v1/messages", sse(START, named=False), bytes, {"invalid"}, "eof"),
        ("/v1/messages", sse(START, {"type": "message_stop"}), gzip.compress, {"valid"}, "done"),
        ("/v1/responses", sse(*SEARCHED), bytes, {"valid"}, "done"),
        ("/v1/responses", sse(*SEARCHED), lambda raw: raw.replace(b"\n", b"\r\n"), {"valid"}, "done"),
        ("/v1/responses", sse(*SEARCHED) + b"data: [DONE]\n\n", bytes, {"valid", "sentinel"}, "done"),
        ("/v1/responses", sse(NEW) + b"data: [DONE]\n\n", bytes, {"unknown", "sentinel"}, "eof"),
        ("/v1/responses", b": keep-alive\n\n" + sse(SEARCHED[-1]), bytes, {"comment", "valid"}, "done"),
        ("/v1/chat/completions", b'data: {"error": {"message": "m"}}\n\n', bytes, {"valid"}, "done"),
        ("/v1/chat/completions", b'data: {"object": "other"}\n\ndata: [DONE]\n\n', bytes,
         {"unknown", "sentinel"}, "done"),
    ],
)  # fmt: skip
async def test_odd_streams_are_judged_by_their_path(
    path: str, body: bytes, change: Callable[[bytes], bytes], expected: set[str], ending: str, tmp_path: Path
) -> None:
    db, changed = tmp_path / "model.db", change(body)
    headers = {"Content-Type": "text/event-stream"} | ({"Content-Encoding": "gzip"} if change is gzip.compress else {})
    async with proxied(db, odd=Raw(changed, headers=headers)) as url, httpx.AsyncClient() as client:
        answer = await client.post(f"{url}{path}", json=ASK, headers={"anthropic-version": "2023-06-01"})
    assert answer.content == (body if change is gzip.compress else changed)
    assert verdicts(db) == expected
    assert endings(db) == [ending]


async def test_a_service_of_ones_own_at_anthropics_path_is_not_judged_as_anthropic(tmp_path: Path) -> None:
    db, own = tmp_path / "own.db", Raw(b'data: {"type": "note", "n": 1}\n\ndata: {"n": 2}\n\n')
    async with (
        ModelApis(SCRIPT | {"odd": own}) as provider,
        Proxy(provider.url.removesuffix("/v1"), db) as proxy,
        httpx.AsyncClient() as client,
    ):
        await client.post(f"{proxy.url}/v1/messages", json=ASK)
    assert verdicts(db) == {"valid"}
    assert omnirecord.doctor(db) == []
    shown = forked.run(["show", str(db)], tmp_path)
    assert (shown.code, shown.errors) == (0, b"")
    assert b"cut by the provider" not in shown.out
    copy = tmp_path / "own.jsonl"
    assert forked.run(["export", str(db), "-o", str(copy)], tmp_path).code == 0
    assert verdicts(copy) == {"valid"}


async def test_nothing_is_unknown_or_without_its_end_under_none(tmp_path: Path) -> None:
    db, odd = tmp_path / "model.db", Raw(b'data: {"type": "RUN_STARTED"}\n\ndata: bye\n\n')
    async with proxied(db, "none", odd=odd) as url, httpx.AsyncClient() as client:
        await client.post(f"{url}/v1/messages", json=ASK)
    assert verdicts(db) == {"valid"}
    assert omnirecord.doctor(db) == []
    assert omnirecord.validate(db).ok


def without_frames(db: Path) -> None:
    """Leave the bytes of the streams alone, as a killed recorder does."""
    with closing(sqlite3.connect(db)) as connection, connection:
        for statement in (
            "DELETE FROM frame_blocks", "DELETE FROM tallies", "DELETE FROM landmarks",
            "UPDATE exchanges SET ending = 'eof' WHERE ending = 'done'",
        ):  # fmt: skip
            connection.execute(statement)


async def test_a_reader_makes_missing_frames_by_the_contract_of_the_path(tmp_path: Path) -> None:
    db = tmp_path / "model.db"
    await greeted(db)
    with open_cassette(db) as cassette:
        before = [[frame[:-1] for frame in stream.frames()] for stream in cassette.streams()]
    without_frames(db)
    assert endings(db) == ["done"] * 3
    with open_cassette(db) as cassette:
        assert [[frame[:-1] for frame in stream.frames()] for stream in cassette.streams()] == before
    async with proxied(db):  # another recorder writes the missing frames
        pass
    with closing(sqlite3.connect(db)) as connection:
        assert connection.execute("SELECT DISTINCT ending FROM exchanges").fetchall() == [("done",)]


async def test_the_commands_read_such_a_cassette(tmp_path: Path) -> None:
    db = tmp_path / "model.db"
    await greeted(db)
    told = {
        name: forked.run([name, str(db)], tmp_path) for name in ("ls", "events", "validate", "doctor", "stats", "show")
    }
    assert {name: (done.code, done.errors) for name, done in told.items()} == dict.fromkeys(told, (0, b""))
    assert b"everything fits" in told["validate"].out
    for line in (b'" there,"', b"end_turn", b"40 in, 9 out tokens"):
        assert line in told["events"].out


async def test_a_recording_under_none_is_checked_against_any_schema_afterwards(tmp_path: Path) -> None:
    db, schema = tmp_path / "other.db", tmp_path / "schema.json"
    members = [
        {"type": "object", "properties": {"type": {"const": name}, "n": {"type": "integer"}}, "required": ["type", "n"]}
        for name in ("RUN_STARTED", "RUN_FINISHED")
    ]
    schema.write_text(json.dumps({"oneOf": members}))
    odd = Raw(b'data: {"type": "RUN_STARTED", "n": 1}\n\ndata: {"type": "RUN_FINISHED"}\n\ndata: {"type": "X"}\n\n')
    async with proxied(db, "none", odd=odd) as url, httpx.AsyncClient() as client:
        await client.post(f"{url}/agent", json=ASK)
        await client.post(f"{url}/v1/messages", json=ASK)
    assert verdicts(db) == {"valid"}
    found = {(p.type, p.problem, p.path) for p in omnirecord.validate(db, schema).problems}
    assert found == {("RUN_FINISHED", "missing field", "n"), ("X", "unknown type", "type")}
    with pytest.raises(omnirecord.UsageError, match="anthropic-messages is of another API"):
        omnirecord.validate(db, "anthropic-messages")
