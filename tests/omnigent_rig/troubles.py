"""Stories in which something goes wrong, each told by a real client to a real server: the cassettes in `troubled`.

`TROUBLES` has them all by name. Each has a stack of its own, since most of them break it. Where time has to go by, a
heartbeat is waited for, which the server sends after 15 s of silence.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

from tests.omnigent_rig import agents, script
from tests.omnigent_rig.driver import AT_REST, TIMEOUT_S, Conversation, Event, Listener, Seen, conversation
from tests.omnigent_rig.narrow import NarrowLine
from tests.omnigent_rig.provider import Provider
from tests.omnigent_rig.scenarios import DELTA
from tests.omnigent_rig.stack import Stack
from tests.support.later import later

omnigent_client = later("omnigent_client")

IMPATIENT = {"HARNESS_TURN_TIMEOUT_S": "3"}
"""The stack's environment for `retries`: how long a turn may be silent. By default it is an hour."""
GIVEN_UP_S = 200.0
"""The server gives a runner up after 90 s or so."""


@dataclass(frozen=True)
class Bench:
    """What a story is told with. `url`: what its clients are given; `stop_recording` ends the recorder before them;
    `line`: between the clients and the recorder, where a story needs one."""

    url: str
    provider: Provider
    stack: Stack
    stop_recording: Callable[[], Awaitable[None]]
    line: NarrowLine | None = None

    def conversation(self, agent: str) -> contextlib.AbstractAsyncContextManager[Conversation]:
        return conversation(self.url, self.stack.runner_id, agent)


Trouble = Callable[[Bench], Awaitable[Seen]]


@contextlib.asynccontextmanager
async def in_a_turn(bench: Bench, text: str = script.TELL) -> AsyncIterator[Conversation]:
    """Inside, the answer has begun: a few words are there."""
    async with bench.conversation(agents.HELPER) as talk:
        await talk.say(text)
        await talk.stream.wait_for(DELTA, count=5)
        yield talk


async def runner_killed(bench: Bench) -> Seen:
    """The runner is killed in the middle of an answer; the client waits until the server says so."""
    async with in_a_turn(bench) as talk:
        await bench.stack.kill_runner()
        await talk.stream.wait_for(has_failed, timeout=GIVEN_UP_S)
        await talk.look()
    return talk.seen


async def runner_killed_early(bench: Bench) -> Seen:
    """The same, but the client has no patience: it leaves after two heartbeats."""
    async with in_a_turn(bench) as talk:
        await bench.stack.kill_runner()
        await talk.stream.wait_for(is_heartbeat, count=2)
        await talk.look()
    return talk.seen


async def approval_unanswered(bench: Bench) -> Seen:
    """The agent asks, nobody answers, and the message's request still waits when the recorder is stopped."""
    async with bench.conversation(agents.ASKS_FIRST) as talk:
        post = asyncio.create_task(talk.say(script.SUMMARISE))
        await talk.stream.wait_for("response.elicitation_request")
        await talk.look()
        await talk.stream.wait_for(is_heartbeat)
        await bench.stop_recording()
        await asyncio.gather(post, return_exceptions=True)
    return talk.seen


async def approval_timed_out(bench: Bench) -> Seen:
    """The same with a policy that waits for five seconds: the message is denied."""
    async with bench.conversation(agents.ASKS_FIRST_BRIEFLY) as talk:
        await talk.say(script.SUMMARISE)
        await talk.stream.wait_for_end()
        await talk.look()
    return talk.seen


async def missed_end(bench: Bench) -> Seen:
    """A client hangs up in the middle of an answer and comes back when it is over: no stream ever had its end."""
    async with in_a_turn(bench, script.EXPLAIN) as talk:
        await talk.stream.leave()
        talk.seen.others.append(Seen(talk.session_id, talk.stream.events))
        await at_rest(bench.stack.url, talk.session_id)
        talk.stream = Listener(talk.client, talk.session_id)
        talk.seen.events = talk.stream.events
        await talk.stream.wait_for("session.presence")
        await talk.look()
    return talk.seen


async def server_stopped(bench: Bench) -> Seen:
    """The server is told to stop in the middle of an answer; the client looks once more and finds nobody."""
    return await _server_ended(bench, signal.SIGTERM)


async def server_killed(bench: Bench) -> Seen:
    """The server is killed in the middle of an answer."""
    return await _server_ended(bench, signal.SIGKILL)


async def _server_ended(bench: Bench, how: signal.Signals) -> Seen:
    async with in_a_turn(bench) as talk:
        await bench.stack.stop_server(how)
        await talk.stream.wait_for_close()
        with contextlib.suppress(omnigent_client.OmnigentError):
            await talk.look()
    return talk.seen


async def slow_reader(bench: Bench) -> Seen:
    """Nothing gets through to the client for as long as the model speaks. It is dropped by the server, 1,024 events
    behind, gets what it was sent before, and looks at the session, whose turn goes on."""
    assert bench.line is not None
    async with in_a_turn(bench, script.DRAW) as talk:
        bench.line.flows.clear()
        await asyncio.wait_for(bench.provider.stalled.wait(), GIVEN_UP_S)
        bench.line.flows.set()
        await talk.stream.wait_for_close()
        await talk.look()
    return talk.seen


async def child_unfinished(bench: Bench) -> Seen:
    """A session spawns another, whose model stops in the middle of a sentence. Both are listened to, for a while."""
    async with bench.conversation(agents.WITH_REVIEWER) as talk:
        await talk.say(script.DELEGATE_IN_VAIN)
        created = await talk.stream.wait_for("session.created")
        child = Listener(talk.client, created["child_session_id"])
        await talk.stream.wait_for_end()
        await child.wait_for(is_heartbeat, count=3)  # the first is the greeting
        await child.leave()
        talk.seen.children.append(Seen(created["child_session_id"], child.events))
        await talk.look()
    return talk.seen


async def tool_hangs(bench: Bench) -> Seen:
    """A shell command that does not come back; the client waits for two heartbeats and leaves."""
    async with bench.conversation(agents.WITH_SHELL) as talk:
        await talk.say(script.WAIT)
        await talk.stream.wait_for(is_heartbeat, count=2)
        await talk.look()
    return talk.seen


async def provider_busy(bench: Bench) -> Seen:
    """The provider has too much to do, then fails, then answers; the runner tries again by itself."""
    async with bench.conversation(agents.HELPER) as talk:
        await talk.ask(script.BUSY)
    return talk.seen


async def retries(bench: Bench) -> Seen:
    """The provider begins an answer and is silent; the runner, whose patience is short, asks once more."""
    async with bench.conversation(agents.HELPER) as talk:
        await talk.ask(script.HESITATE)
    return talk.seen


def is_heartbeat(event: Event) -> bool:
    """The server's, or the runner's while a turn is silent."""
    return event["type"] in ("session.heartbeat", "response.heartbeat")


def has_failed(event: Event) -> bool:
    return event["type"] == "session.status" and event["status"] == "failed"


async def at_rest(url: str, session_id: str) -> None:
    """Wait until a session rests, asking the server itself: nothing of it is recorded."""
    async with omnigent_client.OmnigentClient(url) as client, asyncio.timeout(TIMEOUT_S):
        while (await client.sessions.get(session_id)).status not in AT_REST:  # noqa: ASYNC110  # a server may be asked
            await asyncio.sleep(0.1)


TROUBLES: Mapping[str, Trouble] = {
    trouble.__name__: trouble
    for trouble in (
        runner_killed, runner_killed_early, approval_unanswered, approval_timed_out, missed_end, server_stopped,
        server_killed, slow_reader, child_unfinished, tool_hangs, provider_busy, retries,
    )
}  # fmt: skip
