"""The page over HTTP, below `/-/omnirecord/ui/`: its own files, and what it asks for. A thread reads the cassette.

Its files hold nothing of any recording and are given to whoever names us rightly; data is given as the rest of the
control path is (`guarding`).
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl

from aiohttp import web

from ..errors import CassetteError, UsageError
from ..omnigent.routes import CONTROL, path_of, query_of
from ..server.access import Guard
from ..server.http import error_response
from ..server.listener import refused
from ..text import dumps
from .bundle import bundle
from .data.api import Answers

UI = f"{CONTROL}ui/"
"""Where the page is; below it, what it is made of."""
DATA = f"{UI}data/"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types"
)
_HEADERS = {
    "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store", "X-Omnirecord": "ui",
}  # fmt: skip
_TYPES = {"": "text/html", "page.js": "text/javascript", "page.css": "text/css"}
_THREADS = 2
"""How many answers are made at once: a long one does not hold up the rest."""


class Pages:
    """Answers requests below `UI`. `guard` lets them pass."""

    def __init__(self, guard: Guard, answers: Answers) -> None:
        self._guard, self._answers = guard, answers
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="omnirecord-ui")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._answers.close()

    async def handle(self, request: web.BaseRequest, target: str) -> web.StreamResponse:
        path = path_of(target)
        name = path.removeprefix(UI)
        if refusal := refused(self._guard, request, is_public=name in _TYPES):
            return refusal
        if request.method not in ("GET", "HEAD"):
            return error_response(405, "method_not_allowed", f"omnirecord: {path} is read: GET it")
        if name in _TYPES:
            return _file(name)
        data = path.removeprefix(DATA)
        if not path.startswith(DATA) or data not in self._answers:
            return error_response(404, "not_found", f"omnirecord: the page is at {UI}")
        return await self._data(data, dict(parse_qsl(query_of(target), keep_blank_values=True)))

    async def _data(self, name: str, asked: dict[str, str]) -> web.Response:
        loop = asyncio.get_running_loop()
        try:
            made = await loop.run_in_executor(self._threads, self._made, name, asked)
        except UsageError as error:
            return error_response(400, "bad_request", f"omnirecord: {error}")
        except CassetteError as error:
            return error_response(409, "unreadable", f"omnirecord: {error}")
        return web.Response(body=made, content_type="application/json", headers=_HEADERS)

    def _made(self, name: str, asked: dict[str, str]) -> bytes:
        return dumps(self._answers.answer(name, asked)).encode()


def _file(name: str) -> web.Response:
    page = bundle()
    text = {"": page.html, "page.js": page.script, "page.css": page.style}[name]
    return web.Response(text=text, content_type=_TYPES[name], charset="utf-8", headers=_HEADERS)
