"""Session ids that a client made up, and the recorded sessions that they stand for (`sessions mapped`). No clock.

The nth id that the cassette has not stands for the nth recorded session that is nobody's child; once all are taken,
from the first again, as `POST /v1/sessions` has it. What is asked in the client's id is looked up in the recorded one;
answers come out in the client's.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote_plus

from ...model import Exchange, Response
from ...omnigent.routes import path_of, query_of, session_of, with_session
from ...wire.content_coding import content_of
from ...wire.headers import header, without
from ..matching.request import Incoming, Miss
from .decisions import Answering, Decision
from .plan import Script
from .playback import Playing
from .renaming import Renaming, is_plain

_CODING = "content-encoding"


class SessionMap:
    """`known`: every recorded id; `roots`: those that an id may stand for, in order."""

    def __init__(self, known: Iterable[str], roots: Iterable[str]) -> None:
        self._known = frozenset(known)
        self._roots = [root for root in roots if is_plain(root)]
        self._recorded: dict[str, str] = {}  # by the id that a client made up
        self._names: dict[str, str] = {}  # what each root was last called
        self._taken: Counter[str] = Counter()

    def reset(self) -> None:
        """Forget every id that a client made up."""
        self._recorded.clear()
        self._names.clear()
        self._taken.clear()

    def meet(self, target: str) -> str | None:
        """Take note of the session that a request speaks of; the root that it begins again, if it does."""
        name = session_of(target)
        if name is None or name in self._known or name in self._recorded or not is_plain(name) or not self._roots:
            return None
        root = min(self._roots, key=lambda one: self._taken[one])
        begins_again = self._taken[root] > 0
        self.call(root, name)
        return root if begins_again else None

    def call(self, root: str, name: str) -> None:
        """From now on `name` stands for this session, unless it is another's."""
        if root not in self._roots or (name != root and name in self._known):
            return
        self._taken[root] += 1
        self._names[root] = name
        if name != root:
            self._recorded[name] = root

    def recorded(self, name: str) -> str:
        """The recorded id that an id stands for: as a rule itself."""
        return self._recorded.get(name, name)

    def request(self, request: Incoming) -> Incoming:
        """The same request, asked in recorded ids. Its body is left as it is."""
        if not self._recorded:
            return request
        name, path, query = session_of(request.target), path_of(request.target), query_of(request.target)
        target = path if name is None else with_session(path, self.recorded(name))
        if query:
            target += "?" + "&".join(self._parameter(one) for one in query.split("&"))
        return replace(request, target=target)

    def _parameter(self, text: str) -> str:
        name, equals, value = text.partition("=")
        recorded = self._recorded.get(unquote_plus(value))
        return text if recorded is None else name + equals + quote(recorded, safe="")

    def rows(self, rows: dict[str, Any], asked: Iterable[str]) -> dict[str, Any]:
        """Rows of the session list, as they were recorded, in the ids in which they were asked for."""
        names = {self.recorded(name): name for name in asked if is_plain(name)}
        told: dict[str, Any] = json.loads(Renaming(names).text(json.dumps(rows).encode()))
        return told

    def renaming(self, target: str) -> Renaming:
        """How recorded ids are called in the answer to such a request: as it calls them, else as they were last."""
        asked = session_of(target) or ""
        root = self.recorded(asked)
        return Renaming(self._names | ({root: asked} if root in self._roots else {}))


def session_map(script: Script) -> SessionMap:
    """The map of a cassette: what may be stood for is what was once answered with a 2xx."""
    real = (x.session_id for x in script.exchanges if x.response is not None and 200 <= x.response.status < 300)
    roots = (name for name in real if name is not None and script.sessions[name].root == name)
    named = (x.session_id for x in script.exchanges)  # unknown ones too: their 404s were recorded
    return SessionMap((name for name in named if name is not None), dict.fromkeys(roots))


def own_id(request: Incoming) -> str | None:
    """The id that a `POST /v1/sessions` wants for its session."""
    try:
        value = json.loads(request.body)
    except (ValueError, RecursionError):
        return None
    found = (value.get(name) for name in ("id", "session_id")) if isinstance(value, dict) else ()
    return next((name for name in found if isinstance(name, str) and is_plain(name)), None)


def renamed(decision: Decision, renaming: Renaming) -> Decision:
    """The same answer in other ids. What is compressed and holds one is given uncompressed; what cannot be
    decompressed stays as it was recorded."""
    match decision:
        case Answering():
            return _renamed_answer(decision, renaming)
        case Playing():
            _rename_stream(decision, renaming)
        case Miss():
            near = [{name: renaming.string(text) for name, text in one.items()} for one in decision.nearest]
            return Miss(renaming.string(decision.message), near, list(map(renaming.string, decision.lines)))
    return decision


def _renamed_answer(answer: Answering, renaming: Renaming) -> Answering:
    response = answer.exchange.response
    if response is None or not renaming:
        return answer
    content = content_of(answer.body, header(response.headers, _CODING))
    body = answer.body if content is None else renaming.text(content)
    is_changed = content is not None and body != content
    exchange = _renamed_exchange(answer.exchange, response, renaming, decoded=is_changed)
    return replace(answer, exchange=exchange, body=body if is_changed else answer.body)


def _rename_stream(playing: Playing, renaming: Renaming) -> None:
    response = playing.exchange.response
    if response is None or not renaming:
        return
    playing.planned = list(renaming.parts(playing.planned))
    playing.exchange = _renamed_exchange(playing.exchange, response, renaming, decoded=False)


def _renamed_exchange(exchange: Exchange, response: Response, renaming: Renaming, *, decoded: bool) -> Exchange:
    headers = renaming.headers(without(response.headers, {_CODING} if decoded else ()))
    return replace(exchange, response=replace(response, headers=headers))
