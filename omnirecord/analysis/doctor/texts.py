"""Whether the text that a client put together is the text that the server stored.

A text is over where an item stores it. Where a tool was called before that, only what came behind the call may be in
it. Text in flight, sent again to whoever connects, may hold more than the item does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...omnigent import protocol
from ..turns.lenient import as_dict, as_text, text_of
from .finding import Event, Handlers, Place, Sign, said, sign_at

_MOST = 20
"""The most differences that are told of one stream."""


class Texts:
    """The text of one stream."""

    def __init__(self) -> None:
        self._found: list[Sign] = []
        self._parts: list[str] = []
        self._calls: list[int] = []
        """How many parts there were when a tool was called."""
        self._first: Place | None = None
        self._last: Place | None = None
        self._resent = False
        self._message: str | None = None
        self._stored: dict[str, str] = {}
        self._interrupted = False

    def handlers(self) -> Handlers:
        ended = dict.fromkeys(protocol.ENDS, self._end)
        begun = dict.fromkeys(protocol.RESPONSE_BEGINS, self._begin)
        return {
            protocol.RESPONSE_OUTPUT_TEXT_DELTA: self._delta, protocol.RESPONSE_OUTPUT_ITEM_DONE: self._item,
            protocol.SESSION_INTERRUPTED: self._interrupt, **ended, **begun,
        }  # fmt: skip

    def _delta(self, event: Event) -> None:
        delta, message = as_text(event.data.get("delta")), as_text(event.data.get("message_id"))
        if message != self._message and self._parts:
            self._clear()
        self._message = message
        if event.in_snapshot:
            self._clear()
            self._resent = True
        if delta:
            self._parts.append(delta)
            self._last = event.place
            self._first = self._first or self._last

    def _begin(self, _event: Event) -> None:
        self._clear()
        self._interrupted = False

    def _interrupt(self, _event: Event) -> None:
        self._clear()
        self._interrupted = True

    def _item(self, event: Event) -> None:
        item = as_dict(event.data.get("item"))
        if item.get("type") == "function_call":
            self._calls.append(len(self._parts))
        elif item.get("type") == "message" and item.get("role") not in ("user", "system"):
            self._store(event, text_of(item.get("content")), as_text(item.get("id")))

    def _store(self, event: Event, stored: str, id_: str | None) -> None:
        if self._parts and not self._interrupted and not self._is(stored):
            self._tell(event, stored)
        if id_ is not None:
            self._stored[id_] = stored
        self._clear()

    def _is(self, stored: str) -> bool:
        """Whether that is what came: all of it, or what came behind a tool call."""
        text = "".join(self._parts)
        if text == stored or (self._resent and text.endswith(stored)):
            return True
        return any("".join(self._parts[begin:]) == stored for begin in self._calls[-_MOST:])

    def _tell(self, event: Event, stored: str) -> None:
        assert self._first
        assert self._last
        text = "".join(self._parts)
        message = (
            f"the deltas add up to {_length(text)}, the stored item has {_length(stored)}: {_difference(text, stored)}"
        )
        places = [self._first, self._last, event.place]
        self._found.append(sign_at("text-differs-from-item", message, places))

    def _end(self, event: Event) -> None:
        """The end of a response; it may say itself what the whole of it was."""
        response = as_dict(event.data.get("response"))
        output = response.get("output")
        messages = (
            [as_dict(item) for item in output if as_dict(item).get("type") == "message"]
            if isinstance(output, list)
            else []
        )
        for item in messages:
            self._output(event, item)
        if self._parts and protocol.ENDS[event.type or ""] == "completed" and not self._interrupted:
            self._left(event, any(self._is(text_of(item.get("content"))) for item in messages))
        self._clear()
        self._stored.clear()

    def _output(self, event: Event, item: dict[str, Any]) -> None:
        """A message in the output of a response, beside the item that brought it before."""
        id_, text = as_text(item.get("id")), text_of(item.get("content"))
        if id_ is None:
            return
        if id_ not in self._stored:
            message = f"the response's output holds a message that no item has: {said(text)!r}"
            self._found.append(sign_at("items-missed", message, [event.place]))
        elif self._stored[id_] != text:
            message = f"the response's output has another text than its item: {_difference(text, self._stored[id_])}"
            self._found.append(sign_at("text-differs-from-item", message, [event.place]))

    def _left(self, event: Event, is_told: bool) -> None:
        """Text that no item has stored."""
        if is_told or self._first is None or self._last is None:
            return
        text = "".join(self._parts)
        message = f"a text of {_length(text)} came, and its turn ended without an item that holds it: {said(text)!r}"
        self._found.append(sign_at("text-never-stored", message, [self._first, self._last, event.place]))

    def _clear(self) -> None:
        self._parts, self._calls, self._first, self._last, self._resent = [], [], None, None, False

    def signs(self) -> Iterator[Sign]:
        yield from self._found[:_MOST]


def _length(text: str) -> str:
    return f"{len(text):,} characters"


def _difference(text: str, stored: str) -> str:
    """Where they part."""
    same = next((n for n, (a, b) in enumerate(zip(text, stored, strict=False)) if a != b), min(len(text), len(stored)))
    begin = max(same - 10, 0)
    return f"from character {same + 1:,} on, {said(text[begin:], 40)!r} came and {said(stored[begin:], 40)!r} is stored"
