"""A cassette without its secrets: the lines of its text form in, the same without secrets out. No I/O.

The same rules as while recording, so that what was recorded with them is not changed. Where a secret is found is told;
the secret never is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ...model import CLOSE, Headers
from ...redaction.coded_body import body
from ...redaction.redactor import Redactor, StreamMask, Texts
from ...redaction.stream import uncoded
from ...wire.content_coding import CodingError, Decoder, decoder
from ...wire.headers import header
from ..jsonl import data_of, reads_values, text

Values = Iterator[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Leak:
    """Secrets of one kind at one place: which part of which exchange, frame (`stream` and `seq`) or message."""

    place: str
    kind: str
    count: int
    recording: int | None = None
    exchange: int | None = None
    stream: int | None = None
    seq: int | None = None
    message: int | None = None


@dataclass(slots=True)
class _Exchange:
    """The exchange whose lines are coming."""

    recording: int
    exchange: int
    stream: int | None
    mask: StreamMask | None = None
    sizes: _Sizes | None = None
    """Of a stream that loses its content coding."""
    reads: list[list[int | None]] = field(default_factory=list)
    texts: dict[str, Texts | None] = field(default_factory=dict)


class Scrubber:
    """Takes the secrets out of one cassette; `tell` is told of each place where there were some."""

    def __init__(self, redactor: Redactor, tell: Callable[[Leak], None]) -> None:
        self._redactor = redactor
        self._tell = tell
        self._now = _Exchange(0, 0, None)

    def scrubbed(self, values: Iterable[dict[str, Any]]) -> Values:
        for value in values:
            yield from self._line(value)
        yield from self._finished()

    def _line(self, value: dict[str, Any]) -> Values:
        if "request" in value:
            yield from self._finished()
            yield self._exchange(value)
        elif "message" in value:
            yield self._message(value)
        elif "reads" in value and self._now.sizes is not None:
            self._now.reads += map(self._now.sizes.decoded, value["reads"])
        elif "raw" in value:
            yield self._frame(value)
        elif "incident" in value:
            yield {**value, "incident": self._text(value["incident"], "incident", recording=value["recording"])}
        elif "recordings" in value:
            yield {**value, "recordings": [self._recording(one) for one in value["recordings"]]}
        else:
            yield value

    def _found(self, place: str, **where: int | None) -> None:
        """Tell of what was replaced since this was called last."""
        for kind, count in sorted(self._redactor.counts.items()):
            self._tell(Leak(place, kind, count, **where))
        self._redactor.counts.clear()

    def _text(self, value: str, place: str, **where: int | None) -> str:
        safe = self._redactor.text(value)
        self._found(place, **where)
        return safe

    def _recording(self, value: dict[str, Any]) -> dict[str, Any]:
        upstream = value["upstream"]
        number = value["recording"]
        return {**value, "upstream": upstream and self._text(upstream, "upstream", recording=number)}

    def _exchange(self, value: dict[str, Any]) -> dict[str, Any]:
        now = self._now = _Exchange(value["recording"], value["exchange"], value["stream"])
        now.texts = {"up": self._redactor.texts(), "down": self._redactor.texts()}
        request, response = dict(value["request"]), value["response"] and dict(value["response"])
        request["target"] = self._redactor.target(request["target"])
        self._found_here("request target")
        session = value["session_id"] and self._redactor.text(value["session_id"])
        self._redactor.counts.clear()  # it was in the target, or in the answer that named the session
        self._side(request, "request")
        if response is not None:
            if response["reason"]:
                response["reason"] = self._text(response["reason"], "response reason", **self._here())
            self._stream(response)
            self._side(response, "response")
        return {**value, "session_id": session, "request": request, "response": response}

    def _here(self) -> dict[str, int | None]:
        return {"recording": self._now.recording, "exchange": self._now.exchange, "stream": self._now.stream}

    def _found_here(self, place: str, **where: int | None) -> None:
        self._found(place, **self._here(), **where)

    def _side(self, side: dict[str, Any], name: str) -> None:
        """The headers and the body of a request or response."""
        headers = _headers(side)
        if side["body"]:
            kept = body(header(headers, "content-type"), header(headers, "content-encoding"), self._redactor)
            side["body"] = text(kept.feed(data_of(side["body"])) + kept.close())
            self._found_here(f"{name} body")
        side["headers"] = [list(pair) for pair in self._redactor.headers(headers)]
        self._found_here(f"{name} headers")

    def _stream(self, response: dict[str, Any]) -> None:
        now = self._now
        now.mask = self._redactor.stream() if now.stream is not None else None
        if now.mask is None or response["body"] is None:
            return
        headers = _headers(response)
        now.sizes = _Sizes(header(headers, "content-encoding"), data_of(response["body"]), response.pop("lost", ()))
        response["body"], response["headers"] = None, uncoded(headers)

    def _frame(self, value: dict[str, Any]) -> dict[str, Any]:
        mask = self._now.mask
        if mask is None:
            return value
        if self._now.sizes is not None:
            self._now.sizes.left += value["length"] if value["raw"] is None else len(data_of(value["raw"]))
        if value["raw"] is None:
            mask.lose(value["length"])
            return value
        safe = b"".join(piece.data for piece in mask.feed(data_of(value["raw"])))
        self._found_here("stream", seq=value["seq"])
        return {**value, "raw": text(safe)}

    def _finished(self) -> Values:
        """All lines of an exchange are there."""
        if self._now.sizes is not None and self._now.stream is not None:
            yield from reads_values(self._now.stream, self._now.reads)
            self._now.sizes = None

    def _message(self, value: dict[str, Any]) -> dict[str, Any]:
        redact = self._redactor.closing if value["opcode"] == CLOSE else self._redactor.message
        safe = redact(data_of(value["data"]), self._now.texts[value["dir"]])
        self._found_here("message", message=value["message"])
        return {**value, "data": text(safe)}


class _Sizes:
    """How much content each read of a coded body brought, as far as that is in events: `left` bytes more."""

    def __init__(self, coding: str | None, wire: bytes, lost: Iterable[int]) -> None:
        self._wire, self._at, self._read = wire, 0, 0
        self.left = 0
        self._lost = frozenset(lost)
        self._decoder: Decoder | None
        try:
            self._decoder = decoder(coding)
        except CodingError:
            self._decoder = None

    def decoded(self, read: list[int | None]) -> list[int | None]:
        """The read as if it had come without the coding; what was lost has the size that it had."""
        offset, sent, size = read
        number, self._read = self._read, self._read + 1
        if number in self._lost:
            return read
        data = self._wire[self._at : self._at + (size or 0)]
        self._at += len(data)
        return [offset, sent, self._content(data)]

    def _content(self, data: bytes) -> int:
        size = 0
        try:
            for piece in self._decoder.decode(data) if self._decoder else ():
                taken = min(len(piece), self.left)
                size, self.left = size + taken, self.left - taken
                if not self.left:
                    self._decoder = None
                    break
        except CodingError:
            self._decoder = None
        return size


def _headers(side: dict[str, Any]) -> Headers:
    return tuple((name, value) for name, value in side["headers"])
