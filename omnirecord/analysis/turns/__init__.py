"""The turns of a session, from its exchanges, frames and client actions. No I/O, no clock, no printing.

    session, drafts = session_of(exchanges, merged(frames, exchanges), acts)
    for turn in session.turns: ...

- `omnigent.line` makes one sequence of the frames of all streams, so that each event is in it once. A `SessionBuilder`
  gives them to a `TurnBuilder` (`builder`), which has the turns. A turn is a `Draft` until nothing follows, and then a
  frozen `Turn` (`values`).
- `events` adds each event to its turn by its type, `builder` each output item.
- `requests` reads what clients did: messages, interrupts, answers, and what the server refused.
- `conclusion` tells how a session ended, and why a recording holds no more of it.

No frame makes it fail: an event that fits no type is counted, and read as far as possible.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import groupby, islice
from typing import Any, NamedTuple

from ...model import Exchange, TimedFrame, wall_clock
from ...omnigent import protocol
from ...omnigent.line import Line, MergedFrame, copied
from ...omnigent.routes import party_name
from ...wire.strict_json import Payload, Payloads, fresh_payload, fresh_payloads
from .aftermath import Aftermath
from .builder import TurnBuilder, absences_of, leavings_of, with_listeners
from .draft import LONG_SILENCE, Draft
from .events import add_event, add_resent
from .patience import SILENT
from .requests import Act, deleted_at
from .stored import Stored, complete
from .values import SESSION_DELETED, Fault, Listening, Ref, Session, Snapshot, Turn

_MOST_COPIES = 1 << 16
"""Recent events whose turns are known for their copies."""
_NO_EVENTS = frozenset({"comment", "sentinel"})
AT_ONCE = 64
"""Frames that are parsed together, at most: each may be large."""
FEW = 4
"""Most deltas that are added one by one: what a run needs besides takes as long."""


def _is_text(parsed: tuple[MergedFrame, dict[str, Any]]) -> bool:
    return parsed[0].frame.type == protocol.RESPONSE_OUTPUT_TEXT_DELTA


def _texts(run: Sequence[tuple[MergedFrame, dict[str, Any]]]) -> list[str] | None:
    """Return the texts of deltas; None if they are not valid deltas of one message in one stream."""
    (first, _), data = run[0]
    kinds = {(frame.stream, frame.verdict, in_snapshot) for (frame, in_snapshot), _ in run}
    if kinds != {(first.stream, "valid", False)}:
        return None
    message_id = data.get("message_id")
    deltas = [data.get("delta") for _, data in run if data.get("message_id") == message_id]
    texts = [delta for delta in deltas if delta and type(delta) is str]
    return texts if len(texts) == len(run) else None


class Around(NamedTuple):
    """The facts about a session that lie outside of it, in its recording."""

    snapshot: Snapshot | None = None
    """The last one that a client asked for."""
    aftermath: Aftermath | None = None
    """Of the whole recording."""
    started_at: str | None = None
    """The wall clock at 0 ns."""
    last_known_ns: int = 0
    """The time of the last data in the recording."""
    request: str | None = None
    """The request in words if the stream is of an unknown API, which has no turns; else None."""
    unreadable: str | None = None
    last_error: str | None = None
    """The fields of `Session` with these names."""
    reads: Callable[[], Iterable[Stored]] = tuple
    """Returns the reads of the session by clients, the newest first."""


ALONE = Around()
UNKNOWN_AFTERMATH = Aftermath(tuple)


class SessionBuilder:
    """Takes the frames of a session in order; `turns` builds its turns."""

    def __init__(
        self,
        acts: Iterable[Act] = (),
        *,
        is_child: bool,
        long_silence: int = LONG_SILENCE,
        payload: Payload = fresh_payload,
        payloads: Payloads = fresh_payloads,
    ) -> None:
        self._payload = payload
        self._payloads = payloads
        self.turns = TurnBuilder(acts, is_child=is_child, long_silence=long_silence)
        self.middles: dict[int, Draft | None] = {}
        """The turn in whose middle each stream is."""
        self._active: TimedFrame | None = None
        """The last event that was no heartbeat."""
        self._copies: dict[bytes, tuple[Draft, Draft | None]] | None = None
        """The turn of each recent event, and the turn that was open after it; None if no streams overlap."""
        self.heartbeats = 0
        self.last_ns = 0
        """The time of the last frame of any kind, in ns."""

    def add(self, heard: MergedFrame, data: dict[str, Any] | None = None) -> None:
        """Add the next frame. No frame makes this fail. `data`: its payload, if it is known."""
        frame, in_snapshot = heard
        stream, _, at_ns, _, _, _, type_, verdict, _ = frame
        builder = self.turns
        before = builder.open
        self.last_ns = at_ns
        builder.here = frame
        if in_snapshot or type_ in protocol.HEARTBEATS:
            self._keepalive(heard, data)
        elif verdict not in _NO_EVENTS and type_ != protocol.SESSION_PRESENCE:
            if before is not None:
                if at_ns - before.last_ns > SILENT:
                    self._silent(before, frame)
                before.touch(at_ns)
            add_event(builder, type_, at_ns, self._payload(frame) if data is None else data)
            after = builder.open
            if after is not None and after is not before:
                after.touch(at_ns)
            draft = after or before or self._of_one_event(at_ns)
            self._active = frame
            if draft is not None:
                if verdict != "valid":
                    draft.odd_events += 1
                part = draft.parts.get(stream)
                if part is None or before is not draft or self._copies is not None:
                    self._carry(frame, before, draft)
                else:  # the same without a call
                    part.before = part.last
                    part.last = frame
                    self.middles[stream] = after
                if type_ is not None and type_[:9] == protocol.OF_RESPONSE:
                    draft.spoke = frame

    def _silent(self, draft: Draft, frame: TimedFrame) -> None:
        if self._active is not None:
            draft.quiet_refs[draft.last_ns] = Ref.of(self._active), Ref.of(frame)

    def _of_one_event(self, at_ns: int) -> Draft | None:
        """Return the last turn if its only event has ended it just now."""
        draft = self.turns.drafts[-1] if self.turns.drafts else None
        if draft is None or draft.events:
            return None
        draft.touch(at_ns)
        return draft

    def _carry(self, frame: TimedFrame, before: Draft | None, draft: Draft) -> None:
        """Note that a stream carried an event of a turn. `before`: the turn that was open before it."""
        if before is not None and before is not draft:
            before.carry(frame)
        draft.carry(frame)
        self.middles[frame.stream] = self.turns.open
        if self._copies is not None and (event := copied(frame)) is not None:
            if len(self._copies) >= _MOST_COPIES:
                del self._copies[next(iter(self._copies))]
            self._copies[event] = draft, self.turns.open

    def dropped(self, frame: TimedFrame, in_snapshot: bool) -> None:
        """Note that another stream carried an event again, or had a connect snapshot."""
        if in_snapshot:
            draft = open_ = self.turns.open if frame.type in protocol.RESENT else None
        else:
            draft, open_ = (self._copies or {}).get(copied(frame) or b"", (None, None))
        if draft is not None:
            draft.carry(frame)
            self.middles[frame.stream] = open_

    def line(self, exchanges: Iterable[Exchange]) -> Line:
        """Return the `Line` for the frames of these exchanges, which are all of the session."""
        line = Line(self.dropped, knows_all=True)
        end_ns = -1
        for x in exchanges:
            if x.stream is not None:
                line.listen(x.stream, x.end_ns)
                if x.request.at_ns <= end_ns:
                    self._copies = {}
                end_ns = max(end_ns, 1 << 62 if x.end_ns is None else x.end_ns)
        return line

    def add_all(self, line: Iterable[MergedFrame]) -> None:
        """Add the next frames. `line` calls no `dropped` of this builder: runs of deltas are read ahead."""
        coming = iter(line)
        while some := list(islice(coming, AT_ONCE)):
            payloads = self._payloads([heard.frame for heard in some])
            for is_text, group in groupby(zip(some, payloads, strict=True), key=_is_text):
                run = list(group)
                if not (is_text and len(run) > FEW and self._copies is None and self._add_run(run)):
                    for heard, data in run:
                        self.add(heard, data)

    def _add_run(self, run: Sequence[tuple[MergedFrame, dict[str, Any]]]) -> bool:
        """Add consecutive deltas of text, if the first one opens the text for the others. Return whether they were
        added."""
        frames = [heard.frame for heard, _ in run]
        times = [frame.offset_ns for frame in frames]
        texts = _texts(run)
        if texts is None or max(map(operator.sub, times[1:], times)) > SILENT:
            return False
        self.add(*run[0])
        draft = self.turns.open
        assert draft is not None
        draft.touch_all(times[1:])
        draft.messages[-1].add_all(texts[1:], times[1:])
        self.last_ns = times[-1]
        self.turns.here = self._active = draft.spoke = frames[-1]
        part = draft.parts[frames[0].stream]
        part.before = frames[-2]
        part.last = frames[-1]
        return True

    def session(
        self, exchanges: Sequence[Exchange], parent_id: str | None, around: Around
    ) -> tuple[Session, list[Draft]]:
        """Return the session and the drafts of its turns; no frame follows. `session_of` describes the arguments."""
        first = exchanges[0]
        aftermath = around.aftermath or Aftermath(lambda: exchanges)
        session = self.so_far(exchanges, parent_id, (), aftermath, around.last_known_ns)
        listenings = session.streams
        drafts = self.turns.finish(max([self.last_ns, *(one.until_ns or 0 for one in listenings)]))
        absences, leavings = absences_of(listenings), leavings_of(listenings)
        is_at_rest = around.snapshot is not None and around.snapshot.status == "idle"
        if any(not draft.events for draft in drafts):
            complete(drafts, around.reads(), is_at_rest=is_at_rest)
        deleted_ns = deleted_at(exchanges)
        if deleted_ns is not None:
            _delete(drafts, deleted_ns, listenings)
        told = (draft.freeze(first.recording, first.session_id, number) for number, draft in enumerate(drafts, 1))
        turns = tuple(with_listeners(turn, absences, leavings) for turn in told)
        started_at = around.started_at if any(x.has_times for x in exchanges) else None
        snapshot = around.snapshot
        status, status_ns = self.turns.status or (None, None)
        if snapshot is not None and snapshot.status is not None and snapshot.at_ns > (status_ns or 0):
            status, status_ns = snapshot.status, snapshot.at_ns
        whole = replace(
            session,
            turns=turns,
            status=status,
            status_ns=status_ns,
            snapshot=snapshot,
            cost_usd=self.turns.cost_usd,
            heartbeats=self.heartbeats,
            deleted_ns=deleted_ns,
            request=around.request,
            unreadable=around.unreadable,
            last_error=around.last_error,
            started_at=wall_clock(started_at, session.begun_ns) if started_at else None,
        )
        return whole, drafts

    def so_far(
        self,
        exchanges: Sequence[Exchange],
        parent_id: str | None,
        turns: Iterable[Turn],
        aftermath: Aftermath = UNKNOWN_AFTERMATH,
        last_known_ns: int = 0,
    ) -> Session:
        """Return the session while frames follow. `turns`: as they are now."""
        first = exchanges[0]
        ends = [x.end_ns for x in exchanges]
        return Session(
            recording=first.recording,
            session_id=first.session_id,
            parent_id=parent_id,
            begun_ns=min(x.request.at_ns for x in exchanges),
            ended_ns=None if None in ends else max(end for end in ends if end is not None),
            streams=tuple(
                Listening(x.stream, x.party, x.request.at_ns, x.end_ns, x.ending, aftermath.of(x), party_name(x))
                for x in exchanges
                if x.stream is not None
            ),
            turns=tuple(turns),
            until_ns=max(self.last_ns, *(_until(x, last_known_ns) for x in exchanges)),
        )

    def _keepalive(self, heard: MergedFrame, data: dict[str, Any] | None) -> None:
        """Add a heartbeat, or a frame of a connect snapshot, which may have text that no stream has brought yet."""
        builder, frame = self.turns, heard.frame
        if not heard.in_snapshot:
            self.heartbeats += 1
            if builder.open is not None:
                builder.open.heartbeats += 1
        elif frame.type == protocol.SESSION_CHILD_SESSION_UPDATED:
            add_resent(builder, frame.type, frame.offset_ns, self._payload(frame) if data is None else data)
        elif frame.type is not None and frame.type in protocol.RESENT:
            add_resent(builder, frame.type, frame.offset_ns, self._payload(frame) if data is None else data)
            if builder.open is not None:
                builder.open.joined_ns = frame.offset_ns
                builder.open.carry(frame)
                self.middles[frame.stream] = builder.open
        elif frame.type == protocol.SESSION_HEARTBEAT and builder.open is not None:
            builder.open.note("a client connected", frame.offset_ns)


def session_of(
    exchanges: Sequence[Exchange],
    line: Iterable[MergedFrame],
    acts: Iterable[Act] = (),
    around: Around = ALONE,
    *,
    parent_id: str | None = None,
    long_silence: int = LONG_SILENCE,
) -> tuple[Session, list[Draft]]:
    """Return one session of one recording, and the drafts of its turns, which have the growth of their texts.

    `exchanges`: all of the session in that recording, at least one. `line`: the merged frames of its streams; not read
    if it has no turns. `acts`: the client actions. `long_silence`: length of a silence that is kept, at least, in ns.
    """
    builder = SessionBuilder(acts, is_child=parent_id is not None, long_silence=long_silence)
    if around.request is None:
        builder.add_all(line)
    return builder.session(exchanges, parent_id, around)


def _delete(drafts: Sequence[Draft], at_ns: int, listenings: Iterable[Listening]) -> None:
    """Note that the session was deleted, in its unfinished turn if a stream was open at that time."""
    draft = next((one for one in reversed(drafts) if one.started_ns <= at_ns), None)
    is_heard = any(one.from_ns <= at_ns and (one.until_ns is None or one.until_ns >= at_ns) for one in listenings)
    if draft is not None and draft.ended == "unfinished" and is_heard:
        draft.error = Fault(SESSION_DELETED, "a client deleted the session")
        draft.note("a client deleted the session", at_ns)


def _until(x: Exchange, last_known_ns: int) -> int:
    """Return the end of an exchange, or the last known time before it."""
    answered = x.response.at_ns if x.response else x.request.at_ns
    return x.end_ns if x.end_ns is not None else max(answered, last_known_ns)
