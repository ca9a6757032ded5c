"""Models of the lines of the text form. They accept only values that an SQLite file can store."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from ...model import (
    LIMIT,
    Direction,
    Ending,
    Kind,
    checked_headers,
    checked_hop,
    checked_method,
    checked_start,
    checked_target,
    checked_text,
    checked_uuid,
)


def _to_bytes(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, dict) and set(value) == {"base64"}:
        try:
            return base64.b64decode(value["base64"], validate=True)
        except (binascii.Error, TypeError) as error:
            raise ValueError(f"not base64: {error}") from None
    return value


def _storable(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("a lone surrogate is no text") from None
    return value


Bytes = Annotated[bytes, BeforeValidator(_to_bytes)]
Text = Annotated[str, AfterValidator(_storable)]
Id = Annotated[str, AfterValidator(checked_uuid)]
Integer = Annotated[int, Field(gt=-LIMIT, lt=LIMIT)]
"""An integer that SQLite can store, also with an offset added."""
Number = Annotated[int, Field(ge=1, lt=LIMIT)]
Size = Annotated[int, Field(ge=0, lt=LIMIT)]
HeaderLines = Annotated[tuple[tuple[Text, Text], ...], AfterValidator(checked_headers)]


class Line(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=False)


class RecordingLine(Line):
    recording: Number
    started_at: Annotated[str, AfterValidator(checked_start)]
    version: Text
    contract: Text
    upstream: Text | None
    recording_id: Id | None = None
    run_id: Id | None = None
    labels: dict[Text, Text] = {}
    server_version: Text | None = None
    hop: Annotated[str, AfterValidator(checked_hop)] | None = None
    part: bool = False


class HeaderLine(Line):
    recordings: list[RecordingLine] = []


class RequestLine(Line):
    at_ns: Integer
    method: Annotated[str, AfterValidator(checked_method)]
    target: Annotated[str, AfterValidator(checked_target)]
    headers: HeaderLines
    body: Bytes


class ResponseLine(Line):
    at_ns: Integer | None
    end_ns: Integer | None
    status: Integer | None
    reason: Annotated[str, AfterValidator(checked_text)] | None
    headers: HeaderLines
    body: Bytes | None
    lost: frozenset[int] = frozenset()
    max_decoded: Number | None = None
    """Limit, in bytes, at which the recorder stopped decoding a stream."""


class ExchangeLine(Line):
    exchange: Number
    recording: Number
    kind: Kind
    stream: Number | None
    session_id: Text | None
    party: Text
    request: RequestLine
    response: ResponseLine | None
    ending: Ending


class FrameLine(NamedTuple):
    """The line of a frame: a plain tuple, since all frames of a stream are in memory until its reads are parsed."""

    stream: int
    seq: int
    raw: bytes | None
    length: int = 0
    """Bytes of a frame without `raw`."""


class FrameForm(Line):
    stream: Number
    seq: Integer
    raw: Bytes | None
    length: Size = 0

    def line(self) -> FrameLine:
        return FrameLine(self.stream, self.seq, self.raw, self.length)


def usual_frame(value: dict[str, Any]) -> FrameLine | None:
    """Return the frame of a usual line in a tenth of the time; None for any other line, valid or not."""
    stream, seq, raw = value.get("stream"), value.get("seq"), value["raw"]
    if type(raw) is str and type(seq) is int and type(stream) is int and "length" not in value:
        return FrameLine(stream, seq, raw.encode("utf-8", "surrogatepass"))
    return None


class ReadsLine(Line):
    stream: Number
    reads: list[tuple[Integer, Integer | None, Size]]


class MessageLine(Line):
    exchange: Number
    message: Integer
    at_ns: Integer
    sent_ns: Integer | None
    dir: Direction
    opcode: Integer
    data: Bytes


class IncidentLine(Line):
    incident: Text
    recording: Number
    at_ns: Integer
