"""Converts rows of a cassette to values, and checks each value: a file from an unknown source may hold anything.

A function `..._of` returns the value in a row. An invalid value raises one of `DAMAGED`. The reader turns that into a
`BrokenCassette`, never a traceback.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain, repeat
from typing import Any, NamedTuple

from pydantic_core import from_json

from ... import model
from ...model import LIMIT, VERDICTS, Exchange, Incident, Message, Recording, Request, Response, Streaming, Verdict
from ...wire.sse import read_fields

DAMAGED = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError)
"""The errors that an invalid value raises."""
_LONGEST = 4 << 20
"""Longest JSON text in a row, in characters."""


def recording_of(row: Any) -> Recording:
    number, started_at, version, contract, upstream, recording_id, run_id, labels, server_version, hop, given = row
    return Recording(
        _int(number, "a recording's number"),
        model.checked_start(_str(started_at, "started_at")),
        _str(version, "version"),
        _str(contract, "contract"),
        _str_or_none(upstream, "upstream"),
        model.checked_uuid(recording_id),
        None if run_id is None else model.checked_uuid(run_id),
        {} if labels is None else _labels(labels),
        _str_or_none(server_version, "server_version"),
        None if hop is None else model.checked_hop(hop),
        None if given is None else _int(given, "whether a contract was given") != 0,
    )


def _labels(text: Any) -> dict[str, str]:
    value = json.loads(_short(text, "labels"))
    if type(value) is not dict or not set(map(type, value.values())) <= {str}:
        raise ValueError("labels: no object of texts")
    "".join([*value, *value.values()]).encode()  # refuses a lone surrogate
    return value


def exchange_of(row: Any, alive: bool, headers: model.ReadHeaders) -> tuple[Exchange, bool]:
    """Return the exchange in a row, and whether some bytes of its response are in no frame. `headers` reads the text of
    headers, at the first access to them."""
    number, recording, kind, stream, session_id, party, at_ns, method, target, request_headers = row[:10]
    response_at, end_ns, status, reason, response_headers, ending, sent, received, is_recorded, more, *rest = row[10:]
    is_cut, answered_from, is_replaced = rest
    if not is_recorded:
        raise ValueError(f"exchange {number} belongs to no recording")
    if kind not in model.KINDS or (kind == "sse") is not (stream is not None) or (kind == "sse" and status is None):
        raise ValueError(f"exchange {number} has a kind that does not match its stream")
    if ending is not None and ending not in model.ENDINGS:
        raise ValueError(f"exchange {number} has an unknown ending")
    end_ns = _int_or_none(end_ns, "end_ns")
    request = Request.unread(
        _int(at_ns, "request_at_ns"),
        _method(_str(method, "method")),
        model.checked_target(_str(target, "target")),
        _short(request_headers, "headers"),
        headers,
    )
    response = None
    if status is not None:
        response = Response.unread(
            _int(response_at, "response_at_ns"),
            end_ns,
            _status(_int(status, "status")),
            _reason(_str(reason, "reason")),
            _short(response_headers, "headers"),
            headers,
        )
    unfinished: model.Ending = "open" if alive else "recorder_killed"
    exchange = Exchange(
        _int(number, "an exchange's number"),
        _int(recording, "recording"),
        kind,
        _int_or_none(stream, "stream"),
        _str_or_none(session_id, "session_id"),
        _str(party, "party"),
        request,
        response,
        ending or unfinished,
        checked_size(sent, "request_bytes"),
        checked_size(received, "response_bytes"),
        end_ns,
        bool(is_cut),
        _int_or_none(answered_from, "answered_from"),
        bool(is_replaced),
    )
    if exchange.ending == "eof" and not exchange.has_times:
        exchange = replace(exchange, ending="unknown")  # imported by a version without this ending
    return exchange, bool(more)


_method = functools.lru_cache(maxsize=64)(model.checked_method)
_status = functools.lru_cache(maxsize=64)(model.checked_status)
_reason = functools.lru_cache(maxsize=64)(model.checked_text)


@functools.lru_cache(maxsize=1024)  # a client repeats its headers with each request
def headers_of(text: Any) -> model.Headers:
    return model.checked_headers(_pairs(from_json(_short(text, "headers")), "headers"))


def _pairs(value: Any, what: str) -> tuple[tuple[str, str], ...]:
    if type(value) is not list:
        raise ValueError(f"{what}: no list")
    if not set(map(type, value)) <= {list} or not set(map(len, value)) <= {2}:
        raise ValueError(f"{what}: no list of pairs")
    pairs = tuple(map(tuple, value))
    if not set(map(type, chain.from_iterable(pairs))) <= {str}:
        raise ValueError(f"{what}: no list of pairs of text")
    return pairs


def streaming_of(row: Any) -> Streaming:
    stream, exchange, recording, session_id, is_over, has_times = row
    numbers = _int(stream, "a stream's number"), _int(exchange, "an exchange's number"), _int(recording, "recording")
    return Streaming(*numbers, _str_or_none(session_id, "session_id"), bool(is_over), bool(has_times))


Times = Sequence[int | None]


def read_block_of(row: Any) -> tuple[int, int, int, int, Sequence[int], Times, Sequence[int], bytes | None]:
    """Return a row of `read_blocks`: number, start, size, base time, the arrival, sending and size of each read, bytes.
    Sizes are in bytes, times in ns. The base time is added to the arrival and sending times."""
    n, start, size, offset, text, data = row
    found = from_json(_short(text, "reads"))
    if type(found) is not list or not set(map(type, found)) <= {list}:
        raise TypeError("reads: no list")
    came, sent, sizes = zip(*found, strict=True) if found else ((), (), ())
    kinds = set(map(type, (offset, n, start, *came, *sizes)))
    if kinds != {int} or not set(map(type, sent)) <= {int, type(None)}:
        raise TypeError("a read holds no numbers")
    if n < 0 or start < 0 or sum(sizes) != size or min(sizes, default=0) < 0:
        raise ValueError("a read block differs in size from its reads")
    times = *came, *(sent if None not in sent else (one for one in sent if one is not None))
    if max(n, start + size, abs(offset + min(times, default=0)), abs(offset + max(times, default=0))) >= LIMIT:
        raise ValueError("a read has too large a number")
    if data is not None and len(blob_of((data,))) != size:
        raise ValueError("a read block differs in size from its reads")
    return n, start, size, offset, came, sent, sizes, data


def last_arrival_of(row: Any) -> int:
    """Return the arrival of the last read in a row of `read_blocks`, in ns."""
    _, _, _, base, came, *_ = read_block_of(row)
    return base + came[-1] if came else base


FrameEntry = tuple[int, int, int, str | None, Verdict, dict[str, Any] | None]
"""Start and end of a frame in the content, the read of its last byte, its type, its verdict, and rare properties."""
FRAME_BLOCK_COLUMNS = "seq, frames, start, read, ends, reads, types, kinds, verdicts, more"


class FrameColumnsRow(NamedTuple):
    """A row of `FRAME_BLOCK_COLUMNS`, checked. Offsets are in bytes; `kinds` are places in `names`, None: all 0."""

    seq: int
    start: int
    ends: list[int]
    reads: list[int]
    names: list[str | None]
    kinds: list[int] | None
    verdicts: list[int] | None
    """Places in `VERDICTS`; None: all are valid."""
    more: dict[str, Any]
    """The rare properties, by the position of the frame as text."""


def frame_columns_of(row: Any) -> FrameColumnsRow:
    seq, frames, start, read, *lists, more = row
    for value, what in ((seq, "seq"), (start, "the start of a frame block"), (read, "the read of a frame block")):
        checked_size(value, what)
    ends, reads, names, kinds, verdicts = [None if one is None else from_json(_short(one, "a list")) for one in lists]
    if type(names) is not list or not set(map(type, names)) <= {str, type(None)}:
        raise TypeError("a frame's type: no text")
    ends = [start + end for end in _sizes(ends, frames, LIMIT)]
    if [start, *ends] != sorted([start, *ends]):
        raise ValueError("a frame ends before it begins")
    found = {} if more is None else json.loads(_short(more, "more"))
    if type(found) is not dict:
        raise TypeError("the rare properties of frames: no object")
    return FrameColumnsRow(
        seq,
        start,
        ends,
        [read + one for one in _sizes(reads, frames, LIMIT)],
        names,
        None if kinds is None else _sizes(kinds, frames, len(names)),
        None if verdicts is None else _sizes(verdicts, frames, len(VERDICTS)),
        found,
    )


def entries_of(row: Any) -> tuple[int, list[FrameEntry]]:
    """Return the number of the first frame in a row of `FRAME_BLOCK_COLUMNS`, and the frames."""
    seq, start, ends, reads, names, kinds, verdicts, found = frame_columns_of(row)
    frames = len(ends)
    types = repeat(names[0], frames) if kinds is None else [names[n] for n in kinds]
    judged: Iterable[Verdict] = repeat("valid", frames) if verdicts is None else [VERDICTS[n] for n in verdicts]
    others = [found.get(str(place)) for place in range(frames)] if found else repeat(None, frames)
    return seq, list(zip([start, *ends], ends, reads, types, judged, others, strict=False))


def times_of(times: Any, first_ns: Any, count: Any) -> list[int]:
    """Return the arrival of each frame of a block, in ns."""
    found = json.loads(times)
    if type(found) is not list or type(count) is not int or len(found) != count or set(map(type, found)) != {int}:
        raise ValueError("a frame block has not one time for each frame")
    if type(first_ns) is not int or max(abs(first_ns + min(found)), abs(first_ns + max(found))) >= LIMIT:
        raise ValueError("a frame block has a time that is too large")
    return [first_ns + one for one in found]


def _sizes(values: Any, count: Any, below: int) -> list[int]:
    if type(values) is not list or len(values) != count or set(map(type, values)) != {int}:
        raise ValueError("a frame block has not one entry for each frame")
    if not 0 <= min(values) <= max(values) < below:
        raise ValueError("a frame block has an entry that is too small or too large")
    return values


def issues_of(more: Any) -> tuple[tuple[str, str], ...]:
    """Return the path and the message of each issue in the rare properties of a frame."""
    return _pairs(more.get("issues", []), "issues")


def message_of(row: Any) -> Message:
    exchange, number, at_ns, sent_ns, dir, opcode, data = row
    if dir not in ("up", "down"):
        raise ValueError("a message's dir is neither up nor down")
    return Message(
        exchange,
        _int(number, "a message's number"),
        _int(at_ns, "at_ns"),
        _int_or_none(sent_ns, "sent_ns"),
        dir,
        checked_size(opcode, "opcode"),
        b"" if data is None else _bytes(data),
    )


def incident_of(row: Any) -> Incident:
    recording, at_ns, message = row
    return Incident(_int(recording, "recording"), _int(at_ns, "at_ns"), _str(message, "an incident's message"))


def count_of(row: Any) -> tuple[str, int, int]:
    """Return a verdict, its number of frames, and their total length in bytes."""
    verdict, count, length = row
    if verdict not in VERDICTS:
        raise ValueError("a frame has an unknown verdict")
    return verdict, checked_size(count, "frames"), checked_size(length, "the length of frames")


def number_of(row: Any) -> int:
    (number,) = row
    return _int(number, "a number")


def text_of(row: Any) -> str:
    (text,) = row
    return _str(text, "a text")


def pair_of(row: Any) -> tuple[int, int]:
    """Return a number of frames and their length in bytes."""
    one, other = row
    return checked_size(one, "a number of frames"), checked_size(other, "their length")


def blob_of(row: Any) -> bytes:
    (data,) = row
    if type(data) is not bytes:
        raise TypeError(f"a body's bytes: a {type(data).__name__}")
    return data


def limit_of(row: Any) -> int:
    """Return the limit, in bytes, at which decoding of a stream stopped; 0 if it was decoded completely."""
    return checked_size(int(blob_of(row)[:20] or b"0"), "a limit")


def _int(value: Any, what: str) -> int:
    if type(value) is not int or not -LIMIT < value < LIMIT:
        raise TypeError(f"{what}: no number, or too large")
    return value


def checked_size(value: Any, what: str) -> int:
    """Return a number from 0 on. Raises one of `DAMAGED`."""
    if type(value) is not int or not 0 <= value < LIMIT:
        raise TypeError(f"{what}: no size")
    return value


def _int_or_none(value: Any, what: str) -> int | None:
    return None if value is None else _int(value, what)


def _str(value: Any, what: str) -> str:
    if type(value) is not str:
        raise TypeError(f"{what}: no text")
    return value


def _short(value: Any, what: str) -> str:
    """Return a text to parse as JSON. Recorded texts have kilobytes; values need a multiple of the memory."""
    if len(_str(value, what)) > _LONGEST:
        raise ValueError(f"{what}: too long")
    return str(value)


def _str_or_none(value: Any, what: str) -> str | None:
    return None if value is None else _str(value, what)


def _bytes(value: Any) -> bytes:
    if type(value) is str:
        return value.encode()
    if type(value) is not bytes:
        raise TypeError(f"bytes: a {type(value).__name__}")
    return value


def payload_of(raw: bytes | None) -> dict[str, Any]:
    """Return the JSON object in a frame; an empty one if there is none."""
    data = None if raw is None else read_fields(raw).data
    payload = json.loads(data) if data else None
    return payload if isinstance(payload, dict) else {}


def family_of(raw: bytes | None) -> tuple[str, str] | None:
    """Return the ids of a child session and of its parent, as `session.created` has them."""
    payload = payload_of(raw)
    child = payload.get("child_session_id")
    parent = payload.get("conversation_id")
    return (child, parent) if isinstance(child, str) and isinstance(parent, str) else None
