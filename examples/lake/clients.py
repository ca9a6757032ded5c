"""The clients of the example: the chat client of `examples/chat-client`, which returns if it loses its stream."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import httpx
from omnigent_client import OmnigentClient

from examples.lake.servers import say
from tests.omnigent_rig.script import GO_ON, TELL

CHAT = Path(__file__).parent.parent / "chat-client"
sys.path.insert(0, str(CHAT))
from chat import Chat, bundle  # noqa: E402

AGENT = CHAT / "agents" / "helper.yaml"
AT_ONCE = 4
"""Sessions that are started at once: each starts a process of the runner."""
PATIENCE = 120.0
"""Seconds that a client waits for an answer to a request."""


class Received(httpx.Auth):
    """Writes down what a client receives: a file for each stream, with [Unix seconds, text] for each read."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._streams = folder, 0
        folder.mkdir(parents=True)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send the request. The body of a stream passes through `_Copy`."""
        response = yield request
        if request.url.path.endswith("/stream") and isinstance(response.stream, httpx.AsyncByteStream):
            self._streams += 1
            response.stream = _Copy(response.stream, self._folder / f"{self._streams}.jsonl")


class _Copy(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, path: Path) -> None:
        self._stream, self._path = stream, path

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._path.open("w") as file:
            async for data in self._stream:
                file.write(json.dumps([time.time(), data.decode("latin-1")]) + "\n")
                yield data

    async def aclose(self) -> None:
        await self._stream.aclose()


def bodies(folder: Path) -> list[bytes]:
    """Return what a client received on each of its streams."""
    files = sorted(folder.glob("*.jsonl"), key=lambda path: int(path.stem))
    return ["".join(json.loads(line)[1] for line in path.open()).encode("latin-1") for path in files]


class Clients:
    """`count` clients, each in a session of its own on this runner. What they receive goes to `folder`."""

    def __init__(self, url: str, runner_id: str, folder: Path, count: int) -> None:
        self._runner_id, self._folder, self._count = runner_id, folder, count
        self._begun, self._starting = asyncio.Semaphore(0), asyncio.Semaphore(AT_ONCE)
        self._ready = asyncio.Barrier(count)
        self._tasks = [asyncio.create_task(self._talk(url, folder / str(n), self._ready)) for n in range(count)]

    async def _talk(self, url: str, folder: Path, ready: asyncio.Barrier | None = None, patience: float = 30) -> str:
        """Have a conversation of two turns; return the session id."""
        async with OmnigentClient(url, auth=Received(folder), timeout=PATIENCE) as client:
            async with self._starting:
                session = await client.sessions.create(bundle(AGENT))
                await client.sessions.bind_runner(session.id, runner_id=self._runner_id)
                chat = Chat(client, session.id)
                chat.patience = patience
                await chat.ask(GO_ON)
            if ready is not None:
                await ready.wait()
            words = 0

            def show(_text: str) -> None:
                nonlocal words
                words += 1
                if words == 5:
                    self._begun.release()

            chat.show = show
            await chat.ask(TELL)
            return chat.session

    async def are_in_an_answer(self) -> None:
        """Wait until each client has the first words of its long answer."""
        waiting = asyncio.gather(*(self._begun.acquire() for _ in range(self._count)))
        done, _ = await asyncio.wait({waiting, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        if waiting not in done:
            waiting.cancel()
            await asyncio.gather(*self._tasks)
            raise RuntimeError("a client ended before the others began")
        (self._folder / "killed").write_text(str(time.time()))
        say(f"{self._count} clients are in the middle of an answer: kill -9 of recorder one")

    async def have_their_answers(self) -> str:
        """Wait for all clients; return a session that was split over both recorders."""
        sessions = await asyncio.gather(*self._tasks)
        split = [n for n in range(self._count) if len(bodies(self._folder / str(n))) > 2]
        for n, session in enumerate(sessions):
            (self._folder / str(n)).rename(self._folder / session)
        say(f"{self._count} clients have their answer; {len(split)} lost their stream, and connected to recorder two")
        return sessions[split[0]] if split else sessions[0]

    async def receive_the_same(self, session: str, url: str) -> None:
        """Run a client against a replay, and compare what it receives with what the client received then."""
        again = self._folder / "replayed"
        # A replay keeps the stream open that the killed recorder left: the client gives it up after its patience.
        if await self._talk(url, again, patience=5) != session:
            raise RuntimeError("the replay has another session id")
        live, replayed = bodies(self._folder / session), bodies(again)
        if len(live) != len(replayed) or not all(map(_is_the_same, live, replayed)):
            raise RuntimeError(f"live {list(map(len, live))} bytes, replayed {list(map(len, replayed))} bytes")
        sizes = " + ".join(str(len(body)) for body in replayed)
        lost = sum(max(0, len(one) - len(other)) for one, other in zip(live, replayed, strict=True))
        but = f", without the last {lost} that the killed recorder lost" if lost else ""
        say(f"the client received the same bytes from the replay{but}: {sizes} on {len(replayed)} streams")


def _is_the_same(live: bytes, replayed: bytes) -> bool:
    """Whether the bytes are equal. A recorder that is killed may miss the last 250 ms, or have more than the client."""
    return live == replayed or live.startswith(replayed) or replayed.startswith(live)


def questions(folder: Path, lake: str, session: str) -> str:
    """Return the commands for a second terminal."""
    names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
    split = "SELECT session_id, len(recordings) AS recorders, first_token_s FROM whole_sessions"
    again = folder / "again.db"
    commands: list[tuple[str | Path, ...]] = [
        ("lake", "sessions", lake),
        ("lake", "sessions", lake, "--finding", "recorder-killed"),
        ("lake", "sql", lake, split),
        ("lake", "get", lake, session, "-o", again),
        ("show", again),
        ("doctor", again),
        ("serve", again),
        ("ui", lake),
    ]
    lines = [f"export {' '.join(f'{name}={shlex.quote(os.environ[name])}' for name in names)}"]
    lines += [shlex.join(["omnirecord", *map(str, words)]) for words in commands]
    return "\n".join(f"  {line}" for line in lines)
