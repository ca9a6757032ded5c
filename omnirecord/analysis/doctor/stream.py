"""Checks of a stream: its events, heartbeats, silences, a slow reader, a missing end; and all checks of one stream.

1. Sequence numbers rise within a turn. They start again with each turn; `session.*` events have none. A gap is no
   finding, since the live server skips numbers.
2. The events in `_ONCE` arrive once. The live server repeats `session.status`, `response.elicitation_resolved` and the
   events of a connect snapshot, but not these.
3. A live server sends an event at least every 15 s, if only a heartbeat. A running session that sends nothing but
   heartbeats is silent. An imported raw body has no times, so nothing is said of them.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby, islice, pairwise
from typing import Any

from ...contract import Api
from ...contract.judge import NOT_UTF8
from ...model import Exchange, TimedFrame
from ...omnigent import protocol
from ...omnigent.line import ConnectSnapshot
from ...omnigent.routes import opens_session_stream
from ...text import counted
from ...wire.strict_json import Payloads, fresh_payloads
from ..apis import FOREIGN, UNKNOWN
from ..turns import AT_ONCE, FEW
from ..turns.patience import LATE, SECOND, SILENT, STOPPED
from ..turns.values import Ref
from .finding import Event, Group, Handlers, Severity, Sign, event_of, said, seconds, sign_at
from .items import StreamedText
from .status import Statuses

MAX_KINDS = 50
"""Most kinds of violation that one stream reports apart: hostile events may have any number of types."""
Key = tuple[str, str, str]


class Contract:
    """Violations of the contract in one stream. `excused`: whether the live server sends such a frame too."""

    def __init__(self, excused: Callable[[TimedFrame], bool] = lambda _: False) -> None:
        self._excused = excused
        self._groups: dict[tuple[Key, bool], Group] = {}

    def odd(self, event: Event) -> None:
        """An event whose verdict is not `valid`."""
        excused = event.verdict in ("invalid", "unknown") and self._excused(event.frame)
        for key in _keys(event):
            if (key, excused) not in self._groups and len(self._groups) >= MAX_KINDS:
                key = (key[0], "", "and other things")
            self._groups.setdefault((key, excused), Group()).add(event)

    def signs(self) -> Iterator[Sign]:
        for ((code, type_, problem), excused), group in self._groups.items():
            message = _sentence(code, type_, problem, group.count)
            yield group.sign(code, message, severity="note" if excused else None)


def _keys(event: Event) -> Iterator[Key]:
    type_ = said(event.type)
    if event.verdict in ("malformed", "truncated"):
        kind = "too large" if event.frame.raw is None else next((m for _, m in event.frame.issues), "")
        yield event.verdict, type_, NOT_UTF8 if kind.startswith(NOT_UTF8) else kind
    elif event.verdict == "unknown":
        yield "contract-unknown", type_, ""
    elif event.verdict == "invalid":
        for path, message in event.frame.issues[:5] or (("", "does not fit"),):
            if path == "event" and message.startswith("differs"):
                yield "event-type-differs", type_, ""
            else:
                yield "contract-invalid", type_, said(f"{path} {message}".strip(), 100)


def _sentence(code: str, type_: str, problem: str, count: int) -> str:
    unread = f"could not be read: {said(problem, 100) or 'the data is no JSON object with a type'}"
    of_type = f"of type {type_} " if type_ else ""
    sentences = {
        "malformed": f"{of_type}with bytes that are not UTF-8" if problem == NOT_UTF8 else unread,
        "truncated": "too large to be recorded" if problem else "cut in the middle",
        "contract-unknown": f"of a type that the contract does not have: {type_}",
        "event-type-differs": f"whose event: line differs from the type, {type_}",
    }
    return f"{counted(count, 'event')} {sentences.get(code, f'of type {type_} against the contract: {problem}')}"


_ONCE = frozenset(
    {
        protocol.RESPONSE_OUTPUT_ITEM_DONE,
        protocol.RESPONSE_OUTPUT_FILE_DONE,
        protocol.RESPONSE_ERROR,
        protocol.RESPONSE_RETRY,
        protocol.SESSION_INPUT_CONSUMED,
        protocol.SESSION_CREATED,
        *protocol.ENDS,
    }
)


class Order:
    """The order of the events of one stream, and repeated events."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._last_raw: bytes | None = None
        self._top = 0
        """The highest sequence number of the turn before its end."""
        self._ended: str | None = None
        """The id of the response that ended; empty if it has none."""
        self._begun: str | None = None
        self._open: str | None = None
        """The id of the response that began and has not ended."""
        self._seen: set[int] = set()
        self._copies: dict[str, Group] = {}
        self._repeats = Group()
        self._back = Group()
        self._late = Group()

    def handlers(self) -> Handlers:
        return {**dict.fromkeys(_ONCE, self._once), protocol.SESSION_STATUS: self._rest}

    def _rest(self, event: Event) -> None:
        """A session at rest has no open turn: an interrupted turn ends so."""
        if event.data.get("status") in ("idle", "failed") and self._ended is None:
            self._ended = ""
            self._open = None

    def _once(self, event: Event) -> None:
        """An event that arrives once. Only its hash is kept, since there may be many."""
        if (key := hash(event.frame.raw)) in self._seen:
            self._copy(event)
        self._seen.add(key)
        if event.type == protocol.RESPONSE_OUTPUT_ITEM_DONE and event.number is None:
            item = event.item
            if self._ended and item.get("response_id") == self._ended and item.get("type") == "message":
                self._late.add(event)

    def numbered(self, event: Event) -> None:
        """An event with a sequence number."""
        number = event.number or 0
        last = self._last
        if event.type in protocol.RESPONSE_BEGINS:
            last = self._begin(event, last)
        if self._ended is not None and last is not None and number < last:
            if number > self._top:
                self._late.add(event)
            else:
                self._ended = None  # the start of this turn did not arrive
        elif last is not None and number == last:
            if event.frame.raw != self._last_raw:
                self._repeats.add(event)
            elif event.type not in _ONCE:
                self._copy(event)
        elif last is not None and number < last:
            self._back.add(event)
        self._last = number
        self._last_raw = event.frame.raw
        if event.type in protocol.ENDS:
            self._ended = event.response_id or ""
            self._open = None
        elif self._ended is None:
            self._top = number

    def rising(self, numbers: Sequence[Any], last_raw: bytes | None) -> bool:
        """Add consecutive events within a turn, if their numbers rise, and return whether they do. `last_raw`: the last
        one's bytes."""
        before = [] if self._last is None else [self._last]
        if self._ended is not None or set(map(type, numbers)) != {int}:
            return False
        if any(a >= b for a, b in pairwise([*before, *numbers])):
            return False
        self._last = self._top = numbers[-1]
        self._last_raw = last_raw
        return True

    def _begin(self, event: Event, last: int | None) -> int | None:
        """The last number that the next one has to exceed: None if another turn begins."""
        id_ = event.response_id
        is_over = self._ended is not None
        self._ended = None
        is_same = id_ is not None and id_ == self._begun
        is_other = None not in (id_, self._open) and id_ != self._open  # a restarted runner starts the turn again
        self._begun = self._open = id_
        return None if is_other or (is_over and not is_same) else last

    def _copy(self, event: Event) -> None:
        self._copies.setdefault(event.type or "", Group()).add(event)

    def signs(self) -> Iterator[Sign]:
        for type_, group in self._copies.items():
            copies = counted(group.count, said(type_))
            yield group.sign("event-repeated", f"{copies} arrived a second time, byte for byte")
        for group, code, message in (
            (self._repeats, "sequence-repeats", "with the same number as the one before"),
            (self._back, "sequence-goes-back", "with a number below the one before, within one turn"),
            (self._late, "event-after-end", "of a turn after the turn's end"),
        ):
            if group.count:
                yield group.sign(code, f"{counted(group.count, 'event')} {message}")


_MOST = 20


class Activity:
    """The times of the frames of one stream."""

    def __init__(self, stream: int, begun_ns: int, *, beats: bool) -> None:
        """`begun_ns`: the start of the response. `beats`: whether heartbeats are due."""
        self._stream = stream
        self._begun_ns = begun_ns
        self._beats = beats
        self.last: Ref | None = None
        """The last frame of any kind."""
        self.active: Ref | None = None
        """The last frame that was no heartbeat."""
        self.heartbeats = 0
        """Heartbeats since then."""
        self.runner_ns = 0
        """The runner's last heartbeat, in ns: it sends `response.heartbeat`, the server `session.heartbeat`."""
        self._late = Group()
        self._longest = 0

    def frame(self, event: Event) -> None:
        quiet = event.at_ns - (self.last.at_ns if self.last is not None else self._begun_ns)
        if quiet > LATE:
            self._late.add(event)
            self._longest = max(self._longest, quiet)
        self.last = event.ref
        if event.type in protocol.HEARTBEATS:
            self.heartbeats += 1
            if event.type == protocol.RESPONSE_HEARTBEAT:
                self.runner_ns = event.at_ns

    def active_event(self, event: Event) -> None:
        """Note an event that is no heartbeat."""
        self.active = event.ref
        self.heartbeats = 0

    def go_on(self, last: Ref) -> None:
        """Note events that are no heartbeats and not late. `last`: the last one."""
        self.last = self.active = last
        self.heartbeats = 0

    def signs(self, end_ns: int | None) -> Iterator[Sign]:
        """The signs. `end_ns`: until when a client listened; None if unknown."""
        if self._beats and self._late.count:
            times = counted(self._late.count, "time")
            message = f"heartbeats are due every 15 s, but {times} no event came for up to {seconds(self._longest)}"
            severity = "warning" if self._longest < STOPPED else "error"
            yield self._late.sign("heartbeats-late", message, severity=severity)
        since_ns = self._begun_ns if self.last is None else self.last.at_ns
        if self._beats and end_ns is not None and (quiet := end_ns - since_ns) > LATE:
            when = f"for the last {seconds(quiet)}" if self.last else f"in the {seconds(quiet)}"
            message = f"{when} of the stream no event came, not even a heartbeat"
            seqs = (self.last.seq,) if self.last else ()
            level: Severity = "error" if quiet > STOPPED else "warning"
            yield Sign("heartbeats-stopped", message, since_ns, end_ns, self._stream, seqs, level)


SLOW = 1 * SECOND
"""Delay in ns between an event's arrival and its handing to the client that is reported."""
VERY_SLOW = 5 * SECOND
_QUIET = protocol.HEARTBEATS | {protocol.SESSION_PRESENCE}
"""Types that say nothing of the agent."""
_UNSENT = 64
"""Events that may be on their way to a client when it leaves."""
_UNSENT_BYTES = 256 << 10
"""Their bytes, at most."""


Parsed = tuple[TimedFrame, dict[str, Any]]
"""A frame and its payload."""


def _is_text(parsed: Parsed) -> bool:
    return parsed[0].type == protocol.RESPONSE_OUTPUT_TEXT_DELTA


class StreamChecks:
    """The checks of one stream. `shared`: the handlers of checks that see all streams of the session. `api`: the rules
    of its API; the checks of turns and of the order of events are for Omnigent's alone. `last_known_ns`: the last known
    time of the recording."""

    def __init__(
        self,
        x: Exchange,
        shared: Iterable[Handlers],
        excused: Callable[[TimedFrame], bool],
        api: Api,
        last_known_ns: int,
    ) -> None:
        self.exchange = x
        self.api = api
        self.stream = x.stream or 0
        self.end_ns = last_known_ns if x.end_ns is None and x.ending == "open" else x.end_ns
        """Until when a client listened, in ns; None if unknown."""
        self.is_other = api.name == UNKNOWN
        """Whether the API is unknown: the checks are those of bytes and of the contract."""
        self.is_session = opens_session_stream(x.request.method, x.request.target)
        self.contract = Contract(excused)
        self.order = Order()
        self.text = StreamedText()
        self.statuses = Statuses()
        self.activity = Activity(
            self.stream, x.response.at_ns if x.response else x.request.at_ns, beats=self.is_session
        )
        self.count = 0
        self.said: Event | None = None
        """The last event of an unknown API."""
        self._snapshot: ConnectSnapshot | None = ConnectSnapshot()
        """The connect snapshot, until it is over."""
        self._is_timed = x.has_times and x.ending != "unknown"
        self.joined = False
        """Whether its connect snapshot has text in flight."""
        self._slowest = 0
        self._slow = 0
        self._unsent = 0
        self._unsent_bytes = 0
        self._slow_at: Ref | None = None
        self._handlers: dict[str, list[Callable[[Event], object]]] = defaultdict(list)
        own = (self.order, self.text, self.statuses)
        for handlers in (*(check.handlers() for check in own), *shared) if api.is_omnigent else ():
            for type_, handler in handlers.items():
                self._handlers[type_].append(handler)

    def read(self, lists: Iterable[Iterable[TimedFrame]], payloads: Payloads = fresh_payloads) -> None:
        """Take the frames of the stream, in lists."""
        for frames in lists:
            coming = iter(frames)
            while some := list(islice(coming, AT_ONCE)):
                for is_text, group in groupby(zip(some, payloads(some), strict=True), key=_is_text):
                    run = list(group)
                    if is_text and len(run) > FEW:
                        self._add(run[:1])
                        del run[0]
                        if self._goes_on(run):
                            continue
                    self._add(run)

    def _goes_on(self, run: Sequence[Parsed]) -> bool:
        """Add further deltas of a text, if none of them is worth a sign, and return whether they were added."""
        frames = [frame for frame, _ in run]
        _, _, times, sent, _, _, _, verdicts, _ = zip(*frames, strict=True)
        if self._snapshot is not None or not self.api.is_omnigent or set(verdicts) != {"valid"}:
            return False
        before_ns = times[0] if self.activity.last is None else self.activity.last.at_ns
        if max(map(operator.sub, times, [before_ns, *times])) > LATE:
            return False
        if self._is_timed and (None in sent or max(map(operator.sub, sent, times)) > SLOW):
            return False
        texts = [data.get("delta") for _, data in run]
        if not self.text.goes_on(texts, [data.get("message_id") for _, data in run]):
            return False
        if not self.order.rising([data.get("sequence_number") for _, data in run], frames[-1].raw):
            return False
        self.text.add_all(texts, Ref.of(frames[0]), Ref.of(frames[-1]))
        self.count += len(run)
        self.activity.go_on(Ref.of(frames[-1]))
        return True

    def _add(self, parsed: Iterable[Parsed]) -> None:
        is_omnigent = self.api.is_omnigent
        is_timed = self._is_timed
        is_foreign = self.api is FOREIGN
        activity = self.activity
        handlers = self._handlers
        is_other = self.is_other
        for frame, data in parsed:
            if self._snapshot is not None and not self._snapshot.takes(frame):
                self._snapshot = None
            event = event_of(frame, data, in_snapshot=self._snapshot is not None)
            at_ns, type_, verdict, number, _, in_snapshot, _, _ = event
            self.count += 1
            sent_ns = frame.sent_ns
            if is_timed and (sent_ns is None or sent_ns - at_ns > SLOW):
                self._late(event, sent_ns)
            activity.frame(event)
            if is_other and verdict not in ("comment", "sentinel"):
                self.said = event
            if verdict != "valid" and (not is_foreign or verdict == "truncated"):
                self.contract.odd(event)
            if number is not None and is_omnigent:
                self.order.numbered(event)
            if in_snapshot:
                self.joined = self.joined or type_ == protocol.RESPONSE_CREATED
            elif type_ not in _QUIET:
                activity.active_event(event)
            for handler in handlers.get(type_ or "", ()):
                handler(event)

    def _late(self, event: Event, sent_ns: int | None) -> None:
        """Note an event that was handed to the client late, or never."""
        if sent_ns is None:
            self._unsent += 1
            self._unsent_bytes += event.frame.length
            return
        self._slow += 1
        if sent_ns - event.at_ns > self._slowest:
            self._slowest = sent_ns - event.at_ns
            self._slow_at = event.ref

    @property
    def is_slow(self) -> bool:
        return self._slow > 0 or self._is_unsent

    @property
    def _is_unsent(self) -> bool:
        return self._unsent > _UNSENT or self._unsent_bytes > _UNSENT_BYTES

    def signs(self) -> Iterator[Sign]:
        yield from chain(self.contract.signs(), self.order.signs(), self.text.signs())
        yield from chain(self.statuses.signs(self.end_ns), self.activity.signs(self.end_ns))
        yield from chain(self._slowness(), self._done())

    def _slowness(self) -> Iterator[Sign]:
        """A slow client. The kernel buffers megabytes before a slow client shows, so this is rare."""
        if not self.is_slow:
            return
        parts = []
        if self._slow:
            parts.append(f"{counted(self._slow, 'event')} went to the client up to {seconds(self._slowest)} late")
        if self._is_unsent:
            parts.append(f"{counted(self._unsent, 'event')} ({self._unsent_bytes:,} bytes) never did")
        severity = "warning" if self._slowest > VERY_SLOW or self._is_unsent else "note"
        last = self.activity.last
        assert last is not None
        refs = [self._slow_at or last]
        yield sign_at("reader-slow", " and ".join(parts), refs, severity=severity, since_ns=0, until_ns=last.at_ns)

    def _done(self) -> Iterator[Sign]:
        """A missing end, `[DONE]` or an event: a session's stream has none, and an unknown API need not have one. A
        client that left counts only if it had waited for long."""
        last = self.activity.last
        ending = self.exchange.ending
        end_ns = self.end_ns
        if self.is_session or last is None or not self.api.has_ends:
            return
        has_waited = ending == "client_left" and end_ns is not None and end_ns - last.at_ns > SILENT
        if ending in ("eof", "upstream_lost") or has_waited:
            message = f"the stream {'ended' if not has_waited else 'fell silent'} without {self.api.end}"
            yield sign_at("no-done", message, [last], until_ns=max(end_ns or 0, last.at_ns))
