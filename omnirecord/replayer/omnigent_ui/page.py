"""The page of Omnigent's web UI and its files: recorded, of a named folder, or of the installed `omnigent`.

Files are read on request, and only below that folder. No code of `omnigent` runs.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from html import escape
from importlib.util import find_spec
from pathlib import Path
from posixpath import basename

from ...errors import UsageError
from ...model import Exchange, Headers
from ...omnigent.routes import path_of
from ...wire.headers import header
from ..player.plan import ReplayPlan
from .sessions import Data

VARIABLE = "OMNIGENT_WEB_UI_DIST"
"""Environment variable with the folder of another build of the web UI, as in Omnigent."""
_BELOW = Path("server", "static", "web-ui")
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".ico": "image/vnd.microsoft.icon",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".ttf": "font/ttf",
    ".txt": "text/plain; charset=utf-8",
}
POLICY = (
    "default-src 'self' blob: data:; script-src 'self' 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; object-src 'none'; frame-src 'self' blob: data:; form-action 'self'"
)
"""Content-Security-Policy of a page: a page from an untrusted cassette may connect to the replay only."""
_HTML = (("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-cache"))
_API = frozenset(
    {"api", "assets", "auth", "docs", "health", "oauth", "openapi.json", "redoc", "v1", ".well-known", "-"}
)
_ASSET = re.compile(r"""(?:src|href)=["'](?:\.?/)(assets/[^"'?#]+)""")
_WORDS = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>omnirecord</title><link rel="icon" href="data:,">
<style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}}
code{{overflow-wrap:anywhere}}</style>
<h1>This is a replay</h1>
<p>It answers what the recorded server was asked, and has no web UI to show: {why}.
<p>Install one, with <code>pip install omnigent</code> beside omnirecord, or name one with
<code>omnirecord serve --web-ui FOLDER</code>; or look at the recording with <code>omnirecord ui</code>.
<h2>Sessions in this recording</h2>
{sessions}
</html>
"""
_NONE = "none was recorded, and none is installed"
_CACHED = (
    "of the recorded one only the page is there, since its scripts came from the browser's cache; record it with a "
    "fresh profile"
)


@dataclass(frozen=True, slots=True)
class MadeUp:
    """An answer that was not recorded."""

    body: bytes
    headers: Headers
    status: int = 200


Files = Callable[[str], MadeUp | None]
"""Returns a file of a web UI by its path below `/`; None if there is none."""


def asks_for_page(target: str) -> bool:
    """Whether the server answers with its page: the path is neither of the API nor of a file."""
    path = path_of(target)
    return path.startswith("/") and path.split("/")[1] not in _API and "." not in basename(path)


def guarded(headers: Headers) -> Headers:
    return (*headers, ("Content-Security-Policy", POLICY))


class Shell:
    """The page of the web UI: recorded, installed, or a list of sessions. `files`: the files of an installed web UI."""

    def __init__(self, plan: ReplayPlan, files: Files | None) -> None:
        self._plan = plan
        self.file = files or (lambda _: None)

    def has_all_of(self, page: bytes) -> bool:
        """Whether all scripts and styles of a page are recorded or installed."""
        return all(f"/{one}" in self._assets or self.file(f"/{one}") for one in _ASSET.findall(page.decode("latin-1")))

    @property
    def page_is(self) -> str:
        if self._is_recorded:
            return "the recorded web UI"
        return "an installed web UI" if self.file("/index.html") else "only a list of sessions: no web UI is installed"

    def page(self, sessions: list[Data]) -> MadeUp:
        """Return the recorded page, else the installed one, else a list of sessions."""
        recorded = self._recorded
        if recorded is not None and self._is_recorded:
            return MadeUp(self._plan.decoded_body(recorded), guarded(_HTML))
        found = self.file("/index.html")
        return _placard(sessions, recorded is not None) if found is None else MadeUp(found.body, guarded(found.headers))

    @cached_property
    def _is_recorded(self) -> bool:
        """Whether a complete web UI was recorded."""
        return self._recorded is not None and self.has_all_of(self._plan.decoded_body(self._recorded))

    @cached_property
    def _recorded(self) -> Exchange | None:
        pages = ((x, kind) for x, kind in reversed(self._successes) if asks_for_page(x.request.target))
        html = (x for x, kind in pages if kind.lower().startswith("text/html"))
        return next((x for x in html if _ASSET.search(self._plan.decoded_body(x).decode("latin-1"))), None)

    @cached_property
    def _assets(self) -> frozenset[str]:
        return frozenset(path_of(x.request.target) for x, _ in self._successes)

    @cached_property
    def _successes(self) -> list[tuple[Exchange, str]]:
        """The answers with status 200, and their content types."""
        got = ((x, x.response) for x in self._plan.exchanges if x.request.method == "GET")
        ok = ((x, response.headers) for x, response in got if response is not None and response.status == 200)
        return [(x, header(headers, "content-type") or "") for x, headers in ok]


def _placard(sessions: list[Data], has_page: bool) -> MadeUp:
    named = ((escape(str(row["id"])), escape(str(row.get("title") or ""))) for row in sessions)
    rows = "".join(f"<li><code>{name}</code> <bdi>{title}</bdi>" for name, title in named)
    text = _WORDS.format(why=_CACHED if has_page else _NONE, sessions=f"<ul>{rows}</ul>" if rows else "<p>None.")
    policy = ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    return MadeUp(text.encode("utf-8", "replace"), (*_HTML, policy))


class BuiltUi:
    """The files below one folder. Raises `UsageError` if it has no index.html."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        if not (self.folder / "index.html").is_file():
            raise UsageError(f"--web-ui {str(folder)!r} holds no index.html: name the folder of a built web UI")

    def __call__(self, path: str) -> MadeUp | None:
        """Return the file of a path below `/`; None if there is none."""
        try:
            file = (self.folder / path.lstrip("/")).resolve()
            if not file.is_relative_to(self.folder) or not file.is_file():
                return None
            body = file.read_bytes()
        except (OSError, ValueError):  # an invalid name: too long, or with a NUL
            return None
        if file.name == "index.html":  # its `./` links point to the root then, so that they work from any path
            return MadeUp(re.sub(rb"<base\b[^<>]*>", b"", body.replace(b'="./', b'="/')), _HTML)
        named_by_content = file.parent.name == "assets"
        keeps = "public, max-age=31536000, immutable" if named_by_content else "no-cache"
        etag = hashlib.sha256(body).hexdigest()[:32]
        kind = _TYPES.get(file.suffix.lower(), "application/octet-stream")
        headers = (("Content-Type", kind), ("Cache-Control", keeps), ("ETag", f'"{etag}"'))
        return MadeUp(body, (*headers, ("X-Content-Type-Options", "nosniff")))


def installed() -> BuiltUi | None:
    """Return the web UI of the `omnigent` in this environment, or of the command on PATH; None if there is none."""
    named = os.environ.get(VARIABLE)
    folders = ([Path(named)] if named else []) + _in_this_environment() + _on_path()
    return next((BuiltUi(folder) for folder in folders if (folder / "index.html").is_file()), None)


def _in_this_environment() -> list[Path]:
    try:
        spec = find_spec("omnigent")
    except (ImportError, ValueError):
        return []
    places = spec.submodule_search_locations if spec is not None else None
    return [Path(place) / _BELOW for place in places or ()]


def _on_path() -> list[Path]:
    """Return the folder of an `omnigent` that is installed as a tool, in its own environment."""
    if (command := shutil.which("omnigent")) is None:
        return []
    environment = Path(command).resolve().parent.parent
    return sorted(environment.glob(f"lib/python3.*/site-packages/omnigent/{_BELOW}"))
