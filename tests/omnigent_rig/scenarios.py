"""Whole stories, each told by a real client to whatever answers at `base_url`: see driver.py for the rules.

`SCENARIOS` has them all by name. Each takes `(base_url, runner_id)` and answers what its client saw;
`joined` is called with the session's id before anything is said.
`responses_query` is apart: the live server has no `POST /v1/responses` any more (see responses_standin.py).
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Protocol

from tests.omnigent_rig import agents, script
from tests.omnigent_rig.driver import TIMEOUT_S, Conversation, Joined, Listener, Seen, conversation
from tests.support.later import later

if TYPE_CHECKING:
    from omnirecord.replayer.server import Replay

omnigent_client = later("omnigent_client")


class Scenario(Protocol):
    """What all of them look like."""

    def __call__(self, base_url: str, runner_id: str, joined: Joined | None = None) -> Awaitable[Seen]: ...


DELTA = "response.output_text.delta"


async def text(base_url: str, runner_id: str, joined: Joined | None = None) -> Seen:
    """A question, some reasoning, a streamed answer."""
    async with conversation(base_url, runner_id, agents.HELPER, joined) as talk:
        await talk.ask(script.EXPLAIN)
    return talk.seen


async def tool(base_url: str, runner_id: str, joined: Joined | None = None) -> Seen:
    """A shell command, really run."""
    async with conversation(base_url, runner_id, agents.WITH_SHELL, joined) as talk:
        await talk.ask(script.COUNT)
    return talk.seen


async def approval(base_url: str, runner_id: str, joined: Joined | None = None) -> Seen:
    """An agent that asks before it reads a message; the client looks at the question and accepts."""
    async with conversation(base_url, runner_id, agents.ASKS_FIRST, joined) as talk:
        await talk.ask_and_accept(script.SUMMARISE)
    return talk.seen


async def interrupt(base_url: str, runner_id: str, joined: Joined | None = None) -> Seen:
    """A long story, cut short after a few words; then another turn in the same session."""
    async with conversation(base_url, runner_id, agents.HELPER, joined) as talk:
        await talk.say(script.TELL)
        await talk.stream.wait_for(DELTA, count=5)
        await talk.interrupt()
        await talk.ask(script.GO_ON)
    return talk.seen


async def failed(base_url: str, runner_id: str, joined: Joined | None = None) -> Seen:
    """A turn that the provider refuses."""
    async with conversation(base_url, runner_id, agents.HELPER, joined) as talk:
        await talk.ask(script.REFUSED)
    return talk.seen


async def two_clients(base_url: str, runner_id: str, joined: Joined | None = None) -> Seen:
    """A second client listens in and leaves after a few words; the first sees it through."""
    async with (
        conversation(base_url, runner_id, agents.HELPER, joined) as talk,
        omnigent_client.OmnigentClient(base_url) as guest,
    ):
        stream = Listener(guest, talk.session_id)
        await stream.wait_for("session.heartbeat")
        await talk.say(script.EXPLAIN)
        await stream.wait_for(DELTA, count=3)
        await stream.leave()
        talk.seen.others.append(Seen(talk.session_id, stream.events))
        await talk.stream.wait_for_turn()
        await talk.look()
    return talk.seen


async def reconnect(base_url: str, runner_id: str, joined: Joined | None = None, back: Joined | None = None) -> Seen:
    """A client that hangs up in the middle of an answer, comes back and hears the rest. `back`: called once its second
    stream is open."""
    async with conversation(base_url, runner_id, agents.HELPER, joined) as talk:
        await talk.say(script.EXPLAIN)
        await talk.stream.wait_for(DELTA, count=3)
        await talk.stream.leave()
        talk.seen.others.append(Seen(talk.session_id, talk.stream.events))
        await talk.look()
        talk.stream = Listener(talk.client, talk.session_id)
        talk.seen.events = talk.stream.events
        if back is not None:
            await talk.stream.wait_for("session.heartbeat")
            await back(talk.session_id)
        await talk.stream.wait_for_end()
        await talk.look()
    return talk.seen


def held(scenario: Scenario, model: Replay) -> Scenario:
    """Return the scenario as it is told with this model. The model holds its answer until the client of `reconnect` is
    back. Otherwise the answer could be over by then, and the client would wait for its end in vain."""
    return scenario if scenario is not reconnect else partial(_held_reconnect, model)


async def _held_reconnect(model: Replay, base_url: str, runner_id: str, joined: Joined | None = None) -> Seen:
    held = asyncio.create_task(model.run_until("response.output_text.delta", nth=10))

    async def go_on(_session_id: str) -> None:
        await held
        model.play()

    try:
        return await reconnect(base_url, runner_id, joined, go_on)
    finally:
        held.cancel()
        model.play()


async def subagent(base_url: str, runner_id: str, joined: Joined | None = None) -> Seen:
    """An agent that asks another one; the client follows the child's stream as well."""
    async with conversation(base_url, runner_id, agents.WITH_REVIEWER, joined) as talk:
        await talk.say(script.DELEGATE)
        created = await talk.stream.wait_for("session.created")
        child = await _follow(talk, created["child_session_id"])
        talk.seen.children.append(child)
        await talk.stream.wait_for_end()
        await talk.stream.wait_for_turn()
        await talk.look()
    return talk.seen


async def full(base_url: str, runner_id: str, joined: Joined | None = None) -> Seen:
    """All of it in one session: an answer, a tool, an interrupt, each approved first."""
    async with conversation(base_url, runner_id, agents.ASKS_FIRST_WITH_SHELL, joined) as talk:
        await talk.ask_and_accept(script.EXPLAIN)
        await talk.ask_and_accept(script.COUNT)
        async with talk.approved(script.TELL):
            await talk.stream.wait_for(DELTA, count=5)
        await talk.interrupt()
        await talk.ask_and_accept(script.GO_ON)
    return talk.seen


async def turns(base_url: str, runner_id: str, joined: Joined | None = None) -> Seen:
    """Three turns that end well: an answer, a tool, an answer; each approved first."""
    async with conversation(base_url, runner_id, agents.ASKS_FIRST_WITH_SHELL, joined) as talk:
        await talk.ask_and_accept(script.EXPLAIN)
        await talk.ask_and_accept(script.COUNT)
        await talk.ask_and_accept(script.GO_ON)
    return talk.seen


async def responses_query(base_url: str, _runner_id: str = "") -> Seen:
    """The older way to ask: `POST /v1/responses`, answered by its own stream."""
    async with asyncio.timeout(TIMEOUT_S), omnigent_client.OmnigentClient(base_url) as client:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            session = client.session(model="helper")
            chunks = [chunk async for chunk in await session.query(script.EXPLAIN, stream=True)]
    return Seen(session.current_response_id or "", text="".join(chunks))


async def _follow(talk: Conversation, session_id: str) -> Seen:
    stream = Listener(talk.client, session_id)
    try:
        await stream.wait_for_end()
        return Seen(session_id, stream.events)
    finally:
        await stream.leave()


SCENARIOS: Mapping[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (text, tool, approval, interrupt, failed, two_clients, reconnect, subagent, full, turns)
}
