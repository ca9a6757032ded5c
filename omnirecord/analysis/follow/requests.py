"""Requests of a cassette that grows: a row when one begins, if a person wants to know then, and a row when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...cassette.sqlite import Store
from ...model import Exchange, Headers, Side
from ...omnigent.parties import party_name
from ...text import clip, one_line
from ...wire.headers import header
from ..listing import NS, Row
from ..turns import act_of, may_act
from ..turns.failures import error_in, severity_of
from .values import Wanted

_BODY = 64 * 1024
"""The longest body that is read, in bytes: a message, an answer, an error."""
_ERROR = 400
"""The lowest status of a failed request."""


class Requests:
    """Reads exchanges as they begin and end: all of them with `from_start`, else those behind the newest one."""

    def __init__(self, wanted: Wanted, *, from_start: bool = False) -> None:
        self._wanted = wanted
        self._last = 0 if from_start else None
        self._open: set[int] = set()
        self._begun: set[int] = set()

    def begin(self, store: Store, since: tuple[int, int] | None) -> None:
        """Take no exchange that is in the cassette now. `since`: recording and ns from which they are taken anyway."""
        if not self._wanted.takes_requests:
            return
        newest = store.exchanges("exchange = (SELECT max(exchange) FROM exchanges)")
        self._last = newest[0].exchange if newest else 0
        self._open = {x.exchange for x in store.exchanges("end_ns IS NULL")} if store.is_being_recorded else set()
        if since is not None:
            where = "recording = ? AND (request_at_ns >= ? OR end_ns >= ?)"
            self._open |= {x.exchange for x in store.exchanges(where, *since, since[1])}

    def new(self, store: Store) -> Iterator[Row]:
        """A row for each exchange that has begun or ended since."""
        if not self._wanted.takes_requests:
            return
        if self._last is None:
            self.begin(store, None)
        for x in store.newer(self._last or 0, self._open):
            self._last = max(self._last or 0, x.exchange)
            is_over = x.end_ns is not None or x.ending != "open"
            if self._wanted.takes_session(x.session_id):
                yield from self._rows(store, x, is_over=is_over)
            if is_over:
                self._open.discard(x.exchange)
                self._begun.discard(x.exchange)
            else:
                self._open.add(x.exchange)

    def _rows(self, store: Store, x: Exchange, *, is_over: bool) -> Iterator[Row]:
        act = _act(store, x) if may_act(x) else None
        is_stream = x.kind in ("sse", "websocket") and x.response is not None
        if x.exchange not in self._begun and (is_stream or act is not None):
            self._begun.add(x.exchange)
            yield _row(store, x, act, is_over=False)
        if is_over:
            yield _row(store, x, act, is_over=True)


def _row(store: Store, x: Exchange, act: dict[str, Any] | None, *, is_over: bool) -> Row:
    end_ns = (x.end_ns or x.request.at_ns) if is_over else None
    return {
        "recording": x.recording, "exchange": x.exchange, "stream": x.stream, "session_id": x.session_id,
        "party": x.party, "party_name": party_name(x), "kind": x.kind, "method": x.request.method,
        "path": x.request.target,
        "status": x.response.status if x.response else None,
        "offset_ns": x.request.at_ns, "end_ns": end_ns,
        "duration_s": None if end_ns is None else (end_ns - x.request.at_ns) / NS,
        "ending": x.ending if is_over else "open", "act": act,
        **(_failure(store, x) if is_over else {"error": None, "severity": None}),
    }  # fmt: skip


def _act(store: Store, x: Exchange) -> dict[str, Any] | None:
    """What a client did to its session."""
    act = act_of(x, _body(store, x, "request"), b"")
    if act is None:
        return None
    return {"kind": act.kind, "text": clip(act.text, 400), "elicitation_id": act.elicitation_id, "action": act.action}


def _failure(store: Store, x: Exchange) -> dict[str, Any]:
    """Code and message of a refusal, and how bad it is: `error`, `warning`, `note`, or None."""
    if x.response is None or x.response.status < _ERROR or x.kind == "sse":
        return {"error": None, "severity": None}
    body = _body(store, x, "response")
    code, message = error_in(body)
    if not (code or message) and _is_text(x.response.headers):
        message = body[:400].decode("utf-8", "replace")
    unreachable = x.ending == "upstream_unreachable"
    severity = "error" if unreachable else severity_of(x.request.method, x.request.target, x.response.status)
    return {"error": clip(one_line(": ".join(filter(None, (code, message)))), 400), "severity": severity}


def _is_text(headers: Headers) -> bool:
    type_ = (header(headers, "content-type") or "").lower()
    return type_.startswith("text/plain") or "json" in type_


def _body(store: Store, x: Exchange, side: Side) -> bytes:
    """A short body without its content coding; empty for another."""
    size = x.request_bytes if side == "request" else x.response_bytes
    return b"" if size > _BODY else store.decoded_body(x, side)
