"""The page on a lake: `omnirecord ui URL`. It lists the sessions of the whole lake, and opens and compares them.

The list and the trends are at `UI`. A session is at `UI/session/id=ID/`, two that are compared at
`UI/compare/a=ID/b=ID/`: there is the page of a cassette, on a temporary cassette that `get` fetches when the page first
asks for data. The prefix before an id keeps a browser from reading `..` as a step up.
"""

from __future__ import annotations

import asyncio
import functools
import re
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from ..analysis.conversations import conversations_in
from ..analysis.gather import model_calls
from ..cassette.export import write_lines
from ..cassette.files import TemporaryFolder
from ..cassette.open import brought_together, open_store
from ..omnigent.routes import CONTROL, UI, path_of
from ..server.listener import LOOPBACK, Place, refused
from ..server.refusals import error_response
from ..ui.data import Answers
from ..ui.events import Options, key_of_exchange, key_of_session
from ..ui.viewer import TYPES, PageHandler, PageServer, bundle
from .get import Fetch
from .layout import recording_of
from .location import Lake
from .page_data import LakeAnswers

_OPENED = re.compile(rf"{UI}(session/id=(?P<id>[^/]*)|compare/a=(?P<a>[^/]*)/b=(?P<b>[^/]*))/(?P<rest>.*)", re.DOTALL)
_QUERIES = 8
"""Queries over the lake at once. A fetched session has threads of its own, so that a slow store does not block it."""
MOST_OPENED = 16
"""Pages of sessions that are kept; beyond that, the page is removed whose last request is the oldest."""


class Fetched(Answers):
    """Answers the requests of the page of one session, or of two to compare. The first request fetches them.

    `version` returns the newest known commit of the lake: when it has changed, opening the page fetches again.
    """

    def __init__(self, lake: Lake, sessions: tuple[str, ...], data: LakeAnswers) -> None:
        self._lake = lake
        self._sessions = sessions
        self._data = data
        self._of: dict[int, str] = {}
        self._fetching = Lock()
        self._folder: TemporaryFolder | None = None
        self._cassette = Path()
        self._version: int | None = None
        self._opens: dict[str, Any] = {}
        super().__init__(lambda: self._cassette, self._of)

    def answer(self, name: str, asked: Options) -> Any:
        with self._fetching:
            if self._folder is None or (name == "overview" and self._version != self._data.version):
                self._fetch()
        made = super().answer(name, asked)
        if name != "overview":
            return made
        lake = {"url": self._lake.url, "home": UI}
        return {**made, "name": " · ".join(self._sessions), "lake": lake, "opens": self._opens}

    def close(self) -> None:
        super().close()
        with self._fetching:
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None

    def _fetch(self) -> None:
        version = self._data.version
        with ExitStack() as failed:
            folder = TemporaryFolder("ui")
            failed.callback(folder.cleanup)
            paths = [Path(folder.name) / f"{place}.db" for place in range(len(self._sessions))]
            for session, path in zip(self._sessions, paths, strict=True):
                with closing(Fetch(self._lake, session)) as fetch:
                    write_lines(fetch.values(), path, is_text=False, is_compressed=False)
            files: dict[int, str] = {}
            cassette = paths[0]
            if len(paths) == 2:
                cassette = Path(folder.name) / "both.db"
                names = _names(self._sessions)
                files = {number: names[place] for number, place in brought_together(paths, cassette).items()}
            opens = self._place(cassette, files)
            failed.pop_all()
        old = self._folder
        self._folder = folder
        self._cassette = cassette
        self._version = version
        self._opens = opens
        self._of.clear()
        self._of.update(files)
        if old is not None:
            old.cleanup()

    def _place(self, cassette: Path, files: dict[int, str]) -> dict[str, Any]:
        """The view that the page opens. A session whose streams several recordings hold is a row of the list for each:
        then the page opens the list."""
        found = []
        with closing(open_store(cassette)) as store:
            for session, name in zip(self._sessions, _names(self._sessions), strict=True):
                parts = [x for x in store.exchanges(session_id=session) if not files or files[x.recording] == name]
                streams = [x for x in parts if x.stream is not None]
                keys = [key_of_exchange(x) for x in streams or parts]
                if recording_of(session) is not None:
                    talks = conversations_in(model_calls(store), store.recordings())
                    own = [one.session for one in talks if not files or files[one.session.recording] == name]
                    keys = [key_of_session(one) for one in own]
                found.append(list(dict.fromkeys(map(str, keys))))
        if len(found) == 2 and all(found):
            return {"view": "compare", "a": found[0][0], "b": found[1][0]}
        return {"view": "session", "key": found[0][0]} if len(found[0]) == 1 else {"view": "sessions"}


def _names(sessions: tuple[str, ...]) -> tuple[str, ...]:
    """Names that differ, for the page."""
    a, *rest = sessions
    return (a, f"{a} (again)") if rest == [a] else sessions


class LakeViewer(PageServer):
    """Serves the page on a lake at `page`. Use it with `async with`, or call `start` and `stop`.

    Raises `UsageError` for a URL that names no lake; on the start `LakeError` or `ServerError`.
    """

    def __init__(self, url: str, place: Place = LOOPBACK) -> None:
        self.lake = Lake(url)
        self._data = LakeAnswers(self.lake)
        self._opened: dict[tuple[str, ...], PageHandler] = {}
        super().__init__(place)

    async def start(self) -> None:
        await asyncio.to_thread(self.lake.marker)  # reports a folder that is no lake, and a store that is away
        await self._listener.bind()
        guard = self._listener.guard
        self._pages = PageHandler(guard, self._data, functools.partial(bundle, "lake.js", "lake.css"), _QUERIES)
        self._files = PageHandler(guard, self._data)
        await self._listener.start()

    async def stop(self) -> None:
        self._listener.refuse_connections()
        await self._listener.stop(0.1)
        for handler in (self._pages, self._files, *self._opened.values()):
            await asyncio.to_thread(handler.close)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        target = request.raw_path
        path = path_of(target)
        if path in ("/", CONTROL):
            return web.Response(status=302, headers={"Location": UI})
        if found := _OPENED.fullmatch(path):
            return await self._session(request, found, f"{UI}{found['rest']}{target[len(path) :]}")
        if path.startswith(UI):
            return await self._pages.handle(request, target)
        return error_response(404, "not_found", f"omnirecord: the page is at {UI}")

    async def _session(self, request: web.BaseRequest, found: re.Match[str], target: str) -> web.StreamResponse:
        """Answer a request below the page of a session: its files are those of every session."""
        if found["rest"] in TYPES:
            return await self._files.handle(request, target)
        if refusal := refused(self._listener.guard, request):
            return refusal
        ids = tuple(unquote(one) for one in (found["id"], found["a"], found["b"]) if one is not None)
        return await self._page_of(ids).handle(request, target)

    def _page_of(self, ids: tuple[str, ...]) -> PageHandler:
        """The handler of a session, or of two; the newest in use is the last one of those that are kept."""
        handler = self._opened.pop(ids, None) or PageHandler(self._listener.guard, Fetched(self.lake, ids, self._data))
        self._opened[ids] = handler
        while len(self._opened) > MOST_OPENED:
            oldest = self._opened.pop(next(iter(self._opened)))
            asyncio.get_running_loop().run_in_executor(None, oldest.close)
        return handler
