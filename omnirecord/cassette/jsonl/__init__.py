"""The text form of a cassette: one JSON object per line, for git and review (`docs/cassette-format.md`).

`format` checks lines, and writes all that `Reader` reads: a round trip loses nothing. `Reader` converts lines to rows
for a writer. Every line is checked. The first invalid line raises `BrokenCassette` with its number and the reason.
Since all rows go into one transaction, nothing is then written.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, TypeVar

import jiter
from pydantic import BaseModel, ValidationError

from ...contract.judge import Contract, Judgement
from ...errors import BrokenCassette, NewerCassette, NotACassette, TooLarge
from ...model import FORMAT_VERSION, LIMIT, Recording, checked_status
from ...wire.headers import header
from ...wire.limits import AN_EVENT, max_decoded, shown_size
from ...wire.sse import Frame
from ..contracts import of_recording
from ..framing import PORTION, Framed, Framer, cut
from ..sqlite import rows, stream_rows
from ..sqlite.rows import Row
from .format import (
    ExchangeLine,
    FrameForm,
    FrameLine,
    HeaderLine,
    IncidentLine,
    MessageLine,
    ReadsLine,
    ResponseLine,
    encoded,
    exchange_value,
    jsonl_bytes,
    message_value,
    reads_values,
    recording_value,
    usual_frame,
    values,
)

__all__ = [
    "Line",
    "Offsets",
    "Reader",
    "encoded",
    "exchange_value",
    "jsonl_bytes",
    "message_value",
    "reads_values",
    "recording_value",
    "values",
]

Model = TypeVar("Model", bound=BaseModel)
Line = bytes | dict[str, Any]
"""A line of the text form, or its value."""
_LONG = 1 << 20
"""Most bytes of a line outside strings: values need a multiple of their size in memory."""
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)


class Offsets(NamedTuple):
    """Offsets that are added to the numbers of a file, so that they are free in the target cassette."""

    recording: int = 0
    exchange: int = 0
    stream: int = 0


@dataclass(slots=True)
class _Begun:
    """An exchange whose lines are being read."""

    exchange: ExchangeLine
    frames: list[FrameLine] = field(default_factory=list)
    reads: list[tuple[int, int | None, int]] = field(default_factory=list)
    sent: int = 0
    """Bytes of its request, or of a WebSocket's messages up."""
    received: int = 0
    """Bytes of its response as on the wire, or of a WebSocket's messages down."""


class Reader:
    """Reads one file. `name` is its name in errors. `judges`: whether to judge the events by the contract."""

    def __init__(self, name: str, offsets: Offsets | None = None, *, judges: bool = True) -> None:
        self._name = name
        self._judges = judges
        self._offsets = offsets or Offsets()
        self._contracts: dict[int, Contract] = {}
        self._begun: _Begun | None = None
        self._seen: set[tuple[str, int]] = set()
        self._number = 0
        self._held = 0  # memory of the events of the last exchange, in bytes
        self.exchanges = self.frames = 0

    def rows(self, lines: Iterable[Line]) -> Iterator[Row]:
        """Yield the rows of the whole file. Raises `NotACassette`, `NewerCassette`, `BrokenCassette` or `TooLarge`."""
        for self._number, line in enumerate(lines, 1):
            value = self._parse(line) if isinstance(line, bytes) else line
            yield from self._header(value) if self._number == 1 else self._line(value)
        if self._number == 0:
            raise NotACassette(f"{self._name} is empty, so no cassette")
        yield from self._finish()
        for number in self._contracts:
            yield rows.derived(number + self._offsets.recording)

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            value = _json(line)
        except (ValueError, RecursionError) as error:
            if self._number == 1:
                raise self._no_cassette() from None
            raise self._broken(f"not JSON ({error})") from None
        if not isinstance(value, dict):
            raise self._broken("not a JSON object") if self._number > 1 else self._no_cassette()
        return value

    def _no_cassette(self) -> NotACassette:
        return NotACassette(f'{self._name} is no cassette: its first line has no "omnirecord" version')

    def _broken(self, what: str) -> BrokenCassette:
        return BrokenCassette(f"{self._name}, line {self._number}: {what}; nothing was read from it")

    def _as(self, model: type[Model], value: Any) -> Model:
        try:
            return model.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise self._broken(f"{place}: {first['msg'].lower()}") from None

    def _header(self, value: dict[str, Any]) -> Iterator[Row]:
        version = value.get("omnirecord")
        if type(version) is not int or version < 1:
            raise self._no_cassette()
        if version > FORMAT_VERSION:
            shown = f"cassette format {version}" if version < LIMIT else "a cassette format of many digits"
            known = f"this omnirecord reads up to {FORMAT_VERSION}: upgrade omnirecord"
            raise NewerCassette(f"{self._name} has {shown}, {known}")
        for recording in self._as(HeaderLine, value).recordings:
            self._once("recording", recording.recording)
            number = recording.recording + self._offsets.recording
            made = Recording(
                number,
                recording.started_at,
                recording.version,
                recording.contract,
                recording.upstream,
                recording.recording_id or "",
                recording.run_id,
                recording.labels,
                recording.server_version,
                recording.hop,
                recording.contract_given,
            )
            self._contracts[recording.recording] = of_recording(made)
            yield rows.recording(made)
            yield from rows.given(made)
            if recording.part:
                yield rows.part(number)

    def _line(self, value: dict[str, Any]) -> Iterator[Row]:
        if "request" in value:
            yield from self._finish()
            yield from self._exchange(self._as(ExchangeLine, value))
        elif "message" in value:
            yield self._message(self._as(MessageLine, value))
        elif "reads" in value:
            reads = self._as(ReadsLine, value)
            begun = self._current(reads.stream)
            begun.reads += reads.reads
            begun.received += sum(size for *_, size in reads.reads)
            if begun.received >= LIMIT:
                raise self._broken(f"the reads of stream {reads.stream} have more bytes than there can be")
        elif "raw" in value:
            self._frame(usual_frame(value) or self._as(FrameForm, value).line())
        elif "incident" in value:
            incident = self._as(IncidentLine, value)
            yield rows.incident(incident.recording + self._offsets.recording, incident.at_ns, incident.incident)
        else:
            keys = sorted(value)[:10]
            raise self._broken(f"neither an exchange, a frame, reads nor a message, with the keys {keys}"[:500])

    def _current(self, stream: int) -> _Begun:
        if self._begun is None or self._begun.exchange.stream != stream:
            raise self._broken(f"it belongs to stream {stream}, whose exchange is not the last one above it")
        return self._begun

    def _once(self, what: str, number: int) -> None:
        if (what, number) in self._seen:
            raise self._broken(f"{what} {number} is there twice")
        self._seen.add((what, number))

    def _frame(self, frame: FrameLine) -> None:
        frames = self._current(frame.stream).frames
        if frame.seq != len(frames) + 1:
            raise self._broken(f"seq is {frame.seq} where {len(frames) + 1} follows")
        frames.append(frame)
        self.frames += 1
        self._held += AN_EVENT + (0 if frame.raw is None else len(frame.raw))
        if self._held > max_decoded():
            raise TooLarge(
                f"{self._name}, line {self._number}: stream {frame.stream} has more than {shown_size(max_decoded())} of"
                " events (--max-decoded): give a larger limit; nothing was read from it"
            )

    def _message(self, message: MessageLine) -> Row:
        if self._begun is None or self._begun.exchange.exchange != message.exchange:
            raise self._broken(f"it belongs to exchange {message.exchange}, which is not the last one above it")
        self._once(f"in exchange {message.exchange}, message", message.message)
        if message.dir == "up":
            self._begun.sent += len(message.data)
        else:
            self._begun.received += len(message.data)
        return rows.message(
            message.exchange + self._offsets.exchange,
            message.message,
            message.at_ns,
            message.sent_ns,
            message.dir,
            message.opcode,
            message.data,
        )

    def _exchange(self, value: ExchangeLine) -> Iterator[Row]:
        self._check(value)
        number = value.exchange + self._offsets.exchange
        request = value.request
        answer = value.response
        self.exchanges += 1
        yield rows.request(
            number,
            value.recording + self._offsets.recording,
            value.kind,
            value.session_id,
            value.party,
            request.at_ns,
            request.method,
            request.target,
            request.headers,
        )
        yield from rows.chunks(number, "request", 0, request.body)
        if request.cut:
            yield rows.cut(number)
        if value.answered_from is not None:
            yield rows.answered_from(number, value.answered_from)
        if value.replaced:
            yield rows.replaced(number)
        if answer is not None and answer.status is not None:
            stream = None if value.stream is None else value.stream + self._offsets.stream
            at = request.at_ns if answer.at_ns is None else answer.at_ns
            yield rows.response(number, value.kind, stream, at, answer.status, answer.reason or "", answer.headers)
        body = b""  # the body of a stream is stored in its reads
        if answer is not None and answer.body and value.stream is None:
            body = answer.body
        yield from rows.chunks(number, "response", 0, body)
        self._held = 0
        self._begun = _Begun(value, sent=len(request.body), received=len(body))

    def _check(self, value: ExchangeLine) -> None:
        if value.recording not in self._contracts:
            raise self._broken(f"recording {value.recording} is not among those of line 1")
        self._once("exchange", value.exchange)
        if (value.kind == "sse") is not (value.stream is not None):
            raise self._broken(f"its kind is {value.kind}, and its stream {value.stream}")
        if value.stream is not None:
            self._once("stream", value.stream)
            if value.response is None or value.response.status is None:
                raise self._broken(f"stream {value.stream} has no response")
        if value.response is not None and value.response.status is not None:
            try:
                checked_status(value.response.status)
            except ValueError as error:
                raise self._broken(f"response.status: {error}") from None

    def _finish(self) -> Iterator[Row]:
        """Yield the last rows of an exchange, after its last line."""
        begun = self._begun
        self._begun = None
        if begun is None:
            return
        value = begun.exchange
        number = value.exchange + self._offsets.exchange
        end_ns = value.response.end_ns if value.response is not None else None
        yield rows.end(number, end_ns, value.ending, begun.sent, begun.received)
        if value.stream is not None:
            yield from self._framed(begun, number)

    def _framed(self, begun: _Begun, exchange: int) -> Iterator[Row]:
        value = begun.exchange
        assert value.stream is not None
        assert value.response is not None
        stream = value.stream + self._offsets.stream
        differs = self._broken(f"stream {value.stream} has {len(begun.frames)} frames where its bytes make others")
        contract = self._contracts[value.recording].of(value.request.target, value.request.headers)
        contract = contract if self._judges else contract.unchecked()
        expected = _Expected(contract, begun.frames, differs)
        coding = header(value.response.headers, "content-encoding")
        limit = value.response.max_decoded or LIMIT
        framer = Framer(coding, expected, limit=limit)
        spans = [(_length(frame), frame.raw) for frame in begun.frames]
        length = sum(size for size, _ in spans)
        if framer.decodes:
            wire = list(_coded(begun, value.response))
            lost = sum(sum(part.sizes) for part in wire if part.data is None)
            self._check_size(begun, "body", len(value.response.body or b"") + lost)
            yield from stream_rows.read_blocks(exchange, begun.reads, (part.data for part in wire))
            made = _made(framer, wire)
            yield from rows.content(exchange, spans)
            yield rows.framed(exchange, length, value.response.max_decoded)
        else:
            self._check_size(begun, "frames", length)
            data = list(cut(spans, (size for *_, size in begun.reads)))
            yield from stream_rows.read_blocks(exchange, begun.reads, data)
            if all(raw is not None for _, raw in spans):
                columns = _columns(begun, data, contract)
                if columns.lengths != [size for size, _ in spans]:
                    raise differs
                yield from stream_rows.frame_blocks(stream, columns, lambda read: begun.reads[read][0])
                return
            made = _made(framer, _plain(begun))
        yield from stream_rows.frame_blocks(stream, made, lambda read: begun.reads[read][0])
        if next(expected.left, None) is not None:
            raise differs

    def _check_size(self, begun: _Begun, where: str, there: int) -> None:
        if there != begun.received:
            has = f"{there} bytes in its {where}, and {begun.received} in its reads"
            raise self._broken(f"stream {begun.exchange.stream} has {has}")


def _json(line: bytes) -> Any:
    """Return the value of a line, in a quarter of the time of `json`, which decides if `jiter` refuses the line."""
    if len(line) > _LONG and len(_STRING.sub(b"", line)) > _LONG:
        raise ValueError("it has more values than a line can have")
    try:
        return jiter.from_json(line)
    except ValueError:
        return json.loads(line.decode())


class _Expected(Contract):
    """A contract that refuses the first frame that differs from the next line of the file. So a small body that decodes
    to a huge one does not become frames."""

    def __init__(self, contract: Contract, lines: list[FrameLine], differs: BrokenCassette) -> None:
        super().__init__(contract.name, contract.types, lambda _type, _payload: ())
        self._judges = contract.judge
        self._differs = differs
        self.left = iter(lines)

    def judge(self, frame: Frame) -> Judgement:
        line = next(self.left, None)
        if line is None or line.raw != frame.raw:
            raise self._differs
        return self._judges(frame)


class _Part(NamedTuple):
    """Bytes on the wire of the reads from number `read` on; `data` is None if they are lost."""

    read: int
    sizes: list[int]
    data: bytes | None


def _length(frame: FrameLine) -> int:
    return frame.length if frame.raw is None else len(frame.raw)


def _columns(begun: _Begun, data: list[bytes | None], contract: Contract) -> stream_rows.FrameColumns:
    """Return the frames of a stream without a coding and without lost bytes. Many are made at a time. `data`: the bytes
    of each read."""
    columns = stream_rows.FrameColumns()
    framer = Framer(None, contract)
    first = 0
    held = 0
    sizes = [size for *_, size in begun.reads]
    for last, size in enumerate(sizes, 1):
        held += size
        if held >= PORTION or last == len(sizes):
            some = b"".join(data[first:last])  # type: ignore[arg-type]  # nothing is lost
            for portion in framer.portions(first, sizes[first:last], some, runs=True):
                columns.add(portion)
            first = last
            held = 0
    columns.add(framer.close())
    return columns


def _made(framer: Framer, wire: Iterable[_Part]) -> Iterator[Framed]:
    """Yield the frames of the bytes, made as the recorder made them."""
    for part in wire:
        if part.data is None:
            yield from framer.skip(part.read, sum(part.sizes))
            continue
        for some in framer.portions(part.read, part.sizes, part.data, runs=False):
            yield from some  # type: ignore[misc]  # without runs
    yield from framer.close()


def _coded(begun: _Begun, response: ResponseLine) -> Iterator[_Part]:
    body = response.body or b""
    at = 0
    for n, (_, _, size) in enumerate(begun.reads):
        is_lost = n in response.lost
        yield _Part(n, [size], None if is_lost else body[at : at + size])
        at += 0 if is_lost else size


def _plain(begun: _Begun) -> Iterator[_Part]:
    """Yield the bytes of each frame, with its reads. A frame with lost bytes belongs to its last read."""
    ends = list(accumulate(size for *_, size in begun.reads))
    start = 0
    for frame in begun.frames:
        end = start + _length(frame)
        first = bisect_right(ends, start)
        last = bisect_left(ends, end)
        sizes = [after - before for before, after in pairwise([start, *ends[first:last], end])]
        yield _Part(first, sizes, frame.raw) if frame.raw is not None else _Part(last, [end - start], None)
        start = end
