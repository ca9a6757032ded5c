"""The lines of the text form: models that check them, and the values that are written, with keys in fixed order.

The models accept only values that an SQLite file can store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from ... import model
from ...model import FORMAT_VERSION, LIMIT, Direction, Ending, Exchange, Kind, Message, Recording
from ...text import dumps
from ...wire.json_bytes import bytes_from_json, bytes_to_json
from ..recording_ids import is_derived
from ..sqlite import Store, is_coded


def _storable(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("a lone surrogate is no text") from None
    return value


Bytes = Annotated[bytes, BeforeValidator(bytes_from_json)]
Storable = Annotated[str, AfterValidator(_storable)]
Id = Annotated[str, AfterValidator(model.checked_uuid)]
Integer = Annotated[int, Field(gt=-LIMIT, lt=LIMIT)]
"""An integer that SQLite can store, also with an offset added."""
Number = Annotated[int, Field(ge=1, lt=LIMIT)]
Size = Annotated[int, Field(ge=0, lt=LIMIT)]
HeaderLines = Annotated[tuple[tuple[Storable, Storable], ...], AfterValidator(model.checked_headers)]


class _Line(BaseModel):
    model_config = ConfigDict(defer_build=True)  # most files have no line of some kinds


class RecordingLine(_Line):
    recording: Number
    started_at: Annotated[str, AfterValidator(model.checked_start)]
    version: Storable
    contract: Storable
    upstream: Storable | None
    recording_id: Id | None = None
    run_id: Id | None = None
    labels: dict[Storable, Storable] = {}
    server_version: Storable | None = None
    hop: Annotated[str, AfterValidator(model.checked_hop)] | None = None
    part: bool = False
    contract_given: bool | None = None


class HeaderLine(_Line):
    recordings: list[RecordingLine] = []


class RequestLine(_Line):
    at_ns: Integer
    method: Annotated[str, AfterValidator(model.checked_method)]
    target: Annotated[str, AfterValidator(model.checked_target)]
    headers: HeaderLines
    body: Bytes
    cut: bool = False


class ResponseLine(_Line):
    at_ns: Integer | None
    end_ns: Integer | None
    status: Integer | None
    reason: Annotated[str, AfterValidator(model.checked_text)] | None
    headers: HeaderLines
    body: Bytes | None
    lost: frozenset[int] = frozenset()
    max_decoded: Number | None = None
    """Limit, in bytes, at which the recorder stopped decoding a stream."""


class ExchangeLine(_Line):
    exchange: Number
    recording: Number
    kind: Kind
    stream: Number | None
    session_id: Storable | None
    party: Storable
    request: RequestLine
    response: ResponseLine | None
    ending: Ending
    answered_from: Number | None = None
    replaced: bool = False


class FrameLine(NamedTuple):
    """The line of a frame: a plain tuple, since all frames of a stream are in memory until its reads are parsed."""

    stream: int
    seq: int
    raw: bytes | None
    length: int = 0
    """Bytes of a frame without `raw`."""


class FrameForm(_Line):
    stream: Number
    seq: Integer
    raw: Bytes | None
    length: Size = 0

    def line(self) -> FrameLine:
        return FrameLine(self.stream, self.seq, self.raw, self.length)


def usual_frame(value: dict[str, Any]) -> FrameLine | None:
    """Return the frame of a usual line in a tenth of the time; None for any other line, valid or not."""
    stream = value.get("stream")
    seq = value.get("seq")
    raw = value["raw"]
    if type(raw) is str and type(seq) is int and type(stream) is int and "length" not in value:
        return FrameLine(stream, seq, raw.encode("utf-8", "surrogatepass"))
    return None


class ReadsLine(_Line):
    stream: Number
    reads: list[tuple[Integer, Integer | None, Size]]


class MessageLine(_Line):
    exchange: Number
    message: Integer
    at_ns: Integer
    sent_ns: Integer | None
    dir: Direction
    opcode: Integer
    data: Bytes


class IncidentLine(_Line):
    incident: Storable
    recording: Number
    at_ns: Integer


READS_A_LINE = 100


def jsonl_bytes(store: Store, takes: Callable[[Exchange], bool] | None = None) -> Iterator[bytes]:
    """Yield the lines of the cassette, by recording, time and exchange. `takes`: whether an exchange is wanted. Raises
    `CassetteError`."""
    return encoded(values(store, takes))


def encoded(values: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    return (f"{dumps(value)}\n".encode() for value in values)


def values(
    store: Store,
    takes: Callable[[Exchange], bool] | None = None,
    *,
    will_change: bool = False,
    recordings: Collection[int] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the values of the lines. Numbers and ids are those of the whole cassette, also for a part. `will_change`:
    the caller changes exchanges. An id that follows from all the lines is left out.

    `recordings`: the recordings to write, which are no parts then, although `takes` leaves out exchanges for good.
    """
    is_whole = takes is None and not will_change
    every = store.exchanges()
    exchanges = [x for x in every if takes is None or takes(x)]
    there = Counter(x.recording for x in exchanges)
    if recordings is None:
        recordings = [r.recording for r in store.recordings() if takes is None or r.recording in there]
        whole = Counter(x.recording for x in every)
    else:
        whole = there
    heads = [_recording(store, one, is_whole, is_part=there[one] < whole[one]) for one in recordings]
    yield {"omnirecord": FORMAT_VERSION, "recordings": heads}
    for incident in store.incidents():
        if incident.recording in recordings:
            yield {"incident": incident.message, "recording": incident.recording, "at_ns": incident.at_ns}
    for exchange in exchanges:
        yield _exchange(store, exchange)
        if exchange.stream is not None:
            yield from _stream(store, exchange, exchange.stream)
        if exchange.kind == "websocket":
            yield from map(message_value, store.messages(exchange.exchange))


def _recording(store: Store, number: int, is_whole: bool, *, is_part: bool) -> dict[str, Any]:
    value = store.recording(number)
    follows = is_whole and is_derived(value.recording_id) and value.recording_id == store.derived_id(number)
    value = replace(value, recording_id="") if follows else value
    return recording_value(value, is_part=is_part or store.is_part(number))


def recording_value(value: Recording, *, is_part: bool) -> dict[str, Any]:
    """Return the value of a recording in the first line. `is_part`: whether some of its exchanges are left out."""
    more = {
        "recording_id": value.recording_id or None,
        "run_id": value.run_id,
        "labels": dict(sorted(value.labels.items())),
        "server_version": value.server_version,
        "hop": value.hop,
        "part": is_part,
    }
    return {
        "recording": value.recording,
        "started_at": value.started_at,
        "version": value.version,
        "contract": value.contract,
        "upstream": value.upstream,
        **{key: one for key, one in more.items() if one not in (None, {}, False)},
        **({} if value.contract_given is None else {"contract_given": value.contract_given}),
    }


def _exchange(store: Store, value: Exchange) -> dict[str, Any]:
    sent = store.body(value.exchange, "request")
    if value.kind == "http" and value.response is not None:
        return exchange_value(value, sent, store.body(value.exchange, "response"))
    if value.kind == "sse" and is_coded(value):
        return exchange_value(value, sent, store.wire(value), store.lost(value.exchange), store.stopped_at(value))
    return exchange_value(value, sent, None)


def exchange_value(
    value: Exchange, sent: bytes, received: bytes | None, lost: Sequence[int] = (), stopped_at: int | None = None
) -> dict[str, Any]:
    """Return the value of the line of an exchange. `sent`, `received`: the bodies; None for one that is in other lines.
    `lost`, `stopped_at`: of a stream with a content coding, the reads whose bytes are lost, and the limit at which the
    recorder stopped decoding it."""
    request = value.request
    return {
        "exchange": value.exchange,
        "recording": value.recording,
        "kind": value.kind,
        "stream": value.stream,
        "session_id": value.session_id,
        "party": value.party,
        "request": {
            "at_ns": request.at_ns,
            "method": request.method,
            "target": request.target,
            "headers": request.headers,
            "body": bytes_to_json(sent),
            **({"cut": True} if value.request_is_cut else {}),
        },
        "response": _response(value, received, {"lost": lost, "max_decoded": stopped_at}),
        "ending": value.ending,
        **({} if value.answered_from is None else {"answered_from": value.answered_from}),
        **({"replaced": True} if value.is_replaced else {}),
    }


def _response(value: Exchange, received: bytes | None, more: dict[str, Any]) -> dict[str, Any] | None:
    """Return None for an open exchange without a response; a closed one has its end and nulls."""
    response = value.response
    if response is None:
        if value.end_ns is None:
            return None
        return {"at_ns": None, "end_ns": value.end_ns, "status": None, "reason": None, "headers": [], "body": None}
    return {
        "at_ns": response.at_ns,
        "end_ns": response.end_ns,
        "status": response.status,
        "reason": response.reason,
        "headers": response.headers,
        "body": None if received is None else bytes_to_json(received),
        **{key: one for key, one in more.items() if one},
    }


def _stream(store: Store, exchange: Exchange, stream: int) -> Iterator[dict[str, Any]]:
    for frame in store.frames(exchange, unfinished=True):
        held = {"raw": None, "length": frame.length} if frame.raw is None else {"raw": bytes_to_json(frame.raw)}
        yield {"stream": stream, "seq": frame.seq, **held}
    yield from reads_values(stream, [[r.offset_ns, r.sent_ns, r.size] for r in store.reads(exchange.exchange)])


def reads_values(stream: int, reads: list[list[int | None]]) -> Iterator[dict[str, Any]]:
    """Yield the values of the lines with a stream's reads."""
    for start in range(0, len(reads), READS_A_LINE):
        yield {"stream": stream, "reads": reads[start : start + READS_A_LINE]}


def message_value(value: Message) -> dict[str, Any]:
    return {
        "exchange": value.exchange,
        "message": value.message,
        "at_ns": value.at_ns,
        "sent_ns": value.sent_ns,
        "dir": value.dir,
        "opcode": value.opcode,
        "data": bytes_to_json(value.data),
    }
