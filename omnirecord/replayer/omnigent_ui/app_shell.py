"""The page itself: which requests ask for it, which recorded answer is it, and what is there where none is. Pure."""

from __future__ import annotations

import re
from functools import cached_property
from html import escape
from posixpath import basename

from ...model import Exchange, Headers
from ...omnigent.routes import path_of
from ...wire.headers import header
from ..player.plan import Script
from .recorded import Data
from .responses import Files, MadeUp

POLICY = (
    "default-src 'self' blob: data:; script-src 'self' 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; object-src 'none'; frame-src 'self' blob: data:; form-action 'self'"
)
"""A page from a cassette may be a stranger's: it talks to the replay and to nobody else."""
_HTML = (("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-cache"))
_API = frozenset(
    {"api", "assets", "auth", "docs", "health", "oauth", "openapi.json", "redoc", "v1", ".well-known", "-"}
)
_ASSET = re.compile(r"""(?:src|href)=["'](?:\.?/)(assets/[^"'?#]+)""")


def asks_for_page(target: str) -> bool:
    """Whether the server answers this with its page: a path of the page's own, not one of the API or a file."""
    path = path_of(target)
    return path.startswith("/") and path.split("/")[1] not in _API and "." not in basename(path)


def guarded(headers: Headers) -> Headers:
    """The headers of a page, with the policy that keeps it to its replay."""
    return (*headers, ("Content-Security-Policy", POLICY))


class Shell:
    """The pages of a cassette. `files`: those of a web UI that is installed."""

    def __init__(self, script: Script, files: Files | None) -> None:
        self._script = script
        self._files = files

    def has_all_of(self, page: bytes) -> bool:
        """Whether the scripts and styles that a page begins with are there."""
        return all(f"/{one}" in self._assets or self.file(f"/{one}") for one in _ASSET.findall(page.decode("latin-1")))

    def file(self, path: str) -> MadeUp | None:
        return self._files(path) if self._files is not None else None

    @property
    def page_is(self) -> str:
        """What `page` gives, in words."""
        if self._is_recorded:
            return "the recorded web UI"
        return "an installed web UI" if self.file("/index.html") else "only a list of sessions, for want of a web UI"

    def page(self, sessions: list[Data]) -> MadeUp:
        """What there is: a recorded page, else an installed one, else a few words."""
        recorded = self._recorded
        if recorded is not None and self._is_recorded:
            return MadeUp(self._script.decoded_body(recorded), guarded(_HTML))
        found = self.file("/index.html")
        return _placard(sessions, recorded is not None) if found is None else MadeUp(found.body, guarded(found.headers))

    @cached_property
    def _is_recorded(self) -> bool:
        """Whether a whole web UI was recorded."""
        return self._recorded is not None and self.has_all_of(self._script.decoded_body(self._recorded))

    @cached_property
    def _recorded(self) -> Exchange | None:
        """The newest answer that is a whole page of a web UI."""
        pages = [x for x in self._successes if asks_for_page(x.request.target) and _is_html(x)]
        return next((x for x in reversed(pages) if _ASSET.search(self._script.decoded_body(x).decode("latin-1"))), None)

    @cached_property
    def _assets(self) -> frozenset[str]:
        return frozenset(path_of(x.request.target) for x in self._successes)

    @property
    def _successes(self) -> list[Exchange]:
        return [
            x for x in self._script.exchanges if x.request.method == "GET" and x.response and x.response.status == 200
        ]


def _is_html(exchange: Exchange) -> bool:
    headers = exchange.response.headers if exchange.response else ()
    return (header(headers, "content-type") or "").lower().startswith("text/html")


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


def _placard(sessions: list[Data], has_page: bool) -> MadeUp:
    named = ((escape(str(row["id"])), escape(str(row.get("title") or ""))) for row in sessions)
    rows = "".join(f"<li><code>{name}</code> <bdi>{title}</bdi>" for name, title in named)
    text = _WORDS.format(why=_CACHED if has_page else _NONE, sessions=f"<ul>{rows}</ul>" if rows else "<p>None.")
    policy = ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    return MadeUp(text.encode("utf-8", "replace"), (*_HTML, policy))
