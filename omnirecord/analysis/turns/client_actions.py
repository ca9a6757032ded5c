"""What a client did to a session, read from one recorded request: said something, interrupted, answered a question.

Reading never fails: a body that is not what Omnigent's clients send is no act. Pure.

The messages that clients posted, until each is found to be part of a turn. Every look-up takes constant time.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ...model import Exchange
from ...omnigent.routes import below_session, is_gate
from .failures import error_in
from .lenient import as_dict, as_text, text_of


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that a client did."""

    kind: Literal["message", "interrupt", "answer"]
    at_ns: int
    """When its request began."""
    party: str
    text: str = ""
    """Of a message."""
    item_id: str | None = None
    """The item that the server made of a message, by which the stream names it."""
    elicitation_id: str | None = None
    action: str | None = None
    """Of an answer: `accept`, `decline` or `cancel`."""
    refused: str | None = None
    """Why the server did not take it: an error's code, or `HTTP 503`; None where it did, or never answered."""
    refusal: str = ""
    """The error's message."""
    exchange: int = 0
    """The number of its exchange."""
    end_ns: int | None = None
    """When its request was over; None while it is open."""
    client_left: bool = False
    """Whether the client closed the request before the server answered it."""


def may_act(exchange: Exchange) -> bool:
    """Whether an exchange may have done something to its session, so that its bodies are worth reading."""
    request = exchange.request
    return request.method == "POST" and (exchange.kind == "sse" or is_gate(request.method, request.target))


def act_of(exchange: Exchange, request: bytes, response: bytes) -> Act | None:
    """What an exchange did to its session; None where it did nothing. The bodies are JSON, as they were recorded."""
    if exchange.kind == "sse" and exchange.request.method == "POST":
        return _query(exchange, _json(request))
    if not is_gate(exchange.request.method, exchange.request.target):
        return None
    rest = (below_session(exchange.request.target) or "").split("/")
    if rest[-1] == "resolve" and len(rest) > 2:
        action = as_text(_json(request).get("action"))
        return _act(exchange, response, "answer", elicitation_id=rest[-2], action=action)
    return _event(exchange, _json(request), response)


def _query(exchange: Exchange, body: dict[str, Any]) -> Act | None:
    """The older way to ask: a question whose answer is the stream."""
    text = text_of(body.get("input"))
    return Act("message", exchange.request.at_ns, exchange.party, text, exchange=exchange.exchange) if text else None


def _event(exchange: Exchange, body: dict[str, Any], response: bytes) -> Act | None:
    data = as_dict(body.get("data"))
    if body.get("type") == "interrupt":
        return _act(exchange, response, "interrupt")
    if body.get("type") == "message" and data.get("role") in ("user", None):
        item_id = as_text(_json(response).get("item_id"))
        return _act(exchange, response, "message", text=text_of(data.get("content")), item_id=item_id)
    return None


def _act(exchange: Exchange, response: bytes, kind: Literal["message", "interrupt", "answer"], **fields: Any) -> Act:
    status = exchange.response.status if exchange.response else 0
    refused, refusal = None, ""
    if status >= 400:
        code, refusal = error_in(response)
        refused = code or f"HTTP {status}"
    elif exchange.ending == "upstream_unreachable":
        refused = "upstream_unreachable"
    left = exchange.ending == "client_left" and exchange.response is None
    return Act(
        kind, exchange.request.at_ns, exchange.party, refused=refused, refusal=refusal, exchange=exchange.exchange,
        end_ns=exchange.end_ns, client_left=left, **fields,
    )  # fmt: skip


def _json(body: bytes) -> dict[str, Any]:
    try:
        return as_dict(json.loads(body))
    except (ValueError, RecursionError):
        return {}


class Posts:
    """Iterating gives what is not part of a turn, oldest first."""

    def __init__(self, acts: Iterable[Act] = ()) -> None:
        self._left: dict[int, Act] = {}
        self._claimed: set[int] = set()
        self._by_item: dict[str, int] = {}
        self._by_text: dict[str, deque[int]] = {}
        for number, act in enumerate(sorted((act for act in acts if act.kind == "message"), key=lambda act: act.at_ns)):
            self.add(number, act)

    def add(self, number: int, act: Act) -> None:
        """One that was posted; what was added under that number before is known better now."""
        if number in self._claimed:
            return
        if number not in self._left:
            self._by_text.setdefault(act.text, deque()).append(number)
        self._left[number] = act
        if act.item_id is not None:
            self._by_item[act.item_id] = number

    def __iter__(self) -> Iterator[Act]:
        return iter(self._left.values())

    def claim(self, text: str | None, at_ns: int, item_id: str | None = None) -> Act | None:
        """The one that posted this, before `at_ns`: by its item, else by its text; the oldest, for no text."""
        by_item = self._by_item.get(item_id or "")
        if by_item in self._left:
            return self._taken(by_item)
        number = next(iter(self._left), None) if text is None else self._oldest(text)
        if number is None or self._left[number].at_ns > at_ns:
            return None
        return self._taken(number)

    def _taken(self, number: int) -> Act:
        self._claimed.add(number)
        return self._left.pop(number)

    def _oldest(self, text: str) -> int | None:
        numbers = self._by_text.get(text, deque())
        while numbers and numbers[0] not in self._left:
            numbers.popleft()
        return numbers[0] if numbers else None
