"""What happens, from rows: turns, texts, tools, approvals, failures, requests. One of several clients is told."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...model import TimedFrame
from ...omnigent.connect_snapshot import Greeting
from ...omnigent.summary import short_id
from .each import each
from .events import State, tell
from .fold import Fold, is_delta
from .line import Told
from .requests import Requests

Row = dict[str, Any]
_SAME_WITHIN = 2_000_000_000
"""Nanoseconds between two copies of one event, of which each listener of a session gets one."""
_MOST_COPIES = 4000


@dataclass(slots=True)
class _Session:
    state: State
    fold: Fold | None = None


class Watching:
    """Tells what rows say, in their order. `every`: a line for each event and each request, nothing folded."""

    def __init__(self, *, every: bool = False) -> None:
        self._every = every
        self._sessions: dict[str, _Session] = {}
        self._names: set[str] = set()
        self._copies: OrderedDict[tuple[str, int], tuple[int, set[int]]] = OrderedDict()
        self._requests = Requests(every=every)
        self._last = ""
        self._greetings: dict[int, Greeting] = {}
        self._before: dict[int, int] = {}

    def hear(self, row: Row) -> Iterator[Told]:
        """The lines that are finished with this row, of an event or a request."""
        name = row["session_id"] or ""
        if name:
            self._names.add(name)
        if row.get("exchange") is not None:
            yield from self._request(row, name)
        elif self._every:
            stream, at_ns = row["stream"], row["offset_ns"]
            before: int = self._before.get(stream) or at_ns
            self._before[stream] = at_ns
            yield from each(row, before, self._place(name, f"{row['stream']}:{row['seq']}"))
        elif not self._is_greeting(row, name) and not self._is_copy(row):
            yield from self._event(row, name or f"stream {row['stream']}")

    def growing(self) -> Told | None:
        """The text that grew last, if it may still grow."""
        session = self._sessions.get(self._last)
        if session is None or session.fold is None:
            return None
        return session.fold.growing(self._place_of(session.fold))

    def rest(self) -> Iterator[Told]:
        """The lines that are not finished: nothing follows."""
        for session in self._sessions.values():
            yield from self._finish(session)

    def lacks_some(self) -> None:
        """Note that events are left out here: a text that grows may have had some of them."""
        for session in self._sessions.values():
            if session.fold is not None:
                session.fold.is_partial = True

    def _event(self, row: Row, name: str) -> Iterator[Told]:
        session = self._session(name)
        if is_delta(row["type"]) and row["verdict"] in ("valid", "invalid"):
            self._last = name
            fold = session.fold
            if fold is None or not fold.takes(row):
                yield from self._finish(session)
                at_ns, stream, seq = row["offset_ns"], row["stream"], row["seq"]
                session.fold = fold = Fold(row["type"], at_ns, at_ns, stream, seq, row["session_id"] or "")
            fold.add(row)
            session.state.grow(row)
            return
        place = self._place(row["session_id"] or "", f"{row['stream']}:{row['seq']}")
        for told in tell(session.state, row, place):
            yield from self._finish(session)
            yield told
        if row["type"] == "response.output_item.done":
            yield from self._finish(session)

    def _session(self, name: str) -> _Session:
        if name not in self._sessions:
            self._sessions[name] = _Session(State(self._requests.answered))
        return self._sessions[name]

    def _finish(self, session: _Session) -> Iterator[Told]:
        if session.fold is not None:
            yield session.fold.finished(self._place_of(session.fold))
            session.fold = None

    def _request(self, row: Row, name: str) -> Iterator[Told]:
        session = self._sessions.get(name)
        is_over = row["end_ns"] is not None
        if is_over and session is not None and session.fold is not None and session.fold.stream == row["stream"]:
            yield from self._finish(session)
        in_turn = session is not None and session.state.turn_ns is not None
        yield from self._requests.hear(row, self._place(name, f"#{row['exchange']}"), in_turn=in_turn)

    def _is_copy(self, row: Row) -> bool:
        """Whether another listener of the session got this event already."""
        key = (row["session_id"] or f"stream {row['stream']}", hash(row["raw"]))
        at_ns, streams = self._copies.get(key, (-_SAME_WITHIN, set[int]()))
        if row["stream"] not in streams and row["offset_ns"] - at_ns < _SAME_WITHIN and streams:
            streams.add(row["stream"])
            return True
        self._copies[key] = (row["offset_ns"], {row["stream"]})
        self._copies.move_to_end(key)
        if len(self._copies) > _MOST_COPIES:
            self._copies.popitem(last=False)
        return False

    def _is_greeting(self, row: Row, name: str) -> bool:
        """Whether a server sends this again to a client that connects to a session of which more was told already."""
        stream, seq = row["stream"], row["seq"]
        if seq == 1 and name in self._sessions:
            self._greetings[stream] = Greeting()
        greeting = self._greetings.get(stream)
        if greeting is None:
            return False
        raw = None if row["raw"] is None else row["raw"].encode("utf-8", "surrogateescape")
        frame = TimedFrame(stream, seq, row["offset_ns"], None, raw, 0, row["type"], row["verdict"], ())
        if greeting.takes(frame):
            return True
        del self._greetings[stream]
        return False

    def _place_of(self, fold: Fold) -> str:
        return self._place(fold.session, f"{fold.stream}:{fold.first}")

    def _place(self, session: str, address: str) -> str:
        """Where it is in the cassette. The session is named where there are several."""
        return f"{short_id(session)} {address}".strip() if len(self._names) > 1 else address
