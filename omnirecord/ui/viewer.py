"""A server for the page alone: `omnirecord ui`. It follows a cassette that is being recorded."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import web

from ..cassette.files import TemporaryFolder, stamp_of
from ..cassette.open import brought_together, open_store
from ..cassette.select import named_session, the_session
from ..cassette.sqlite.lock import recorder_is_alive
from ..server.listener import Listener, Place
from ..server.tls import File
from .control import UI, Control
from .data.api import Answers
from .data.events import Key
from .http import PageHandler


class Shown:
    """The cassette that the page shows: one, or two that are merged into a temporary one.

    Each may name a session, as `CASSETTE#SESSION`; two sessions of one cassette are not merged. `files`: the file of
    each recording, if there are two. `place`: the fragment of the page's URL, `#` included. Raises `UsageError` or
    `CassetteError`.
    """

    def __init__(self, a: str | Path, b: str | Path | None = None) -> None:
        self._folder: TemporaryFolder | None = None
        self.files: dict[int, str] = {}
        path, session = named_session(a)
        other, second = (None, None) if b is None else named_session(b)
        self.path = path
        if other is not None and not (other == path and session and second):
            self._together(path, other)
        names: list[str | None] = [*dict.fromkeys(self.files.values())] or [None]
        try:
            keys = self._key(path, session, names[0]), self._key(other or path, second, names[-1])
        except BaseException:
            self.close()
            raise
        self.place = _place(*keys, are_two=b is not None)

    def _together(self, a: Path, b: Path) -> None:
        self._folder = TemporaryFolder("ui")
        self.path = Path(self._folder.name) / "both.db"
        try:
            of = brought_together([a, b], self.path)
        except BaseException:
            self.close()
            raise
        self.files = {recording: _names(a, b)[place] for recording, place in of.items()}

    def _key(self, source: Path, session: str | None, name: str | None) -> str | None:
        """The page's key of a session in `source`. `session`: its id, or the start of it."""
        if session is None:
            return None
        with closing(open_store(source)) as store:
            wanted = the_session(store, session)
        with closing(open_store(self.path)) as store:
            found = [x.recording for x in store.exchanges(session_id=wanted)]
        return str(Key(next(one for one in found if self.files.get(one) == name), wanted))

    def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()


def _names(a: Path, b: Path) -> tuple[str, str]:
    """Names that differ, for the page."""
    if a.name != b.name:
        return a.name, b.name
    return (str(a), str(b)) if a != b else (str(a), f"{b} (again)")


def _place(a: str | None, b: str | None, *, are_two: bool) -> str:
    if are_two:
        asked = {name: key for name, key in (("a", a), ("b", b)) if key is not None}
        return "#/compare" + (f"?{urlencode(asked)}" if asked else "")
    return "" if a is None else f"#/session/{quote(a, safe='')}"


_LOOKS = 0.2
"""Seconds between checks whether the file has changed."""


class Viewer:
    """Serves the page of one cassette, or of two to compare, at `page`. Use it with `async with`.

    Each may name a session, as `CASSETTE#SESSION`. Two cassettes are copied into one at the start, which is removed at
    the end. Raises `UsageError`, `CassetteError` or `ServerError` on entering.
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
        """The cassette that the page shows."""
        return Path(self._named[0]) if self._shown is None else self._shown.path

    @property
    def url(self) -> str:
        return self._listener.url

    @property
    def page(self) -> str:
        return f"{self.url}{UI}"

    @property
    def address(self) -> str:
        """The URL of the page, with the view that it opens, and with the token if that is generated."""
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
            await asyncio.to_thread(answers.answer, "overview", {})  # reports an unreadable cassette
            await self._listener.bind()
        except BaseException:
            answers.close()
            self._shown.close()
            raise
        guard = self._listener.guard
        self._control = Control(
            lambda: self.cassette, self._state, PageHandler(guard, answers), lambda: recorder_is_alive(self.cassette)
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
        """Wake the clients when the file changes, and when its recorder ends."""
        seen: object = None
        while True:
            now = stamp_of(self.cassette), recorder_is_alive(self.cassette)
            if now != seen or now[0][1] is None:
                self._control.announce()
            seen = now
            await asyncio.sleep(_LOOKS)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._control.serve(request, self._listener.guard)
