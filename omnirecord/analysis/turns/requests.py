"""Requests of a session's clients: what each of them did to the session, and which of them failed. Pure.

An action is a message, an interrupt, or an answer to an approval. A body that no client of Omnigent sends is none.

How bad a failed request is:

1. A write that was refused is an error: the client asked for a change, and nothing changed. It is a warning if the same
   request succeeded later.
2. A failed read is a warning. An optional resource answers 404, and a resource of a booting runner 409 or 503. These
   are no findings, or a note if the resource never came.
3. Actions that were refused are none of these: an `Act` has its own refusal.
4. A 404 for a session that a client has deleted is a note.
5. A session whose requests were all answered with 404 is no session.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...model import Exchange
from ...omnigent import routes
from ...omnigent.routes import below_session, deletes_session, is_gate, path_of
from ...text import joined, text_of_error
from ...wire.strict_json import as_dict, as_list, as_text, loads, text_of

Severity = Literal["note", "warning", "error"]
READS = ("GET", "HEAD", "OPTIONS")
_ESSENTIAL = ("", "/items", "/stream")
"""Resources that each session has, by their path below it."""
_BOOTING = (409, 503)


@dataclass(slots=True, unsafe_hash=True)
class Act:
    kind: Literal["message", "interrupt", "answer"]
    at_ns: int
    """The beginning of its request, in ns."""
    party: str
    text: str = ""
    """Of a message."""
    item_id: str | None = None
    """The id of the item that the server made of a message; events name it."""
    elicitation_id: str | None = None
    action: str | None = None
    """Of an answer: `accept`, `decline` or `cancel`."""
    refused: str | None = None
    """Why the server refused it: an error code, or `HTTP 503`; None if it did not, or never answered."""
    refusal: str = ""
    """The error's message."""
    exchange: int = 0
    end_ns: int | None = None
    """The end of its exchange, in ns; None while it is open."""
    client_left: bool = False
    """Whether the client closed the request before the server answered it."""
    is_unanswered: bool = False
    """Whether the client, or the recorder, waited for an answer until its end."""


def may_act(exchange: Exchange) -> bool:
    """Return whether an exchange may be a client action, so that its bodies have to be read."""
    request = exchange.request
    return request.method == "POST" and (exchange.kind == "sse" or is_gate(request.method, request.target))


def answer_tells(exchange: Exchange) -> bool:
    """Return whether `act_of` needs the answer: for the id of a message's item, or for why it was refused."""
    response = exchange.response
    return response is not None and (response.status >= 400 or below_session(exchange.request.target) == "/events")


def act_of(exchange: Exchange, request: bytes, response: bytes) -> Act | None:
    """Return the client action in an exchange, or None. The bodies are without a content coding."""
    if exchange.kind == "sse" and exchange.request.method == "POST":  # its answer is the stream, as in older versions
        if not (text := text_of(as_dict(loads(request)).get("input"))):
            return None
        return Act("message", exchange.request.at_ns, exchange.party, text, exchange=exchange.exchange)
    if not is_gate(exchange.request.method, exchange.request.target):
        return None
    body = as_dict(loads(request))
    rest = (below_session(exchange.request.target) or "").split("/")
    if rest[-1] == "resolve" and len(rest) > 2:
        return _act(exchange, response, "answer", elicitation_id=rest[-2], action=as_text(body.get("action")))
    data = as_dict(body.get("data"))
    if body.get("type") == "interrupt":
        return _act(exchange, response, "interrupt")
    if body.get("type") == "message" and data.get("role") in ("user", None):
        item_id = as_text(as_dict(loads(response)).get("item_id"))
        return _act(exchange, response, "message", text=text_of(data.get("content")), item_id=item_id)
    return None


def _act(exchange: Exchange, response: bytes, kind: Literal["message", "interrupt", "answer"], **fields: Any) -> Act:
    status = exchange.response.status if exchange.response else 0
    refused = None
    refusal = ""
    if status >= 400:
        code, refusal = error_in(response)
        refused = code or f"HTTP {status}"
    elif exchange.ending == "upstream_unreachable":
        refused = "upstream_unreachable"
    waited = exchange.response is None and exchange.ending in ("client_left", "recorder_stopped", "recorder_killed")
    return Act(
        kind,
        exchange.request.at_ns,
        exchange.party,
        refused=refused,
        refusal=refusal,
        exchange=exchange.exchange,
        end_ns=exchange.end_ns,
        client_left=waited and exchange.ending == "client_left",
        is_unanswered=waited,
        **fields,
    )


class Posts:
    """The posted messages. Iteration yields those that belong to no turn, oldest first; each look-up is O(1)."""

    def __init__(self) -> None:
        self._left: dict[int, Act] = {}
        self._claimed: set[int] = set()
        self._by_item: dict[str, int] = {}
        self._by_text: dict[str, deque[int]] = {}

    def add(self, number: int, act: Act) -> None:
        """Add a posted message. It replaces an earlier state of the same number."""
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
        """Return the POST of a message before `at_ns`, and drop it: by item, else by text; else the oldest."""
        by_item = self._by_item.get(item_id or "")
        if by_item in self._left:
            return self._taken(by_item)
        number = next(iter(self._left), None) if text is None else self._oldest(text)
        return None if number is None or self._left[number].at_ns > at_ns else self._taken(number)

    def _taken(self, number: int) -> Act:
        self._claimed.add(number)
        return self._left.pop(number)

    def _oldest(self, text: str) -> int | None:
        numbers = self._by_text.get(text, deque())
        while numbers and numbers[0] not in self._left:
            numbers.popleft()
        return numbers[0] if numbers else None


@dataclass(slots=True, unsafe_hash=True)
class FailedRequest:
    """One request that the server refused or failed at."""

    exchange: int
    at_ns: int
    method: str
    path: str
    status: int
    code: str | None
    message: str
    """The error message in the answer, like `code`; may be empty."""
    severity: Severity

    @property
    def why(self) -> str:
        """Status, code and message: `400 invalid_input: runner 'x' is not registered`."""
        return f"{self.status} {joined([self.code, self.message], ': ')}".rstrip()


def deleted_at(exchanges: Iterable[Exchange]) -> int | None:
    """Return the time of the request that deleted the session of these exchanges, in ns, or None."""
    for x in exchanges:
        if deletes_session(x.request.method, x.request.target) and x.response and 200 <= x.response.status < 300:
            return x.request.at_ns
    return None


def failed_requests(
    exchanges: Sequence[Exchange], answer: Callable[[Exchange], bytes], acted: Collection[int] = ()
) -> list[FailedRequest]:
    """Return the failed requests among these exchanges. `answer` reads the decoded body of an answer; `acted`: numbers
    of exchanges that are client actions."""
    succeeded: dict[tuple[str, str], int] = {}
    for x in exchanges:
        if x.response is not None and x.response.status < 400:
            succeeded[x.request.method, path_of(x.request.target)] = x.request.at_ns
    deleted = {x.session_id: at_ns for x in exchanges if (at_ns := deleted_at([x])) is not None}
    found = []
    for x in exchanges:
        if x.exchange not in acted and may_have_failed(x):
            method = x.request.method
            path = path_of(x.request.target)
            at_ns = x.request.at_ns
            status = x.response.status if x.response else 0
            severity = severity_of(method, x.request.target, status, later=succeeded.get((method, path), -1) > at_ns)
            if status == 404 and deleted.get(x.session_id, at_ns) < at_ns:
                severity = "note"
            if severity is not None:
                code, message = error_in(answer(x))
                found.append(FailedRequest(x.exchange, at_ns, method, path, status, code, message, severity))
    return found


def may_have_failed(x: Exchange) -> bool:
    """Return whether the server answered a client's request with an error status."""
    is_error = x.response is not None and x.response.status >= 400 and x.ending != "upstream_unreachable"
    return is_error and x.party != "runner" and not routes.is_tunnel(x.request.target)


def error_in(answer: bytes) -> tuple[str | None, str]:
    """Return code and message of an error's JSON: Omnigent's `{"error": …}` or FastAPI's `{"detail": …}`. Of another
    body, the first words are the message."""
    data = as_dict(loads(answer))
    error = as_dict(data.get("error"))
    detail = data.get("detail")
    if isinstance(detail, list):
        return None, "; ".join(filter(None, map(_complaint, detail[:3])))
    code = as_text(error.get("code"))
    message = as_text(error.get("message")) or as_text(data.get("error")) or as_text(detail)
    return code, message or ("" if code else text_of_error(answer))


def _complaint(value: Any) -> str:
    """Return FastAPI's error for one field: `body.nonsense: Extra inputs are not permitted`."""
    one = as_dict(value)
    place = ".".join(map(str, as_list(one.get("loc"))))
    return joined([place, as_text(one.get("msg"))], ": ")


def severity_of(method: str, target: str, status: int, *, later: bool = False) -> Severity | None:
    """Return how bad an error status is; None if it is healthy. `later`: the same request succeeded later."""
    below = below_session(target)
    if below is None and routes.is_of_machines(target):
        return None
    if (below or "").startswith("/resources/terminals") and status in _BOOTING:
        return None if later else "note"
    if method in READS:
        return _of_read(target, below, status, later=later)
    if status == 404 and deletes_session(method, target):
        return "note"  # the session is gone, as requested
    return "warning" if later or routes.is_bookkeeping(method, target) else "error"


def _of_read(target: str, below: str | None, status: int, *, later: bool) -> Severity | None:
    if below is None:
        return "warning" if status >= 500 or (routes.is_of_sessions(target) and status in (401, 403)) else None
    if below not in _ESSENTIAL:
        if status in (404, 405, 410) or (later and status in _BOOTING):
            return None
        if status in _BOOTING and below.startswith("/resources"):
            return "note"
    return "warning"


def group_key(one: FailedRequest) -> tuple[object, ...]:
    """Return a key that is equal for the same kind of request with the same answer."""
    is_read = one.method in READS
    path = routes.session_of(one.path) if is_read else one.path
    return one.severity, one.method, path, one.status, one.code, one.message
