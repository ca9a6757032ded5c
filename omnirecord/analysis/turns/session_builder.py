"""From frames to turns and the session: which frames count as events of a turn, and the session as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ...model import Exchange, TimedFrame, wall_clock
from ...omnigent import protocol
from ...omnigent.parties import party_name
from . import events
from .builder import Aftermath, TurnBuilder, absences_of, leavings_of, with_absences, with_leavings
from .draft import Draft
from .lenient import payload
from .merge import MergedFrame, merged
from .requests import Act, deleted_at
from .values import (
    LONG_SILENCE,
    SESSION_DELETED,
    Fault,
    Listening,
    Session,
    Snapshot,
    Turn,
)

_NO_EVENTS = frozenset({"comment", "sentinel"})


Payload = Callable[[TimedFrame], dict[str, Any]]
"""Returns what `lenient.payload` returns."""


class SessionBuilder:
    """Takes the frames of a session in order; `turns` builds its turns."""

    def __init__(
        self, acts: Iterable[Act] = (), *, is_child: bool = False, long_silence: int = LONG_SILENCE,
        payload: Payload = payload,
    ) -> None:  # fmt: skip
        self._payload = payload
        self.turns = TurnBuilder(acts, is_child=is_child, long_silence=long_silence)
        self.heartbeats = 0
        self.last_ns = 0
        """The time of the last frame of any kind, in ns."""
        self.told: list[Draft] = []
        """The drafts of the turns of `session`, in order."""

    def add(self, heard: MergedFrame) -> None:
        """Add the next frame. No frame makes this fail."""
        builder, frame, before = self.turns, heard.frame, self.turns.open
        self.last_ns = frame.offset_ns
        if frame.type in protocol.HEARTBEATS or heard.in_snapshot:
            self._keepalive(heard)
        elif frame.verdict not in _NO_EVENTS and frame.type != protocol.SESSION_PRESENCE:
            if before is not None:
                before.touch(frame.offset_ns)
            events.add_event(builder, frame.type, frame.offset_ns, self._payload(frame))
            if builder.open is not None and builder.open is not before:
                builder.open.touch(frame.offset_ns)
            draft = builder.open or before
            if draft is not None and frame.verdict != "valid":
                draft.odd_events += 1

    def finish(self, until_ns: int | None = None) -> list[Draft]:
        """Return all turns; no frame follows. `until_ns`: the end of the last stream."""
        return self.turns.finish(max(until_ns or 0, self.last_ns))

    def session(
        self,
        exchanges: Sequence[Exchange],
        parent_id: str | None,
        snapshot: Snapshot | None,
        aftermath: Aftermath,
        started_at: str | None,
        last_known_ns: int = 0,
    ) -> Session:
        """Return the session; no frame follows. `session_of` describes the arguments."""
        first = exchanges[0]
        listenings = tuple(_listening(x, aftermath) for x in exchanges if x.stream is not None)
        drafts = self.finish(max((one.until_ns for one in listenings if one.until_ns is not None), default=None))
        absences, leavings = list(absences_of(listenings)), leavings_of(listenings)
        deleted_ns = deleted_at(exchanges)
        if deleted_ns is not None:
            _delete(drafts, deleted_ns, listenings)
        self.told = drafts
        told = (draft.freeze(first.recording, first.session_id, number) for number, draft in enumerate(drafts, 1))
        ends = [x.end_ns for x in exchanges]
        begun_ns = min(x.request.at_ns for x in exchanges)
        status, status_ns = _status(self.turns, snapshot)
        return Session(
            recording=first.recording, session_id=first.session_id, parent_id=parent_id, begun_ns=begun_ns,
            ended_ns=None if None in ends else max(end for end in ends if end is not None),
            streams=listenings,
            turns=tuple(with_leavings(with_absences(turn, absences), leavings) for turn in told),
            status=status, status_ns=status_ns, snapshot=snapshot, cost_usd=self.turns.cost_usd,
            heartbeats=self.heartbeats,
            started_at=wall_clock(started_at, begun_ns) if started_at and any(x.has_times for x in exchanges) else None,
            until_ns=max(self.last_ns, *(_until(x, last_known_ns) for x in exchanges)), deleted_ns=deleted_ns,
        )  # fmt: skip

    def _keepalive(self, heard: MergedFrame) -> None:
        """Add a heartbeat, or a frame of a connect snapshot, which may have text that no stream has brought yet."""
        builder, frame = self.turns, heard.frame
        if not heard.in_snapshot:
            self.heartbeats += 1
            if builder.open is not None:
                builder.open.heartbeats += 1
        elif frame.type is not None and frame.type in protocol.RESENT:
            events.add_resent(builder, frame.type, frame.offset_ns, self._payload(frame))
            if builder.open is not None:
                builder.open.joined_ns = frame.offset_ns
        elif frame.type == protocol.SESSION_HEARTBEAT and builder.open is not None:
            builder.open.note("a client connected", frame.offset_ns)


def turns(
    frames: Iterable[TimedFrame],
    acts: Iterable[Act] = (),
    *,
    recording: int = 1,
    session_id: str | None = None,
    until_ns: int | None = None,
    is_child: bool = False,
) -> list[Turn]:
    """Return the turns of one session in one recording.

    `frames`: of all its streams, each stream's in order. `acts`: the client actions. `until_ns`: the end of the last
    stream. `is_child`: it is a sub-agent's session, in which an agent sends what no client posted.
    """
    drafts = _heard(frames, acts, is_child=is_child).finish(until_ns)
    return [draft.freeze(recording, session_id, number) for number, draft in enumerate(drafts, 1)]


def _heard(
    frames: Iterable[TimedFrame], acts: Iterable[Act], *, is_child: bool, long_silence: int = LONG_SILENCE
) -> SessionBuilder:
    session_builder = SessionBuilder(acts, is_child=is_child, long_silence=long_silence)
    for heard in merged(frames):
        session_builder.add(heard)
    return session_builder


def session_of(
    exchanges: Sequence[Exchange],
    frames: Iterable[TimedFrame],
    acts: Iterable[Act] = (),
    *,
    parent_id: str | None = None,
    snapshot: Snapshot | None = None,
    aftermath: Aftermath | None = None,
    long_silence: int = LONG_SILENCE,
    started_at: str | None = None,
    last_known_ns: int = 0,
) -> Session:
    """Return one session of one recording. `exchanges`: all of the session in that recording, at least one.

    `snapshot`: the last one that a client asked for; `aftermath`: of the whole recording; `long_silence`: length of a
    silence that is kept, at least, in ns; `started_at`: the wall clock at 0 ns; `last_known_ns`: the time of the last
    data in the recording.
    """
    return session_with_drafts(
        exchanges, frames, acts, parent_id=parent_id, snapshot=snapshot, aftermath=aftermath,
        long_silence=long_silence, started_at=started_at, last_known_ns=last_known_ns,
    )[0]  # fmt: skip


def session_with_drafts(
    exchanges: Sequence[Exchange],
    frames: Iterable[TimedFrame],
    acts: Iterable[Act] = (),
    *,
    parent_id: str | None = None,
    snapshot: Snapshot | None = None,
    aftermath: Aftermath | None = None,
    long_silence: int = LONG_SILENCE,
    started_at: str | None = None,
    last_known_ns: int = 0,
) -> tuple[Session, list[Draft]]:
    """Return the session as `session_of` does, and the drafts of its turns, which have the growth of their texts."""
    session_builder = _heard(frames, acts, is_child=parent_id is not None, long_silence=long_silence)
    told = session_builder.session(
        exchanges, parent_id, snapshot, aftermath or Aftermath(exchanges), started_at, last_known_ns
    )
    return told, session_builder.told


def _delete(drafts: Sequence[Draft], at_ns: int, listenings: Iterable[Listening]) -> None:
    """Note that the session was deleted, in its unfinished turn if a stream was open at that time."""
    draft = next((one for one in reversed(drafts) if one.started_ns <= at_ns), None)
    is_heard = any(one.from_ns <= at_ns and (one.until_ns is None or one.until_ns >= at_ns) for one in listenings)
    if draft is not None and draft.ended == "unfinished" and is_heard:
        draft.error = Fault(SESSION_DELETED, "a client deleted the session")
        draft.note("a client deleted the session", at_ns)


def _status(builder: TurnBuilder, snapshot: Snapshot | None) -> tuple[str | None, int | None]:
    """Return the last status of the session and its time: from a stream or from a snapshot."""
    said = builder.status or (None, None)
    if snapshot is not None and snapshot.status is not None and snapshot.at_ns > (said[1] or 0):
        return snapshot.status, snapshot.at_ns
    return said


def _until(x: Exchange, last_known_ns: int) -> int:
    """Return the end of an exchange, or the last known time before it."""
    answered = x.response.at_ns if x.response else x.request.at_ns
    return x.end_ns if x.end_ns is not None else max(answered, last_known_ns)


def _listening(x: Exchange, aftermath: Aftermath) -> Listening:
    assert x.stream is not None
    return Listening(x.stream, x.party, x.request.at_ns, x.end_ns, x.ending, aftermath.of(x), party_name(x))
