"""The way that a session's status goes.

Known ways are those of Omnigent's page (idle, running, waiting, failed), `launching`, and what the live server was seen
to do in healthy sessions: say a status twice, or run on from one turn to the next.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..turns.lenient import as_dict, as_text
from .event import (
    BEGINS,
    ENDS,
    SECOND,
    WORKING,
    Event,
    Group,
    Handlers,
    Place,
    said,
    sign_at,
)
from .finding import Severity, Sign

_KNOWN = frozenset({
    ("idle", "launching"), ("idle", "running"), ("failed", "launching"), ("failed", "running"), ("failed", "idle"),
    ("launching", "running"), ("launching", "idle"), ("launching", "failed"), ("running", "waiting"),
    ("running", "idle"), ("running", "failed"), ("waiting", "running"), ("waiting", "idle"), ("waiting", "failed"),
    ("running", "launching"), ("waiting", "launching"), ("idle", "failed"),
})  # fmt: skip
_SOON = 2 * SECOND
"""How long after a turn its last status may take."""


class Statuses:
    """The statuses of one stream."""

    def __init__(self) -> None:
        self.last: str | None = None
        self.place: Place | None = None
        self._ended: Place | None = None
        """The end of a turn, while no status has come since."""
        self._heard_input = False
        self.heard_post = False
        """Whether a client posted a message while this stream was open: then the turn's status came on it too. A
        client that joins a sub-agent behind its `running` hears the message, and then the response."""
        self._odd: dict[tuple[str, str], Group] = {}

    def handlers(self) -> Handlers:
        return {
            "session.status": self._status, "session.input.consumed": self._input,
            **dict.fromkeys(BEGINS, self._begin), **dict.fromkeys(ENDS, self._end),
        }  # fmt: skip

    def _status(self, event: Event) -> None:
        status = as_text(event.data.get("status"))
        if status is None:
            return
        if self.last not in (None, status) and (self.last, status) not in _KNOWN:
            self._add(event, self.last or "", status)
        self.last, self.place, self._ended = status, event.place, None

    def _input(self, _event: Event) -> None:
        self._heard_input = True

    def _begin(self, event: Event) -> None:
        """A response is worked on: so the session runs, and should have said so."""
        is_heard_from_start = self.last is not None or (self._heard_input and self.heard_post)
        if not event.greeting and is_heard_from_start and self.last not in WORKING:
            self._add(event, self.last or "no status", "a response under way")
            self.last, self.place = "running", event.place
        self._heard_input = False

    def _end(self, event: Event) -> None:
        id_ = as_text(as_dict(event.data.get("response")).get("id")) or ""
        if not id_.startswith("deny_"):
            self._ended = event.place

    def _add(self, event: Event, before: str, after: str) -> None:
        key = (said(before, 30), said(after, 30))
        if key in self._odd or len(self._odd) < len(_KNOWN):
            self._odd.setdefault(key, Group()).add(event)

    def signs(self, end_ns: int | None) -> Iterator[Sign]:
        for (before, after), group in self._odd.items():
            yield group.sign("status-unknown-transition", f"the status went from {before} to {after}")
        if self._ended and self.place and self.last in WORKING:
            yield self._left(self._ended, self.place, end_ns)

    def _left(self, ended: Place, place: Place, end_ns: int | None) -> Sign:
        """A client that leaves right behind the end of a turn does not wait for the status."""
        soon = end_ns is None or end_ns - ended.at_ns < _SOON
        severity: Severity = "note" if soon else "warning"
        message = f"the turn ended, and the last status is still {said(self.last)}"
        return sign_at("status-left-running", message, [place, ended], since_ns=ended.at_ns, severity=severity)
