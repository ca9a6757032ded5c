"""The main job on the real thing: a real Omnigent server, runner and client, recorded through one proxy, and played
again to the same client with everything else stopped. The runner goes through the proxy too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import settings

pytest.importorskip("omnigent", reason="needs the 'real' dependency group, and Python >= 3.12")

from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite import Store
from omnirecord.model import Exchange, TimedFrame
from omnirecord.omnigent.line import connect_snapshot_length
from omnirecord.omnigent.routes import is_gate
from omnirecord.recorder.proxy.server import Proxy
from omnirecord.replayer.server import Replay
from omnirecord.replayer.verify import verify
from omnirecord.wire.sse import Parser
from tests.omnigent_rig.driver import Seen, Tail, tail
from tests.omnigent_rig.responses_standin import ResponsesStandin
from tests.omnigent_rig.scenarios import SCENARIOS, held, responses_query
from tests.omnigent_rig.stack import Stack

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

EXPECTED = {
    "text": {"response.reasoning_text.delta", "response.output_text.delta", "response.completed"},
    "tool": {"response.output_item.done", "response.completed"},
    "approval": {"response.elicitation_request", "response.elicitation_resolved", "response.completed"},
    "interrupt": {"session.interrupted", "response.completed"},
    "failed": {"response.failed"},
    "two_clients": {"response.reasoning_text.delta", "response.output_text.delta", "response.completed"},
    "reconnect": {"response.created", "response.completed"},
    "subagent": {"session.created", "session.child_session.updated", "response.completed"},
    "full": {"response.elicitation_request", "response.output_item.done", "session.interrupted"},
    "turns": {"response.elicitation_request", "response.output_item.done", "response.completed"},
}
"""What has come of each scenario when it was told to its end."""

IN_SHORT = ("failed", "two_clients", "reconnect", "subagent", "full")
"""Without `--long`: "full" has what the others tell one by one, and the first of the two clients what "text" has."""
STORIES = {name: told for name, told in SCENARIOS.items() if name in IN_SHORT or settings.default.max_examples >= 100}

TIMINGS = ("instant", "compressed", "original")


@dataclass
class Recorded:
    """What there is once server, runner and provider are gone."""

    db: Path
    runner_id: str
    seen: dict[str, Seen] = field(default_factory=dict)
    tails: dict[str, Tail] = field(default_factory=dict)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def recorded(tmp_path_factory: pytest.TempPathFactory, shared_server: Stack, shared_model: Replay) -> Recorded:
    db, stack = tmp_path_factory.mktemp("real") / "session.db", shared_server
    await stack.stop_runner()
    async with Proxy(stack.url, db) as proxy:
        await stack.start_runner(proxy.url)
        result = Recorded(db, stack.runner_id)
        for name, scenario in STORIES.items():
            async with AsyncExitStack() as tails:

                async def join(session_id: str, name: str = name, tails: AsyncExitStack = tails) -> None:
                    result.tails[name] = await tails.enter_async_context(tail(stack.url, session_id))

                result.seen[name] = await held(scenario, shared_model)(proxy.url, stack.runner_id, join)
        await stack.stop_runner()
    return result


@pytest.fixture
def store(recorded: Recorded) -> Iterator[Store]:
    store = open_store(recorded.db)
    yield store
    store.close()


def client_stream(store: Store, seen: Seen) -> Exchange:
    return store.streams(seen.session_id)[0]


@pytest.mark.parametrize("name", [name for name in STORIES if name != "reconnect"])
async def test_a_direct_client_sees_the_same_bytes_from_the_first_common_event_on(
    recorded: Recorded, store: Store, name: str
) -> None:
    frames = list(store.frames(client_stream(store, recorded.seen[name])))
    through = b"".join(frame.raw or b"" for frame in frames[connect_snapshot_length(frames) :])
    parser = Parser()
    direct = [frame.raw or b"" for frame in parser.feed(recorded.tails[name].body)]
    first = next((i for i, raw in enumerate(direct) if through.startswith(raw)), 0)
    beside = b"".join(direct[first:])
    assert len(beside) > 1000
    # what was told to one before the other came is no common event: a presence, on a busy server a terminal
    if through[: len(beside)] != beside[: len(through)]:
        through, beside = from_turn(through), from_turn(beside)
        assert len(beside) > 1000
    assert through[: len(beside)] == beside[: len(through)]


def from_turn(body: bytes) -> bytes:
    """From the first event of a response on."""
    return body[body.index(b"event: response.") :]


@pytest.mark.parametrize("name", STORIES)
async def test_a_scenario_was_told_to_its_end(recorded: Recorded, name: str) -> None:
    seen = recorded.seen[name]
    assert set(seen.types) >= EXPECTED[name]
    assert seen.text or name == "failed"


async def test_every_event_that_the_client_saw_is_recorded_in_order(recorded: Recorded, store: Store) -> None:
    for name, seen in recorded.seen.items():
        recorded_types = [[frame.type for frame in store.frames(x)] for x in store.streams(seen.session_id)]
        assert any(types[: len(seen.types)] == seen.types for types in recorded_types), name


async def test_every_event_of_a_healthy_session_is_valid(store: Store) -> None:
    verdicts = {verdict for x in store.streams() for verdict in store.tally(x)[0]}
    assert verdicts == {"valid"}


async def test_the_runner_came_through_the_proxy(store: Store) -> None:
    (tunnel,) = store.exchanges(kind="websocket")
    messages = list(store.messages(tunnel.exchange))
    assert tunnel.party == "runner"
    assert {message.dir for message in messages} == {"up", "down"}
    assert all(message.sent_ns is not None and message.sent_ns >= message.at_ns for message in messages)


async def test_a_sub_agents_session_knows_its_parent(recorded: Recorded, store: Store) -> None:
    seen = recorded.seen["subagent"]
    assert store.parents()[seen.children[0].session_id] == seen.session_id


@pytest.mark.parametrize(
    "timing", [pytest.param(timing, marks=pytest.mark.long) if timing == "original" else timing for timing in TIMINGS]
)
async def test_the_same_driver_runs_offline_and_nothing_comes_before_the_post_it_followed(
    recorded: Recorded, tmp_path: Path, timing: str
) -> None:
    """The replay is recorded too: that tells what came before what."""
    async with Replay(recorded.db, timing=timing) as server, Proxy(server.url, tmp_path / "again.db") as proxy:
        for name, scenario in STORIES.items():
            seen = await scenario(proxy.url, recorded.runner_id)
            assert seen.events == recorded.seen[name].events, name
            assert seen.text == recorded.seen[name].text, name
        assert (server.unmatched, server.mismatches, server.waiting) == ([], [], [])
    before, after = open_store(recorded.db), open_store(tmp_path / "again.db")
    try:
        for name in {"full", "interrupt"} & set(STORIES):
            assert too_early(before, after, recorded.seen[name].session_id) == []
    finally:
        before.close()
        after.close()


def too_early(before: Store, after: Store, session_id: str) -> list[int]:
    """The frames that came before a post which they followed when they were recorded."""
    was, now = posts_before_frames(before, session_id), posts_before_frames(after, session_id)
    assert len(now) > 20
    return [i for i, (one, other) in enumerate(zip(was, now, strict=False)) if other < one]


def posts_before_frames(store: Store, session_id: str) -> list[int]:
    """For each frame behind the connect snapshot, how many messages and answers had been sent before it came."""
    (stream,) = store.streams(session_id)
    posts = [
        x.request.at_ns
        for x in store.exchanges(session_id=session_id, by_clients=True)
        if is_gate(x.request.method, x.request.target)
    ]
    frames: list[TimedFrame] = list(store.frames(stream))
    return [sum(at < frame.offset_ns for at in posts) for frame in frames[connect_snapshot_length(frames) :]]


@pytest.mark.parametrize("speed", [10, pytest.param(1, marks=pytest.mark.long)])
async def test_the_bytes_are_equal_at_the_original_timing(recorded: Recorded, speed: int) -> None:
    """How well that holds is measured with the shipped recordings of the same stories, where nothing runs beside it."""
    result = await verify(recorded.db, timing="original", speed=speed)
    assert result.differences == []
    assert result.streams >= len(STORIES)


async def test_the_older_way_to_ask_is_recorded_and_replayed(tmp_path: Path) -> None:
    db = tmp_path / "responses.db"
    async with ResponsesStandin() as standin, Proxy(standin.url, db) as proxy:
        live = await responses_query(proxy.url)
    store = open_store(db)
    (stream,) = store.streams()
    assert (stream.request.method, stream.ending) == ("POST", "done")
    store.close()
    for timing in TIMINGS:
        async with Replay(db, timing=timing) as server:
            assert (await responses_query(server.url)).text == live.text


async def test_no_secret_of_the_runner_is_in_the_file(recorded: Recorded, store: Store) -> None:
    data = recorded.db.read_bytes()
    tokens = [
        value
        for x in (one for one in store.exchanges() if one.party == "runner")
        for name, value in x.request.headers
        if name.lower() == "x-omnigent-runner-tunnel-token"
    ]
    assert tokens
    assert all(token.startswith("omnirecord-redacted-") for token in tokens)
    assert os.fsencode("direct_attach_token") in data  # it is there, its value is not
    assert (
        b'"direct_attach_token": "omnirecord-redacted-' in data
        or b'"direct_attach_token":"omnirecord-redacted-' in data
    )
