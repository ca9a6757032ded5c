"""A server for the page alone: `omnirecord ui`. A cassette that is being recorded is followed by its file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Any

from aiohttp import web

from ..cassette.files import stamp_of
from ..cassette.sqlite.lock import recorder_is_alive
from ..server.listener import Listener, Place
from ..server.tls import File
from .control import Control
from .data.api import Answers
from .http import UI, Pages
from .shown import Shown

_LOOKS = 0.2
"""Seconds between looks whether the file has changed."""


class Viewer:
    """Shows one cassette, or two beside each other. Use it with `async with`: `page` is where a browser finds it.

    Each may name a session, as `CASSETTE#SESSION`. Two are copied into one that is removed at the end: they are shown
    as they are at the beginning. Raises `UsageError`, `CassetteError` or `ServerError` on entering.
    """

    def __init__(
        self,
        cassette: str | Path,
        other: str | Path | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        allow_remote: bool = False,
        token: str | None = None,
        tls_cert: File | None = None,
        tls_key: File | None = None,
    ) -> None:
        self._named = cassette, other
        self._shown: Shown | None = None
        self._listener = Listener(
            self._handle, Place(host, port, allow_remote, token, tls_cert, tls_key), has_pages=True
        )
        self._watching: asyncio.Task[None] | None = None

    @property
    def cassette(self) -> Path:
        """The one that is read."""
        return Path(self._named[0]) if self._shown is None else self._shown.path

    @property
    def url(self) -> str:
        return self._listener.url

    @property
    def page(self) -> str:
        return f"{self.url}{UI}"

    @property
    def address(self) -> str:
        """The same, with what the page opens with, and with the token that it has to know, where that was made up and
        nobody knows it yet."""
        place = self._shown.place if self._shown is not None else ""
        if not self._listener.is_made:
            return f"{self.page}{place}"
        return f"{self.page}{place}{'&' if '?' in place else '?' if place else '#'}token={self._listener.token}"

    async def __aenter__(self) -> Viewer:
        await self.start()
        return self

    async def start(self) -> None:
        self._shown = await asyncio.to_thread(Shown, *self._named)
        answers = Answers(lambda: self.cassette, self._shown.files)
        try:
            await asyncio.to_thread(answers.answer, "overview", {})  # what cannot be read is said before it opens
            await self._listener.bind()
        except BaseException:
            answers.close()
            self._shown.close()
            raise
        guard = self._listener.guard
        self._control = Control(
            lambda: self.cassette, self._state, Pages(guard, answers), lambda: recorder_is_alive(self.cassette)
        )
        await self._listener.start()
        self._watching = asyncio.create_task(self._watch())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        self._listener.refuse_connections()
        await self._control.finish(0.2)
        await self._listener.stop(0.1)
        if self._shown is not None:
            self._shown.close()

    def _state(self) -> dict[str, Any]:
        return {"cassette": str(self.cassette), "is_recorded": recorder_is_alive(self.cassette)}

    async def _watch(self) -> None:
        """Whoever listens is told when the file has changed, and when its recorder has ended."""
        seen: object = None
        while True:
            now = stamp_of(self.cassette), recorder_is_alive(self.cassette)
            if now != seen or now[0][1] is None:
                self._control.announce()
            seen = now
            await asyncio.sleep(_LOOKS)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._control.serve(request, self._listener.guard)
