"""Reads one cassette again and again: each read opens the file, takes the wanted rows after a cursor, and closes it.

Also here: the requests of a cassette as rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import closing
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any

from ...cassette.files import stamp_of
from ...cassette.model_calls import ModelHops
from ...cassette.select import the_session, the_stream
from ...cassette.sqlite import Store, is_coded
from ...cassette.sqlite.lock import recorder_is_alive
from ...cassette.sqlite.tail import Tail
from ...model import Exchange, Recording, Side, Streaming, TimedFrame, clocks
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
from .growth import NewExchanges

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
_BACK = 8
"""Factor by which the search for the last wanted events goes further back each time."""


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


@dataclass(slots=True)
class Cursor:
    """The position in a cassette: the open streams with their last `seq`, and the highest stream."""

    highest: int = 0
    at: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """The result of one read of one cassette."""

    cassette: str
    """Its id among the cassettes that are followed."""
    rows: list[Row]
    """Events as `events --json` prints them, and requests that have begun or ended, by time."""
    has_more: bool = False
    """Whether more can be read at once."""
    is_recorded: bool = False
    """Whether a recorder wrote to it during the read: more may come."""
    left_out: int = 0
    """Number of events that were skipped, since there are too many."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The result of one read of all followed cassettes."""

    parts: list[Part]
    """The parts that have rows, the oldest file first."""
    has_more: bool
    is_recorded: bool

    @property
    def rows(self) -> list[Row]:
        """Events and requests by time, those of the oldest file first."""
        return [row for part in self.parts for row in part.rows]

    @property
    def left_out(self) -> int:
        """Number of events that were skipped, since there are too many."""
        return sum(part.left_out for part in self.parts)


class Requests:
    """Rows of exchanges that begin and end: all with `from_start`, else only new ones."""

    def __init__(self, wanted: Wanted, *, from_start: bool = False) -> None:
        self._wanted = wanted
        self._exchanges = NewExchanges() if from_start else None

    def begin(self, store: Store, since: Iterable[tuple[int, int]]) -> None:
        """Skip the exchanges in the cassette, except those since one of `since`, each a recording and ns."""
        if not self._wanted.takes_requests:
            return
        self._exchanges = NewExchanges()
        unended = [x.exchange for x in store.exchanges(unended=True)] if store.is_being_recorded else []
        self._exchanges.skip(store, but=chain(unended, *(store.open_at(*one) for one in since)))

    def new(self, store: Store, done: Mapping[int, bool | None]) -> Iterator[Row]:
        """Return a row for each exchange that has begun or ended since the last call. `done`: of the exchanges whose
        frames were followed, whether one of them ended the stream; None if that is not known."""
        if not self._wanted.takes_requests:
            return
        if self._exchanges is None:
            self.begin(store, ())
        hops, exchanges = ModelHops(store), self._exchanges or NewExchanges()
        told = {number for number, has_row in exchanges.open.items() if has_row}
        for x, is_over in exchanges.look(store):
            if is_over and x.kind == "sse" and x.ending != "done":
                x = _settled(store, x, done.get(x.exchange))
            if self._wanted.takes_session(x.session_id):
                act = _act(store, x) if may_act(x) else None
                has_row = x.exchange in told
                if not has_row and (act is not None or (x.kind in ("sse", "websocket") and x.response is not None)):
                    has_row = True
                    yield {**_row(store, x, act, is_over=False), "asked": _asked(store, hops, x), "answer": None}
                    if not is_over:
                        exchanges.wait_for_end(x.exchange)
                if is_over:
                    asked, answer = None if has_row else _asked(store, hops, x), _answer(store, hops, x)
                    yield {**_row(store, x, act, is_over=True), "asked": asked, "answer": answer}


def _settled(store: Store, x: Exchange, is_done: bool | None) -> Exchange:
    """Return an exchange with its ending: [DONE] may be in bytes that have no frames yet."""
    if is_done is None:
        return next(iter(store.numbered([x.exchange])), x)
    return replace(x, ending="done") if is_done else x


def _row(store: Store, x: Exchange, act: dict[str, Any] | None, *, is_over: bool) -> Row:
    end_ns = (x.end_ns or x.request.at_ns) if is_over else None
    return {
        "recording": x.recording, "exchange": x.exchange, "stream": x.stream, "session_id": x.session_id,
        "party": x.party, "party_name": party_name(x), "kind": x.kind, "method": x.request.method,
        "path": x.request.target,
        "status": x.response.status if x.response else None,
        "offset_ns": x.request.at_ns, "end_ns": end_ns,
        "duration_s": None if end_ns is None else (end_ns - x.request.at_ns) / NS,
        "ending": x.ending if is_over else "open", "act": act, "hop": store.recording(x.recording).hop,
        "leads_to": _leads_to(store, x) if is_over else None, "call": _call(store, x),
        **(_failure(store, x) if is_over else {"error": None, "severity": None}),
    }  # fmt: skip


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


class File:
    """The cassette at `path` after `cursor`; without one, the `last` recorded events, then each new one.

    `of`: the id of the cursor's cassette; another one is read from its beginning. `most`: number of new events in a
    read, at most; earlier ones are skipped.
    """

    def __init__(
        self, path: Path, cursor: Cursor | None = None, of: str | None = None, *, wanted: Wanted,
        opens: Callable[[Path], Store], last: int = 0, most: int | None = None,
    ) -> None:  # fmt: skip
        self._most, self._left_out = most, 0
        self.path, self.cursor = path, cursor
        self._of, self._wanted, self._opens, self._last = of, wanted, opens, last
        self._inode: int | None = None
        self._recordings: list[Recording] = []
        self._clocks: dict[int, int] = {}
        self._turn = 0
        self._tail = Tail(rests=self._most is not None)
        self._done: dict[int, bool | None] = {}
        self._left: set[int] = set()
        """The streams of which the last read has left some events."""
        self._requests = Requests(wanted, from_start=cursor is not None and of is None)
        self._all_of: tuple[object, ...] = (None,)
        """The state of the file after a complete read; with None in it if that is unknown."""

    @property
    def has_read(self) -> bool:
        return self._inode is not None

    @property
    def cassette(self) -> str:
        """Its id among cassettes, after the first read."""
        return blake2b("".join(r.started_at for r in self._recordings[:1]).encode(), digest_size=4).hexdigest()

    @property
    def going_on(self) -> set[int]:
        """The streams that may have more frames in this file."""
        return set(self.cursor.at) if self.cursor else set()

    def read(self, waiting: Set[int] = frozenset()) -> Part:
        """Return the new rows, without those of the streams in `waiting`. Raises `CassetteError`, and `UsageError` if a
        wanted session or stream is missing and no recorder runs."""
        is_recorded = recorder_is_alive(self.path)
        now = (*stamp_of(self.path), is_recorded)
        if None not in now and now == self._all_of:
            return Part(self.cassette, [], is_recorded=is_recorded)
        part = self._read(waiting)
        self._all_of = (None,) if part.has_more or self.going_on.intersection(waiting) else now
        return part

    def _read(self, waiting: Set[int]) -> Part:
        inode = self.path.stat().st_ino if self.path.exists() else None
        with closing(self._opens(self.path)) as store:
            recordings = store.recordings()
            known = [one.started_at for one in self._recordings]  # a server may tell its version later
            is_another = known != [one.started_at for one in recordings[: len(known)]]
            if self._inode is not None and (is_another or inode != self._inode):
                self.cursor, self._requests = Cursor(), Requests(self._wanted, from_start=True)
                self._tail = Tail(rests=self._most is not None)
                self._done = {}
            self._inode, self._recordings, self._clocks = inode, recordings, clocks(recordings)
            if self.cursor is None:
                found = self._begin(store)
                self._requests.begin(store, self._since(found))
                return self._part(store, found, has_more=False)
            if self._of not in (None, self.cassette):
                self._of, self.cursor = None, Cursor()
            found, has_more = self._new(store, self.cursor, waiting)
            return self._part(store, found, has_more=has_more)

    def _since(self, found: list[tuple[Streaming, TimedFrame]]) -> Iterator[tuple[int, int]]:
        """Yield recordings and the ns of their first wanted request: from the first event, or the whole last run."""
        if self._last and self._recordings:
            last = self._recordings[-1].recording
            first, at_ns = (found[0][0].recording, found[0][1].offset_ns) if found else (last, 0)
            yield from ((one, at_ns) for one, clock in self._clocks.items() if clock == self._clocks[first])

    def _order(self, one: tuple[Streaming, TimedFrame]) -> tuple[int, int, int, int]:
        x, frame = one
        return self._clocks[x.recording], frame.offset_ns, x.stream, frame.seq

    def _at(self, row: Row) -> tuple[int, int, bool]:
        """Return the sort key of a row. A request that has ended comes after the events at the same time."""
        recording: int = row["recording"]
        end_ns = row.get("end_ns")
        clock = self._clocks.get(recording, recording)
        return clock, row["offset_ns"] if end_ns is None else end_ns, end_ns is not None

    def _part(self, store: Store, found: Iterable[tuple[Streaming, TimedFrame]], *, has_more: bool) -> Part:
        requests: list[Row] = []
        if not has_more:
            requests = list(self._requests.new(store, self._done))
            self._done = {}
        left_out, self._left_out = self._left_out, 0
        of = {recording.recording: recording for recording in self._recordings}
        rows = [event_row(x, frame, of[x.recording].started_at, of[x.recording].hop) for x, frame in found]
        rows = sorted([*requests, *rows], key=self._at) if requests else rows
        return Part(self.cassette, rows, has_more, store.is_being_recorded, left_out)

    def _begin(self, store: Store) -> list[tuple[Streaming, TimedFrame]]:
        if not store.is_being_recorded:
            the_stream(store, self._wanted.stream)
            if self._wanted.session is not None:
                the_session(store, self._wanted.session)
        streams = store.streaming()
        self.cursor = Cursor(max((x.stream for x in streams), default=0))
        open_ = [x for x in streams if store.is_being_recorded and not x.is_over and self._wanted.takes_stream(x)]
        self._tail.look(store)
        self._tail.open(store, [x.exchange for x in open_])
        found: list[tuple[Streaming, TimedFrame]] = []
        for x in streams:
            seen, frames = self._last_of(store, x)
            found += [(x, frame) for frame in frames]
            if store.is_being_recorded and not x.is_over:
                self.cursor.at[x.stream] = seen
        return sorted(found, key=self._order)[-self._last :] if self._last else []

    def _last_of(self, store: Store, x: Streaming) -> tuple[int, list[TimedFrame]]:
        """Return the last `seq` of a stream, and its last wanted frames."""
        last = store.last_seq(x)
        is_open = self._tail.has(x.exchange)
        new = list(self._tail.frames(store, x, last)) if is_open else []
        if not self._last or not self._wanted.takes_stream(x):
            return new[-1].seq if new else last, []
        back = self._last
        while True:
            frames, seen = deque[TimedFrame](maxlen=self._last), last
            begin = max(0, last - back)
            known = chain(store.stored_frames(x, begin), new) if is_open else store.frames_behind(x, begin)
            for frame in known:
                seen = frame.seq
                if self._wanted.takes(frame):
                    frames.append(frame)
            if len(frames) == self._last or back >= last:
                return seen, list(frames)
            back *= _BACK

    def _new(self, store: Store, cursor: Cursor, waiting: Set[int]) -> tuple[list[tuple[Streaming, TimedFrame]], bool]:
        """Return the frames after the cursor, `_BATCH` or `_BYTES` at most, and whether there are more."""
        changed = self._tail.look(store, self._most) | self._left
        self._left_out += self._tail.left_out()
        is_recorded = store.is_being_recorded
        if is_recorded:
            known = cursor.at.keys() & changed | set(store.ended_streams(cursor.at))
            known |= {stream for stream in cursor.at if not self._tail.follows(stream)}
        else:
            known = set(cursor.at)
        behind = store.streaming(cursor.highest, known)
        for x in behind:
            cursor.highest = max(cursor.highest, x.stream)
            cursor.at.setdefault(x.stream, 0)
        # First come the streams that the last read had no room for.
        streams = sorted(behind, key=lambda x: (x.stream <= self._turn, x.stream))
        streams = [x for x in streams if x.stream not in waiting]
        wanted = [x for x in streams if self._wanted.takes_stream(x)]
        self._take_new(store, cursor, wanted)
        found: list[tuple[Streaming, TimedFrame]] = []
        frames = size = 0
        self._left = {x.stream for x in streams}
        for x in wanted:
            for frame in self._tail.new_frames(store, x, cursor.at[x.stream], is_over=x.is_over or not is_recorded):
                cursor.at[x.stream] = frame.seq
                frames, size = frames + 1, size + frame.length
                if self._wanted.takes(frame):
                    found.append((x, frame))
                if frames >= _BATCH or size >= _BYTES:
                    self._turn = x.stream
                    return sorted(found, key=self._order), True
        for x in streams:
            if x.is_over or not is_recorded:
                del cursor.at[x.stream]
                if self._tail.has(x.exchange):
                    self._done[x.exchange] = self._tail.is_done(x.exchange)
                self._tail.forget(x.exchange)
        self._left = set()
        return sorted(found, key=self._order), False

    def _take_new(self, store: Store, cursor: Cursor, streams: list[Streaming]) -> None:
        """Parse the new bytes of these streams; leave out the oldest events if there are too many."""
        self._tail.open(store, [x.exchange for x in streams])
        for x in streams:
            if x.is_over or not store.is_being_recorded:
                self._tail.end(x.exchange)
        if self._most is not None:
            self._leave_out(cursor, streams, self._most)

    def _leave_out(self, cursor: Cursor, streams: list[Streaming], most: int) -> None:
        """Leave out the oldest new events, so that about `most` are left."""
        tail = self._tail
        behind: list[tuple[Streaming, int, int]] = []
        for x in streams:
            if tail.has(x.exchange):
                stored = max(0, tail.opened_at(x.exchange) - 1 - cursor.at[x.stream])
                if count := stored + tail.waiting(x.exchange):
                    behind.append((x, stored, count))
        if sum(count for _, _, count in behind) <= most:
            return
        share = most // len(behind)
        for place, (x, stored, count) in enumerate(behind):
            left = share or int(place < most)
            skipped = max(0, min(stored, count - left))
            cursor.at[x.stream] += skipped
            self._left_out += skipped + tail.leave_out(x.exchange, left)
