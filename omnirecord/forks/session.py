"""A session of a live Omnigent, brought to turn N: sends what the recorded client sent, as its model is replayed.

    recorded = recorded_session(store, session_id, 3, message="Another question")
    await Client(url).play(recorded, go_live)

The client creates a session with the recorded agent, binds a runner, and opens the stream. It sends each message after
the turn before has ended, and answers approvals as the recorded client did. Before the message of turn N it calls
`go_live`. It leaves when turn N has ended.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from ..analysis.gather import acts_in, whole_sessions
from ..analysis.turns.requests import Act
from ..cassette.select import the_session
from ..cassette.sqlite import Store
from ..errors import ServerError, UsageError
from ..omnigent.protocol import (
    ENDS,
    RESPONSE_ELICITATION_REQUEST,
    SESSION_INTERRUPTED,
    SESSION_STATUS,
    is_of_response,
)
from ..omnigent.routes import RUNNERS, SESSIONS, creates_session, session_target, stream_target
from ..text import counted
from ..wire.headers import header
from ..wire.sse import Parser
from ..wire.strict_json import as_dict, as_list, as_text, loads

_ORIGIN = {"Origin": "omnigent://internal"}
_AT_REST = ("idle", "waiting", "failed")
_RUNNER_WITHIN = 300.0
"""Seconds to wait for a runner."""
Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Sent:
    """A request of the recorded client. `act`: what it says; `body`: its JSON body."""

    act: Act
    body: bytes


@dataclass(frozen=True, slots=True)
class RecordedSession:
    """What the recorded client sent, up to turn N. `begin_ns`, `recording`: when and where the message of turn N was
    sent. `turn`: the answers of turn N, behind its message."""

    bundle: bytes
    content_type: str
    runner_id: str | None
    before: Sequence[Sent]
    turn: Sequence[Sent]
    begin_ns: int
    recording: int


def recorded_session(store: Store, name: str, number: int, message: str | None) -> RecordedSession:
    """Return what the client of a session sent up to turn `number`, with another message. Raises `UsageError`."""
    session_id = the_session(store, name)
    session = next(known for known in whole_sessions(store, session_id) if known.session_id == session_id)
    if not 1 <= number <= len(session.turns):
        raise UsageError(f"--from-turn {number}: the session has {counted(len(session.turns), 'turn')}")
    own = [
        x for x in store.exchanges(session_id=session_id) if x.party != "runner" and x.recording == session.recording
    ]
    created = next((x for x in own if creates_session(x.request.method, x.request.target)), None)
    if created is None:
        raise UsageError(f"the recording has no request that created the session {name}, so it cannot be created again")
    sent = [Sent(act, store.decoded_body(x, "request")) for x in own for act in acts_in(store, [x]) if not act.refused]
    asked = session.turns[number - 1].asked
    begin_ns = asked[0].at_ns if asked else session.turns[number - 1].begin_ns
    end_ns = session.turns[number].begin_ns if number < len(session.turns) else None
    first = next((step for step in sent if step.act.kind == "message" and step.act.at_ns >= begin_ns), None)
    if first is None:
        raise UsageError(f"turn {number} of the session {name} has no message of a client")
    if message is not None:
        if message == first.act.text:
            raise UsageError(f"--message changes nothing: the message of turn {number} is this text already")
        first = Sent(first.act, _with_text(first.body, message))
    later = [step for step in sent if step.act.at_ns > first.act.at_ns and (end_ns is None or step.act.at_ns < end_ns)]
    bound = [
        as_text(as_dict(loads(store.decoded_body(x, "request"))).get("runner_id"))
        for x in own
        if x.request.method == "PATCH"
    ]
    return RecordedSession(
        bundle=store.decoded_body(created, "request"),
        content_type=header(created.request.headers, "content-type") or "application/json",
        runner_id=next(filter(None, bound), None),
        before=[step for step in sent if step.act.at_ns < first.act.at_ns],
        turn=[first, *later],
        begin_ns=first.act.at_ns,
        recording=session.recording,
    )


def _with_text(body: bytes, text: str) -> bytes:
    """Return the request of a message with another text. Other parts, such as files, stay."""
    data = as_dict(loads(body))
    message = as_dict(data.get("data"))
    parts = [part for part in as_list(message.get("content")) if as_dict(part).get("type") != "input_text"]
    message["content"] = [{"type": "input_text", "text": text}, *parts]
    return json.dumps({**data, "data": message}).encode()


def _ends(event: dict[str, Any]) -> bool:
    return event.get("type") in ENDS or event.get("type") == SESSION_INTERRUPTED


def _asks_or_ends(event: dict[str, Any]) -> bool:
    return event.get("type") == RESPONSE_ELICITATION_REQUEST or _ends(event)


class Client:
    """A client of one live server. `say` gets what it waits for."""

    def __init__(self, url: str, say: Say) -> None:
        self._url = url.rstrip("/")
        self._say = say
        self._events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._ended = ""
        """The type of the event that ended the turn; empty while it goes on."""
        self.session_id = ""

    async def play(self, recorded: RecordedSession, go_live: Callable[[], object], runner_id: str | None) -> str:
        """Bring a new session to the end of turn N. Return how that ended. Raises `ServerError`."""
        timeout = aiohttp.ClientTimeout(total=None)
        try:
            async with aiohttp.ClientSession(
                self._url, headers=_ORIGIN, timeout=timeout, trust_env=False
            ) as self._http:
                await self._begin(recorded, runner_id)
                reading = asyncio.create_task(self._read())
                try:
                    await self._until(lambda _: True)
                    await self._send(recorded.before)
                    go_live()
                    return await self._send(recorded.turn)
                finally:
                    reading.cancel()
        except aiohttp.ClientError as error:
            raise ServerError(f"the server at {self._url} does not answer: {error}") from error

    async def _begin(self, recorded: RecordedSession, runner_id: str | None) -> None:
        headers = {"Content-Type": recorded.content_type}
        made = await self._json("POST", SESSIONS, recorded.bundle, headers)
        self.session_id = as_text(made.get("session_id")) or as_text(made.get("id")) or ""
        runner = runner_id or await self._runner(recorded.runner_id)
        await self._json("PATCH", session_target(self.session_id), json.dumps({"runner_id": runner}).encode())

    async def _runner(self, recorded: str | None) -> str:
        """Return the recorded runner if it is online, else the only one. Waits until there is one."""
        is_told = False
        async with asyncio.timeout(_RUNNER_WITHIN):
            while True:
                listed = await self._json("GET", RUNNERS)
                online = [as_text(as_dict(runner).get("runner_id")) or "" for runner in as_list(listed.get("data"))]
                if recorded in online or len(online) == 1:
                    return recorded if recorded in online and recorded is not None else online[0]
                if online:
                    raise UsageError(f"several runners are online: give --runner, one of {', '.join(online)}")
                if not is_told:
                    self._say("no runner is online yet: start one with the address of the model above")
                is_told = True
                await asyncio.sleep(0.5)

    async def _send(self, all_sent: Sequence[Sent]) -> str:
        """Send these requests, each when its time has come. Return how the last turn ended."""
        posting: asyncio.Task[Any] | None = None
        ended = ""
        for step in all_sent:
            if step.act.kind == "message":
                if posting is not None:
                    ended = await self._end_of_turn(posting)
                self._ended = ""
                posting = asyncio.create_task(self._post("/events", step.body))
            elif step.act.kind == "answer":
                event = await self._until(_asks_or_ends)
                if _ends(event):  # another message, for which the agent does not ask
                    self._ended = str(event.get("type"))
                else:
                    await self._post(f"/elicitations/{event.get('elicitation_id')}/resolve", step.body)
            else:
                await self._until(lambda event: is_of_response(as_text(event.get("type"))))
                await self._post("/events", step.body)
        return ended if posting is None else await self._end_of_turn(posting)

    async def _end_of_turn(self, posting: asyncio.Task[Any]) -> str:
        """Wait until the turn has ended, and the session is at rest. Return the type of its end."""
        while not self._ended:
            event = await self._until(_asks_or_ends)
            if _ends(event):
                self._ended = str(event.get("type"))
            else:
                self._say(f"the agent waits for an approval: answer it at {self._url}/c/{self.session_id}")
        await self._until(lambda event: event.get("type") == SESSION_STATUS and event.get("status") in _AT_REST)
        await posting
        return self._ended

    async def _until(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while (event := await self._events.get()) is not None:
            if fits(event):
                return event
        raise ServerError("the server closed the stream of the session before the end of the turn")

    async def _read(self) -> None:
        parser = Parser()
        try:
            async with self._http.get(
                stream_target(self.session_id), headers={"Accept": "text/event-stream"}
            ) as answer:
                async for data in answer.content.iter_any():
                    for frame in parser.feed(data):
                        event = loads(frame.data or "")
                        if isinstance(event, dict):
                            self._events.put_nowait(event)
        finally:
            self._events.put_nowait(None)

    async def _post(self, below: str, body: bytes) -> dict[str, Any]:
        return await self._json("POST", session_target(self.session_id, below), body)

    async def _json(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        fields = headers or ({} if body is None else {"Content-Type": "application/json"})
        async with self._http.request(method, path, data=body, headers=fields) as answer:
            text = await answer.text()
        if answer.status >= 400:
            raise ServerError(f"the server answered {method} {path} with {answer.status}: {text[:200]}")
        return as_dict(loads(text))
