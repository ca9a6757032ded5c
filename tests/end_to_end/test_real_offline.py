"""A real Omnigent without a provider: the recorded model calls, played again, lead to the recorded sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

pytest.importorskip("omnigent", reason="needs the 'real' dependency group, and Python >= 3.12")

import omnirecord
from benchmarks.ports import free_port
from omnirecord.cassette.open import open_store
from omnirecord.episodes.server import Episodes
from omnirecord.model import Exchange
from omnirecord.wire.strict_json import as_dict, payload_of
from tests.omnigent_rig.both_hops import CLAUDE_ENV, SCENARIOS, SCRIPT, SESSIONS, parallel
from tests.omnigent_rig.driver import HEADERS, Event
from tests.omnigent_rig.stack import Stack
from tests.support.cassettes import SHIPPED
from tests.support.providers import ModelApis
from tests.support.wire import eventually, exchanges

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]


@dataclass
class Offline:
    """A server, and a runner whose provider is a replay at `port`, which each test starts."""

    stack: Stack
    port: int


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def offline(shared_server: Stack) -> AsyncIterator[Offline]:
    port, stack = free_port(), shared_server
    await stack.stop_runner()
    await forget_sessions(stack)
    base = f"http://127.0.0.1:{port}"
    await stack.start_runner(env={**CLAUDE_ENV, "ANTHROPIC_BASE_URL": base, "OPENAI_BASE_URL": f"{base}/v1"})
    yield Offline(stack, port)
    await stack.stop_runner()


async def forget_sessions(stack: Stack) -> None:
    """Delete the sessions of earlier tests. The server wakes an agent whose sub-agent has ended once a runner is there:
    its request would come to the replay of another test."""
    async with httpx.AsyncClient(base_url=stack.url, trust_env=False, headers=HEADERS) as http:
        while found := (await http.get("/v1/sessions")).raise_for_status().json()["data"]:
            for session in found:
                (await http.delete(f"/v1/sessions/{session['id']}")).raise_for_status()


def told(events: Iterable[Event]) -> tuple[str, list[str]]:
    """Return the streamed text, and the tools that were called with their arguments."""
    text, calls = "", []
    for event in events:
        item = as_dict(event.get("item"))
        if event.get("type") == "response.output_text.delta":
            text += str(event.get("delta"))
        elif event.get("type") == "response.output_item.done" and item.get("type") == "function_call":
            calls.append(f"{item['name']} {item['arguments']}")
    return text, calls


def recorded(name: str) -> tuple[str, list[str]]:
    """Return the same of the first stream of the recorded client."""
    with closing(open_store(SHIPPED / "both_hops" / f"{name}.jsonl")) as store:
        hops = {one.recording: one.hop for one in store.recordings()}
        stream = next(x for x in store.streams() if hops[x.recording] is None)
        return told(as_dict(payload_of(frame)) for frame in store.frames(stream) if frame.verdict != "comment")


@pytest.mark.parametrize(
    "name",
    [
        "both_turns",
        "both_failed",
        "both_incomplete",
        "both_retried",
        "both_chat",
        # "both_turns" has what these tell one by one
        *(pytest.param(f"both_{name}", marks=pytest.mark.long) for name in ("text", "tool", "approval")),
    ],
)
async def test_a_recorded_session_is_told_again_without_its_provider(offline: Offline, name: str) -> None:
    cassette = SHIPPED / "both_hops" / f"{name}.jsonl"
    async with omnirecord.replay(cassette, only="model", timing="instant", port=offline.port) as model:
        seen = await SCENARIOS[name](offline.stack.url, offline.stack.runner_id)
        assert [one.why for one in model.unmatched] == []
        assert [x.request.target for x in model.unplayed] == []
    assert told(seen.events) == recorded(name)


async def test_parallel_sessions_with_equal_prompts_get_an_answer_each(offline: Offline, long: bool) -> None:
    """Five were recorded. Each starts a harness, so that two are played without `--long`."""
    cassette, sessions = SHIPPED / "both_hops" / "both_parallel.jsonl.zst", SESSIONS if long else 2
    async with omnirecord.replay(cassette, only="model", timing="instant", port=offline.port) as model:
        seen = await parallel(offline.stack.url, offline.stack.runner_id, sessions=sessions)
        assert [one.why for one in model.unmatched] == []
        assert len(model.unplayed) == (SESSIONS - sessions) * 4
    assert [one.text for one in (seen, *seen.others)] == ["The log of today has three entries."] * sessions


@pytest.mark.long  # on a busy machine, Omnigent's sub-agent may ask without its browser tools
async def test_a_recorded_subagent_works_without_a_provider(offline: Offline) -> None:
    cassette = SHIPPED / "both_hops" / "both_subagent.jsonl"
    async with omnirecord.replay(cassette, only="model", timing="instant", port=offline.port) as model:
        seen = await SCENARIOS["both_subagent"](offline.stack.url, offline.stack.runner_id)
        assert [one.why for one in model.unmatched] == []
    assert seen.children
    assert seen.text == "The reviewer says that the plan is sound."


async def test_an_interrupted_session_goes_on_without_a_provider(offline: Offline) -> None:
    cassette = SHIPPED / "both_hops" / "both_interrupt.jsonl"
    async with omnirecord.replay(cassette, only="model", timing="original", port=offline.port) as model:
        seen = await SCENARIOS["both_interrupt"](offline.stack.url, offline.stack.runner_id)
        assert [one.why for one in model.unmatched] == []
    assert "session.interrupted" in seen.types
    assert seen.text == "Goodbye, and calm seas."


async def test_a_prompt_that_was_not_recorded_fails_its_turn_with_the_miss(offline: Offline) -> None:
    cassette = SHIPPED / "both_hops" / "both_tool.jsonl"
    async with omnirecord.replay(cassette, only="model", timing="instant", port=offline.port) as model:
        seen = await SCENARIOS["both_failed"](offline.stack.url, offline.stack.runner_id)
        assert "response.failed" in seen.types
        assert "was recorded, but not with this conversation" in model.unmatched[0].why


async def test_a_session_that_was_not_recorded_is_answered_by_the_provider_once(
    offline: Offline, tmp_path: Path
) -> None:
    cassette = tmp_path / "model.jsonl"
    cassette.write_bytes((SHIPPED / "both_hops" / "both_tool.jsonl").read_bytes())
    place = offline.stack.url, offline.stack.runner_id
    async with (
        ModelApis(SCRIPT) as provider,
        Episodes(
            cassette, {"model": provider.url.removesuffix("/v1")}, only="model", timing="instant", port=offline.port
        ) as episodes,
    ):
        await SCENARIOS["both_tool"](*place)
        assert (episodes.unplayed, provider.requests) == ([], [])
        live = await SCENARIOS["both_text"](*place)
        assert len(provider.requests) == 1
    async with omnirecord.replay(cassette, only="model", timing="instant", port=offline.port) as model:
        await SCENARIOS["both_tool"](*place)
        assert (await SCENARIOS["both_text"](*place)).text == live.text
        assert ([one.why for one in model.unmatched], model.unplayed) == ([], [])


def whole_answers(db: Path) -> list[Exchange]:
    """The model calls that have got their answer."""
    return [x for x in exchanges(db) if x.request.target.startswith("/v1/messages") and x.ending == "done"]


async def test_a_harness_of_anthropic_messages_works_without_a_provider(offline: Offline, tmp_path: Path) -> None:
    """It is recorded here, since the prompt of the Claude CLI names the machine and the day. It is the last test:
    the CLI asks for a title later than for the answer."""
    db, answer = tmp_path / "model.db", "One long blast means that a vessel leaves her berth."
    async with (
        ModelApis(SCRIPT) as provider,
        omnirecord.record(provider.url.removesuffix("/v1"), db, port=offline.port, contract="auto"),
    ):
        recorded = await SCENARIOS["both_messages"](offline.stack.url, offline.stack.runner_id)
        await eventually(lambda: len(whole_answers(db)) == 2)  # the second: a title for the session
    assert recorded.text == answer
    async with omnirecord.replay(db, timing="instant", port=offline.port) as model:
        seen = await SCENARIOS["both_messages"](offline.stack.url, offline.stack.runner_id)
        assert [one.why for one in model.unmatched] == []
    assert seen.text == answer
    with closing(open_store(db)) as store:
        assert {frame.verdict for x in store.streams() for frame in store.frames(x)} == {"valid"}
