"""Reads the text form of a cassette: lines in, rows for a store out. The twin of `jsonl`.

Every line is checked as it is read; the first that does not fit raises `BrokenCassette` with its number and what is
wrong with it, so that nothing is written (rows go into one transaction).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from .cassette import FORMAT_VERSION, Direction, Ending, Kind, Recording
from .contract import Contract
from .errors import BrokenCassette, NewerCassette, NotACassette
from .framing import Framed, Framer, header
from .store import rows
from .store.rows import Row

Model = TypeVar("Model", bound=BaseModel)
ContractOf = Callable[[str], Contract]


def _to_bytes(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, dict) and set(value) == {"base64"}:
        try:
            return base64.b64decode(value["base64"], validate=True)
        except (binascii.Error, TypeError) as error:
            raise ValueError(f"not base64: {error}") from None
    return value


Bytes = Annotated[bytes, BeforeValidator(_to_bytes)]


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=False)


class _Recording(_Line):
    recording: int = Field(ge=1)
    started_at: str
    version: str
    contract: str
    upstream: str | None


class _Request(_Line):
    at_ns: int
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: Bytes


class _Response(_Line):
    at_ns: int | None
    end_ns: int | None
    status: int | None
    reason: str | None
    headers: tuple[tuple[str, str], ...]
    body: Bytes | None


class _Exchange(_Line):
    exchange: int = Field(ge=1)
    recording: int
    kind: Kind
    stream: int | None
    session_id: str | None
    party: str
    request: _Request
    response: _Response | None
    ending: Ending


class _Frame(_Line):
    stream: int
    seq: int = Field(ge=1)
    raw: Bytes | None
    length: int = 0


class _Reads(_Line):
    stream: int
    reads: list[tuple[int, int | None, int]]


class _Message(_Line):
    exchange: int
    message: int
    at_ns: int
    sent_ns: int | None
    dir: Direction
    opcode: int
    data: Bytes


class _Incident(_Line):
    incident: str
    recording: int
    at_ns: int


@dataclass(slots=True)
class Offsets:
    """What to add to the numbers of a file, so that they are free in the cassette it is added to."""

    recording: int = 0
    exchange: int = 0
    stream: int = 0


@dataclass(slots=True)
class _Begun:
    """An exchange of which the lines are still coming."""

    exchange: _Exchange
    frames: list[_Frame] = field(default_factory=list)
    reads: list[tuple[int, int | None, int]] = field(default_factory=list)
    sent: int = 0
    """Bytes of its request, or of a WebSocket's messages up."""
    received: int = 0
    """Bytes of its response as on the wire, or of a WebSocket's messages down."""


class Reader:
    """Reads one file. `name` is how errors speak of it."""

    def __init__(self, name: str, contract_of: ContractOf, offsets: Offsets | None = None) -> None:
        self._name = name
        self._contract_of = contract_of
        self._offsets = offsets or Offsets()
        self._contracts: dict[int, Contract] = {}
        self._begun: _Begun | None = None
        self._number = 0
        self.exchanges = self.frames = 0

    def rows(self, lines: Iterable[bytes]) -> Iterator[Row]:
        """The rows of the whole file. Raises `NotACassette`, `NewerCassette` or `BrokenCassette`."""
        for self._number, line in enumerate(lines, 1):
            value = self._parse(line)
            yield from self._header(value) if self._number == 1 else self._line(value)
        if self._number == 0:
            raise NotACassette(f"{self._name} is empty, so no cassette")
        yield from self._finish()

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            value = json.loads(line.decode())
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
        if not isinstance(version, int):
            raise self._no_cassette()
        if version > FORMAT_VERSION:
            raise NewerCassette(
                f"{self._name} has cassette format {version}, this omnirecord reads up to {FORMAT_VERSION}:"
                " upgrade omnirecord"
            )
        for one in value.get("recordings") or []:
            recording = self._as(_Recording, one)
            self._contracts[recording.recording] = self._contract_of(recording.contract)
            yield rows.recording(Recording(
                recording.recording + self._offsets.recording, recording.started_at, recording.version,
                recording.contract, recording.upstream,
            ))  # fmt: skip

    def _line(self, value: dict[str, Any]) -> Iterator[Row]:
        if "request" in value:
            yield from self._finish()
            yield from self._exchange(self._as(_Exchange, value))
        elif "message" in value:
            yield self._message(self._as(_Message, value))
        elif "reads" in value:
            reads = self._as(_Reads, value)
            begun = self._current(reads.stream)
            begun.reads += reads.reads
            begun.received += sum(size for *_, size in reads.reads)
        elif "raw" in value:
            self._frame(self._as(_Frame, value))
        elif "incident" in value:
            incident = self._as(_Incident, value)
            yield rows.incident(incident.recording + self._offsets.recording, incident.at_ns, incident.incident)
        else:
            raise self._broken(f"neither an exchange, a frame, reads nor a message, with the keys {sorted(value)}")

    def _current(self, stream: int) -> _Begun:
        if self._begun is None or self._begun.exchange.stream != stream:
            raise self._broken(f"it belongs to stream {stream}, whose exchange is not the last one above it")
        return self._begun

    def _frame(self, frame: _Frame) -> None:
        frames = self._current(frame.stream).frames
        if frame.seq != len(frames) + 1:
            raise self._broken(f"seq is {frame.seq} where {len(frames) + 1} follows")
        frames.append(frame)
        self.frames += 1

    def _message(self, message: _Message) -> Row:
        if self._begun is None or self._begun.exchange.exchange != message.exchange:
            raise self._broken(f"it belongs to exchange {message.exchange}, which is not the last one above it")
        if message.dir == "up":
            self._begun.sent += len(message.data)
        else:
            self._begun.received += len(message.data)
        return rows.message(
            message.exchange + self._offsets.exchange, message.message, message.at_ns, message.sent_ns,
            message.dir, message.opcode, message.data,
        )  # fmt: skip

    def _exchange(self, value: _Exchange) -> Iterator[Row]:
        if value.recording not in self._contracts:
            raise self._broken(f"recording {value.recording} is not among those of line 1")
        number, request, answer = value.exchange + self._offsets.exchange, value.request, value.response
        self.exchanges += 1
        yield rows.request(
            number, value.recording + self._offsets.recording, value.kind, value.session_id, value.party,
            request.at_ns, request.method, request.target, request.headers,
        )  # fmt: skip
        if request.body:
            yield rows.chunk(number, "request", 0, request.body)
        if answer is not None and answer.status is not None:
            stream = None if value.stream is None else value.stream + self._offsets.stream
            at = request.at_ns if answer.at_ns is None else answer.at_ns
            yield rows.response(number, value.kind, stream, at, answer.status, answer.reason or "", answer.headers)
        if answer is not None and answer.body:
            yield rows.chunk(number, "response", 0, answer.body)
        body = (answer and answer.body) or b""
        self._begun = _Begun(value, sent=len(request.body), received=0 if value.stream else len(body))

    def _finish(self) -> Iterator[Row]:
        """The lines of the last exchange are all there."""
        begun, self._begun = self._begun, None
        if begun is None:
            return
        value = begun.exchange
        number = value.exchange + self._offsets.exchange
        end_ns = value.response.end_ns if value.response is not None else None
        yield rows.end(number, end_ns, value.ending, begun.sent, begun.received)
        for n, (offset, sent, size) in enumerate(begun.reads):
            yield rows.read(number, n, offset, sent, size)
        if value.stream is not None:
            yield from self._framed(begun)

    def _framed(self, stream: _Begun) -> Iterator[Row]:
        value = stream.exchange
        assert value.stream is not None
        coding = header(value.response.headers, "content-encoding") if value.response else None
        framer = Framer(coding, self._contracts[value.recording])
        made = list(_frames(framer, stream, framer.decodes))
        if [one.frame.raw for one in made] != [frame.raw for frame in stream.frames]:
            self._raise_difference(stream, made)
        for seq, one in enumerate(made, 1):
            yield rows.frame(value.stream + self._offsets.stream, seq, one)

    def _raise_difference(self, stream: _Begun, made: list[Framed]) -> None:
        recorded, timed = sum(_length(f) for f in stream.frames), sum(size for *_, size in stream.reads)
        name = f"stream {stream.exchange.stream}"
        if recorded != timed and not stream.exchange.response:
            raise self._broken(f"{name} has frames but no response")
        if recorded != timed:
            raise self._broken(f"{name} has {recorded} bytes in its frames, and {timed} in its reads")
        raise self._broken(f"{name} has {len(stream.frames)} frames where its bytes make {len(made)} others")


def _length(frame: _Frame) -> int:
    return frame.length if frame.raw is None else len(frame.raw)


def _frames(framer: Framer, stream: _Begun, coded: bool) -> Iterator[Framed]:
    """Make the frames again from the bytes, read by read: the same way as they were made when they came."""
    source = _Wire(stream, coded)
    for n, (_, _, size) in enumerate(stream.reads):
        for data, lost in source.take(size):
            yield from framer.skip(n, lost) if data is None else framer.feed(n, data)
    yield from framer.close()


class _Wire:
    """The bytes of a stream on the wire, some of which may be lost."""

    def __init__(self, stream: _Begun, coded: bool) -> None:
        body = (stream.exchange.response and stream.exchange.response.body) or b""
        self._parts: list[tuple[bytes | None, int]] = (
            [(body, len(body))] if coded else [(frame.raw, _length(frame)) for frame in stream.frames]
        )
        self._part = self._used = 0

    def take(self, size: int) -> Iterator[tuple[bytes | None, int]]:
        while size and self._part < len(self._parts):
            raw, length = self._parts[self._part]
            step = min(size, length - self._used)
            yield (None if raw is None else raw[self._used : self._used + step]), step
            self._used += step
            size -= step
            if self._used == length:
                self._part, self._used = self._part + 1, 0
