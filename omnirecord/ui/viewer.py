"""The page over HTTP, below `/-/omnirecord/ui/`, and a server for it alone: `omnirecord ui`. Threads read the cassette.

The page's files hold no recorded data, so that any request with a valid Host gets them. Data needs the same access as
the control path (`server.access`). The server follows a cassette that is being recorded.

The page's ES modules are joined into one script, in the order of their imports, since an exported file must not load
anything. `import` lines and `export` keywords are removed; a test checks that no two modules share a top-level name.
The page on a lake (`lake.page`) has its own first module and a second style, which an exported file does not need.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self
from urllib.parse import parse_qsl, quote, urlencode

from aiohttp import web

from ..cassette.conversations import conversation_named, placed_calls
from ..cassette.files import TemporaryFolder, stamp_of
from ..cassette.open import brought_together, open_store
from ..cassette.select import named_session, the_session
from ..cassette.sqlite.lock import recorder_is_alive
from ..errors import CassetteError, LakeError, UsageError
from ..omnigent.routes import UI, path_of, query_of
from ..providers.grouping import conversation_name
from ..server.access import Guard
from ..server.listener import LOOPBACK, Listener, Place, refused
from ..server.refusals import error_response
from ..text import dumps
from .control import Control
from .data import Answers
from .events import Key, Options

_IMPORT = re.compile(r"^import\s+(?:[\w*{}\s,]+?from\s+)?'\./([\w.-]+)'\n", re.MULTILINE)
_EXPORT = re.compile(r"^export\s+(?=(?:async\s+)?(?:function|const|let|class)\b)", re.MULTILINE)
_LOOKS = 0.2
"""Seconds between checks whether the file has changed."""
DATA = f"{UI}data/"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "X-Omnirecord": "ui",
}
TYPES = {"": "text/html", "page.js": "text/javascript", "page.css": "text/css"}
"""The files of the page, which hold no recorded data."""
_THREADS = 2
"""Answers that are made at once, so that a long one does not delay the others."""


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
        try:
            if other is not None and not (other == path and session and second):
                self._together(path, other)
            names: list[str | None] = [*dict.fromkeys(self.files.values())] or [None]
            keys = self._key(path, session, names[0]), self._key(other or path, second, names[-1])
        except BaseException:
            self.close()
            raise
        asked = {name: key for name, key in zip("ab", keys, strict=True) if key is not None}
        if b is not None:
            self.place = "#/compare" + (f"?{urlencode(asked)}" if asked else "")
        else:
            self.place = f"#/session/{quote(asked['a'], safe='')}" if asked else ""

    def _together(self, a: Path, b: Path) -> None:
        self._folder = TemporaryFolder("ui")
        self.path = Path(self._folder.name) / "both.db"
        of = brought_together([a, b], self.path)
        names = (a.name, b.name) if a.name != b.name else (str(a), str(b) if a != b else f"{b} (again)")
        self.files = {recording: names[place] for recording, place in of.items()}

    def _key(self, source: Path, session: str | None, name: str | None) -> str | None:
        """The page's key of a session in `source`. `session`: its id, or the start of it."""
        if session is None:
            return None
        with closing(open_store(source)) as store:
            number = conversation_named(store, session)
            if number is not None:
                first = next(call for call, place in placed_calls(store) if place.conversation == number)
                return str(Key(first.recording, conversation_name(number)))
            wanted = the_session(store, session)
        with closing(open_store(self.path)) as store:
            found = [x.recording for x in store.exchanges(session_id=wanted)]
        return str(Key(next(one for one in found if self.files.get(one) == name), wanted))

    def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()


class PageServer(ABC):
    """Serves a page at `page`. Use it with `async with`, or call `start` and `stop`."""

    view = ""
    """The fragment of the URL that opens a view, `#` included."""

    def __init__(self, place: Place) -> None:
        self._listener = Listener(self._handle, place, has_pages=True)

    @property
    def url(self) -> str:
        return self._listener.url

    @property
    def page(self) -> str:
        return f"{self.url}{UI}"

    @property
    def address(self) -> str:
        """The URL of the page, with the view that it opens, and with the token if that is generated."""
        address = f"{self.page}{self.view}"
        if not self._listener.is_made:
            return address
        separator = "?" if self.view else "#"
        if "?" in self.view:
            separator = "&"
        return f"{address}{separator}token={self._listener.token}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def stop(self) -> None: ...

    @abstractmethod
    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse: ...


class Viewer(PageServer):
    """Serves the page of one cassette, or of two to compare, at `page`. Use it with `async with`.

    Each may name a session, as `CASSETTE#SESSION`. Two cassettes are copied into one at the start, which is removed at
    the end. Raises `UsageError`, `CassetteError` or `ServerError` on entering.
    """

    def __init__(self, cassette: str | Path, other: str | Path | None = None, place: Place = LOOPBACK) -> None:
        self._named = cassette, other
        self._shown: Shown | None = None
        super().__init__(place)
        self._watching: asyncio.Task[None] | None = None

    @property
    def cassette(self) -> Path:
        """The cassette that the page shows."""
        return Path(self._named[0]) if self._shown is None else self._shown.path

    async def start(self) -> None:
        self._shown = await asyncio.to_thread(Shown, *self._named)
        self.view = self._shown.place
        answers = Answers(lambda: self.cassette, self._shown.files)
        try:
            await asyncio.to_thread(answers.answer, "overview", {})  # reports an unreadable cassette
            await self._listener.bind()
        except BaseException:
            answers.close()
            self._shown.close()
            raise
        page = PageHandler(self._listener.guard, answers)
        self._control = Control(lambda: self.cassette, self._state, page, lambda: recorder_is_alive(self.cassette))
        await self._listener.start()
        self._watching = asyncio.create_task(self._watch())

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


class Bundle(NamedTuple):
    """The parts of the page: HTML, script, style."""

    html: str
    script: str
    style: str


@functools.cache
def bundle(first: str = "main.js", *styles: str) -> Bundle:
    """The parts of the page whose first module is `first`, read once. `styles`: files of styles beside `page.css`."""
    style = "".join(map(_page_file, ("page.css", *styles)))
    script = f"'use strict';\n(() => {{\n{joined(first)}\n}})()\n"  # without global names
    return Bundle(_page_file("index.html"), script, style)


def digest(text: str) -> str:
    """The hash by which a Content-Security-Policy allows an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def joined(name: str) -> str:
    """A module and all that it imports, as one script."""
    order: list[str] = []
    _visit(name, order)
    return "\n".join(f"// {one}\n{_EXPORT.sub('', _IMPORT.sub('', _page_file(one)))}" for one in order)


def _visit(name: str, order: list[str]) -> None:
    """Append a module to `order`, after those that it imports."""
    for other in _IMPORT.findall(_page_file(name)):
        if other not in order:
            _visit(other, order)
    order.append(name)


def _page_file(name: str) -> str:
    return (files(__package__) / "static" / name).read_text(encoding="utf-8")


class Answering(Protocol):
    """Answers the page's requests by name, in several threads."""

    def __contains__(self, name: str) -> bool: ...

    def answer(self, name: str, asked: Options) -> Any:
        """The value of a request. Raises `UsageError`, `CassetteError` or `LakeError`."""

    def close(self) -> None: ...


class PageHandler:
    """Answers requests for the page, its files and its data, below `UI`. `guard` checks access.

    `page` returns the parts of the page. `threads`: the number of answers that are made at once.
    """

    def __init__(
        self, guard: Guard, answers: Answering, page: Callable[[], Bundle] = bundle, threads: int = _THREADS
    ) -> None:
        self._guard = guard
        self._answers = answers
        self._page = page
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="omnirecord-ui")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._answers.close()

    async def handle(self, request: web.BaseRequest, target: str) -> web.StreamResponse:
        path = path_of(target)
        name = path.removeprefix(UI)
        if refusal := refused(self._guard, request, is_public=name in TYPES):
            return refusal
        if request.method not in ("GET", "HEAD"):
            return error_response(405, "method_not_allowed", f"omnirecord: {path} takes only GET")
        if name in TYPES:
            page = self._page()
            text = {"": page.html, "page.js": page.script, "page.css": page.style}[name]
            return web.Response(text=text, content_type=TYPES[name], charset="utf-8", headers=_HEADERS)
        data = path.removeprefix(DATA)
        if not path.startswith(DATA) or data not in self._answers:
            return error_response(404, "not_found", f"omnirecord: the page is at {UI}")
        return await self._data(data, dict(parse_qsl(query_of(target), keep_blank_values=True)))

    async def _data(self, name: str, asked: dict[str, str]) -> web.Response:
        loop = asyncio.get_running_loop()
        try:
            made = await loop.run_in_executor(self._threads, lambda: dumps(self._answers.answer(name, asked)).encode())
        except UsageError as error:
            return error_response(400, "bad_request", f"omnirecord: {error}")
        except CassetteError as error:
            return error_response(409, "unreadable", f"omnirecord: {error}")
        except LakeError as error:
            return error_response(502, "lake_failed", f"omnirecord: {error}")
        return web.Response(body=made, content_type="application/json", headers=_HEADERS)
