"""A small chat client for Omnigent: it asks, answers approvals, and comes back when it has lost its stream.

Text that streams in is for the screen. The answer is what the server has kept: one of the session's items.
"""

from __future__ import annotations

import asyncio
import io
import sys
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
from omnigent_client import OmnigentClient, RateLimitedError


class StreamLost(Exception):
    """The stream ended, broke or fell silent before the turn was over."""


class TurnFailed(Exception):
    """The turn is over, and there is no answer."""


class Chat:
    """One session. `show` gets the answer so far, `approve` the question of an agent that asks. Times are in seconds.

    `patience`: after how much silence a stream counts as lost; the server sends a heartbeat every 15 s.
    `reconnects`: how often we come back within one turn. `backoff`: the pauses after which we say it again when the
    server has too much to do.
    """

    patience = 30.0
    reconnects = 3
    backoff = (1.0, 5.0)

    def __init__(self, client: OmnigentClient, session: str) -> None:
        self.client, self.session = client, session
        self.show: Callable[[str], object] = lambda _text: None
        self.approve: Callable[[str], bool] = lambda _question: False

    async def ask(self, text: str) -> str:
        """Say something and return the answer. Raises `TurnFailed`, `StreamLost`, `OmnigentError`."""
        try:
            await self._listen(text)
        except StreamLost:
            if not self.reconnects:
                raise
            return await self.resume()
        return await self._answer()

    async def resume(self) -> str:
        """Come back to a turn that went on without us, and return its answer. Raises as `ask` does."""
        for left in reversed(range(self.reconnects)):
            if (await self.client.sessions.get(self.session)).status != "running":
                break
            try:
                await self._listen()
                break
            except StreamLost:
                if not left:
                    raise
        return await self._answer()

    async def _listen(self, text: str | None = None) -> None:
        """Follow one stream to the end of the turn. Its first event says that the server has us on its list."""
        try:
            async with asyncio.TaskGroup() as tasks, aclosing(self.client.sessions.stream(self.session)) as events:
                await self._next(events)
                if text is not None:
                    tasks.create_task(self._say(text))  # answered only when what it raises is approved
                await self._follow(events)
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _follow(self, events: AsyncIterator[Any]) -> None:
        shown, failure = "", "it just ended"
        while True:
            event = await self._next(events)
            match event.type:
                case "response.created":
                    shown = ""  # to whoever comes back, the text so far is sent once more
                case "response.output_text.delta":
                    self.show(shown := shown + event.delta)
                case "response.elicitation_request":
                    action = "accept" if self.approve(event.params.message) else "decline"
                    await self.client.sessions.resolve_elicitation(
                        self.session, event.elicitation_id, {"action": action}
                    )
                case "response.completed":
                    failure = ""
                case "response.failed" | "response.incomplete" | "response.cancelled":
                    failure = event.response.error.message if event.response.error else event.type
                case "session.status" if event.status in ("idle", "failed"):
                    if failure:
                        raise TurnFailed(failure)
                    return

    async def _next(self, events: AsyncIterator[Any]) -> Any:
        try:
            async with asyncio.timeout(self.patience):
                return await anext(events)
        except StopAsyncIteration:
            raise StreamLost("the stream ended before the turn did") from None
        except TimeoutError:
            raise StreamLost(f"the stream was silent for {self.patience:g} s") from None
        except httpx.TransportError as error:
            raise StreamLost(f"the stream broke: {error}") from error

    async def _say(self, text: str) -> None:
        content = [{"type": "input_text", "text": text}]
        message = {"type": "message", "data": {"role": "user", "content": content}}
        for pause in self.backoff:
            try:
                await self.client.sessions.post_event(self.session, message)
                return
            except RateLimitedError:
                await asyncio.sleep(pause)
        await self.client.sessions.post_event(self.session, message)

    async def _answer(self) -> str:
        [item] = (await self.client.sessions.list_items(self.session, limit=1, order="desc")).data
        if item.get("role") != "assistant":
            raise TurnFailed("there is no answer")
        return "".join(part["text"] for part in item["content"])


async def start(client: OmnigentClient, agent: Path) -> Chat:
    """A new session with the agent of this YAML file, on a runner that is online."""
    runner = await client.sessions.resolve_online_runner()
    session = await client.sessions.create(bundle(agent))
    await client.sessions.bind_runner(session.id, runner_id=runner or "")
    return Chat(client, session.id)


def bundle(agent: Path) -> bytes:
    """The file as the server wants it uploaded, and nothing about who has it and since when."""
    content, packed = agent.read_bytes(), io.BytesIO()
    member = tarfile.TarInfo(agent.name)
    member.size = len(content)
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


async def main(url: str, agent: str, question: str) -> None:
    async with OmnigentClient(url) as client:
        chat = await start(client, Path(agent))
        chat.show = lambda text: print(f"\r{text}", end="", flush=True)
        chat.approve = lambda text: input(f"{text} [y/N] ").lower() == "y"
        print(f"\r{await chat.ask(question)}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
