"""Operations in, rows for the cassette out. No thread, no socket, no clock: times are arguments.

`RowMaker` runs in the recording thread. It gets the operations (`operations`) of one file, in order. Secrets are
redacted here, before anything reaches the disk. Frames are made in a second step (`frames`) from committed bytes, so
that a burst is durable before it is parsed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..cassette.contracts import telling
from ..cassette.sqlite import Writer, rows
from ..cassette.sqlite.journal import DELETE
from ..cassette.sqlite.rows import Row
from ..cassette.sqlite.stream_reads import ReadBlock
from ..cassette.sqlite.stream_rows import JournalEntry, ReadBlocks, reads_sent, rows_of
from ..model import CLOSE, Headers, Side
from ..omnigent.routes import creates_session, is_tunnel, session_of, version_in, version_in_message, version_key
from ..redaction.coded import BodyFilter, CodedBody, MaskedStream
from ..redaction.redactor import JsonMask, Redactor
from ..wire.content_coding import decoded
from ..wire.headers import header
from ..wire.strict_json import as_dict, as_text, loads
from .frames import FrameMaker, fault
from .intervals import PORTION, STREAMS_PORTION, resting
from .operations import BodyData, Ended, Incidence, Labelled, Messaged, Op, Received, Requested, Responded, SentLate

_LONGEST_BODY = 1024 * 1024
"""Bytes of a response that are searched for the id of a new session, or for the version of the server."""


@dataclass(slots=True)
class _Side:
    """A body that is no stream, or one direction of a WebSocket: its size, and what redacts it, once it has data."""

    kind: tuple[str | None, str | None] = (None, None)
    """Content type and content coding."""
    body: BodyFilter | None = None
    texts: JsonMask | None = None
    at: int = 0
    is_cut: bool = False
    """Whether a part of the body was not kept, so that the rest is not kept either."""


@dataclass(slots=True)
class _Open:
    """The state of an open exchange."""

    sides: dict[Side, _Side]
    body: bytearray | None
    """The response of a request whose response names a new session or the version of the server."""
    version_key: str | None
    """The key of the version in that response; None: it names a session."""
    awaits_version: bool
    """Whether it is a runner's tunnel in which the server has not told its version."""
    target: str
    """The target of the request, as it is stored."""
    hop: int = 0
    headers: Headers = ()
    """Those of the request that say which contract judges its events."""
    stream: int | None = None
    coding: str | None = None
    """The content coding of the response."""
    masked: MaskedStream | None = None
    """The stream, if its content is masked."""
    blocks: ReadBlocks | None = None
    """Of a stream: the bytes without a row, and their place in the file."""
    reads: int = 0
    """The number of reads, those in earlier files included."""
    elsewhere: int = 0
    """The number of bytes in earlier files. A mask that corrects them changes nothing in this file."""
    last_ns: int = 0
    begun: tuple[Row, ...] = ()
    """The rows of its request and response."""

    @property
    def received(self) -> int:
        """Bytes of a stream on the wire."""
        return 0 if self.blocks is None else self.blocks.start

    @property
    def settled(self) -> int | None:
        """The number of bytes of a stream that cannot change any more. None: all."""
        return None if self.masked is None else max(self.masked.settled, self.elsewhere)

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes of the request's body and of the response's."""
        return self.sides["request"].at, self.received if self.stream else self.sides["response"].at


class RowMaker:
    """Turns the operations of one file into rows, and tells `frames` of the streams.

    `recording`: the number of the first hop's recording, which those of the further hops follow. `hops`: their names.
    Sessions and the version of the server are Omnigent's: the exchanges of a hop with a name have neither. `begin`
    returns the rows that begin the recording of a hop with this number, at its first request; None: all have begun.
    """

    def __init__(
        self,
        recording: int,
        redactor: Redactor,
        frames: FrameMaker,
        server_version: str | None = None,
        hops: Sequence[str | None] = (None,),
        begin: Callable[[int, int], Iterable[Row]] | None = None,
    ) -> None:
        self._recording = recording
        self._hops = hops
        self._begin = begin
        self._numbers = {} if begin is not None else {hop: recording + hop for hop in range(len(hops))}
        """The numbers of the recordings that have begun, by hop."""
        self.server_version = server_version
        """The version of the server, once it is known."""
        self._redactor = redactor
        self._open: dict[int, _Open] = {}
        self._touched: dict[int, None] = {}  # streams of which something is gathered
        self._late: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        """Of each stream: the reads that were handed on after their row was written, with the time of that."""
        self.frames = frames
        self._journaled = 0
        self._settling: list[Row] = []
        """The rows that replace the journal, until they are written."""
        self._settled: list[tuple[int, list[ReadBlock]]] = []
        """The blocks in these rows."""
        self._entry = JournalEntry()
        self._handlers: dict[type, Callable[[Any], Iterator[Row]]] = {
            Requested: self._requested,
            Responded: self._responded,
            BodyData: self._body_data,
            Messaged: self._messaged,
            SentLate: self._sent_late,
            Ended: self._ended,
            Incidence: self._incidence,
            Labelled: self._labelled,
        }

    @property
    def has_open_exchanges(self) -> bool:
        return bool(self._open)

    def left_behind(self, at_ns: int) -> list[Row]:
        """Return the rows that end the open exchanges in a file, because they continue in another one."""
        ends = [rows.end(number, at_ns, "recorder_stopped", *state.sizes) for number, state in self._open.items()]
        return [*self._settling_rows(), *ends]

    @property
    def journaled(self) -> int:
        """Bytes of the rows in the journal."""
        return self._journaled

    def settle(self, write: Callable[[list[Row]], bool | None], rest: Callable[[], object] | None = None) -> None:
        """Write the rows of the streams that replace the journal. If `write` raises, the next call tries again. It
        returns False if some rows were refused. `rest` is called after each stream."""
        if made := self._settling_rows(rest):
            is_whole = write(made) is not False
            self._settling = []
            for exchange, blocks in self._settled if is_whole else ():
                self.frames.settled(exchange, blocks)
            self._settled = []

    def forget_waiting(self) -> None:
        """Drop the reads that wait for their rows: the journal has them, or they could not be written."""
        for state in self._open.values():
            if state.blocks is not None:
                state.blocks.forget()
        self._settling = []
        self._settled = []
        self._journaled = 0

    def _settling_rows(self, rest: Callable[[], object] | None = None) -> list[Row]:
        if self._journaled:
            self._settling.append(DELETE)
            for exchange, state in resting(self._open.items(), 1, rest):
                if state.blocks is not None and (blocks := state.blocks.take()):
                    self._settling += rows_of(exchange, blocks)
                    self._settled.append((exchange, blocks))
            self._journaled = 0
        return self._settling

    def move(self, writer: Writer) -> list[Row]:
        """Continue in another file, and return its first rows: the open exchanges. The earlier part of a stream is one
        read without bytes, so that a reader sees how many bytes are missing."""
        self.frames.move(writer)
        self._journaled = 0
        self._settling = []
        self._settled = []
        out: list[Row] = []
        for number, state in self._open.items():
            out += state.begun
            if state.stream is None:
                continue
            state.elsewhere = state.received
            state.blocks = ReadBlocks(number)
            if state.reads:
                state.blocks.add(state.last_ns, None, state.elsewhere, None, out)
                out += state.blocks.close()
            coding = None if state.masked else state.coding
            recording = self._numbers[state.hop]
            self.frames.begin(number, state.stream, coding, state.target, state.hop, state.headers, recording)
            self.frames.arrived(number)
        return out

    def rows(self, ops: Iterable[Op], rest: Callable[[], object] | None = None) -> list[Row]:
        """Return the rows of these operations. A bug in one operation costs only that one, and becomes an incident.
        `rest` is called every fraction of a millisecond, so that the event loop can take the GIL."""
        out: list[Row] = []
        reads: defaultdict[int, list[Received]] = defaultdict(list)  # of each stream, up to another operation
        for op in resting(ops, PORTION, rest):
            if type(op) is Received:  # nearly always
                reads[op.exchange].append(op)
                continue
            self._all_received(reads, out, rest)
            self._try(op, self._handlers[type(op)], out)
        self._all_received(reads, out, rest)
        for exchange in resting(self._touched, STREAMS_PORTION, rest):
            out += self._gathered(exchange, self._open[exchange])
        self._touched.clear()
        entry = self._entry
        self._entry = JournalEntry()
        self._journaled += entry.size
        return out + entry.rows()

    def _try(self, op: Op, make: Callable[[Any], Iterable[Row]], out: list[Row]) -> None:
        try:
            out += make(op)
        except Exception as error:  # no bug ends a recording
            out.append(fault(self._recording, f"a {type(op).__name__}", getattr(op, "at_ns", 0), error))

    def _gathered(self, exchange: int, state: _Open, *, is_over: bool = False) -> Iterator[Row]:
        """The rows of a stream's reads in these operations, apart from the journal. `is_over`: no read follows."""
        late = self._late.pop(exchange, [])
        if state.blocks is not None:
            late = [one for one in late if not state.blocks.sent(*one, self._entry)]
            yield from state.blocks.close() if is_over else state.blocks.journal(self._entry)
            self.frames.arrived(exchange, state.settled)
        if late:
            yield reads_sent(exchange, sorted(late))

    def _begun(self, hop: int) -> Iterator[Row]:
        """Return the rows that begin the recording of a hop, unless it has begun."""
        if hop not in self._numbers and self._begin is not None:
            self._numbers[hop] = number = self._recording + len(self._numbers)
            yield from self._begin(hop, number)

    def _incidence(self, op: Incidence) -> Iterator[Row]:
        if not self._numbers:
            yield from self._begun(0)
        yield rows.incident(self._recording, op.at_ns, op.message)

    def _labelled(self, op: Labelled) -> Iterator[Row]:
        for number in self._numbers.values():
            yield rows.label(number, op.key, op.value)

    def _requested(self, op: Requested) -> Iterator[Row]:
        yield from self._begun(op.hop)
        is_omnigent = self._hops[op.hop] is None
        key = version_key(op.method, op.target) if is_omnigent else None
        is_named = key is not None or (is_omnigent and creates_session(op.method, op.target))
        target = self._redactor.target(op.target)
        headers = self._redactor.headers(op.headers)
        request = rows.request(
            op.exchange,
            self._numbers[op.hop],
            "http",
            session_of(target) if is_omnigent else None,
            op.party,
            op.at_ns,
            op.method,
            target,
            headers,
        )
        state = _Open(
            {"request": _side(op.headers), "response": _Side()},
            bytearray() if is_named else None,
            key,
            is_omnigent and is_tunnel(op.target),
            target,
            op.hop,
            telling(headers),
            begun=(request,),
        )
        self._open[op.exchange] = state
        yield request
        if op.answered_from is not None:
            yield rows.answered_from(op.exchange, op.answered_from)

    def _responded(self, op: Responded) -> Iterator[Row]:
        state = self._open[op.exchange]
        if state.version_key is not None and op.status != 200:
            state.body = state.version_key = None
        if op.stream is None:
            state.sides["response"] = _side(op.headers)
        if op.kind == "websocket":
            passed = op.passed.texts if op.passed is not None else {}
            for name, side in state.sides.items():
                side.texts = passed.get(name) or self._redactor.texts()
        state.stream = op.stream
        state.coding = header(op.headers, "content-encoding")
        headers = op.headers
        coding = state.coding
        if op.stream is not None:
            if op.passed is not None and op.passed.masked is not None:
                state.masked = op.passed.masked.goes_on(op.headers)
            elif (mask := self._redactor.stream()) is not None:
                state.masked = MaskedStream(mask, op.headers)
            if state.masked is not None:
                headers = state.masked.headers
                coding = None
                yield from self._problem(state, op.at_ns, state.masked.problem)
            state.blocks = ReadBlocks(op.exchange)
            number = self._numbers[state.hop]
            self.frames.begin(op.exchange, op.stream, coding, state.target, state.hop, state.headers, number)
        headers = self._redactor.headers(headers)
        reason = self._redactor.text(op.reason)
        response = rows.response(op.exchange, op.kind, op.stream, op.at_ns, op.status, reason, headers)
        state.begun += (response,)
        yield response

    def _problem(self, state: _Open, at_ns: int, problem: str | None) -> Iterator[Row]:
        if problem is not None:
            yield rows.incident(self._numbers[state.hop], at_ns, f"stream {state.stream}: {problem}")

    def _body_data(self, op: BodyData) -> Iterator[Row]:
        state = self._open[op.exchange]
        side = state.sides[op.side]
        if op.data is None or side.is_cut:
            side.is_cut = True
            return
        if state.body is not None and op.side == "response":
            state.body += op.data[: _LONGEST_BODY - len(state.body)]
        if side.body is None:
            side.body = self._redactor.body(*side.kind)
        yield from self._store(op.exchange, op.side, side, side.body.feed(op.data))

    def _store(self, exchange: int, name: Side, side: _Side, data: bytes) -> Iterator[Row]:
        if data:
            yield rows.chunk(exchange, name, side.at, data)
            side.at += len(data)

    def _all_received(
        self, reads: dict[int, list[Received]], out: list[Row], rest: Callable[[], object] | None
    ) -> None:
        """Turn the reads of each stream into rows, and clear `reads`."""
        for some in resting(reads.values(), STREAMS_PORTION, rest):
            self._try(some[0], partial(self._received, some), out)
        reads.clear()

    def _received(self, reads: list[Received], first: Received) -> list[Row]:
        """Return the rows of several reads of one stream, which costs less than one by one."""
        exchange = first.exchange
        state = self._open[exchange]
        for op in reads:
            op.written = True  # before `sent_ns` is read: `ExchangeRecorder.sent` checks it after it sets that
        self._touched[exchange] = None
        state.reads += len(reads)
        state.last_ns = reads[-1].at_ns
        assert state.blocks is not None
        out: list[Row] = []
        if state.masked is None:
            came = [op.at_ns for op in reads]
            sent = [op.sent_ns for op in reads]
            sizes = [op.size for op in reads]
            data = [op.data for op in reads]
            state.blocks.add_all(came, sent, sizes, data, out)
        else:
            mask = partial(self._received_masked, state, state.masked, state.blocks)
            for op in reads:
                self._try(op, mask, out)
        return out

    def _received_masked(self, state: _Open, masked: MaskedStream, blocks: ReadBlocks, op: Received) -> Iterator[Row]:
        kept = masked.take(op.data, op.size)
        new = b"".join(piece.data for piece in kept.pieces if not piece.again)
        for piece in kept.pieces:
            if piece.again:
                yield from blocks.again(piece.start, piece.data)
        full: list[Row] = []
        blocks.add(op.at_ns, op.sent_ns, kept.size, new if len(new) == kept.size else None, full)
        yield from full
        yield from self._problem(state, op.at_ns, kept.problem)

    def _messaged(self, op: Messaged) -> Iterator[Row]:
        op.written = True
        state = self._open[op.exchange]
        if state.awaits_version and op.dir == "down" and op.data is not None:
            version = version_in_message(op.data)
            state.awaits_version = version is None
            yield from self._version(version)
        side = state.sides["request" if op.dir == "up" else "response"]
        if op.data is None and side.texts is not None:
            side.texts.lose()
        redact = self._redactor.closing if op.opcode == CLOSE else self._redactor.message
        data = b"" if op.data is None else redact(op.data, side.texts)
        side.at += len(data)
        yield rows.message(op.exchange, op.number, op.at_ns, op.sent_ns, op.dir, op.opcode, data)

    def _sent_late(self, op: SentLate) -> Iterator[Row]:
        of = op.of
        assert of.sent_ns is not None
        if isinstance(of, Messaged):
            yield rows.message_sent(of.exchange, of.number, of.sent_ns)
            return
        state = self._open.get(of.exchange)
        if state is None or state.blocks is None:
            yield reads_sent(of.exchange, [(of.n, of.sent_ns)])
        elif (n := of.n - (state.reads - state.blocks.n)) >= 0:  # else it is in an earlier file
            self._late[of.exchange].append((n, of.sent_ns))
            self._touched[of.exchange] = None

    def _ended(self, op: Ended) -> Iterator[Row]:
        state = self._open.pop(op.exchange)
        self._touched.pop(op.exchange, None)
        yield from self._gathered(op.exchange, state, is_over=True)
        if op.passed is not None:
            op.passed.masked = state.masked
            op.passed.texts = {name: side.texts for name, side in state.sides.items()}
        for name, side in state.sides.items():
            if side.body is not None:
                yield from self._store(op.exchange, name, side, side.body.close())
                if isinstance(side.body, CodedBody) and side.body.cut:
                    text = f"exchange {op.exchange}: only the beginning of its compressed {name} body was kept"
                    yield rows.incident(self._numbers[state.hop], op.at_ns, text)
            if side.is_cut:
                text = f"exchange {op.exchange}: of its {name} body only the first {side.at} bytes were kept"
                yield rows.incident(self._numbers[state.hop], op.at_ns, text)
        if state.body:
            body = decoded(bytes(state.body), state.coding)
            if state.version_key is not None:
                yield from self._version(version_in(body, state.version_key))
            else:
                answer = as_dict(loads(body))
                if session_id := as_text(answer.get("session_id") or answer.get("id")):
                    yield rows.session(op.exchange, self._redactor.text(session_id))
        self.frames.ended(op.exchange)
        if op.is_cut:
            yield rows.cut(op.exchange)
        yield rows.end(op.exchange, op.at_ns, op.ending, *state.sizes)

    def _version(self, version: str | None) -> Iterator[Row]:
        """The row with the version of the server, if it is new."""
        if version not in (None, self.server_version):
            self.server_version = version
            yield rows.server_version(self._numbers[self._hops.index(None)], version)


def _side(headers: Headers) -> _Side:
    return _Side((header(headers, "content-type"), header(headers, "content-encoding")))
