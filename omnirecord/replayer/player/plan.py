"""A cassette prepared for playing: sessions with their streams, gates and requests. It is read once."""

from __future__ import annotations

import logging
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import cached_property
from operator import itemgetter
from typing import Any

from ...cassette.held import Held
from ...cassette.sqlite import Store, is_coded
from ...errors import CassetteError, UsageError
from ...model import Exchange, Recording, TimedFrame, root_of
from ...omnigent import routes
from ...omnigent.line import connect_snapshot_length
from ...text import quoted
from ...wire.json_rpc import message_of
from ...wire.limits import AN_EVENT
from ...wire.strict_json import as_dict, as_list, loads, payload_of
from ..event_address.matcher import Stream
from ..stream_parts import Part, StreamParts, coded_parts, parts_of
from .gates import GateRule
from .timeline import NS

log = logging.getLogger("omnirecord")
_MOST_MISSING = 10
"""Number of lines about events without bytes for a stream, at most."""


@dataclass(slots=True)
class Session:
    """A recorded session. `root`: the id of the session at the top of its tree."""

    session_id: str
    root: str
    opens: list[Exchange] = field(default_factory=list)
    """The answered requests that open its stream, in order."""


@dataclass(slots=True)
class Tree:
    """A session with the sessions of its sub-agents. A tree has one playhead."""

    sessions: list[Session] = field(default_factory=list)
    gates: list[Exchange] = field(default_factory=list)


class ReplayPlan:
    """The exchanges, sessions and gates of a recording. Bytes are read from the store when they are due."""

    def __init__(self, store: Store, rule: GateRule, only: str | None = None) -> None:
        """`only`: the name of the hop to play; by default the first that has requests. Raises `UsageError`."""
        self._store = store
        self._has_gates = not rule.off
        recordings = store.recordings()
        exchanges = store.exchanges()
        played = {x.recording for x in exchanges}
        self.hop = hop_of(recordings, only, played)
        self.further = [hop for hop in hops_of(recordings, played) if hop is not None and hop != self.hop]
        """The hops to play beside this one, if no hop was chosen."""
        self._of_hop = {recording.recording for recording in recordings if recording.hop == self.hop}
        self.urls: dict[str | None, str] = {}
        """The addresses of all hops that are played beside each other."""
        self._frames: dict[int, list[TimedFrame]] = {}
        self._held = Held()
        self._parts: dict[int, Sequence[Part]] = {}
        self._points: dict[str, Sequence[int]] = {}
        self._when: dict[int, tuple[array[int], array[int]]] = {}
        recorded = [x for x in exchanges if x.recording in self._of_hop]
        hops = {recording.recording: recording.hop for recording in recordings}
        others = {_request(x): hops[x.recording] for x in exchanges if x.recording not in self._of_hop}
        here = {_request(x) for x in recorded}
        self._elsewhere = {key: hop for key, hop in others.items() if key not in here}
        self._zero = _zeros(recorded)
        self.exchanges = [self._on_one_clock(x) for x in recorded if x.kind != "websocket"]
        if store.places:  # a conversation that is chosen by its number is expected whole
            self.exchanges = [replace(x, is_replaced=False) for x in self.exchanges]
        self._streams = {x.stream: x for x in self.exchanges if x.stream is not None}
        self._started_at = {recording.recording: recording.started_at for recording in recordings}
        self.upstream_of = {recording.recording: recording.upstream for recording in recordings}
        parents = store.parents()
        self.sessions: dict[str, Session] = {}
        self.trees: dict[str, Tree] = defaultdict(Tree)
        unknown = routes.unknown_sessions(self.exchanges)
        for exchange in self.exchanges:
            if exchange.session_id is not None and exchange.session_id not in unknown:
                self._place(exchange, exchange.session_id, parents, rule)

    def _place(self, exchange: Exchange, name: str, parents: dict[str, str], rule: GateRule) -> None:
        if (session := self.sessions.get(name)) is None:
            session = self.sessions[name] = Session(name, root_of(name, parents))
            self.trees[session.root].sessions.append(session)
        request = exchange.request
        tree = self.trees[session.root]
        if routes.opens_session_stream(request.method, request.target) and exchange.party != "runner":
            if exchange.response is not None:
                if rule.opens and any(one.opens for one in tree.sessions):
                    tree.gates.append(exchange)
                session.opens.append(exchange)
        elif rule(exchange):
            tree.gates.append(exchange)

    def _on_one_clock(self, exchange: Exchange) -> Exchange:
        """Return the exchange with times on one clock: the clock of a next recording starts at 0."""
        zero = self._zero[exchange.recording]
        if (response := exchange.response) is not None:
            response = replace(response, at_ns=response.at_ns + zero)
        end_ns = None if exchange.end_ns is None else exchange.end_ns + zero
        request = replace(exchange.request, at_ns=exchange.request.at_ns + zero)
        return replace(exchange, request=request, response=response, end_ns=end_ns)

    def first_gate(self) -> str | None:
        """Return the first gate of the recording as `POST /v1/sessions/…/events`; None if there is none."""
        gates = (x for tree in self.trees.values() for x in tree.gates)
        first = min(gates, key=lambda x: x.request.at_ns, default=None)
        return None if first is None else f"{first.request.method} {first.request.target}"

    def content_told(self, number: int) -> str:
        """Return what the client says in a recorded request, as in `with the message "Hi"`; empty if it has no body."""
        from ...analysis.turns.requests import act_of  # a replay that matches needs no analysis

        exchange = next(x for x in self.exchanges if x.exchange == number)
        body = self.request_body(exchange)
        act = act_of(exchange, body, b"")
        if act is not None and act.kind == "interrupt":
            return "with an interrupt"
        if act is not None and act.kind == "message":
            return f"with the message {quoted(act.text)}"
        if act is not None and act.action is not None:
            return f"with the answer {quoted(act.action)}"
        return f"with the body {quoted(body.decode(errors='replace'))}" if body else ""

    def replies(self, stream: Exchange) -> list[Exchange]:
        """Return the requests that reply to a JSON-RPC request in a stream without a session: they are its gates."""
        begun = start_of(stream)
        end = stream.end_ns
        if not self._has_gates or stream.party == "runner":
            return []
        posts = [
            x
            for x in self.exchanges
            if x.recording == stream.recording and x.session_id is None and x.request.method == "POST"
            if begun < x.request.at_ns and (end is None or x.request.at_ns < end)
            if routes.path_of(x.request.target) == routes.path_of(stream.request.target)
        ]
        frames = self.frames(stream) if posts else []
        messages = ((frame.offset_ns, message_of(payload_of(frame))) for frame in frames)
        asked = {one.id: at_ns for at_ns, one in messages if one is not None and one.kind == "request"}
        replies = ((x, message_of(loads(self.request_body(x)))) for x in (posts if asked else ()))
        return [
            x
            for x, message in replies
            if message is not None and message.method is None
            if asked.get(message.id, x.request.at_ns) < x.request.at_ns
        ]

    def _reads(self, exchange: Exchange) -> tuple[array[int], array[int]]:
        """Return the offsets in ns, and the sizes in bytes, of the reads of a stream. Cached."""
        if exchange.exchange not in self._when:
            zero = self._zero[exchange.recording]
            reads = self._store.reads(exchange.exchange)
            times = array("q", (read.offset_ns + zero for read in reads))
            self._when[exchange.exchange] = times, array("q", (read.size for read in reads))
        return self._when[exchange.exchange]

    def points_of(self, root: str) -> Sequence[int]:
        """Return the offsets of all reads of a session tree, ascending, in ns. Cached."""
        if root not in self._points:
            streams = (x for session in self.trees[root].sessions for x in session.opens if x.stream)
            self._points[root] = array("q", sorted({offset for x in streams for offset in self._reads(x)[0]}))
        return self._points[root]

    def points_of_stream(self, exchange: Exchange) -> Sequence[int]:
        """Return the offsets of all reads of one stream, ascending, in ns. Cached."""
        name = f"stream {exchange.stream}"
        if name not in self._points:
            self.parts(exchange)  # reads the times, too
            self._points[name] = array("q", sorted(set(self._reads(exchange)[0])))
        return self._points[name]

    @cached_property
    def session_rows(self) -> list[tuple[int, dict[str, Any]]]:
        """The rows of all recorded session lists, with their times in ns: from answers and from the WebSocket."""
        rows: list[tuple[int, dict[str, Any]]] = []
        for x in self.exchanges:
            if routes.lists_sessions(x.request.method, x.request.target):
                listed = as_dict(loads(self.decoded_body(x))).get("data")
                rows += ((x.request.at_ns, row) for row in with_id(listed))
        for x in self._store.exchanges(kind="websocket"):
            if x.recording in self._of_hop and routes.is_session_updates(x.request.target):
                for message in self._store.messages(x.exchange):
                    if message.dir == "down" and message.opcode == 1:
                        at_ns = message.at_ns + self._zero[x.recording]
                        pushed = as_dict(loads(message.data))
                        rows += [(at_ns, row) for row in with_id(pushed.get("items"))]
        return sorted(rows, key=itemgetter(0))

    def epoch(self, recording: int, at_ns: int) -> int:
        """Return a recorded time as seconds since 1970."""
        began = datetime.fromisoformat(self._started_at[recording])
        return int(began.timestamp() + (at_ns - self._zero[recording]) / NS)

    @property
    def upstreams(self) -> set[str | None]:
        """The upstreams of this hop."""
        return {self.upstream_of[recording] for recording in self._of_hop}

    def in_another_hop(self, method: str, target: str) -> str:
        """Return which other hop has such a request, and how to reach it, as words; empty if none has."""
        key = method, routes.path_of(target)
        if key not in self._elsewhere:
            return ""
        hop = self._elsewhere[key]
        how = "leave out --only" if hop is None else f"--only {hop}"
        if hop in self.urls:
            how = f"send them to {self.urls[hop]}"
        return f"{'the first hop' if hop is None else f'the hop {hop}'} has such requests: {how}"

    def day(self, exchange: Exchange) -> date:
        """Return the day of a recorded request, in UTC."""
        return datetime.fromtimestamp(self.epoch(exchange.recording, exchange.request.at_ns), UTC).date()

    def may_ask_model(self, exchange: Exchange) -> bool:
        """Return whether a request may be one to a model API: those under Omnigent's contract are Omnigent's own."""
        return not self._store.judge_of(exchange).api.is_omnigent

    def asks_model(self, target: str) -> bool:
        """Return whether a request with this target may be one to a model API: as its recorded requests, if any."""
        path = routes.path_of(target)
        recorded = [x for x in self.exchanges if routes.path_of(x.request.target) == path]
        if recorded:
            return any(map(self.may_ask_model, recorded))
        return any(not self._store.contract_of(one).of(target).api.is_omnigent for one in self._of_hop)

    def body(self, exchange: Exchange) -> bytes:
        """Return the body of an answer as on the wire."""
        return self._store.body(exchange.exchange, "response")

    def decoded_body(self, exchange: Exchange) -> bytes:
        """Return the decoded body of an answer."""
        return self._store.decoded_body(exchange, "response")

    def request_body(self, exchange: Exchange) -> bytes:
        """Return the decoded body of a request."""
        return self._store.decoded_body(exchange, "request")

    def frames(self, exchange: Exchange) -> list[TimedFrame]:
        """Return the frames of a stream. Cached."""
        if exchange.exchange not in self._frames:
            self._frames[exchange.exchange] = list(self._held.of(self._read_frames(exchange)))
        return self._frames[exchange.exchange]

    def _read_frames(self, exchange: Exchange) -> Iterator[TimedFrame]:
        zero = self._zero[exchange.recording]
        frames = self._store.frames(exchange, unfinished=True)
        return (frame._replace(offset_ns=frame.offset_ns + zero) for frame in frames) if zero else frames

    def frame(self, stream: int, seq: int) -> TimedFrame | None:
        """Return one frame of a recorded stream; None if the replay inserted it, or the stream is compressed."""
        if not seq or stream not in self._streams:
            return None
        frames = self.frames(self._streams[stream])
        return frames[seq - 1] if seq <= len(frames) else None

    def named_streams(self) -> list[Stream]:
        """Return the streams of clients with their frames, in which event addresses are resolved."""
        return [Stream(n, self.frames(x)) for n, x in sorted(self._streams.items()) if x.party != "runner"]

    def stream(self, number: int) -> Exchange | None:
        return self._streams.get(number)

    def parts(self, exchange: Exchange) -> Sequence[Part]:
        """Return the parts of a stream; whole reads if it has a content coding. Cached."""
        if exchange.exchange not in self._parts:
            self._parts[exchange.exchange] = self._read_parts(exchange)
        return self._parts[exchange.exchange]

    def read_ahead(self, most: int) -> None:
        """Read the streams of clients in advance, in order, up to `most` bytes: reading one on request delays every
        client. A stream that cannot be read raises when a client requests it. Raises `TooLarge` if a compressed stream
        does not fit into memory."""
        frames, size = self._store.heaviest()
        self._held.refuse(size + AN_EVENT * frames)
        for x in self.exchanges:
            if x.stream is not None and x.party != "runner":
                verdicts, size = self._store.tally(x) if is_coded(x) else ({}, 0)
                most -= max(x.response_bytes, size + AN_EVENT * sum(verdicts.values()))
                if most < 0:
                    break
                with suppress(CassetteError):
                    self.parts(x)
        for root, tree in self.trees.items():
            streams = (x for session in tree.sessions for x in session.opens if x.stream)
            if all(x.exchange in self._when for x in streams):
                self.points_of(root)

    def _read_parts(self, exchange: Exchange) -> Sequence[Part]:
        if (table := self._store.frame_table(exchange)) is not None:
            zero = self._zero[exchange.recording]
            self._when[exchange.exchange] = array("q", (at + zero for at in table.came)), array("q", table.sizes)
            snapshot_end = connect_snapshot_length(self._read_frames(exchange))
            return StreamParts(table, exchange.stream or 0, snapshot_end, zero)
        reads = zip(*self._reads(exchange), strict=True)
        if is_coded(exchange):
            return coded_parts(exchange.stream or 0, reads, self._store.wire(exchange), self.frames(exchange))
        for one in self._store.missing(exchange)[:_MOST_MISSING]:
            log.warning("%s, and the replay leaves them out", one)
        return parts_of(reads, self._read_frames(exchange))


_MODEL = "model"
"""The name of the hop to the model in the documentation; `run` names a hop by its provider."""


def hops_of(recordings: Sequence[Recording], played: Set[int] | None = None) -> list[str | None]:
    """Return the hops of a cassette in the order of their first recording; the unnamed one is the first. `played`: the
    recordings that have requests. Hops without requests count only if no hop has one."""
    counted = [recording for recording in recordings if played is None or recording.recording in played] or recordings
    return sorted(dict.fromkeys(one.hop for one in counted), key=lambda hop: hop is not None)


def hop_of(recordings: Sequence[Recording], only: str | None = None, played: Set[int] | None = None) -> str | None:
    """Return the hop to play: the one named `only`, else the first of `hops_of`. Raises `UsageError`."""
    hops = hops_of(recordings)
    if only is None:
        return next(iter(hops_of(recordings, played)), None)
    if only not in hops:
        models = [hop for hop in hops_of(recordings, played) if hop is not None]
        if only == _MODEL and len(models) == 1:
            return models[0]
        named = ", ".join(hop for hop in hops if hop is not None)
        all_ = "leave out --only"
        why = f"it has {named}; to replay all of them, {all_}" if named else f"its hop has no name, so {all_}"
        raise UsageError(f"the cassette has no hop {only!r}: {why}")
    return only


def _request(x: Exchange) -> tuple[str, str]:
    return x.request.method, routes.path_of(x.request.target)


def with_id(values: Any) -> list[dict[str, Any]]:
    """Return the objects in a list that have an id."""
    return [one for one in as_list(values) if isinstance(one, dict) and isinstance(one.get("id"), str)]


def _zeros(exchanges: list[Exchange]) -> dict[int, int]:
    """Return the start of each recording, in ns, if they are laid end to end."""
    zeros: dict[int, int] = {}
    end = 0
    for exchange in exchanges:  # ordered by recording
        zero = zeros.setdefault(exchange.recording, end)
        end = max(end, zero + 1 + max(exchange.request.at_ns, exchange.end_ns or 0, start_of(exchange)))
    return zeros


def start_of(exchange: Exchange) -> int:
    """Return when the response of a stream began, in ns; when the request came if there is none."""
    return exchange.response.at_ns if exchange.response else exchange.request.at_ns
