"""What happens on the wire in, rows for the cassette out. No thread, no socket, no clock: times are arguments.

`Recorder` lives behind the wire, in the recording thread. It is told what happened as small values, the `Op`s, in
order. Redaction happens here, before anything reaches the disk. Frames are made in a second step from what is
already safe in the file, so that a burst is durable before it is understood.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .bodies import Body, CodedBody, body, decoded
from .cassette import Direction, Ending, Headers, Kind, Side
from .contract import Contract, Issue, Judgement
from .framing import Framed, Framer
from .headers import header
from .redact import Redactor
from .routes import creates_session, session_of
from .sse import Frame
from .store import Writer, rows
from .store.rows import Row
from .store.unframed import Position, unframed
from .store.writer import is_transient

log = logging.getLogger("omnirecord")

FRAME_BUDGET = 256 * 1024
"""Bytes turned into frames in one step, before new arrivals are looked at again."""
_SESSION_BODY = 1024 * 1024
"""The most of a `POST /v1/sessions` answer that is read for the id of the new session, in bytes."""


@dataclass(slots=True)
class Requested:
    exchange: int
    party: str
    at_ns: int
    method: str
    target: str
    headers: Headers


@dataclass(slots=True)
class Responded:
    exchange: int
    kind: Kind
    stream: int | None
    at_ns: int
    status: int
    reason: str
    headers: Headers


@dataclass(slots=True)
class BodyData:
    """Bytes of a body that is no stream."""

    exchange: int
    side: Side
    data: bytes | None


@dataclass(slots=True)
class Received:
    """One read of a stream. `sent_ns` is filled in later; `written` tells whether that is too late for the row."""

    exchange: int
    n: int
    at_ns: int
    size: int
    data: bytes | None
    sent_ns: int | None = None
    written: bool = False


@dataclass(slots=True)
class Messaged:
    """One WebSocket message or control frame; `sent_ns` and `written` as in `Received`."""

    exchange: int
    number: int
    at_ns: int
    dir: Direction
    opcode: int
    data: bytes | None
    sent_ns: int | None = None
    written: bool = False


@dataclass(slots=True)
class SentLate:
    """A read or message was handed on after its row had been written."""

    of: Received | Messaged


@dataclass(slots=True)
class Ended:
    exchange: int
    at_ns: int
    ending: Ending


@dataclass(slots=True)
class Incidence:
    at_ns: int
    message: str


Op = Requested | Responded | BodyData | Received | Messaged | SentLate | Ended | Incidence


class _Careful(Contract):
    """A contract whose own faults cost the verdict of one event, and no more."""

    def __init__(self, contract: Contract) -> None:
        super().__init__(contract.name, contract.types, lambda _type, _payload: ())
        self._judges = contract.judge
        self.fault: Exception | None = None
        """The first there was."""
        self.told = False

    def judge(self, frame: Frame) -> Judgement:
        try:
            return self._judges(frame)
        except Exception as error:  # promise 2
            self.fault = self.fault or error
            problem = f"could not be judged, by a fault of omnirecord: {type(error).__name__}"
            return Judgement("invalid", issues=(Issue("", problem),), data=frame.data)


@dataclass(slots=True)
class _Side:
    """A body that is no stream, or one direction of a WebSocket: how much is kept, and what keeps secrets back."""

    body: Body
    at: int = 0


@dataclass(slots=True)
class _Open:
    """What must be remembered of an exchange while it lasts."""

    sides: dict[Side, _Side]
    names_session: bytearray | None
    stream: int | None = None
    coding: str | None = None
    """Of the response."""
    received: int = 0
    """Bytes of a stream, as on the wire."""


@dataclass(slots=True)
class _Streaming:
    """A stream on its way from chunks to frames."""

    stream: int
    coding: str | None
    judge: _Careful
    framer: Framer
    position: Position
    frames: int
    """How many frames are stored."""
    skip: int
    """How many of the next frames are stored already: a coded stream can only be decoded from its start."""
    ended: bool = False
    at_ns: int = 0
    """When the last read came that is worked off."""


@dataclass(frozen=True, slots=True)
class NewFrames:
    """Frames that became rows: for whoever watches."""

    exchange: int
    stream: int
    first_seq: int
    framed: list[Framed]
    at_ns: int
    """When the last of them came."""


class Recorder:
    """Turns ops into rows (`rows`), and what these left in the file into frames (`make_frames`)."""

    def __init__(self, writer: Writer, recording: int, contract: Contract, redactor: Redactor) -> None:
        self._writer = writer
        self._recording = recording
        self._contract = contract
        self._redactor = redactor
        self._open: dict[int, _Open] = {}
        self._streaming: dict[int, _Streaming] = {}
        self._waiting: dict[int, None] = {}  # the streams with bytes that are in no frame yet, by whose turn it is
        self._handlers: dict[type, Callable[[Any], Iterator[Row]]] = {
            Requested: self._requested, Responded: self._responded, BodyData: self._body_data,
            Received: self._received, Messaged: self._messaged, SentLate: self._sent_late, Ended: self._ended,
            Incidence: lambda op: iter([rows.incident(recording, op.at_ns, op.message)]),
        }  # fmt: skip

    @property
    def behind(self) -> bool:
        """Whether `make_frames` has something left to do."""
        return bool(self._waiting)

    def rows(self, ops: Iterable[Op]) -> list[Row]:
        """The rows that these ops come to. A fault of ours in one of them costs that one only, and is an incident."""
        out: list[Row] = []
        for op in ops:
            try:
                out += self._handlers[type(op)](op)
            except Exception as error:  # promise 2: no fault in here may end a recording
                out.append(self._fault(f"a {type(op).__name__}", getattr(op, "at_ns", 0), error))
        return out

    def _fault(self, what: str, at_ns: int, error: Exception) -> Row:
        text = f"could not record {what}: {type(error).__name__}: {error}"
        log.error("recording degraded: %s", text)
        return rows.incident(self._recording, at_ns, text)

    def _requested(self, op: Requested) -> Iterator[Row]:
        sides: dict[Side, _Side] = {
            "request": self._side(op.headers),
            "response": self._side(()),
        }
        names = bytearray() if creates_session(op.method, op.target) else None
        self._open[op.exchange] = _Open(sides, names)
        yield rows.request(
            op.exchange, self._recording, "http", session_of(op.target), op.party, op.at_ns, op.method,
            self._redactor.target(op.target), self._redactor.headers(op.headers),
        )  # fmt: skip

    def _side(self, headers: Headers) -> _Side:
        return _Side(body(header(headers, "content-type"), header(headers, "content-encoding"), self._redactor))

    def _responded(self, op: Responded) -> Iterator[Row]:
        headers = self._redactor.headers(op.headers)
        yield rows.response(op.exchange, op.kind, op.stream, op.at_ns, op.status, op.reason, headers)
        state = self._open[op.exchange]
        state.sides["response"] = self._side(op.headers)
        state.stream, state.coding = op.stream, header(op.headers, "content-encoding")
        if op.stream is not None:
            self._begin_frames(op.exchange, op.stream, state.coding, self._contract)

    def _body_data(self, op: BodyData) -> Iterator[Row]:
        state = self._open[op.exchange]
        if op.data is None:
            return
        if state.names_session is not None and op.side == "response":
            state.names_session += op.data[: _SESSION_BODY - len(state.names_session)]
        side = state.sides[op.side]
        yield from self._store(op.exchange, op.side, side, side.body.feed(op.data))

    def _store(self, exchange: int, name: Side, side: _Side, data: bytes) -> Iterator[Row]:
        if data:
            yield rows.chunk(exchange, name, side.at, data)
            side.at += len(data)

    def _received(self, op: Received) -> Iterator[Row]:
        state = self._open[op.exchange]
        op.written = True  # before `sent_ns` is read: whoever sets that later will see it
        yield rows.read(op.exchange, op.n, op.at_ns, op.sent_ns, op.size)
        if op.data is not None:
            yield rows.chunk(op.exchange, "response", state.received, op.data)
        state.received += op.size
        if op.exchange in self._streaming:
            self._waiting[op.exchange] = None

    def _messaged(self, op: Messaged) -> Iterator[Row]:
        op.written = True
        data = b"" if op.data is None else self._redactor.message(op.data)
        self._open[op.exchange].sides["request" if op.dir == "up" else "response"].at += len(data)
        yield rows.message(op.exchange, op.number, op.at_ns, op.sent_ns, op.dir, op.opcode, data)

    def _sent_late(self, op: SentLate) -> Iterator[Row]:
        of = op.of
        assert of.sent_ns is not None
        if isinstance(of, Received):
            yield rows.read_sent(of.exchange, of.n, of.sent_ns)
        else:
            yield rows.message_sent(of.exchange, of.number, of.sent_ns)

    def _ended(self, op: Ended) -> Iterator[Row]:
        state = self._open.pop(op.exchange)
        for name, side in state.sides.items():
            if state.stream is None or name == "request":
                yield from self._store(op.exchange, name, side, side.body.close())
                if isinstance(side.body, CodedBody) and side.body.cut:
                    text = f"exchange {op.exchange}: only the beginning of its compressed {name} body was kept"
                    yield rows.incident(self._recording, op.at_ns, text)
        if session_id := _session_named(decoded(bytes(state.names_session or b""), state.coding)):
            yield rows.session(op.exchange, session_id)
        if op.exchange in self._streaming:
            self._streaming[op.exchange].ended = True
            self._waiting[op.exchange] = None
        sizes = state.sides["request"].at, state.received if state.stream else state.sides["response"].at
        yield rows.end(op.exchange, op.at_ns, op.ending, *sizes)

    def make_frames(self) -> Iterator[NewFrames]:
        """Turn some of the waiting bytes of each stream into frames, in a transaction each.

        Raises what SQLite raises; nothing is lost by that.
        """
        for exchange in list(self._waiting):
            made = self._frames_of(exchange, self._streaming[exchange])
            if made is not None:
                yield made

    def _frames_of(self, exchange: int, state: _Streaming) -> NewFrames | None:
        try:
            framed, more = self._feed(exchange, state)
            finished = state.ended and not more
            framed, state.skip = framed[state.skip :], max(0, state.skip - len(framed))
            if framed or finished:
                self._writer.write(self._frame_rows(exchange, state, framed, finished))
        except Exception as error:
            if is_transient(error):
                again = self._begin_frames(exchange, state.stream, state.coding, self._contract)
                again.ended = state.ended
                raise
            # Promise 2, again: its bytes are kept, and readers derive what they can.
            self._writer.write([self._fault(f"frames of stream {state.stream}", state.at_ns, error)])
            del self._waiting[exchange]
            del self._streaming[exchange]
            return None
        first = state.frames + 1
        state.frames += len(framed)
        del self._waiting[exchange]
        if more:
            self._waiting[exchange] = None
        if finished:
            del self._streaming[exchange]
        return NewFrames(exchange, state.stream, first, framed, state.at_ns) if framed else None

    def _feed(self, exchange: int, state: _Streaming) -> tuple[list[Framed], bool]:
        framed: list[Framed] = []
        fed = 0
        for part in unframed(self._writer.connection, exchange, state.position):
            if part.data is None:
                framed += state.framer.skip(part.read, part.size)
            else:
                framed += state.framer.feed(part.read, part.data)
            fed += part.size
            state.at_ns = part.offset_ns
            if fed > FRAME_BUDGET:
                return framed, True
        if state.ended:
            framed += state.framer.close()
        return framed, False

    def _frame_rows(self, exchange: int, state: _Streaming, framed: list[Framed], finished: bool) -> Iterator[Row]:
        for seq, one in enumerate(framed, state.frames + 1):
            yield rows.frame(state.stream, seq, one)
        if state.judge.fault and not state.judge.told:
            state.judge.told = True
            yield self._fault(f"the verdicts of stream {state.stream}", state.at_ns, state.judge.fault)
        if any(one.judgement.verdict == "sentinel" for one in framed):
            yield rows.done(state.stream)
        if not state.framer.decodes:
            yield rows.used_up(exchange, state.framer.cut)
        if finished and state.framer.broken:
            yield rows.incident(self._recording, 0, f"stream {state.stream}: {state.framer.broken}")

    def finish_killed(self, contract_of: Callable[[str], Contract]) -> None:
        """Give the exchanges that a killed recorder left behind their last frames and their ending."""
        for left in self._writer.unfinished():
            if left.stream is not None:
                coding = header(left.headers, "content-encoding")
                self._begin_frames(left.exchange, left.stream, coding, contract_of(left.contract)).ended = True
                self._waiting[left.exchange] = None
            end = rows.end(left.exchange, left.last_ns, "recorder_killed", left.request_bytes, left.response_bytes)
            self._writer.write([end])
        while self.behind:
            list(self.make_frames())

    def _begin_frames(self, exchange: int, stream: int, coding: str | None, contract: Contract) -> _Streaming:
        """Begin where the file ends: at nothing, after a failed step, or where a recorder was killed."""
        frames, length = self._writer.framed(stream)
        judge = _Careful(contract)
        framer = Framer(coding, judge, length)
        if not framer.decodes:
            state = _Streaming(stream, coding, judge, framer, Position(length), frames, 0)
        else:
            state = _Streaming(stream, coding, judge, Framer(coding, judge), Position(), frames, frames)
        self._streaming[exchange] = state
        return state


def _session_named(body: bytes) -> str | None:
    try:
        answer = json.loads(body or b"null")
    except ValueError:
        return None
    name = answer.get("session_id") or answer.get("id") if isinstance(answer, dict) else None
    return name if isinstance(name, str) else None
