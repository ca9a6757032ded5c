"""What the page asks for, by name: options in, a value for JSON out. Reads the cassette, and knows nothing of HTTP.

A `.db` is opened for each answer and closed again, so that a recorder can begin and end as it likes. What has to be
unpacked, converted or parsed first is kept as that, until its file has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from ...analysis.gather import Known
from ...analysis.search.search import search
from ...cassette.open import open_store
from ...cassette.sqlite import Store
from ...errors import UsageError
from .comparison import comparison, pairs
from .events import GISTS, columns, event, gists, matching
from .exchanges import exchange, exchanges_with
from .keys import read_key
from .overview import findings, overview
from .session import session_data

Options = Mapping[str, str]
HITS = 200
"""How many hits of a search are shown."""


class Answers:
    """`path` gives the cassette, as it is called by now; where it was put together, `files` says from which one each of
    its recordings is. May be asked from several threads."""

    def __init__(self, path: Callable[[], Path], files: Mapping[int, str] | None = None) -> None:
        self._path, self._files = path, files or {}
        self._lock, self._known = Lock(), Known()
        self._kept: tuple[object, Store] | None = None
        self._names: dict[str, Callable[[Store, Options], Any]] = {
            "overview": lambda store, _: overview(store, self._path().name, self._files, self._known),
            "findings": lambda store, asked: findings(store, asked.get("session")),
            "session": lambda store, asked: session_data(store, read_key(asked.get("key", ""))),
            "events": lambda store, asked: columns(store, _number(asked, "stream"), _number(asked, "after", 0)),
            "gists": _gists,
            "event": lambda store, asked: event(store, _number(asked, "stream"), _number(asked, "seq")),
            "exchange": lambda store, asked: exchange(store, _number(asked, "exchange")),
            "matching": _matching,
            "pairs": lambda store, asked: pairs(store, self._files, asked.get("a", ""), asked.get("b", "")),
            "comparison": lambda store, asked: comparison(store, asked.get("a", ""), asked.get("b", "")),
        }

    def __contains__(self, name: str) -> bool:
        return name == "search" or name in self._names

    def answer(self, name: str, asked: Options) -> Any:
        """Raises `UsageError` for what cannot be asked, `CassetteError` where the file cannot be read."""
        if name == "search":
            return self._search(asked)
        with self._store() as store:
            return self._names[name](store, asked)

    def close(self) -> None:
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        if self._kept is not None:
            self._kept[1].close()
            self._kept = None

    @contextmanager
    def _store(self) -> Iterator[Store]:
        path = self._path()
        with self._lock:
            stamp = (path, path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else None
            if self._kept is not None and self._kept[0] != stamp:
                self._forget()
            if self._kept is None:
                store = open_store(path)
                if store.is_copy and not store.is_being_recorded:
                    self._kept = stamp, store
            if self._kept is not None:
                yield self._kept[1]
                return
        with closing(store):
            yield store

    def _search(self, asked: Options) -> Any:
        found = search(
            self._path(), asked.get("query", ""), type=asked.get("type") or None,
            session=asked.get("session") or None, limit=HITS, width=160,
        )  # fmt: skip
        rows = [
            {**{name: hit.row[name] for name in ("recording", "session_id", "stream", "seq", "offset_ns", "type")},
             "exchange": hit.exchange, "text": hit.snippet.text, "spans": hit.snippet.spans}
            for hit in found.hits
        ]  # fmt: skip
        return {"hits": rows, "total": found.total}


def _gists(store: Store, asked: Options) -> Any:
    return gists(store, _number(asked, "stream"), _number(asked, "after", 0), _number(asked, "count", GISTS))


def _matching(store: Store, asked: Options) -> Any:
    words = asked.get("text", "")
    return {
        "streams": matching(store, _numbers(asked, "streams"), words),
        "exchanges": exchanges_with(store, _numbers(asked, "exchanges"), words),
    }


def _numbers(asked: Options, name: str) -> list[int]:
    return [_number({name: one}, name) for one in asked.get(name, "").split(",") if one]


def _number(asked: Options, name: str, default: int | None = None) -> int:
    value = asked.get(name)
    if value is None and default is not None:
        return default
    if value is None or not (value.isascii() and value.isdecimal() and len(value) < 16):
        raise UsageError(f"{name}={value!r} is no number")
    return int(value)
