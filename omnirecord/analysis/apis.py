"""The APIs of a recording: which exchanges are of one that no contract knows, and requests and events in words.

An exchange is of an unknown API if the contract that judges it says so (`none`, a schema of another API; by default for
paths that neither Omnigent nor a model API has). If Omnigent's contract was given, a stream is of an unknown API if
neither its path nor any of its events is Omnigent's.
"""

from __future__ import annotations

from typing import Any

from ..cassette.select import Source
from ..contract import OMNIGENT, Api
from ..model import Exchange
from ..omnigent.routes import is_of_omnigent, is_older_stream, path_of
from ..omnigent.summary import summary as of_omnigent
from ..providers.summary import summary as of_provider
from ..text import SUMMARY, clip, one_line
from ..wire.json_rpc import Message, message_of
from ..wire.strict_json import as_dict, loads
from .turns.begin_and_end import fault_of

UNKNOWN = ""
"""The name of an unknown API."""
FOREIGN = Api(UNKNOWN, has_ends=False)
"""The rules for a stream that Omnigent's contract judged although it is of another API."""
_LONGEST = 60
"""Length of a path, or of a name in a message, in characters, at most."""
_NAMES = ("name", "uri")
"""Parameters of JSON-RPC that name a tool, a prompt or a resource of MCP."""


def api_in(store: Source, x: Exchange) -> Api:
    """Return the API of an exchange by its contract; `FOREIGN` if Omnigent's contract judged a stream in which no event
    is Omnigent's."""
    api = store.judge_of(x).api
    if x.stream is None or x.session_id is not None or api.name != OMNIGENT or _is_of_omnigent(x.request.target):
        return api
    return FOREIGN if all(one.verdict not in ("valid", "invalid") for one in store.frames(x)) else api


def _is_of_omnigent(target: str) -> bool:
    return is_of_omnigent(target) or is_older_stream(target)


def is_unknown(store: Source, x: Exchange) -> bool:
    """Return whether an exchange is of no session and of an unknown API."""
    return x.session_id is None and api_in(store, x).name == UNKNOWN


def shows_omnigent(store: Source, x: Exchange) -> bool:
    """Return whether an exchange by itself shows that the server is Omnigent."""
    if x.session_id is not None or is_of_omnigent(x.request.target):
        return True
    return x.kind == "sse" and api_in(store, x).name == OMNIGENT


def summary(type_: str | None, data: Any, limit: int = SUMMARY) -> str:
    """Return an event in at most `limit` characters. `data`: its payload, parsed; its text if no JSON; or None."""
    told = of_provider(type_, data) if isinstance(data, dict) else None
    return of_omnigent(type_, data if told is None else told, limit)


def error_text(type_: str | None, data: dict[str, Any]) -> str | None:
    """Return the error that an event of an unknown API tells; None if it tells none."""
    message = message_of(data)
    found = None
    if message is None:
        found = data.get("error")
    elif message.kind == "error":
        found = message.content
    if not found and not (type_ or "").lower().replace("_", ".").endswith("error"):
        return None
    fault = fault_of(found or data)
    return one_line(fault.why) if fault is not None else "no reason was given"


def request_text(store: Source, x: Exchange) -> str:
    """Return a request in words: method and path, and the JSON-RPC call in its body."""
    what = f"{x.request.method} {clip(one_line(path_of(x.request.target)), _LONGEST)}"
    message = message_of(loads(store.decoded_body(x, "request"))) if x.request_bytes else None
    return what if message is None else f"{what} {call_text(message)}"


def call_text(message: Message) -> str:
    """Return a JSON-RPC message in words: the method and what it names, or the kind of answer and its id."""
    params = as_dict(message.params)
    named = next((value for name in _NAMES if isinstance(value := params.get(name), str)), "")
    said = f"{message.method} {named}" if message.method is not None else f"{message.kind} id={message.id}"
    return clip(one_line(said.rstrip()), _LONGEST)
