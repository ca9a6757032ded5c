"""Rows of what is new in a cassette: events as `events --json` prints them, and requests that begin or end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from ...cassette.model_calls import ModelHops
from ...cassette.select import the_session, the_stream
from ...cassette.sqlite import Store, is_coded
from ...model import Exchange, Side, clocks
from ...omnigent.routes import party_name
from ...providers.conversation import new_in
from ...providers.register import model_api
from ...text import clip, one_line
from ...wire.json_rpc import MARK as JSON_RPC
from ...wire.json_rpc import message_of
from ...wire.redirects import leads_to
from ...wire.strict_json import loads
from ..apis import call_text
from ..listing import NS, FrameFilter, Row, event_row
from ..turns.requests import act_of, answer_tells, error_in, may_act, severity_of
from . import OPENS, Begin, Follower, Opens, Reader
from .growth import Cursor, Growth, Of

_BODY = 64 * 1024
"""Size of a body that is read, at most, in bytes."""
_LARGEST_CALL = 1 << 20
"""Size of a request to a model that is read, at most, in bytes."""
_MOST_NEW = 3
"""Most parts of a request to a model that have a line."""
LAST = 10
"""Default number of recorded events that are returned first."""
_BATCH = 500
"""Frames in one read, at most…"""
_BYTES = 1 << 20
"""…and bytes of them, but for a single larger one."""


@dataclass(frozen=True)
class Wanted(FrameFilter):
    """The filter. A session id may be shortened."""

    requests: bool = False
    """Whether requests are wanted too. With a stream, a type or a verdict, none are."""

    @property
    def takes_requests(self) -> bool:
        return self.requests and (self.stream, self.type, self.verdict) == (None, None, None)

    def takes_session(self, session_id: str | None) -> bool:
        return self.session is None or (session_id is not None and session_id.startswith(self.session))


def rows_of(
    path: Path,
    wanted: Wanted,
    last: int = LAST,
    opens: Opens = OPENS,
    bookmark: str | None = None,
    most: int | None = None,
) -> Follower[Row]:
    """Return a follower of the rows at `path`: those of the `last` recorded events, then each new one.

    `most`: number of new events that a read returns, at most; earlier ones are skipped and counted. `bookmark`: see
    `Follower`.
    """
    return Follower(path, lambda begin: Rows(wanted, begin, most), opens, last, bookmark)


class Rows(Reader[Row]):
    """The rows of one cassette: of events as `events --json` prints them, and of requests that have begun or ended."""

    def __init__(self, wanted: Wanted, begin: Begin, most: int | None = None) -> None:
        self.growth = Growth(begin if isinstance(begin, Cursor) else None, most)
        self._wanted = wanted
        self._last = begin if isinstance(begin, int) else None
        """The number of recorded events to return first, until they are returned."""
        self._skips_requests = begin is not None
        """Whether the requests that are in the cassette have to be skipped."""
        self._clocks: dict[int, int] = {}

    def read(self, store: Store, waiting: Set[int] = frozenset()) -> tuple[list[Row], bool]:
        """Return the new rows, without those of the streams in `waiting`. Raises `CassetteError`, and `UsageError` if a
        wanted session or stream is missing and no recorder runs."""
        recordings = store.recordings()
        self._clocks = clocks(recordings)
        has_more = False
        if self._last is None:
            found, has_more = self._new(store, waiting)
        else:
            found = self._begun(store, self._last)
            self._last = None
        requests = [] if has_more else list(self._requests(store))
        of = {recording.recording: recording for recording in recordings}
        rows = [event_row(x, frame, of[x.recording].started_at, of[x.recording].hop) for x, frame in found]
        return sorted([*requests, *rows], key=self._at) if requests else rows, has_more

    def _begun(self, store: Store, last: int) -> list[Of]:
        """Return the last recorded events, and skip the requests before them."""
        if not store.is_being_recorded:
            the_stream(store, self._wanted.stream)
            if self._wanted.session is not None:
                the_session(store, self._wanted.session)
        found = sorted(self.growth.last(store, last, self._wanted), key=self._order)
        found = found[-last:] if last else []
        if self._wanted.takes_requests:
            since: Iterable[tuple[int, int]] = ()
            if last and self._clocks:  # from the first event on, or all of the last run
                first, at_ns = (found[0][0].recording, found[0][1].offset_ns) if found else (max(self._clocks), 0)
                since = [(one, at_ns) for one, clock in self._clocks.items() if clock == self._clocks[first]]
            self._skip_requests(store, since)
        return found

    def _new(self, store: Store, waiting: Set[int]) -> tuple[list[Of], bool]:
        """Return the new events, `_BATCH` or `_BYTES` at most, and whether there are more."""
        wanted = self._wanted
        at = self.growth.cursor.at
        found: list[Of] = []
        frames = size = 0
        for x, new in self.growth.streams(store, wanted.takes_stream, waiting):
            for frame in new:
                at[x.stream] = frame.seq
                frames += 1
                size += frame.length
                if wanted.takes(frame):
                    found.append((x, frame))
                if frames >= _BATCH or size >= _BYTES:
                    return sorted(found, key=self._order), True
        return sorted(found, key=self._order), False

    def _order(self, one: Of) -> tuple[int, int, int, int]:
        x, frame = one
        return self._clocks[x.recording], frame.offset_ns, x.stream, frame.seq

    def _at(self, row: Row) -> tuple[int, int, bool]:
        """Return the sort key of a row. A request that has ended comes after the events at the same time."""
        recording: int = row["recording"]
        end_ns = row.get("end_ns")
        clock = self._clocks.get(recording, recording)
        return clock, row["offset_ns"] if end_ns is None else end_ns, end_ns is not None

    def _skip_requests(self, store: Store, since: Iterable[tuple[int, int]] = ()) -> None:
        """Skip the requests in the cassette, except those since one of `since`, each a recording and ns."""
        self._skips_requests = False
        unended = [x.exchange for x in store.exchanges(unended=True)] if store.is_being_recorded else []
        self.growth.skip_exchanges(store, but=chain(unended, *(store.open_at(*one) for one in since)))

    def _requests(self, store: Store) -> Iterator[Row]:
        """Return a row for each exchange that has begun or ended since the last call."""
        growth = self.growth
        if not self._wanted.takes_requests:
            return
        if self._skips_requests:
            self._skip_requests(store)
        hops = ModelHops(store)
        told = {number for number, has_row in growth.open.items() if has_row}
        for x, is_over in growth.exchanges(store):
            if is_over and x.kind == "sse" and x.ending != "done":
                x = _settled(store, x, growth.done.get(x.exchange))
            if self._wanted.takes_session(x.session_id):
                act = _act(store, x) if may_act(x) else None
                has_row = x.exchange in told
                if not has_row and (act is not None or (x.kind in ("sse", "websocket") and x.response is not None)):
                    has_row = True
                    yield {**_row(store, x, act, is_over=False), "asked": _asked(store, hops, x), "answer": None}
                    if not is_over:
                        growth.wait_for_end(x.exchange)
                if is_over:
                    asked = None if has_row else _asked(store, hops, x)
                    answer = _answer(store, hops, x)
                    yield {**_row(store, x, act, is_over=True), "asked": asked, "answer": answer}


def _settled(store: Store, x: Exchange, is_done: bool | None) -> Exchange:
    """Return an exchange with its ending: [DONE] may be in bytes that have no frames yet."""
    if is_done is None:
        return next(iter(store.numbered([x.exchange])), x)
    return replace(x, ending="done") if is_done else x


def _row(store: Store, x: Exchange, act: dict[str, Any] | None, *, is_over: bool) -> Row:
    end_ns = (x.end_ns or x.request.at_ns) if is_over else None
    row = {
        "recording": x.recording,
        "exchange": x.exchange,
        "stream": x.stream,
        "session_id": x.session_id,
        "party": x.party,
        "party_name": party_name(x),
        "kind": x.kind,
        "method": x.request.method,
        "path": x.request.target,
        "status": x.response.status if x.response else None,
        "offset_ns": x.request.at_ns,
        "end_ns": end_ns,
        "duration_s": None if end_ns is None else (end_ns - x.request.at_ns) / NS,
        "ending": x.ending if is_over else "open",
        "act": act,
        "hop": store.recording(x.recording).hop,
        "leads_to": _leads_to(store, x) if is_over else None,
        "call": _call(store, x),
    }
    return row | (_failure(store, x) if is_over else {"error": None, "severity": None})


def _leads_to(store: Store, x: Exchange) -> str | None:
    """Return the server to which a redirect leads the client, if its recorder does not record this server."""
    if x.response is None or not 300 <= x.response.status < 400:
        return None
    of = store.recording(x.recording)
    others = [one.upstream for one in store.recordings() if one.run_id == of.run_id]
    return leads_to(x.response.status, x.response.headers, x.request.headers, [of.upstream, *others])


def _act(store: Store, x: Exchange) -> dict[str, Any] | None:
    answer = _body(store, x, "response") if x.kind == "http" and answer_tells(x) else b""
    act = act_of(x, _body(store, x, "request"), answer)
    if act is None:
        return None
    return {
        "kind": act.kind,
        "text": clip(act.text, 400),
        "item_id": act.item_id,
        "elicitation_id": act.elicitation_id,
        "action": act.action,
    }


def _asked(store: Store, hops: ModelHops, x: Exchange) -> list[dict[str, str]] | None:
    """Return what is new in a request to a model, the last parts; None for another request."""
    if x.request_bytes > _LARGEST_CALL or not hops.has(x):
        return None
    new = new_in(store.decoded_body(x, "request"), x.request.target)
    return [{"kind": one.kind, "text": clip(one.text, 400)} for one in new[-_MOST_NEW:]]


def _answer(store: Store, hops: ModelHops, x: Exchange) -> dict[str, Any] | None:
    """Return the answer of a model that is no stream; None for another exchange, and for a failed one."""
    is_whole = x.kind == "http" and x.response is not None and x.response.status < 400
    api = hops.api_of(x) if is_whole and x.response_bytes <= _LARGEST_CALL else None
    if api is None:
        return None
    answer = model_api(api).answer()
    answer.body(loads(store.decoded_body(x, "response")))
    tools = [one.request() for one in answer.tools.values()]
    usage = answer.usage
    return {
        "model": answer.model,
        "reasoning": clip("".join(answer.reasoning), 400),
        "text": clip("\n\n".join(answer.said()), 400),
        "tools": [{"name": one.name, "arguments": clip(one.arguments, 400)} for one in tools],
        "ending": answer.ending,
        "reason": answer.reason,
        "error": answer.error,
        "input_tokens": usage and usage.input_tokens,
        "output_tokens": usage and usage.output_tokens,
    }


def _call(store: Store, x: Exchange) -> str | None:
    """Return the call of JSON-RPC in a request; None if it has none."""
    if x.request.method != "POST" or not 0 < x.request_bytes <= _BODY or x.session_id is not None:
        return None
    body = store.decoded_body(x, "request")
    message = message_of(loads(body)) if JSON_RPC in body else None
    return None if message is None else call_text(message)


def _failure(store: Store, x: Exchange) -> dict[str, Any]:
    """Return code and message of a failed request, and its severity: `error`, `warning`, `note`, or None."""
    if _is_cut(store, x):
        return {"error": "ended without its last event", "severity": "warning"}
    if x.response is None or x.response.status < 400 or x.kind == "sse":
        return {"error": None, "severity": None}
    code, message = error_in(_body(store, x, "response"))
    unreachable = x.ending == "upstream_unreachable"
    severity = "error" if unreachable else severity_of(x.request.method, x.request.target, x.response.status)
    return {"error": clip(one_line(": ".join(filter(None, (code, message)))), 400), "severity": severity}


def _is_cut(store: Store, x: Exchange) -> bool:
    """Return whether a stream of a model API has no last event, which its API demands.

    False for a compressed stream: its last events may not be read yet.
    """
    if x.kind != "sse" or x.ending != "eof" or is_coded(x):
        return False
    api = store.judge_of(x).api
    return api.has_ends and not api.is_omnigent


def _body(store: Store, x: Exchange, side: Side) -> bytes:
    """Return a body without its content coding; empty if it is longer than `_BODY`."""
    size = x.request_bytes if side == "request" else x.response_bytes
    return b"" if size > _BODY else store.decoded_body(x, side)
