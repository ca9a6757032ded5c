"""The contract `none`, for an API of which nothing is known: only the bytes of a frame decide its verdict.

An event that is neither a comment, nor `[DONE]`, nor cut off is `valid`: its data may be any text. Its type is the
payload's `type`, else the line `event:`, else the payload's `object` or `method`, as far as they exist. An answer of
JSON-RPC has the type `result` or `error`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..wire.json_rpc import message_of
from .events import sequence_number, type_name
from .judge import Api, Contract, Judgement

NAME = "none"
_FURTHER = ("object", "method")
_NO_NAME = "message"
"""What `event:` says by default, in the standard."""


class NoContract(Contract):
    """A contract that takes every event. `types`: those that other contracts of the same document know."""

    def __init__(self, name: str = NAME, types: Iterable[str] = ()) -> None:
        super().__init__(name, types, lambda _type, _data: (), api=Api("", any_type, has_ends=False))

    def _judge_payload(self, event: str | None, data: Any, _checkable: Any) -> Judgement:
        fields = data if isinstance(data, dict) else {}
        return Judgement("valid", any_type(fields, event), sequence_number(fields), (), data)

    def _malformed(self, event: str | None, text: str, _problem: str) -> Judgement:
        return Judgement("valid", any_type({}, event), data=text)


def any_type(data: Mapping[str, Any], event: str | None) -> str | None:
    """Return what names an event of an unknown API; None without a name."""
    found = type_name(data)
    if found is None and (event is None or event == _NO_NAME):
        found = next((text for name in _FURTHER if isinstance(text := data.get(name), str)), None)
        if found is None and (message := message_of(data)) is not None:
            found = message.kind
    return found if found is not None else event or None
