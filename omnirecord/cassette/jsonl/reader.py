"""Reads the text form of a cassette: converts lines to rows for a writer.

Every line is checked. The first invalid line raises `BrokenCassette` with its number and the reason. Since all rows go
into one transaction, nothing is then written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import jiter
from pydantic import BaseModel, ValidationError

from ...contract.judge import Contract
from ...errors import BrokenCassette, NewerCassette, NotACassette, TooLarge
from ...model import FORMAT_VERSION, LIMIT, Recording, checked_status
from ...wire.headers import header
from ...wire.limits import AN_EVENT, max_decoded, shown_size
from ..framing import Framer, cut
from ..sqlite import rows, stream_rows
from ..sqlite.rows import Row
from .models import (
    ExchangeLine,
    FrameForm,
    FrameLine,
    HeaderLine,
    IncidentLine,
    MessageLine,
    ReadsLine,
    usual_frame,
)
from .streams import Begun, Counted, Expected, coded, content, length, lost_bytes, made_of, plain, read_blocks, whole

Model = TypeVar("Model", bound=BaseModel)
Line = bytes | dict[str, Any]
"""A line of the text form, or its value."""
ContractOf = Callable[[str], Contract]
_LONG = 1 << 20
"""Most bytes of a line outside strings: values need a multiple of their size in memory."""
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)


@dataclass(slots=True)
class Offsets:
    """Offsets that are added to the numbers of a file, so that they are free in the target cassette."""

    recording: int = 0
    exchange: int = 0
    stream: int = 0


class Reader:
    """Reads one file. `name` is its name in errors."""

    def __init__(self, name: str, contract_of: ContractOf, offsets: Offsets | None = None) -> None:
        self._name = name
        self._contract_of = contract_of
        self._offsets = offsets or Offsets()
        self._contracts: dict[int, Contract] = {}
        self._begun: Begun | None = None
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
            raise NewerCassette(
                f"{self._name} has {shown}, this omnirecord reads up to {FORMAT_VERSION}: upgrade omnirecord"
            )
        for recording in self._as(HeaderLine, value).recordings:
            self._once("recording", recording.recording)
            self._contracts[recording.recording] = self._contract_of(recording.contract)
            yield rows.recording(Recording(
                recording.recording + self._offsets.recording, recording.started_at, recording.version,
                recording.contract, recording.upstream, recording.recording_id or "", recording.run_id,
                recording.labels, recording.server_version, recording.hop,
            ))  # fmt: skip
            if recording.part:
                yield rows.part(recording.recording + self._offsets.recording)

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
            raise self._broken(
                f"neither an exchange, a frame, reads nor a message, with the keys {sorted(value)[:10]}"[:500]
            )

    def _current(self, stream: int) -> Begun:
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
            message.exchange + self._offsets.exchange, message.message, message.at_ns, message.sent_ns,
            message.dir, message.opcode, message.data,
        )  # fmt: skip

    def _exchange(self, value: ExchangeLine) -> Iterator[Row]:
        self._check(value)
        number, request, answer = value.exchange + self._offsets.exchange, value.request, value.response
        self.exchanges += 1
        yield rows.request(
            number, value.recording + self._offsets.recording, value.kind, value.session_id, value.party,
            request.at_ns, request.method, request.target, request.headers,
        )  # fmt: skip
        if request.body:
            yield from rows.chunks(number, "request", 0, request.body)
        if answer is not None and answer.status is not None:
            stream = None if value.stream is None else value.stream + self._offsets.stream
            at = request.at_ns if answer.at_ns is None else answer.at_ns
            yield rows.response(number, value.kind, stream, at, answer.status, answer.reason or "", answer.headers)
        if answer is not None and answer.body and value.stream is None:
            yield from rows.chunks(number, "response", 0, answer.body)
        body = (answer and answer.body) or b""
        self._held = 0
        self._begun = Begun(value, sent=len(request.body), received=0 if value.stream else len(body))

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
        begun, self._begun = self._begun, None
        if begun is None:
            return
        value = begun.exchange
        number = value.exchange + self._offsets.exchange
        end_ns = value.response.end_ns if value.response is not None else None
        yield rows.end(number, end_ns, value.ending, begun.sent, begun.received)
        if value.stream is not None:
            yield from self._framed(begun, number)

    def _framed(self, begun: Begun, exchange: int) -> Iterator[Row]:
        value = begun.exchange
        assert value.stream is not None
        assert value.response is not None
        stream = value.stream + self._offsets.stream
        differs = self._broken(f"stream {value.stream} has {len(begun.frames)} frames where its bytes make others")
        contract = self._contracts[value.recording].of(value.request.target)
        coding, limit = header(value.response.headers, "content-encoding"), value.response.max_decoded or LIMIT
        framer = Framer(coding, Expected(contract, begun.frames, differs), limit=limit)
        if not framer.decodes and all(frame.raw is not None for frame in begun.frames):
            self._check_size(begun, "frames", sum(map(length, begun.frames)))
            yield from whole(begun, exchange, stream, contract, differs)
            return
        if framer.decodes:
            wire = list(coded(begun, value.response))
            self._check_size(begun, "body", len(value.response.body or b"") + sum(lost_bytes(part) for part in wire))
            yield from read_blocks(exchange, begun, (part.data for part in wire))
            made = made_of(framer, wire)
            yield from content(exchange, begun.frames)
            yield rows.framed(exchange, sum(map(length, begun.frames)), value.response.max_decoded)
        else:
            self._check_size(begun, "frames", sum(length(frame) for frame in begun.frames))
            spans = ((length(frame), frame.raw) for frame in begun.frames)
            yield from read_blocks(exchange, begun, cut(spans, (size for *_, size in begun.reads)))
            made = made_of(framer, plain(begun))
        seen = Counted(made)
        yield from stream_rows.frame_blocks(stream, seen, lambda read: begun.reads[read][0])
        if seen.count != len(begun.frames):
            raise differs

    def _check_size(self, begun: Begun, where: str, there: int) -> None:
        if there != begun.received:
            raise self._broken(
                f"stream {begun.exchange.stream} has {there} bytes in its {where}, and {begun.received} in its reads"
            )


def _json(line: bytes) -> Any:
    """Return the value of a line, in a quarter of the time of `json`, which decides if `jiter` refuses the line."""
    if len(line) > _LONG and len(_STRING.sub(b"", line)) > _LONG:
        raise ValueError("it has more values than a line can have")
    try:
        return jiter.from_json(line)
    except ValueError:
        return json.loads(line.decode())
