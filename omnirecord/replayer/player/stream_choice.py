"""Which stream a client gets: a recorded one, one joined at the playhead, or the rest after an event. No clock.

Every stream that plays belongs to a `Playthrough`: one playing of a session tree, or of a stream without a session.

A client that reconnects, or connects late, and for which the recording has no stream of its own, joins at the playhead,
as on the real server: the connect snapshot, the text in flight as one delta, then the frames that are not played yet.
It never gets the start again, since the client would see the answer twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain, dropwhile
from typing import Any

from ...cassette.sqlite import is_coded
from ...model import Exchange, TimedFrame
from ...omnigent import protocol
from ...omnigent.line import connect_snapshot_length, merged
from ...omnigent.protocol import SNAPSHOT_TYPES
from ...wire.strict_json import payload
from ..stream_parts import Part, decoded_parts, part_of
from .gates import Gate, Gates
from .options import Options
from .plan import ReplayPlan, Session, Tree, start_of
from .playback import Playing, Playthrough
from .rewrite import Effects
from .timeline import Scale, Timeline, scale_of


class StreamChoice:
    """All playthroughs of one replay. `playthroughs`: the latest of each session tree, by its root; `alone`: streams
    without a session."""

    def __init__(self, plan: ReplayPlan, options: Options) -> None:
        self._plan = plan
        self._timing = options.timing
        self._chunks = options.chunks
        self._renames = options.rules.maps_sessions
        self._loops = options.loop
        self.effects = Effects(plan, options.faults, resume=options.resume)
        self._scales: dict[str, Scale] = {}
        self.speed = 1.0
        self.paused = False
        """Speed and pause of new playthroughs."""
        self.begun: Callable[[Playthrough], None] = lambda _: None
        """Called with each new playthrough."""
        self.playthroughs: dict[str, Playthrough] = {}
        self.alone: list[Playthrough] = []
        self.older: list[Playthrough] = []
        """Playthroughs of session trees that have begun again, as long as a client listens to them."""
        self.made: set[int] = set()
        """The recorded exchanges that were requested in this replay."""

    def all(self, *, older: bool = False) -> list[Playthrough]:
        """Return every playthrough, the oldest first. `older`: also those that have begun again."""
        return [*self.playthroughs.values(), *self.alone, *(self.older if older else ())]

    def reset(self) -> None:
        for kept in (self.playthroughs, self.alone, self.older, self.made):
            kept.clear()
        self.effects.reset()

    def playthrough(self, session: Session) -> Playthrough:
        """Return the session's playthrough, a new one if there is none."""
        root = session.root
        if root not in self.playthroughs:
            tree = self._plan.trees[root]
            opens = [x for one in tree.sessions for x in one.opens]
            start_ns = min(map(start_of, opens), default=0)
            self.playthroughs[root] = self._begin(root, start_ns, tree, self._plan.points_of(root), opens)
        return self.playthroughs[root]

    def begin_again(self, session: Session) -> Playthrough:
        """Return a new playthrough; the current one if nothing of it has been played, since it may be paused."""
        run = self.playthroughs.get(session.root)
        if run is not None and (run.timeline.started or run.opened or run.asked):
            self.supersede(session.root)
        return self.playthrough(session)

    def supersede(self, root: str) -> None:
        """Let the next request of this session tree begin it again. Connected clients get the rest of the old one."""
        run = self.playthroughs.pop(root, None)
        if run is not None and run.live:
            self.older.append(run)

    def is_over(self, root: str, now: int) -> bool:
        """Whether the next request begins this session tree again (`loop`)."""
        run = self.playthroughs.get(root)
        return self._loops and run is not None and run.is_over(now)

    def _begin(
        self, name: str, start_ns: int, tree: Tree, points: Sequence[int], opens: Iterable[Exchange]
    ) -> Playthrough:
        """Return a new playthrough. Its scale is shared by all playthroughs of this name: it may be long. `opens`: the
        streams; the gaps from their requests to their responses, and to their first reads, count too."""
        gates = Gates(map(Gate.of, tree.gates))
        if name not in self._scales:
            begins = {at_ns for x in opens for at_ns in (x.request.at_ns, start_of(x))}
            self._scales[name] = scale_of([*points, *begins], gates, self._timing)
        scale = self._scales[name]
        timeline = Timeline(points, gates, self._timing, scale, speed=self.speed, paused=self.paused)
        run = Playthrough(name, start_ns, tree, timeline)
        self.begun(run)
        return run

    def closed(self, playing: Playing) -> None:
        self.effects.closed(playing)
        for run in self.all(older=True):
            if playing in run.live:
                run.closed(playing)
        self.alone = [run for run in self.alone if run.live]
        self.older = [run for run in self.older if run.live]

    def open(self, session: Session, now: int) -> Playing | Exchange:
        """Return the stream for the next open of a session, or a recorded exchange that is no stream. The nth open gets
        the nth recorded stream if that comes next; else it joins at the playhead."""
        run = self.playthrough(session)
        number = run.opened[session.session_id]
        run.opened[session.session_id] += 1
        if number >= len(session.opens):
            joined = self._join(run, session, number, now)
            if not self._loops or not isinstance(joined, Playing) or not joined.is_behind_end or run.live != [joined]:
                return joined
            self.closed(joined)
            self.supersede(session.root)
            return self.open(session, now)
        recorded = session.opens[number]
        self.made.add(recorded.exchange)
        run.came(recorded, now)
        if number and (run.skips(session, recorded) or self._is_overtaken(run, session, recorded)):
            return self._join(run, session, number, now)
        return self._recorded(run, recorded, now) if recorded.kind == "sse" else recorded

    def _is_overtaken(self, run: Playthrough, session: Session, recorded: Exchange) -> bool:
        """Whether a client has got events, except snapshot types, from behind the start of this recorded stream."""
        sent = run.sent[session.session_id].upto_ns
        if not run.listeners(session) or sent <= start_of(recorded):
            return False
        frames = (frame for x in session.opens if x.kind == "sse" for frame in self._plan.frames(x))
        news = (frame.offset_ns for frame in frames if frame.type not in SNAPSHOT_TYPES and frame.verdict != "comment")
        return any(start_of(recorded) < offset <= sent for offset in news)

    def _recorded(self, run: Playthrough, exchange: Exchange, now: int) -> Playing:
        decodes = is_coded(exchange) and self._decodes
        parts = decoded_parts(self._plan.frames(exchange)) if decodes else self._plan.parts(exchange)
        asked_ns = exchange.request.at_ns
        opened_at = now + run.timeline.between(asked_ns, start_of(exchange))
        playing = self._playing(exchange, run, parts, opened_at)
        playing.begins_at = opened_at  # a gate does not hold the header: a client may wait for it before it posts
        playing.coded = is_coded(exchange) and not decodes
        playing.decoded = decodes
        if not any(other.has_more for other in run.live):  # no client still gets events
            run.timeline.move(asked_ns, now)
        run.live.append(playing)
        return playing

    def coded(self) -> list[int]:
        """Return the numbers of the client streams that are sent compressed: their events cannot be told apart."""
        if self._decodes:
            return []
        numbered = ((x.stream, x) for x in self._plan.exchanges if x.party != "runner")
        return [number for number, x in numbered if number is not None and is_coded(x)]

    @property
    def _decodes(self) -> bool:
        """Whether an option changes single frames, so that compressed streams have to be sent decoded."""
        return self._renames or bool(self.effects) or self._chunks.kind == "frame"

    def _join(self, run: Playthrough, session: Session, number: int, now: int) -> Playing | Exchange:
        streams = [x for x in session.opens if x.kind == "sse"]
        if not streams:
            return session.opens[-1]
        upto_ns = run.sent[session.session_id].upto_ns
        earlier = sum(x.kind == "sse" for x in session.opens[: number + 1])
        parts = join_at_playhead([self._plan.frames(x) for x in streams], upto_ns, max(0, earlier - 1))
        return self._ahead(run, streams, parts, now)

    def resume(self, session: Session, last_event_id: str | None, now: int) -> Playing | None:
        """Return the rest of the session after this event id; None if the session has no such event."""
        place = self.effects.frame_of_id(last_event_id, session)
        frame = self._plan.frame(*place) if place else None
        if frame is None:
            return None
        streams = [x for x in session.opens if x.kind == "sse"]
        rest = list(dropwhile(lambda x: x.stream != frame.stream, streams))
        self.made |= {x.exchange for x in rest}
        parts = rest_after([self._plan.frames(x) for x in rest], frame.seq)
        return self._ahead(self.playthrough(session), streams, parts, now)

    def _ahead(self, run: Playthrough, streams: list[Exchange], parts: list[Part], now: int) -> Playing:
        """Return a stream of parts that lie ahead, from the session's recorded streams."""
        playing = self._playing(streams[-1], run, parts, now)
        playing.joined = playing.decoded = True
        if all(part.in_snapshot for part in parts):
            playing.exchange = replace(playing.exchange, ending="open")  # the client missed the end
            playing.is_behind_end = True
        if not run.timeline.started:
            run.timeline.move(start_of(streams[0]), now)
        run.live.append(playing)
        return playing

    def play_alone(self, exchange: Exchange, now: int) -> Playing:
        """Return a stream without a session, with a playhead of its own."""
        self.made.add(exchange.exchange)
        tree = Tree(gates=self._plan.replies(exchange))
        points = self._plan.points_of_stream(exchange)
        run = self._begin(f"stream {exchange.stream}", start_of(exchange), tree, points, [exchange])
        self.alone.append(run)
        return self._recorded(run, exchange, now)

    def rewrite(self, playing: Playing, change: Callable[[Sequence[Part]], Iterable[Part]]) -> None:
        """Change the frames of a stream that has not begun. A compressed stream goes out decompressed."""
        parts = playing.planned
        if playing.coded:
            parts = decoded_parts(self._plan.frames(playing.exchange))
            playing.coded = False
            playing.decoded = True
        playing.planned = list(change(parts))
        self.effects.lay_out(playing)

    def _playing(self, exchange: Exchange, run: Playthrough, parts: Sequence[Part], opened_at: int) -> Playing:
        sent = run.sent[exchange.session_id or ""]
        playing = Playing(exchange, run.timeline, self._chunks.of(parts), opened_at, sent, self._chunks)
        self.effects.lay_out(playing)
        return playing


def join_at_playhead(streams: list[list[TimedFrame]], sent_ns: int, snapshot_of: int) -> list[Part]:
    """Return the parts for a client that joins after all frames up to `sent_ns` were sent. `streams`: the frames of
    each recorded stream of the session, in order; `snapshot_of`: the stream whose connect snapshot is sent."""
    frames = session_line(streams)
    source = streams[snapshot_of]
    of_source = source[: connect_snapshot_length(source)]
    snapshot = [part_of(frame, True) for frame in of_source if not protocol.is_of_response(frame.type)]
    played = [frame for frame in frames if frame.offset_ns <= sent_ns]
    in_flight = [Part(0, data, True) for data in text_in_flight(played)]
    rest = [part_of(frame, False) for frame in frames if frame.offset_ns > sent_ns]
    return [*snapshot[:1], *in_flight, *snapshot[1:], *rest]


def rest_after(streams: list[list[TimedFrame]], seq: int) -> list[Part]:
    """Return the parts for a client that has the first of these streams up to frame `seq`."""
    mine = streams[0]
    snapshot = connect_snapshot_length(mine)
    later = [frame for frame in session_line(streams) if frame.offset_ns > mine[-1].offset_ns]
    return [part_of(frame, frame.seq <= snapshot) for frame in mine[seq:]] + [part_of(frame, False) for frame in later]


def session_line(streams: list[list[TimedFrame]]) -> list[TimedFrame]:
    """Return the frames of a session's streams as one sequence. A connect snapshot is left out, but for text in flight
    that no earlier stream has: no client was connected then. Of several snapshots in a row, the last one counts: it has
    the text of the others."""
    line: list[TimedFrame] = []
    before: list[TimedFrame] = []
    resent: list[TimedFrame] = []
    for frame, in_snapshot in merged(chain.from_iterable(streams)):
        if not in_snapshot:
            line += [*_new_text(line, _with_text(before, resent)), frame]
            before = []
            resent = []
        elif protocol.is_of_response(frame.type):
            if resent and resent[-1].stream != frame.stream:
                before = _with_text(before, resent)
                resent = []
            resent.append(frame)
    return [*line, *_new_text(line, _with_text(before, resent))]


def _with_text(before: list[TimedFrame], resent: list[TimedFrame]) -> list[TimedFrame]:
    """Return the later one of two snapshots, or the one before if a client left before it got the same text."""
    is_cut = not _turn(resent)[1] and _turn([*before, *resent])[1]
    return before if is_cut else resent


def _new_text(line: list[TimedFrame], resent: list[TimedFrame]) -> list[TimedFrame]:
    """Return the part of the text in flight that is not in `line` yet."""
    if not resent:
        return []
    heard = _turn(line)[1]
    text = _turn(resent)[1]
    if not heard or not text.startswith(heard):
        return resent
    if text == heard:
        return []
    raw = frame_of(protocol.RESPONSE_OUTPUT_TEXT_DELTA, _delta(text[len(heard) :]))
    return [resent[-1]._replace(raw=raw, length=len(raw), type=protocol.RESPONSE_OUTPUT_TEXT_DELTA)]


def text_in_flight(played: list[TimedFrame]) -> list[bytes]:
    """Return the frames that a server sends for an open turn: `response.created` and all its text so far."""
    response, text = _turn(played)
    if not text:
        return []
    delta = frame_of(protocol.RESPONSE_OUTPUT_TEXT_DELTA, _delta(text))
    return [frame_of(protocol.RESPONSE_CREATED, {"response": response}), delta] if response else [delta]


def _turn(frames: list[TimedFrame]) -> tuple[dict[str, Any], str]:
    """Return the response object, and the text so far, of the turn that is open after these frames."""
    response: dict[str, Any] = {}
    parts: list[str] = []
    for frame in frames[_turn_begin(frames) :]:
        if frame.type in (protocol.RESPONSE_CREATED, protocol.RESPONSE_IN_PROGRESS):
            begun = payload(frame).get("response")
            begun = begun if isinstance(begun, dict) else {}
            parts = parts if begun.get("id") == response.get("id") else []
            response = begun
        elif frame.type == protocol.RESPONSE_OUTPUT_TEXT_DELTA:
            parts.append(str(payload(frame).get("delta") or ""))
    return response, "".join(parts)


def _turn_begin(frames: list[TimedFrame]) -> int:
    """Return the index of the first frame of the last turn."""
    for number in range(len(frames) - 1, -1, -1):
        frame = frames[number]
        is_status = frame.type == protocol.SESSION_STATUS
        if frame.type in protocol.ENDS or (is_status and payload(frame).get("status") in ("idle", "failed")):
            return number + 1
    return 0


def _delta(text: str) -> dict[str, Any]:
    return {"delta": text, "message_id": None, "index": None, "final": None}


def frame_of(type_: str, fields: dict[str, Any]) -> bytes:
    """Return a frame in the server's own spelling, without a sequence number."""
    data = json.dumps({"sequence_number": None, "type": type_, **fields})
    return f"event: {type_}\ndata: {data}\n\n".encode()
