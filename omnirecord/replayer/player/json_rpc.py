"""Answers to JSON-RPC requests, with the ids of the new request in place of the recorded ones. Pure.

A client counts its requests, so an id differs if the client sends them in another order, or one more. It does not take
an answer with another id. Without a difference, no byte changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from ...wire.json_rpc import Message, answered_to
from ...wire.strict_json import loads
from ..parts import Part, frames_of
from .playback import Answering

_DATA = b"data:"


def answer_to(answer: Answering, recorded: Message, asked: Message) -> Answering:
    """Return an answer with the ids of the new request. A compressed body that has others goes out decompressed."""
    data = loads(answer.content or b"")
    changed = _answered(data, recorded, asked)
    return answer if changed is data else answer.with_content(_dumped(changed))


def parts_to(parts: Iterable[Part], recorded: Message, asked: Message) -> Iterator[Part]:
    """Yield the parts of a stream with the ids of the new request. A changed frame goes out with its last part."""
    for frame in frames_of(parts):
        raw = b"".join(part.data for part in frame)
        changed = _frame_to(raw, recorded, asked)
        if changed is None:
            yield from frame
            continue
        yield from (replace(part, data=b"") for part in frame[:-1])
        yield replace(frame[-1], data=changed)


def differ(recorded: Message, asked: Message) -> bool:
    """Return whether the answer to the recorded request has to be changed for the new one."""
    return (recorded.id, recorded.progress_token) != (asked.id, asked.progress_token)


def _frame_to(raw: bytes, recorded: Message, asked: Message) -> bytes | None:
    """Return the changed bytes of a frame; None if nothing changes."""
    lines = raw.splitlines(keepends=True)
    data = [line for line in lines if line.startswith(_DATA)]
    value = loads(b"\n".join(line[len(_DATA) :] for line in data)) if data else None
    changed = _answered(value, recorded, asked)
    if changed is value:
        return None
    ending = data[0][len(data[0].rstrip(b"\r\n")) :]
    at = lines.index(data[0])
    rest = [line for line in lines[at:] if not line.startswith(_DATA)]
    return b"".join([*lines[:at], b"data: " + _dumped(changed) + ending, *rest])


def _answered(value: Any, recorded: Message, asked: Message) -> Any:
    """Return a message, or a batch of messages, with other ids; the same object if nothing changes."""
    if not isinstance(value, list):
        return answered_to(value, recorded, asked)
    changed = [answered_to(one, recorded, asked) for one in value]
    return value if all(a is b for a, b in zip(value, changed, strict=True)) else changed


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
