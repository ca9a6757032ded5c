"""What happens on the wire in, rows for the cassette out. No thread, no socket, no clock: times are arguments.

`Recorder` lives behind the wire, in the recording thread. It is told what happened as small values (`ops`), in order.
Redaction happens here, before anything reaches the disk. Frames are made in a second step (`frames`) from what is
already safe in the file, so that a burst is durable before it is understood.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..bodies import Body, CodedBody, body, decoded
from ..cassette import Headers, Side
from ..contract import Contract
from ..headers import header
from ..redact import Redactor
from ..routes import creates_session, session_of
from ..store import Writer, rows
from ..store.rows import Row
from .frames import FrameMaker, NewFrames, fault
from .ops import (
    BodyData,
    Ended,
    Incidence,
    Messaged,
    Op,
    Received,
    Requested,
    Responded,
    SentLate,
)  # fmt: skip

__all__ = [
    "BodyData", "Ended", "Incidence", "Messaged", "NewFrames", "Op", "Received", "Recorder", "Requested",
    "Responded", "SentLate",
]  # fmt: skip

_SESSION_BODY = 1024 * 1024
"""The most of a `POST /v1/sessions` answer that is read for the id of the new session, in bytes."""


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


class Recorder:
    """Turns ops into rows (`rows`), and what these left in the file into frames (`make_frames`)."""

    def __init__(self, writer: Writer, recording: int, contract: Contract, redactor: Redactor) -> None:
        self._recording = recording
        self._redactor = redactor
        self._open: dict[int, _Open] = {}
        self._frames = FrameMaker(writer, recording, contract)
        self._handlers: dict[type, Callable[[Any], Iterator[Row]]] = {
            Requested: self._requested, Responded: self._responded, BodyData: self._body_data,
            Received: self._received, Messaged: self._messaged, SentLate: self._sent_late, Ended: self._ended,
            Incidence: lambda op: iter([rows.incident(recording, op.at_ns, op.message)]),
        }  # fmt: skip

    @property
    def behind(self) -> bool:
        """Whether `make_frames` has something left to do."""
        return self._frames.behind

    @property
    def is_done(self) -> bool:
        """Whether no exchange goes on, and all frames are made."""
        return not self._open and not self.behind

    def make_frames(self) -> Iterator[NewFrames]:
        """Turn some waiting bytes of each stream into frames. Raises what SQLite raises; nothing is lost then."""
        return self._frames.make()

    def finish_killed(self, contract_of: Callable[[str], Contract]) -> None:
        """Give the exchanges that a killed recorder left behind their last frames and their ending."""
        self._frames.finish_killed(contract_of)

    def rows(self, ops: Iterable[Op]) -> list[Row]:
        """The rows that these ops come to. A fault of ours in one of them costs that one only, and is an incident."""
        out: list[Row] = []
        for op in ops:
            try:
                out += self._handlers[type(op)](op)
            except Exception as error:  # promise 2: no fault in here may end a recording
                out.append(fault(self._recording, f"a {type(op).__name__}", getattr(op, "at_ns", 0), error))
        return out

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
            self._frames.begin(op.exchange, op.stream, state.coding)

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
        self._frames.arrived(op.exchange)

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
        self._frames.ended(op.exchange)
        sizes = state.sides["request"].at, state.received if state.stream else state.sides["response"].at
        yield rows.end(op.exchange, op.at_ns, op.ending, *sizes)


def _session_named(body: bytes) -> str | None:
    try:
        answer = json.loads(body or b"null")
    except ValueError:
        return None
    name = answer.get("session_id") or answer.get("id") if isinstance(answer, dict) else None
    return name if isinstance(name, str) else None
