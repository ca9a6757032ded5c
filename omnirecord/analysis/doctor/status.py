"""Checks of the session's status on one stream.

Known changes of status are those of Omnigent's page (idle, running, waiting, failed), `launching`, and those that the
live server makes in healthy sessions: it repeats a status, or keeps running from one turn to the next.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...omnigent import protocol
from ...wire.strict_json import as_dict, as_text
from ..turns.patience import SECOND
from ..turns.values import Ref
from .finding import WORKING, Event, Group, Handlers, Sign, said, sign_at

_FOLLOWS = {
    "idle": {"launching", "running", "failed"},
    "launching": {"running", "idle", "failed"},
    "running": {"launching", "waiting", "idle", "failed"},
    "waiting": {"launching", "running", "idle", "failed"},
    "failed": {"launching", "running", "idle"},
}
"""The statuses that may follow a status."""
_MOST_ODD = 20
"""Most kinds of unknown transitions that are reported for one stream."""
_SOON = 2 * SECOND
"""Longest time in ns between a turn's end and its last status."""


class Statuses:
    def __init__(self) -> None:
        self.last: str | None = None
        self.ref: Ref | None = None
        self._ended: Ref | None = None
        """The end of a turn that no status has followed yet."""
        self._saw_input = False
        self.saw_post = False
        """Whether a client posted a message while this stream was open, so that it carries the turn's status too. A
        stream that joins a sub-agent after its `running` carries the message, then the response."""
        self._odd: dict[tuple[str, str], Group] = {}
        self._differing: list[Sign] = []
        """The ends whose response has another status."""

    def handlers(self) -> Handlers:
        return {
            protocol.SESSION_STATUS: self._status,
            protocol.SESSION_INPUT_CONSUMED: self._input,
            **dict.fromkeys(protocol.RESPONSE_BEGINS, self._begin),
            **dict.fromkeys(protocol.ENDS, self._end),
        }

    def _status(self, event: Event) -> None:
        status = as_text(event.data.get("status"))
        if status is None:
            return
        if self.last not in (None, status) and status not in _FOLLOWS.get(self.last or "", ()):
            self._add(event, self.last or "", status)
        self.last = status
        self.ref = event.ref
        self._ended = None

    def _input(self, _event: Event) -> None:
        self._saw_input = True

    def _begin(self, event: Event) -> None:
        """A response began, so the last status should be a working one."""
        is_from_start = self.last is not None or (self._saw_input and self.saw_post)
        if not event.in_snapshot and is_from_start and self.last not in WORKING:
            self._add(event, self.last or "no status", "a response under way")
            self.last = "running"
            self.ref = event.ref
        self._saw_input = False

    def _end(self, event: Event) -> None:
        status = as_text(as_dict(event.data.get("response")).get("status"))
        type_ = event.type or ""
        if status not in (None, protocol.ENDS[type_]):
            message = f"a {said(type_)} whose response has the status {said(status)}"
            self._differing.append(sign_at("contract-invalid", message, [event.ref]))
        if not (event.response_id or "").startswith("deny_"):
            self._ended = event.ref

    def _add(self, event: Event, before: str, after: str) -> None:
        key = (said(before, 30), said(after, 30))
        if key in self._odd or len(self._odd) < _MOST_ODD:
            self._odd.setdefault(key, Group()).add(event)

    def signs(self, end_ns: int | None) -> Iterator[Sign]:
        yield from self._differing
        for (before, after), group in self._odd.items():
            yield group.sign("status-unknown-transition", f"the status went from {before} to {after}")
        if (ended := self._ended) and self.ref and self.last in WORKING:  # a note if the client left right after it
            severity = "note" if end_ns is None or end_ns - ended.at_ns < _SOON else "warning"
            message = f"the turn ended, and the last status is still {said(self.last)}"
            yield sign_at("status-left-running", message, [self.ref, ended], since_ns=ended.at_ns, severity=severity)
