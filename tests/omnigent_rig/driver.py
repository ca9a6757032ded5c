"""One real client in one session: it listens all the time, and every step waits for the event that ends it.

A pure user of `omnigent_client`, so that the same code runs against a live server, through a proxy and
against a replay: it knows no ids beforehand, measures no time and never sleeps. `TIMEOUT_S` bounds each wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.omnigent_rig.agents import bundle
from tests.support.later import later

omnigent_client = later("omnigent_client")

TIMEOUT_S = 60.0
TERMINAL = ("response.completed", "response.failed", "response.incomplete", "response.cancelled")
AT_REST = ("idle", "waiting", "failed")  # waiting: for a sub-agent

HEADERS = {"Origin": "omnigent://internal", "Connection": "close"}
"""A new connection for each request: httpx keeps one for 5 s, as long as the server does, so a request at
that moment can meet a closed connection."""

Event = dict[str, Any]
Test = Callable[[Event], bool]
Joined = Callable[[str], Awaitable[None]]
"""Called with the session's id once its stream is open, before anything is said: where to start a tail."""


class StreamEndedError(Exception):
    """The stream ended, or broke, before the awaited event came."""


@dataclass
class Seen:
    """What a client got to see: the result of a scenario."""

    session_id: str
    events: list[Event] = field(default_factory=list)
    snapshots: list[Event] = field(default_factory=list)
    items: list[Event] = field(default_factory=list)
    elicitations: list[Event] = field(default_factory=list)
    children: list[Seen] = field(default_factory=list)
    others: list[Seen] = field(default_factory=list)
    text: str = ""

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]


class Listener:
    """One open stream, read in a task of its own; `wait_for` goes forward through what came."""

    def __init__(self, client: omnigent_client.OmnigentClient, session_id: str) -> None:
        self.events: list[Event] = []
        self._read = 0
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._listen(client, session_id))

    async def wait_for(self, wanted: str | Test, *, count: int = 1, timeout: float = TIMEOUT_S) -> Event:
        """The `count`th event from here on of this type, or that passes this test."""
        test: Test = wanted if callable(wanted) else lambda event: event["type"] == wanted
        try:
            async with asyncio.timeout(timeout):
                while not (test(event := await self._next()) and (count := count - 1) == 0):
                    pass
        except TimeoutError:
            raise TimeoutError(f"{count} more of {wanted} awaited; {self._so_far()}") from None
        return event

    async def wait_for_turn(self) -> None:
        """A whole turn: its start, its terminal event, and the session at rest. Statuses alone will not do:
        an interrupt is followed by `idle` twice."""
        await self.wait_for("response.in_progress")
        await self.wait_for_end()

    async def wait_for_end(self) -> None:
        """The rest of a turn that is already running."""
        await self.wait_for(lambda event: event["type"] in TERMINAL)
        await self.wait_for_rest()

    async def wait_for_rest(self) -> None:
        await self.wait_for(lambda event: event["type"] == "session.status" and event["status"] in AT_REST)

    async def wait_for_close(self, timeout: float = TIMEOUT_S) -> None:
        """The end of the stream itself, clean or not, after which nothing comes."""
        await asyncio.wait_for(asyncio.wait({self._task}), timeout)

    async def leave(self) -> None:
        """Hang up, as a closed tab does."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, httpx.HTTPError):
            await self._task

    async def _next(self) -> Event:
        while self._read == len(self.events):
            if self._task.done():
                reason = self._task.exception() or "a clean end"
                raise StreamEndedError(f"{reason!r}; {self._so_far()}")
            self._news.clear()
            await self._news.wait()
        self._read += 1
        return self.events[self._read - 1]

    def _so_far(self) -> str:
        return f"so far, {self._read} of them read: {[event['type'] for event in self.events]}"

    async def _listen(self, client: omnigent_client.OmnigentClient, session_id: str) -> None:
        try:
            async for event in client.sessions.stream(session_id):
                self.events.append(event.model_dump(mode="json"))
                self._news.set()
        finally:
            self._news.set()


class Conversation:
    """A session that this client made, with its stream open: see `conversation`."""

    def __init__(self, client: omnigent_client.OmnigentClient, base_url: str, session_id: str) -> None:
        self.client = client
        self.base_url = base_url
        self.seen = Seen(session_id)
        self.stream = Listener(client, session_id)
        self.seen.events = self.stream.events

    @property
    def session_id(self) -> str:
        return self.seen.session_id

    async def say(self, text: str) -> None:
        """Post a user message. Where the agent asks first, the server answers only once it has been told."""
        await self.client.sessions.post_event(self.session_id, user_message(text))

    async def ask(self, text: str) -> None:
        """Post a user message, hear the answer to its end, then look at the session as careful clients do."""
        await self.say(text)
        await self.stream.wait_for_turn()
        await self.look()

    async def ask_and_accept(self, text: str) -> None:
        """The same with an agent that asks first."""
        async with self.approved(text):
            pass
        await self.stream.wait_for_turn()
        await self.look()

    @contextlib.asynccontextmanager
    async def approved(self, text: str) -> AsyncIterator[None]:
        """Inside, the message is posted, asked about and accepted; its POST is answered by the end."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.say(text))
            request = await self.stream.wait_for("response.elicitation_request")
            await self.accept(request["elicitation_id"])
            yield

    async def accept(self, elicitation_id: str) -> None:
        """Look at what is asked, as the approval page does, and accept it."""
        url = f"{self.base_url}/v1/sessions/{self.session_id}/elicitations/{elicitation_id}"
        async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_S) as http:
            answer = await http.get(url)
        answer.raise_for_status()
        self.seen.elicitations.append(answer.json())
        await self.client.sessions.resolve_elicitation(self.session_id, elicitation_id, {"action": "accept"})

    async def interrupt(self) -> None:
        await self.client.sessions.interrupt(self.session_id)
        await self.stream.wait_for("session.interrupted")
        await self.stream.wait_for_rest()
        await self.look()

    async def look(self) -> None:
        """The snapshot and the items, after a turn."""
        snapshot = await self.client.sessions.get(self.session_id)
        page = await self.client.sessions.list_items(self.session_id)
        self.seen.snapshots.append(vars(snapshot))
        self.seen.items = list(getattr(page, "data", page))  # older clients return a list
        self.seen.text = answer_in(self.seen.items)


@contextlib.asynccontextmanager
async def conversation(
    base_url: str, runner_id: str, agent: str, joined: Joined | None = None
) -> AsyncIterator[Conversation]:
    """A new session with this agent, bound to the runner, its stream open and past its first event."""
    async with omnigent_client.OmnigentClient(base_url=base_url, headers=HEADERS) as client:
        session = await client.sessions.create(bundle(agent))
        await client.sessions.bind_runner(session.id, runner_id=runner_id)
        talk = Conversation(client, base_url, session.id)
        try:
            await talk.stream.wait_for("session.heartbeat")
            if joined is not None:
                await joined(session.id)
            yield talk
        finally:
            await talk.stream.leave()


@dataclass
class Tail:
    """The raw body of a stream: each read with its time in nanoseconds since the request."""

    reads: list[tuple[int, bytes]] = field(default_factory=list)
    ended: bool = False
    connected: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def body(self) -> bytes:
        return b"".join(data for _, data in self.reads)


@contextlib.asynccontextmanager
async def tail(url: str, session_id: str) -> AsyncIterator[Tail]:
    """Read a session's stream besides everyone else, to compare bytes and times; inside, it has begun."""
    seen = Tail()
    reader = asyncio.create_task(_read_raw(f"{url}/v1/sessions/{session_id}/stream", seen))
    try:
        await _either(reader, seen.connected.wait())
        yield seen
    finally:
        reader.cancel()
        with contextlib.suppress(asyncio.CancelledError, httpx.HTTPError):
            await reader


async def _read_raw(url: str, seen: Tail) -> None:
    started = time.monotonic_ns()
    timeout = httpx.Timeout(TIMEOUT_S, read=None)
    async with (
        httpx.AsyncClient(trust_env=False, timeout=timeout) as http,
        http.stream("GET", url, headers={"Accept": "text/event-stream"}) as response,
    ):
        response.raise_for_status()
        async for data in response.aiter_raw():
            seen.reads.append((time.monotonic_ns() - started, data))
            seen.connected.set()
    seen.ended = True


async def _either(task: asyncio.Task[None], ready: Awaitable[object]) -> None:
    """Wait until it is ready, or raise what the task died of."""
    waiting = asyncio.ensure_future(ready)
    try:
        await asyncio.wait({task, waiting}, timeout=TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        waiting.cancel()


def user_message(text: str) -> Event:
    content = [{"type": "input_text", "text": text}]
    return {"type": "message", "data": {"role": "user", "content": content}}


def answer_in(items: list[Event]) -> str:
    """The text of the newest assistant message."""
    for item in reversed(items):
        if item.get("type") == "message" and item.get("role") == "assistant":
            return "".join(part.get("text", "") for part in item.get("content") or [])
    return ""
