"""The page over HTTP, below `/-/omnirecord/ui/`: its files and its data. Threads read the cassette.

The page's files hold no recorded data, so that any request with a valid Host gets them. Data needs the same access as
the control path (`server.access`).

The page's ES modules are joined into one script, in the order of their imports, since an exported file must not load
anything. `import` lines and `export` keywords are removed; a test checks that no two modules share a top-level name.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import NamedTuple
from urllib.parse import parse_qsl

from aiohttp import web

from ..errors import CassetteError, UsageError
from ..omnigent.routes import path_of, query_of
from ..server.access import Guard
from ..server.http import error_response
from ..server.listener import refused
from ..text import dumps
from .control import UI
from .data.api import Answers

_IMPORT = re.compile(r"^import\s+(?:[\w*{}\s,]+?from\s+)?'\./([\w.-]+)'\n", re.MULTILINE)
_EXPORT = re.compile(r"^export\s+(?=(?:async\s+)?(?:function|const|let|class)\b)", re.MULTILINE)
_FIRST = "main.js"


class Bundle(NamedTuple):
    """The parts of the page: HTML, script, style."""

    html: str
    script: str
    style: str


@functools.cache
def bundle() -> Bundle:
    """The parts of the page, read once."""
    return Bundle(_page_file("index.html"), _script(), _page_file("page.css"))


def digest(text: str) -> str:
    """The hash by which a Content-Security-Policy allows an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def joined(name: str) -> str:
    """A module and all that it imports, as one script."""
    order: list[str] = []
    _visit(name, order)
    return "\n".join(f"// {one}\n{_EXPORT.sub('', _IMPORT.sub('', _page_file(one)))}" for one in order)


def _script() -> str:
    """The page's script: in strict mode, without global names."""
    return f"'use strict';\n(() => {{\n{joined(_FIRST)}\n}})()\n"


def _visit(name: str, order: list[str]) -> None:
    """Append a module to `order`, after those that it imports."""
    for other in _IMPORT.findall(_page_file(name)):
        if other not in order:
            _visit(other, order)
    order.append(name)


def _page_file(name: str) -> str:
    return (files(__package__) / "static" / name).read_text(encoding="utf-8")


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
"""Answers that are made at once, so that a long one does not delay the others."""


class PageHandler:
    """Answers requests for the page, its files and its data, below `UI`. `guard` checks access."""

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
            return error_response(405, "method_not_allowed", f"omnirecord: {path} takes only GET")
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
