"""JSON values: of a frame's data, as every client reads it; and their parts, read leniently. No I/O.

1. Text that Python's `json` accepts is accepted, a lone surrogate escape included.
2. Refused are NaN and the infinities, a duplicate key, and nesting deeper than `MAX_DEPTH`, where the result would
   depend on the reader's stack.
3. The only exception is `MalformedError`.
4. The lenient readers raise nothing: a value of another type is None or empty.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import groupby
from operator import attrgetter
from typing import Any, NoReturn

import jiter

from ..model import TimedFrame, Verdict
from .sse import data_start, read_fields

MAX_DEPTH = 500
"""The deepest nesting of a payload. Recorded events have at most 20 levels."""


class MalformedError(ValueError):
    """The text is no JSON, or clients would read it differently."""


def parse(text: str) -> tuple[Any, Any]:
    """Return the value, and the value without lone surrogates, for a validator. Raises `MalformedError`."""
    value = parse_quickly(text.encode("utf-8", "surrogatepass"))
    if value is not None:
        return value, value
    try:  # what jiter refuses: a lone surrogate, deep nesting, or malformed text
        value = json.loads(text, object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
        if not _is_shallow(value):
            raise MalformedError(f"is nested deeper than {MAX_DEPTH} levels")
        return value, without_surrogates(value)
    except MalformedError:
        raise
    except RecursionError:
        raise MalformedError(f"is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise MalformedError(f"is not JSON: {error}") from None


def parse_quickly(data: bytes) -> Any:
    """Return the value; None if it is null, or if only `parse` can read it."""
    try:
        return jiter.from_json(data, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError:
        return None


def _parsed_again(data: bytes) -> Any:
    """Return the value, like `parse_quickly`, of data in which no key is there twice."""
    try:
        return jiter.from_json(data, allow_inf_nan=False)
    except ValueError:
        return None


def without_surrogates(value: Any) -> Any:
    """Return the JSON value with U+FFFD for each lone surrogate."""
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        raise MalformedError("gives a key twice")
    return data


def _no_constant(name: str) -> NoReturn:
    raise MalformedError(f"holds {name}, which JSON does not have")


def _is_shallow(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return True
    return False


def _children(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def payload_of(frame: TimedFrame) -> Any:
    """Return the JSON value of a frame's data; None if it has none, or if it is malformed."""
    raw = frame.raw
    if raw is None:
        return None
    if start := data_start(raw):
        # The contract has found no key twice in a valid frame: to look again takes half of the time.
        value = _parsed_again(raw[start:-2]) if frame.verdict == "valid" else parse_quickly(raw[start:-2])
        if value is not None:
            return value
    try:
        return parse(read_fields(raw, bom=frame.seq == 1).data or "")[0]
    except MalformedError:
        return None


def parsed(data: str | None) -> Any:
    """Return the JSON value of a frame's data; the text itself if it is no JSON; None without data."""
    try:
        return None if data is None else parse(data)[0]
    except MalformedError:
        return data


_VERDICT = attrgetter("verdict")
_BEGIN = re.compile(rb"\n\n(?:event: [^\n]*\n)?data: ")
"""What precedes the data of a frame of the usual form, and the end of the frame before."""
_WITHOUT_PAYLOAD: tuple[Verdict, ...] = ("comment", "sentinel", "truncated")
Payload = Callable[[TimedFrame], dict[str, Any]]
"""Returns what `payload` returns."""


def fresh_payload(frame: TimedFrame) -> dict[str, Any]:
    """Return the JSON object in a frame; empty if there is none. A malformed frame has one if only its bytes are not
    UTF-8; it has a type then."""
    if frame.verdict in _WITHOUT_PAYLOAD or (frame.verdict == "malformed" and frame.type is None):
        return {}
    value = payload_of(frame)
    return value if type(value) is dict else {}


Payloads = Callable[[Sequence[TimedFrame]], list[dict[str, Any]]]
"""Returns what `fresh_payloads` returns."""


def fresh_payloads(frames: Iterable[TimedFrame]) -> list[dict[str, Any]]:
    """Return the payloads of frames. Adjacent valid frames are parsed together, in a third of the time."""
    found: list[dict[str, Any]] = []
    for verdict, some in groupby(frames, key=_VERDICT):
        run = list(some)
        together = _parsed_together(run) if verdict == "valid" and len(run) > 1 else None
        found += map(fresh_payload, run) if together is None else together
    return found


def _parsed_together(frames: Sequence[TimedFrame]) -> list[dict[str, Any]] | None:
    """Return the payloads of valid frames; None if one of them has an unusual form."""
    raws = [frame.raw for frame in frames if frame.raw is not None]
    content = b"\n\n" + b"".join(raws)
    if len(raws) < len(frames) or b"\r" in content:
        return None
    # A payload on one line has no LF, so a frame of another form makes the list malformed.
    values = _parsed_again(b"[%b]" % _BEGIN.sub(b",", content)[1:-2])
    if type(values) is not list or len(values) != len(frames) or set(map(type, values)) != {dict}:
        return None
    return values


payload = functools.lru_cache(maxsize=1)(fresh_payload)
"""The same for readers that ask several times. Do not change it: the last one is cached."""


def loads(text: bytes | str) -> Any:
    """Return the JSON value of a text; None if it is no JSON."""
    try:
        return jiter.from_json(text.encode() if isinstance(text, str) else text)
    except ValueError:
        pass  # only `json` may read it
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    return None


def as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def as_text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def as_int(value: Any) -> int | None:
    return value if type(value) is int else None


def as_number(value: Any) -> float | None:
    return value if type(value) in (int, float) else None


def text_of(content: Any) -> str:
    """Return the text of a message's content: a string, or the texts of its parts. Another part is `[its type]`."""
    return content if isinstance(content, str) else "".join(map(_part, as_list(content)))


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    data = as_dict(part)
    if data.get("type") == "message":
        return text_of(data.get("content"))
    found = as_text(data.get("text"))
    return found if found is not None else f"[{as_text(data.get('type')) or 'something'}]"


def written(value: Any) -> str | None:
    """Return a tool's arguments or output as text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and all("text" in as_dict(part) for part in value):
        return text_of(value)
    return json.dumps(value, ensure_ascii=False)
